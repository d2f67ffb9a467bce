//! `hcl-edit` trees to ours: absolute places, strip markers applied, parentheses gone.

use std::cell::Cell;
use std::ops::Range;

use hcl_edit::Span as _;
use hcl_edit::expr::{
    Expression, FuncCall, ObjectKey, Traversal, TraversalOperator, UnaryOperator,
};
use hcl_edit::structure::{Body as HclBody, Structure};
use hcl_edit::template::{Directive, Element, ForDirective, IfDirective, Template};
use karman_diag::{FileId, Span};

use super::ast::{Attr, Block, Body, Call, Expr, For, Kind, Part, PartFor, Step};
use crate::value::{Number, Value};

/// Knows where the lowered text lies.
pub(super) struct Lower<'t> {
    file: FileId,
    text: &'t str,
    /// Where `text` begins in the file.
    base: usize,
    fixed: Option<Span>,
    /// White space taken off each line of an indented heredoc.
    indent: usize,
    line_start: Cell<bool>,
}

impl<'t> Lower<'t> {
    /// For a whole file.
    pub(super) fn of_file(file: FileId, text: &'t str) -> Self {
        Self { file, text, base: 0, fixed: None, indent: 0, line_start: Cell::new(true) }
    }

    /// For a text quoted elsewhere: every place is `span`.
    pub(super) fn fixed(span: Span) -> Self {
        Self { fixed: Some(span), ..Self::of_file(span.file, "") }
    }

    fn span(&self, range: Option<Range<usize>>) -> Span {
        let range = range.unwrap_or(0..self.text.len());
        let (start, end) = (self.base + range.start, self.base + range.end);
        self.fixed.unwrap_or_else(|| Span::new(self.file, start, end))
    }

    pub(super) fn body(&self, body: &HclBody) -> Body {
        let mut out = Body::default();
        for structure in body {
            match structure {
                Structure::Attribute(attr) => out.attrs.push(Attr {
                    name: attr.key.as_str().to_owned(),
                    name_span: self.span(attr.key.span()),
                    value: self.expr(&attr.value),
                }),
                Structure::Block(block) => out.blocks.push(Block {
                    kind: block.ident.as_str().to_owned(),
                    labels: block
                        .labels
                        .iter()
                        .map(|l| (l.as_str().to_owned(), self.span(l.span())))
                        .collect(),
                    body: self.body(&block.body),
                    span: self.span(block.ident.span()),
                }),
            }
        }
        out
    }

    pub(super) fn expr(&self, expr: &Expression) -> Expr {
        let span = self.span(expr.span());
        let kind = match expr {
            Expression::Null(_) => Kind::Literal(Value::Null),
            Expression::Bool(b) => Kind::Literal(Value::Bool(*b.value())),
            Expression::Number(n) => Kind::Literal(Value::Number(number(n.value()))),
            Expression::String(s) => Kind::Literal(Value::String(s.value().clone())),
            Expression::Array(items) => Kind::Array(items.iter().map(|e| self.expr(e)).collect()),
            Expression::Object(object) => Kind::Object(
                object.iter().map(|(k, v)| (self.key(k, span), self.expr(v.expr()))).collect(),
            ),
            Expression::StringTemplate(t) => {
                return self.parts_expr(self.parts(t.iter()), span);
            }
            Expression::HeredocTemplate(h) => {
                let parts = match self.indented(expr.span()) {
                    Some(parts) => parts,
                    None => self.parts(h.template.iter()),
                };
                return self.parts_expr(parts, span);
            }
            Expression::Parenthesis(inner) => return self.expr(inner.inner()),
            Expression::Variable(name) => Kind::Variable(name.as_str().to_owned()),
            Expression::Conditional(c) => Kind::Conditional(Box::new([
                self.expr(&c.cond_expr),
                self.expr(&c.true_expr),
                self.expr(&c.false_expr),
            ])),
            Expression::FuncCall(call) => Kind::Call(Box::new(self.call(call))),
            Expression::Traversal(t) => self.traversal(t),
            Expression::UnaryOp(op) => match *op.operator.value() {
                UnaryOperator::Not => Kind::Not(Box::new(self.expr(&op.expr))),
                UnaryOperator::Neg => Kind::Negate(Box::new(self.expr(&op.expr))),
            },
            Expression::BinaryOp(op) => Kind::Binary(
                *op.operator.value(),
                Box::new([self.expr(&op.lhs_expr), self.expr(&op.rhs_expr)]),
            ),
            Expression::ForExpr(f) => Kind::For(Box::new(For {
                key_var: f.intro.key_var.as_ref().map(|k| k.as_str().to_owned()),
                value_var: f.intro.value_var.as_str().to_owned(),
                collection: self.expr(&f.intro.collection_expr),
                key: f.key_expr.as_ref().map(|e| self.expr(e)),
                value: self.expr(&f.value_expr),
                group: f.grouping,
                cond: f.cond.as_ref().map(|c| self.expr(&c.expr)),
            })),
        };
        Expr { kind, span }
    }

