//! YAML texts to trees with places, through `saphyr-parser`'s events.
//!
//! Aliases, merge keys (`<<`) and scalar types are resolved as Go's `yaml.v3` does it, which compose files are
//! written for. The tags `!reset` and `!override` of compose are kept; others mean nothing.

use std::collections::BTreeMap;

use karman_diag::{Diagnostic, FileId, Span};
use saphyr_parser::{Event, Parser, ScalarStyle};

use super::node::{Edit, Entry, Kind, Node};
use super::scalar;
use crate::limits::{MAX_YAML_DEPTH, MAX_YAML_NODES};

/// Where characters of a text begin in bytes: the parser counts characters.
struct Offsets(Option<Vec<usize>>);

impl Offsets {
    fn of(text: &str) -> Self {
        Self((!text.is_ascii()).then(|| text.char_indices().map(|(at, _)| at).collect()))
    }

    fn byte(&self, character: usize, text: &str) -> usize {
        match &self.0 {
            None => character.min(text.len()),
            Some(starts) => starts.get(character).copied().unwrap_or(text.len()),
        }
    }
}

/// All documents of a text.
pub(super) fn parse(file: FileId, text: &str) -> Result<Vec<Node>, Diagnostic> {
    let mut reader = Reader {
        file,
        text,
        offsets: Offsets::of(text),
        parser: Parser::new_from_str(text),
        anchors: BTreeMap::new(),
        nodes: 0,
    };
    let mut documents = Vec::new();
    loop {
        let (event, span) = reader.next()?;
        match event {
            Event::StreamEnd => return Ok(documents),
            Event::StreamStart | Event::DocumentEnd | Event::Nothing => {}
            Event::DocumentStart(_) => {
                reader.anchors.clear();
                let (event, span) = reader.next()?;
                documents.push(reader.node(event, span, 0)?);
            }
            _ => return Err(Diagnostic::error("invalid YAML: unexpected content", span)),
        }
    }
}

struct Reader<'t> {
    file: FileId,
    text: &'t str,
    offsets: Offsets,
    parser: Parser<'t, saphyr_parser::StrInput<'t>>,
    anchors: BTreeMap<usize, Node>,
    nodes: usize,
}

impl<'t> Reader<'t> {
    fn span(&self, start: usize, end: usize) -> Span {
        let (start, end) = (self.offsets.byte(start, self.text), self.offsets.byte(end, self.text));
        Span::new(self.file, start, end)
    }

