//! The JSON form of a bake file, after HCL's JSON syntax: objects keyed by block labels, strings are templates.

use karman_diag::{Diagnostic, FileId, Span};

use super::ast::{Attr, Block, Body, Expr, Kind};
use super::json::{Json, JsonKind, parse};
use crate::value::Value;

/// Top-level properties that are blocks with one label.
const BLOCKS: [&str; 4] = ["variable", "function", "group", "target"];
/// The property HCL's JSON syntax keeps for comments.
const COMMENT: &str = "//";

/// A JSON bake file.
pub(crate) fn parse_json(file: FileId, text: &str) -> Result<Body, Diagnostic> {
    let json = parse(file, text)?;
    let span = json.span;
    let mut body = Body::default();
    for (name, name_span, value) in objects(json, "a bake file", span)? {
        if name == COMMENT {
            continue;
        }
        if BLOCKS.contains(&name.as_str()) {
            blocks(&mut body, &name, value)?;
        } else {
            body.attrs.push(Attr { name, name_span, value: expr(value)? });
        }
    }
    Ok(body)
}

type Entries = Vec<(String, Span, Json)>;

/// The entries of an object, or of each object of an array.
fn objects(json: Json, what: &str, span: Span) -> Result<Entries, Diagnostic> {
    let wrong = || Diagnostic::error(format!("{what} must be an object"), span);
    match json.kind {
        JsonKind::Object(entries) => Ok(entries),
        JsonKind::Array(items) => {
            let mut all = Vec::new();
            for item in items {
                match item.kind {
                    JsonKind::Object(entries) => all.extend(entries),
                    _ => return Err(wrong()),
                }
            }
            Ok(all)
        }
        _ => Err(wrong()),
    }
}

fn blocks(body: &mut Body, kind: &str, json: Json) -> Result<(), Diagnostic> {
    let span = json.span;
    for (label, label_span, content) in objects(json, &format!("`{kind}`"), span)? {
        if label == COMMENT {
            continue;
        }
        // One label may hold several bodies, as repeated blocks do in HCL.
        let bodies = match content.kind {
            JsonKind::Array(items) => items,
            kind => vec![Json { kind, span: content.span }],
        };
        for content in bodies {
            body.blocks.push(Block {
                kind: kind.to_owned(),
                labels: vec![(label.clone(), label_span)],
                body: block_body(kind, content)?,
                span: label_span,
            });
        }
    }
    Ok(())
}

fn block_body(kind: &str, json: Json) -> Result<Body, Diagnostic> {
    let span = json.span;
    let mut body = Body::default();
    for (name, name_span, value) in objects(json, &format!("a `{kind}`"), span)? {
        if name == COMMENT {
            continue;
        }
        if kind == "variable" && name == "validation" {
            let items = match value.kind {
                JsonKind::Array(items) => items,
                kind => vec![Json { kind, span: value.span }],
            };
            for item in items {
                body.blocks.push(Block {
                    kind: name.clone(),
                    labels: Vec::new(),
                    body: block_body("validation", item)?,
                    span: name_span,
                });
            }
        } else {
            body.attrs.push(Attr { name, name_span, value: expr(value)? });
        }
    }
    Ok(body)
}

fn expr(json: Json) -> Result<Expr, Diagnostic> {
    let span = json.span;
    let kind = match json.kind {
        JsonKind::Null => Kind::Literal(Value::Null),
        JsonKind::Bool(b) => Kind::Literal(Value::Bool(b)),
        JsonKind::Number(n) => Kind::Literal(Value::Number(n)),
        JsonKind::String(text) => return super::parse_template(&text, span),
        JsonKind::Array(items) => {
            Kind::Array(items.into_iter().map(expr).collect::<Result<_, _>>()?)
        }
        JsonKind::Object(entries) => {
            let mut out = Vec::with_capacity(entries.len());
            for (name, name_span, value) in entries {
                if name != COMMENT {
                    out.push((super::parse_template(&name, name_span)?, expr(value)?));
                }
            }
            Kind::Object(out)
        }
    };
    Ok(Expr { kind, span })
}