    /// The parts of a `<<-` heredoc: `hcl-edit` leaves the text inside directives indented, so it is read again.
    fn indented(&self, range: Option<Range<usize>>) -> Option<Vec<Part>> {
        let range = range?;
        let heredoc = self.text.get(range.clone())?.trim_end();
        let head = heredoc.strip_prefix("<<-").and_then(|_| heredoc.find('\n'))? + 1;
        let tail = heredoc.rfind('\n')? + 1;
        let body = heredoc.get(head..tail)?;
        let template = hcl_edit::parser::parse_template(body).ok()?;
        let indent = body
            .lines()
            .filter(|line| !line.trim().is_empty())
            .map(|line| line.len() - line.trim_start_matches([' ', '\t']).len())
            .min();
        let inner = Lower {
            text: body,
            base: self.base + range.start + head,
            indent: indent.unwrap_or(0),
            ..Lower::of_file(self.file, body)
        };
        Some(inner.parts(template.iter()))
    }

    /// Takes the indent off each line that starts in the text.
    fn dedent(&self, text: &str) -> String {
        if self.indent == 0 {
            return text.to_owned();
        }
        let mut out = String::with_capacity(text.len());
        for line in text.split_inclusive('\n') {
            let mut rest = line;
            if self.line_start.get() {
                let space = line.len() - line.trim_start_matches([' ', '\t']).len();
                rest = &line[space.min(self.indent)..];
            }
            out.push_str(rest);
            self.line_start.set(line.ends_with('\n'));
        }
        out
    }

    fn key(&self, key: &ObjectKey, outer: Span) -> Expr {
        match key {
            ObjectKey::Ident(ident) => {
                let span = ident.span().map_or(outer, |r| self.span(Some(r)));
                Expr::literal(Value::String(ident.as_str().to_owned()), span)
            }
            ObjectKey::Expression(expr) => self.expr(expr),
        }
    }

    fn call(&self, call: &FuncCall) -> Call {
        let mut name = String::new();
        for part in &call.name.namespace {
            name.push_str(part.as_str());
            name.push_str("::");
        }
        name.push_str(call.name.name.as_str());
        Call {
            name,
            name_span: self.span(call.name.name.span()),
            args: call.args.iter().map(|e| self.expr(e)).collect(),
            expand: call.args.expand_final(),
        }
    }

    fn traversal(&self, t: &Traversal) -> Kind {
        let steps = t.operators.iter().map(|op| {
            let span = self.span(op.span().or_else(|| t.expr.span()));
            let step = match op.value() {
                TraversalOperator::AttrSplat(_) => Step::AttrSplat,
                TraversalOperator::FullSplat(_) => Step::FullSplat,
                TraversalOperator::GetAttr(name) => Step::Attr(name.as_str().to_owned()),
                TraversalOperator::Index(expr) => Step::Index(self.expr(expr)),
                TraversalOperator::LegacyIndex(n) => Step::Index(Expr::literal(
                    Value::Number(Number::Int(i128::from(*n.value()))),
                    span,
                )),
            };
            (step, span)
        });
        Kind::Traversal(Box::new(self.expr(&t.expr)), steps.collect())
    }

    pub(super) fn template_expr(&self, template: &Template, span: Span) -> Expr {
        self.parts_expr(self.parts(template.iter()), span)
    }

