//! A JSON reader that keeps the place of every value and the order of every object.

use karman_diag::{Diagnostic, FileId, Span};

use crate::limits::MAX_JSON_DEPTH;
use crate::value::{Number, Value};

/// A JSON value with its place.
#[derive(Debug, Clone)]
pub(crate) struct Json {
    pub(crate) kind: JsonKind,
    pub(crate) span: Span,
}

/// What a JSON value is; objects keep order and duplicates.
#[derive(Debug, Clone)]
pub(crate) enum JsonKind {
    Null,
    Bool(bool),
    Number(Number),
    String(String),
    Array(Vec<Json>),
    Object(Vec<(String, Span, Json)>),
}

impl Json {
    /// The value, strings taken as they are.
    pub(crate) fn into_value(self) -> Value {
        match self.kind {
            JsonKind::Null => Value::Null,
            JsonKind::Bool(b) => Value::Bool(b),
            JsonKind::Number(n) => Value::Number(n),
            JsonKind::String(s) => Value::String(s),
            JsonKind::Array(items) => {
                Value::List(items.into_iter().map(Json::into_value).collect())
            }
            JsonKind::Object(entries) => {
                Value::Object(entries.into_iter().map(|(k, _, v)| (k, v.into_value())).collect())
            }
        }
    }
}

/// Reads one JSON text.
pub(crate) fn parse(file: FileId, text: &str) -> Result<Json, Diagnostic> {
    let mut reader = Reader { file, text, at: 0, depth: 0 };
    let value = reader.value()?;
    reader.space();
    if reader.at < text.len() {
        return Err(reader.error("unexpected text after the JSON value"));
    }
    Ok(value)
}

struct Reader<'a> {
    file: FileId,
    text: &'a str,
    at: usize,
    depth: usize,
}

impl Reader<'_> {
    fn error(&self, message: &str) -> Diagnostic {
        let end = self.text[self.at..].chars().next().map_or(self.at, |c| self.at + c.len_utf8());
        Diagnostic::error(format!("invalid JSON: {message}"), self.span(self.at, end))
    }

    fn span(&self, start: usize, end: usize) -> Span {
        Span::new(self.file, start, end)
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn eat(&mut self, byte: u8) -> bool {
        self.space();
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn value(&mut self) -> Result<Json, Diagnostic> {
        self.space();
        let start = self.at;
        let kind = match self.peek() {
            Some(b'{') => self.nested(Self::object)?,
            Some(b'[') => self.nested(Self::array)?,
            Some(b'"') => JsonKind::String(self.string()?),
            Some(b'-' | b'0'..=b'9') => JsonKind::Number(self.number()?),
            _ => self.word()?,
        };
        Ok(Json { kind, span: self.span(start, self.at) })
    }

    fn nested(
        &mut self,
        read: fn(&mut Self) -> Result<JsonKind, Diagnostic>,
    ) -> Result<JsonKind, Diagnostic> {
        if self.depth >= MAX_JSON_DEPTH {
            return Err(self.error("too deeply nested"));
        }
        self.depth += 1;
        self.at += 1;
        let kind = read(self)?;
        self.depth -= 1;
        Ok(kind)
    }

    fn word(&mut self) -> Result<JsonKind, Diagnostic> {
        let words = [
            ("null", JsonKind::Null),
            ("true", JsonKind::Bool(true)),
            ("false", JsonKind::Bool(false)),
        ];
        for (word, kind) in words {
            if self.text[self.at..].starts_with(word) {
                self.at += word.len();
                return Ok(kind);
            }
        }
        Err(self.error("a value is expected"))
    }

    fn array(&mut self) -> Result<JsonKind, Diagnostic> {
        let mut items = Vec::new();
        if self.eat(b']') {
            return Ok(JsonKind::Array(items));
        }
        loop {
            items.push(self.value()?);
            if self.eat(b']') {
                return Ok(JsonKind::Array(items));
            }
            if !self.eat(b',') {
                return Err(self.error("`,` or `]` is expected"));
            }
        }
    }

    fn object(&mut self) -> Result<JsonKind, Diagnostic> {
        let mut entries = Vec::new();
        if self.eat(b'}') {
            return Ok(JsonKind::Object(entries));
        }
        loop {
            self.space();
            let start = self.at;
            if self.peek() != Some(b'"') {
                return Err(self.error("a property name in quotes is expected"));
            }
            let name = self.string()?;
            let span = self.span(start, self.at);
            if !self.eat(b':') {
                return Err(self.error("`:` is expected"));
            }
            entries.push((name, span, self.value()?));
            if self.eat(b'}') {
                return Ok(JsonKind::Object(entries));
            }
            if !self.eat(b',') {
                return Err(self.error("`,` or `}` is expected"));
            }
        }
    }

    fn number(&mut self) -> Result<Number, Diagnostic> {
        let start = self.at;
        while matches!(self.peek(), Some(b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9')) {
            self.at += 1;
        }
        Number::parse(&self.text[start..self.at]).ok_or_else(|| {
            self.at = start;
            self.error("malformed number")
        })
    }

    fn string(&mut self) -> Result<String, Diagnostic> {
        self.at += 1;
        let mut out = String::new();
        loop {
            let rest = &self.text[self.at..];
            let Some(stop) = rest.find(['"', '\\', '\n']) else {
                return Err(self.error("the string has no end"));
            };
            out.push_str(&rest[..stop]);
            self.at += stop;
            match rest.as_bytes()[stop] {
                b'"' => {
                    self.at += 1;
                    return Ok(out);
                }
                b'\\' => out.push(self.escape()?),
                _ => return Err(self.error("the string has no end on its line")),
            }
        }
    }

    fn escape(&mut self) -> Result<char, Diagnostic> {
        let c = self.text.as_bytes().get(self.at + 1).copied();
        let plain = match c {
            Some(b'n') => '\n',
            Some(b't') => '\t',
            Some(b'r') => '\r',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(c @ (b'"' | b'\\' | b'/')) => char::from(c),
            Some(b'u') => return self.unicode(),
            _ => return Err(self.error("unknown escape")),
        };
        self.at += 2;
        Ok(plain)
    }

    fn unicode(&mut self) -> Result<char, Diagnostic> {
        let unit = |at: usize| {
            let hex = self.text.get(at + 2..at + 6)?;
            (self.text.get(at..at + 2)? == "\\u").then(|| u16::from_str_radix(hex, 16).ok())?
        };
        let first = unit(self.at);
        let mut units: Vec<u16> = first.into_iter().collect();
        if matches!(first, Some(0xd800..=0xdbff)) {
            units.extend(unit(self.at + 6));
        }
        match char::decode_utf16(units.iter().copied()).next() {
            Some(Ok(c)) => {
                self.at += 6 * c.len_utf16();
                Ok(c)
            }
            _ => Err(self.error("malformed `\\u` escape")),
        }
    }
}
