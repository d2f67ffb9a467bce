//! Texts to syntax trees: HCL through `hcl-edit`, JSON by our own reader that keeps places.

pub(crate) mod ast;
pub(crate) mod json;
mod json_body;
mod lower;

use hcl_edit::parser::Error;
use karman_diag::{Diagnostic, FileId, Span};

use self::ast::{Body, Expr};

pub(crate) use self::json_body::parse_json;

/// An HCL file.
pub(crate) fn parse_hcl(file: FileId, text: &str) -> Result<Body, Diagnostic> {
    let body = hcl_edit::parser::parse_body(text).map_err(|e| syntax_error(&e, file, text))?;
    Ok(lower::Lower::of_file(file, text).body(&body))
}

/// An HCL expression quoted in another text, all of it at `span`.
pub(crate) fn parse_expr(text: &str, span: Span) -> Result<Expr, Diagnostic> {
    let expr = hcl_edit::parser::parse_expr(text).map_err(|e| quoted_error(&e, span))?;
    Ok(lower::Lower::fixed(span).expr(&expr))
}

/// An HCL template that is the whole of a JSON string at `span`.
pub(crate) fn parse_template(text: &str, span: Span) -> Result<Expr, Diagnostic> {
    let template = hcl_edit::parser::parse_template(text).map_err(|e| quoted_error(&e, span))?;
    Ok(lower::Lower::fixed(span).template_expr(&template, span))
}

fn syntax_error(error: &Error, file: FileId, text: &str) -> Diagnostic {
    // The parser may stop inside a character.
    let at = text.floor_char_boundary(error.location().offset());
    let end = text[at..].chars().next().map_or(at, |c| at + c.len_utf8());
    Diagnostic::error(format!("invalid HCL: {}", error.message()), Span::new(file, at, end))
}

fn quoted_error(error: &Error, span: Span) -> Diagnostic {
    Diagnostic::error(format!("invalid expression: {}", error.message()), span)
}