    /// A template of one interpolation is that value itself; one of text only is a constant.
    fn parts_expr(&self, mut parts: Vec<Part>, span: Span) -> Expr {
        parts.retain(|p| !matches!(p, Part::Text(t) if t.is_empty()));
        if parts.iter().all(|p| matches!(p, Part::Text(_))) {
            let text = parts.into_iter().map(|p| match p {
                Part::Text(text) => text,
                _ => String::new(),
            });
            return Expr::literal(Value::String(text.collect()), span);
        }
        if matches!(parts.as_slice(), [Part::Value(_)])
            && let Some(Part::Value(expr)) = parts.pop()
        {
            return Expr { span, ..expr };
        }
        Expr { kind: Kind::Template(parts), span }
    }

    fn parts<'a>(&self, elements: impl Iterator<Item = &'a Element>) -> Vec<Part> {
        let mut parts: Vec<Part> = Vec::new();
        let mut strip_next = false;
        for element in elements {
            if !element.is_literal() {
                self.line_start.set(false);
            }
            let (part, before, after) = match element {
                Element::Literal(text) => (Part::Text(self.dedent(text.value())), false, false),
                Element::Interpolation(i) => {
                    (Part::Value(self.expr(&i.expr)), i.strip.strip_start(), i.strip.strip_end())
                }
                Element::Directive(directive) => match directive.as_ref() {
                    Directive::If(d) => self.if_part(d),
                    Directive::For(d) => self.for_part(d),
                },
            };
            if !element.is_literal() {
                self.line_start.set(false);
            }
            if before {
                strip_last(&mut parts);
            }
            parts.push(part);
            if strip_next && let Some(Part::Text(text)) = parts.last_mut() {
                strip_start(text);
            }
            strip_next = after;
        }
        parts
    }

    fn if_part(&self, d: &IfDirective) -> (Part, bool, bool) {
        let cond = self.expr(&d.if_expr.cond_expr);
        let mut then = self.parts(d.if_expr.template.iter());
        let mut other = Vec::new();
        strip_first_if(&mut then, d.if_expr.strip.strip_end());
        match &d.else_expr {
            Some(e) => {
                self.line_start.set(false);
                other = self.parts(e.template.iter());
                strip_last_if(&mut then, e.strip.strip_start());
                strip_first_if(&mut other, e.strip.strip_end());
                strip_last_if(&mut other, d.endif_expr.strip.strip_start());
            }
            None => strip_last_if(&mut then, d.endif_expr.strip.strip_start()),
        }
        let part = Part::If(Box::new(cond), then, other);
        (part, d.if_expr.strip.strip_start(), d.endif_expr.strip.strip_end())
    }

    fn for_part(&self, d: &ForDirective) -> (Part, bool, bool) {
        let f = &d.for_expr;
        let mut body = self.parts(f.template.iter());
        strip_first_if(&mut body, f.strip.strip_end());
        strip_last_if(&mut body, d.endfor_expr.strip.strip_start());
        let part = PartFor {
            key_var: f.key_var.as_ref().map(|k| k.as_str().to_owned()),
            value_var: f.value_var.as_str().to_owned(),
            collection: self.expr(&f.collection_expr),
            body,
        };
        (Part::For(Box::new(part)), f.strip.strip_start(), d.endfor_expr.strip.strip_end())
    }
}

fn number(n: &hcl_edit::Number) -> Number {
    match (n.as_u64(), n.as_i64(), n.as_f64()) {
        (Some(u), _, _) => Number::Int(i128::from(u)),
        (_, Some(i), _) => Number::Int(i128::from(i)),
        (_, _, f) => Number::from_f64(f.unwrap_or(0.0)),
    }
}

fn strip_first_if(parts: &mut [Part], yes: bool) {
    if yes && let Some(Part::Text(text)) = parts.first_mut() {
        strip_start(text);
    }
}

fn strip_last_if(parts: &mut [Part], yes: bool) {
    if yes {
        strip_last(parts);
    }
}

/// Drops the white space up to and with the first line end.
fn strip_start(text: &mut String) {
    let line = text.find('\n').map_or(text.len(), |at| at + 1);
    let rest = text[..line].trim_start().to_owned();
    text.replace_range(..line, &rest);
}

/// Drops the white space at the end of the last line (with its line end, where it has one).
fn strip_last(parts: &mut [Part]) {
    let Some(Part::Text(text)) = parts.last_mut() else { return };
    let body = text.strip_suffix('\n').unwrap_or(text);
    let line = body.rfind('\n').map_or(0, |at| at + 1);
    let kept = line + text[line..].trim_end().len();
    text.truncate(kept);
}
