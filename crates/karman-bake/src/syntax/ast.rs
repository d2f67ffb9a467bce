//! The syntax tree both HCL and JSON (and, later, compose) files are lowered to.

use karman_diag::Span;

use crate::value::Value;

/// An expression with its place.
#[derive(Debug, Clone)]
pub(crate) struct Expr {
    pub(crate) kind: Kind,
    pub(crate) span: Span,
}

/// What an expression is.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Literal(Value),
    Template(Vec<Part>),
    Array(Vec<Expr>),
    Object(Vec<(Expr, Expr)>),
    Variable(String),
    Conditional(Box<[Expr; 3]>),
    Call(Box<Call>),
    Traversal(Box<Expr>, Vec<(Step, Span)>),
    Not(Box<Expr>),
    Negate(Box<Expr>),
    Binary(BinaryOp, Box<[Expr; 2]>),
    For(Box<For>),
}

pub(crate) use hcl_edit::expr::BinaryOperator as BinaryOp;

/// A function call; `expand` is the `...` after the last argument.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) name: String,
    pub(crate) name_span: Span,
    pub(crate) args: Vec<Expr>,
    pub(crate) expand: bool,
}

/// One step of a traversal.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Attr(String),
    Index(Expr),
    AttrSplat,
    FullSplat,
}

/// A `for` expression; with `key` it makes an object.
#[derive(Debug, Clone)]
pub(crate) struct For {
    pub(crate) key_var: Option<String>,
    pub(crate) value_var: String,
    pub(crate) collection: Expr,
    pub(crate) key: Option<Expr>,
    pub(crate) value: Expr,
    pub(crate) group: bool,
    pub(crate) cond: Option<Expr>,
}

/// A piece of a template.
#[derive(Debug, Clone)]
pub(crate) enum Part {
    Text(String),
    Value(Expr),
    If(Box<Expr>, Vec<Part>, Vec<Part>),
    For(Box<PartFor>),
}

/// A `%{ for }` directive.
#[derive(Debug, Clone)]
pub(crate) struct PartFor {
    pub(crate) key_var: Option<String>,
    pub(crate) value_var: String,
    pub(crate) collection: Expr,
    pub(crate) body: Vec<Part>,
}

/// `name = value`.
#[derive(Debug, Clone)]
pub(crate) struct Attr {
    pub(crate) name: String,
    pub(crate) name_span: Span,
    pub(crate) value: Expr,
}

/// `kind "label" { … }`.
#[derive(Debug, Clone)]
pub(crate) struct Block {
    pub(crate) kind: String,
    pub(crate) labels: Vec<(String, Span)>,
    pub(crate) body: Body,
    pub(crate) span: Span,
}

/// The content of a file or a block.
#[derive(Debug, Clone, Default)]
pub(crate) struct Body {
    pub(crate) attrs: Vec<Attr>,
    pub(crate) blocks: Vec<Block>,
}

impl Body {
    /// The attribute of that name.
    pub(crate) fn attr(&self, name: &str) -> Option<&Attr> {
        self.attrs.iter().find(|a| a.name == name)
    }
}

impl Expr {
    /// A constant.
    pub(crate) fn literal(value: Value, span: Span) -> Self {
        Self { kind: Kind::Literal(value), span }
    }

    /// The text of a constant string.
    pub(crate) fn as_text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Literal(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    /// The bare word this is (`string`, `a`), also where JSON quotes it.
    pub(crate) fn as_keyword(&self) -> Option<&str> {
        match &self.kind {
            Kind::Variable(name) => Some(name),
            _ => self.as_text(),
        }
    }
}
