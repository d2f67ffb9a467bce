//! The lexer behind [`Expander`].
//!
//! It follows `frontend/dockerfile/shell` of BuildKit in its observable behaviour: special
//! parameters (`$@`, `$1`, `$$`) are names like others, `$` before anything else is itself.

use super::cursor::Cursor;
use super::words::Words;
use super::{
    ExpandErrorKind,
    pattern::{Reach, replace_all, replace_first, trim_prefix, trim_suffix},
};
use super::{
    Expanded, Expander, LexMode, MAX_EXPANDED_BYTES, MAX_LOOKED_UP_BYTES, MAX_MATCH_WORK,
    MAX_NESTING,
};

type Result<T> = std::result::Result<T, ExpandErrorKind>;

/// The state of one expansion.
pub(super) struct Lexer<'a> {
    expander: &'a Expander<'a>,
    mode: LexMode,
    cursor: Cursor<'a>,
    seen: Expanded,
    depth: usize,
    budget: usize,
    looked_up: usize,
    matched: usize,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(expander: &'a Expander<'a>, raw: &'a str, mode: LexMode) -> Self {
        let cursor = Cursor::new(raw);
        let seen = Expanded::default();
        let (budget, looked_up, matched) =
            (MAX_EXPANDED_BYTES, MAX_LOOKED_UP_BYTES, MAX_MATCH_WORK);
        Self { expander, mode, cursor, seen, depth: 0, budget, looked_up, matched }
    }

    pub(super) fn run(mut self) -> Result<(Expanded, Vec<String>)> {
        let (text, words) = self.until(None)?;
        Ok((Expanded { text, ..self.seen }, words))
    }

    /// Expands up to `stop` (consumed), or to the end.
    fn until(&mut self, stop: Option<char>) -> Result<(String, Vec<String>)> {
        let mut text = String::new();
        let mut words = Words::default();
        while let Some(c) = self.cursor.peek() {
            if stop == Some(c) {
                self.cursor.next();
                return Ok((text, words.finish()));
            }
            match c {
                '$' if self.mode.join_heredoc && self.cursor.is_arithmetic() => {
                    let expression = self.cursor.arithmetic();
                    words.push_raw_str(expression);
                    text.push_str(expression);
                }
                '$' => {
                    let value = self.dollar()?;
                    words.push_split(&value);
                    text.push_str(&value);
                }
                '\'' | '"' if !self.mode.plain_quotes => {
                    let quoted = if c == '"' { self.double()? } else { self.single()? };
                    words.push_raw_str(&quoted);
                    text.push_str(&quoted);
                }
                '<' if self.mode.join_heredoc => {
                    let mark = self.heredoc_mark();
                    words.push_raw_str(&mark);
                    text.push_str(&mark);
                }
                c => {
                    self.cursor.next();
                    self.ordinary(c, &mut text, &mut words);
                }
            }
        }
        match stop {
            // What the caller makes of the end depends on what it was looking for.
            Some('/') => Err(ExpandErrorKind::MissingSlash),
            Some(_) => Err(ExpandErrorKind::MissingBrace),
            None => Ok((text, words.finish())),
        }
    }

    fn ordinary(&mut self, c: char, text: &mut String, words: &mut Words) {
        if c != self.expander.escape {
            words.push(c);
            text.push(c);
            return;
        }
        if self.mode.keep_escapes {
            words.push_raw(c);
            text.push(c);
        }
        if let Some(escaped) = self.cursor.next() {
            words.push_raw(escaped);
            text.push(escaped);
        }
    }

    /// `<`, or `<<` and `<<-` with the blanks behind them.
    fn heredoc_mark(&mut self) -> String {
        let mut marks = ['<', '<', '-'].into_iter();
        let mut mark = String::new();
        while self.cursor.peek().is_some_and(|c| marks.next() == Some(c)) {
            mark.extend(self.cursor.next());
        }
        if mark.len() > 1 {
            mark.push_str(self.cursor.take_while(char::is_whitespace));
        }
        mark
    }

    /// `'…'`: nothing in it is special.
    fn single(&mut self) -> Result<String> {
        self.cursor.next();
        let inner = self.cursor.take_while(|c| c != '\'');
        self.cursor.next().ok_or(ExpandErrorKind::SingleQuote)?;
        Ok(if self.mode.keep_quotes { format!("'{inner}'") } else { inner.to_owned() })
    }

    /// `"…"`: variables expand, and the escape character escapes `"`, `$` and itself.
    fn double(&mut self) -> Result<String> {
        let mut out = String::new();
        out.extend(self.cursor.next().filter(|_| self.mode.keep_quotes));
        loop {
            match self.cursor.peek() {
                None => return Err(ExpandErrorKind::DoubleQuote),
                Some('"') => {
                    out.extend(self.cursor.next().filter(|_| self.mode.keep_quotes));
                    return Ok(out);
                }
                Some('$') => out.push_str(&self.dollar()?),
                Some(c) => {
                    self.cursor.next();
                    self.double_ordinary(c, &mut out);
                }
            }
        }
    }

    fn double_ordinary(&mut self, c: char, out: &mut String) {
        if c != self.expander.escape {
            out.push(c);
            return;
        }
        if self.mode.keep_escapes {
            out.push(c);
        }
        match self.cursor.peek() {
            None => {}
            Some(next) if next == '"' || next == '$' || next == self.expander.escape => {
                self.cursor.next();
                out.push(next);
            }
            Some(_) => out.push(c),
        }
    }

    /// `$name`, `${…}`, or a dollar that is just one.
    fn dollar(&mut self) -> Result<String> {
        self.cursor.next();
        let value = if self.cursor.peek() == Some('{') {
            self.cursor.next();
            self.depth += 1;
            if self.depth > MAX_NESTING {
                return Err(ExpandErrorKind::TooDeep);
            }
            let value = self.braced()?;
            self.depth -= 1;
            value
        } else {
            let name = self.name();
            match self.lookup(&name)? {
                _ if name.is_empty() => "$".to_owned(),
                None if self.mode.keep_unset => format!("${name}"),
                value => value.unwrap_or_default(),
            }
        };
        self.budget = self.budget.checked_sub(value.len()).ok_or(ExpandErrorKind::TooLong)?;
        Ok(value)
    }

    /// What follows `${`, up to and with its brace.
    fn braced(&mut self) -> Result<String> {
        match self.cursor.peek() {
            None => return Err(ExpandErrorKind::MissingBrace),
            Some('{' | '}' | ':') => return Err(ExpandErrorKind::BadSubstitution),
            Some(_) => {}
        }
        let name = self.name();
        let Some(first) = self.cursor.next() else { return Err(ExpandErrorKind::MissingBrace) };
        match first {
            '}' => Ok(match self.lookup(&name)? {
                None if self.mode.keep_unset => format!("${{{name}}}"),
                value => value.unwrap_or_default(),
            }),
            ':' => {
                let Some(second) = self.cursor.next() else {
                    return Err(ExpandErrorKind::MissingBrace);
                };
                self.modified(&name, second, true)
            }
            '+' | '-' | '?' | '#' | '%' => self.modified(&name, first, false),
            '/' => self.replaced(&name),
            other => Err(ExpandErrorKind::UnsupportedModifier { modifier: other.to_string() }),
        }
    }

    /// `${name-word}` and its kin; with a colon an empty value counts as none.
    fn modified(&mut self, name: &str, modifier: char, colon: bool) -> Result<String> {
        let word = self.operand('}', matches!(modifier, '#' | '%'))?;
        let shown = if colon { format!(":{modifier}") } else { modifier.to_string() };
        let value = self.lookup(name)?;
        if self.mode.keep_unset && value.is_none() {
            return Ok(format!("${{{name}{shown}{word}}}"));
        }
        let missing = value.as_deref().is_none_or(|v| colon && v.is_empty());
        let unset = value.is_none();
        let value = value.unwrap_or_default();
        match modifier {
            '-' => Ok(if missing { word } else { value }),
            '+' => Ok(if missing { String::new() } else { word }),
            '?' if missing => Err(required(name, word, unset)),
            '?' => Ok(value),
            '#' | '%' => {
                let (reach, pattern) = match word.strip_prefix(modifier) {
                    Some(rest) => (Reach::Longest, rest),
                    None => (Reach::Shortest, word.as_str()),
                };
                self.charge_match(pattern, &value)?;
                let trim = if modifier == '#' { trim_prefix } else { trim_suffix };
                trim(pattern, &value, reach)
            }
            _ => Err(ExpandErrorKind::UnsupportedModifier { modifier: shown }),
        }
    }

    /// `${name/pattern/replacement}`, `${name//pattern/replacement}`.
    fn replaced(&mut self, name: &str) -> Result<String> {
        let all = self.cursor.peek() == Some('/');
        if all {
            self.cursor.next();
        }
        let pattern = self.operand('/', true)?;
        let replacement = self.operand('}', true)?;
        match self.lookup(name)? {
            None if self.mode.keep_unset => Ok(format!("${{{name}/{pattern}/{replacement}}}")),
            value => {
                let value = value.unwrap_or_default();
                self.charge_match(&pattern, &value)?;
                let replace = if all { replace_all } else { replace_first };
                replace(&pattern, &value, &replacement)
            }
        }
    }

    /// The text up to `stop`, itself expanded; a pattern keeps its escapes.
    fn operand(&mut self, stop: char, keep_escapes: bool) -> Result<String> {
        let before = std::mem::replace(&mut self.mode.keep_escapes, keep_escapes);
        let found = self.until(Some(stop));
        self.mode.keep_escapes = before;
        match found {
            Ok((text, _)) => Ok(text),
            Err(ExpandErrorKind::TooDeep) => Err(ExpandErrorKind::TooDeep),
            // An open quote swallows the brace: the missing brace is the better message.
            Err(_) if self.cursor.peek().is_none() && stop == '/' => {
                Err(ExpandErrorKind::MissingSlash)
            }
            Err(_) if self.cursor.peek().is_none() => Err(ExpandErrorKind::MissingBrace),
            Err(error) => Err(error),
        }
    }

    /// The name of a variable; empty where none stands here. A digit or a special parameter
    /// (`@ * # ? - $ !`) is a name of its own.
    fn name(&mut self) -> String {
        match self.cursor.peek() {
            Some(c) if c.is_numeric() => self.cursor.take_while(char::is_numeric).to_owned(),
            Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => {
                self.cursor.next().map(String::from).unwrap_or_default()
            }
            _ => self
                .cursor
                .take_while(|c| c.is_alphabetic() || c.is_numeric() || c == '_')
                .to_owned(),
        }
    }

    /// Counts what matching may cost at worst: each character of the value with each of the pattern.
    fn charge_match(&mut self, pattern: &str, value: &str) -> Result<()> {
        let cost = pattern.len().saturating_mul(value.len());
        self.matched = self.matched.checked_sub(cost).ok_or(ExpandErrorKind::MatchTooLong)?;
        Ok(())
    }

    fn lookup(&mut self, name: &str) -> Result<Option<String>> {
        if name.is_empty() {
            return Ok(None);
        }
        let value = (self.expander.lookup)(name);
        let length = value.as_ref().map_or(0, String::len);
        // `${a:+}` reads a value that does not show in the result.
        self.looked_up = self.looked_up.checked_sub(length).ok_or(ExpandErrorKind::TooLong)?;
        let set = if value.is_some() { &mut self.seen.matched } else { &mut self.seen.unmatched };
        if !set.contains(name) {
            set.insert(name.to_owned());
        }
        Ok(value)
    }
}

fn required(name: &str, word: String, unset: bool) -> ExpandErrorKind {
    let message = match (word.is_empty(), unset) {
        (false, _) => word,
        (true, true) => "is not allowed to be unset".to_owned(),
        (true, false) => "is not allowed to be empty".to_owned(),
    };
    ExpandErrorKind::Required { name: name.to_owned(), message }
}