    fn next(&mut self) -> Result<(Event<'t>, Span), Diagnostic> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => Ok((event, self.span(span.start.index(), span.end.index()))),
            Some(Err(error)) => {
                let at = error.marker().index();
                let place = self.span(at, at + 1);
                Err(Diagnostic::error(format!("invalid YAML: {}", error.info()), place))
            }
            None => Ok((Event::StreamEnd, self.span(usize::MAX, usize::MAX))),
        }
    }

    fn count(&mut self, nodes: usize, span: Span) -> Result<(), Diagnostic> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes <= MAX_YAML_NODES {
            return Ok(());
        }
        Err(Diagnostic::error(format!("more than {MAX_YAML_NODES} values, aliases counted"), span))
    }

    fn node(&mut self, event: Event<'t>, span: Span, depth: usize) -> Result<Node, Diagnostic> {
        if depth >= MAX_YAML_DEPTH {
            return Err(Diagnostic::error("invalid YAML: too deeply nested", span));
        }
        self.count(1, span)?;
        let (kind, anchor, tag) = match event {
            Event::Alias(id) => {
                let Some(known) = self.anchors.get(&id) else {
                    return Err(Diagnostic::error(
                        "invalid YAML: an alias inside its own value",
                        span,
                    ));
                };
                let copy = Node { span, ..known.clone() };
                self.count(copy.size(), span)?;
                return Ok(copy);
            }
            Event::Scalar(text, style, anchor, tag) => {
                let core = tag.as_ref().filter(|t| t.is_yaml_core_schema());
                let plain = style == ScalarStyle::Plain;
                let kind = match core.map(|t| t.suffix.as_str()) {
                    None if plain => scalar::resolve(&text),
                    Some("int" | "float" | "bool" | "null") => scalar::resolve(&text),
                    _ => Kind::String(text.into_owned()),
                };
                (kind, anchor, tag)
            }
            Event::SequenceStart(anchor, tag) => (self.sequence(depth)?, anchor, tag),
            Event::MappingStart(anchor, tag) => (self.mapping(depth)?, anchor, tag),
            _ => return Err(Diagnostic::error("invalid YAML: a value is expected", span)),
        };
        let edit = tag.filter(|t| t.handle == "!").and_then(|t| Edit::of_tag(&t.suffix));
        let node = Node { kind, span, edit };
        if anchor > 0 {
            self.anchors.insert(anchor, Node { edit: None, ..node.clone() });
        }
        Ok(node)
    }

    fn sequence(&mut self, depth: usize) -> Result<Kind, Diagnostic> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Kind::List(items)),
                (event, span) => items.push(self.node(event, span, depth + 1)?),
            }
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<Kind, Diagnostic> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut merged: Vec<Entry> = Vec::new();
        let mut known: BTreeMap<String, Span> = BTreeMap::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                break;
            }
            let is_merge = matches!(&event, Event::Scalar(t, ScalarStyle::Plain, ..) if t == "<<");
            let key = self.node(event, span, depth + 1)?;
            let (event, value_span) = self.next()?;
            let value = self.node(event, value_span, depth + 1)?;
            if is_merge {
                merged.extend(merge_values(value)?);
                continue;
            }
            let Some(name) = key.to_text() else {
                return Err(Diagnostic::error("invalid YAML: a key must be a string", span));
            };
            if known.insert(name.clone(), span).is_some() {
                return Err(Diagnostic::error(
                    format!("invalid YAML: the key `{name}` is there already"),
                    span,
                ));
            }
            entries.push(Entry { name, name_span: span, value });
        }
        for entry in merged {
            if known.insert(entry.name.clone(), entry.name_span).is_none() {
                entries.push(entry);
            }
        }
        Ok(Kind::Map(entries))
    }
}

/// The entries that `<<` brings in: of one mapping, or of several, the first of which wins.
fn merge_values(value: Node) -> Result<Vec<Entry>, Diagnostic> {
    let span = value.span;
    let wrong = || Diagnostic::error("invalid YAML: `<<` needs a mapping or a list of them", span);
    match value.kind {
        Kind::Map(entries) => Ok(entries),
        Kind::List(items) => {
            let mut all = Vec::new();
            for item in items {
                match item.kind {
                    Kind::Map(entries) => all.extend(entries),
                    _ => return Err(wrong()),
                }
            }
            Ok(all)
        }
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Node, String> {
        let mut all = parse(FileId::default(), text).map_err(|d| d.message)?;
        all.pop().ok_or_else(|| "no document".to_owned())
    }

    #[test]
    fn merge_keys_fill_what_is_not_there() {
        let text = "a: &x {k: 1, l: 2}\nb:\n  <<: *x\n  l: 3\n";
        let node = read(text).expect("valid");
        let b = node.get("b").expect("b");
        assert_eq!(b.get("k").and_then(Node::to_text).as_deref(), Some("1"));
        assert_eq!(b.get("l").and_then(Node::to_text).as_deref(), Some("3"));
    }

    #[test]
    fn aliases_cannot_explode() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for n in 1..12 {
            let one = format!("*a{}", n - 1);
            text.push_str(&format!("a{n}: &a{n} [{}]\n", vec![one; 10].join(", ")));
        }
        let error = read(&text).expect_err("too large");
        assert!(error.contains("aliases counted"), "{error}");
    }

    #[test]
    fn broken_texts_are_errors_with_a_place() {
        for text in ["a: [1", "a: 1\na: 2\n", "a: *x", "? [1]\n: 2\n", "a: b: c", "'é"] {
            let error = parse(FileId::default(), text).expect_err(text);
            let span = error.span.expect("a place");
            assert!(span.end as usize <= text.len(), "{text}: {error:?}");
        }
        assert!(read(&"[".repeat(5000)).is_err());
    }
}
