//! Bake files read and sorted into variables, functions, groups and targets; nothing is evaluated yet.

use karman_diag::{Diagnostic, FileId, SourceMap, Span};

use crate::compose::{self, Compose};
use crate::eval::{fail, suggest};
use crate::func;
use crate::limits::{MAX_ATTRIBUTES, MAX_DEFINITIONS, MAX_FILE_BYTES};
use crate::matrix::{bad_name, valid_name};
use crate::request::Request;
use crate::syntax::ast::{Attr, Block, Body, Expr, Kind};
use crate::syntax::{parse_expr, parse_hcl, parse_json};
use crate::value::Value;

/// The files bake looks for where none is named, in the order they win.
pub const DEFAULT_FILES: [&str; 8] = [
    "compose.yaml",
    "compose.yml",
    "docker-compose.yml",
    "docker-compose.yaml",
    "docker-bake.json",
    "docker-bake.hcl",
    "docker-bake.override.json",
    "docker-bake.override.hcl",
];

/// All files of one invocation, in their order; later ones win.
#[derive(Debug, Default)]
pub struct BakeFile {
    /// The texts, for printing diagnostics.
    pub sources: SourceMap,
    pub(crate) variables: Vec<VariableDef>,
    pub(crate) functions: Vec<FunctionDef>,
    pub(crate) attrs: Vec<Attr>,
    pub(crate) groups: Vec<Block>,
    pub(crate) targets: Vec<Block>,
    pub(crate) compose: Option<Compose>,
    definitions: usize,
}

/// A `variable` block.
#[derive(Debug)]
pub(crate) struct VariableDef {
    pub(crate) name: String,
    pub(crate) span: Span,
    pub(crate) default: Option<Expr>,
    pub(crate) ty: Option<Expr>,
    pub(crate) description: String,
    pub(crate) sensitive: bool,
    pub(crate) validations: Vec<(Expr, Expr)>,
}

/// A `function` block.
#[derive(Debug)]
pub(crate) struct FunctionDef {
    pub(crate) name: String,
    pub(crate) params: Vec<String>,
    pub(crate) variadic: Option<String>,
    pub(crate) result: Expr,
}

/// Reads files in the order they win: later definitions override or extend earlier ones. Compose files come before
/// all others, wherever they stand.
///
/// A name ending in `.json` is JSON, one in `.hcl` is HCL, one in `.yaml` or `.yml` is compose; any other text is
/// compose where it has services, JSON where it starts with `{`, and else HCL. What compose files name (`.env` and
/// others) is read through [`Request::files`], and their variables are those of the request.
/// What could be read is in the [`BakeFile`] even where there are errors; do not resolve it then.
pub fn parse(files: &[(String, String)], request: &Request) -> (BakeFile, Vec<Diagnostic>) {
    let mut bake = BakeFile::default();
    let mut diagnostics = Vec::new();
    let mut compose_files: Vec<FileId> = Vec::new();
    for (name, text) in files {
        let id = bake.sources.add(name.clone(), text.as_str());
        let whole = Span::new(id, 0, 0);
        let body = if text.len() > MAX_FILE_BYTES {
            fail(format!("the file is larger than {MAX_FILE_BYTES} bytes"), whole)
        } else {
            match Format::of(name, text) {
                Format::Compose => {
                    compose_files.push(id);
                    continue;
                }
                Format::Json => parse_json(id, text),
                Format::Hcl => parse_hcl(id, text),
            }
        };
        match body.and_then(attributes_in_bounds) {
            Ok(body) => bake.add(body, &mut diagnostics),
            Err(d) => diagnostics.push(d),
        }
    }
    if !compose_files.is_empty() {
        match compose::load(&compose_files, &mut bake.sources, request, &mut diagnostics) {
            Ok(compose) => bake.compose = Some(compose),
            Err(d) => diagnostics.push(d),
        }
    }
    (bake, diagnostics)
}

enum Format {
    Compose,
    Json,
    Hcl,
}

impl Format {
    fn of(name: &str, text: &str) -> Self {
        let lower = name.to_ascii_lowercase();
        let ends = |suffix: &str| lower.ends_with(suffix);
        if ends(".yaml") || ends(".yml") {
            Self::Compose
        } else if ends(".json") {
            Self::Json
        } else if ends(".hcl") {
            Self::Hcl
        } else if compose::is_compose(text) {
            Self::Compose
        } else if text.trim_start().starts_with('{') {
            Self::Json
        } else {
            Self::Hcl
        }
    }
}

/// Refuses a block with more attributes than anybody writes.
fn attributes_in_bounds(body: Body) -> Result<Body, Diagnostic> {
    let is_long =
        |block: &&Block| block.body.attrs.len() + block.body.blocks.len() > MAX_ATTRIBUTES;
    match body.blocks.iter().find(is_long) {
        Some(long) => {
            fail(format!("more than {MAX_ATTRIBUTES} attributes in one block"), long.span)
        }
        None => Ok(body),
    }
}

impl BakeFile {
    fn add(&mut self, body: Body, diagnostics: &mut Vec<Diagnostic>) {
        let place = body.blocks.first().map(|b| b.span).or(body.attrs.first().map(|a| a.name_span));
        self.definitions += body.blocks.len() + body.attrs.len();
        if self.definitions > MAX_DEFINITIONS {
            let message = format!("more than {MAX_DEFINITIONS} blocks and attributes");
            diagnostics.push(Diagnostic::error(message, place));
            return;
        }
        for block in body.blocks {
            let result = match block.kind.as_str() {
                "variable" => {
                    label(&block).and_then(|_| variable(block)).map(|v| self.variables.push(v))
                }
                "function" => label(&block).and_then(|_| function(block)).map(|f| {
                    diagnostics.extend(hidden(&f));
                    self.functions.push(f);
                }),
                "group" => named(&block).map(|()| self.groups.push(block)),
                "target" => named(&block).map(|()| self.targets.push(block)),
                kind => {
                    let d = Diagnostic::error(
                        format!("blocks of type `{kind}` are not expected here"),
                        block.span,
                    );
                    Err(suggest(d, kind, ["variable", "function", "group", "target"]))
                }
            };
            diagnostics.extend(result.err());
        }
        self.attrs.extend(body.attrs);
    }
}

fn label(block: &Block) -> Result<(), Diagnostic> {
    match block.labels.as_slice() {
        [_] => Ok(()),
        labels => {
            let d = Diagnostic::error(
                format!("a `{}` needs one label, {} given", block.kind, labels.len()),
                block.span,
            );
            Err(d.with_hint(format!("write `{} \"name\" {{`", block.kind)))
        }
    }
}

fn named(block: &Block) -> Result<(), Diagnostic> {
    label(block)?;
    let (name, span) = &block.labels[0];
    if !valid_name(name) {
        return Err(bad_name(name, *span));
    }
    if let Some(inner) = block.body.blocks.first() {
        let d = Diagnostic::error(
            format!("blocks of type `{}` are not expected here", inner.kind),
            inner.span,
        );
        let known = crate::decode::attributes(&block.kind).contains(&inner.kind.as_str());
        return Err(match known {
            true => {
                d.with_hint(format!("write `{} = {{`: it is an attribute, not a block", inner.kind))
            }
            false => d,
        });
    }
    crate::decode::check_attributes(block)
}

fn variable(block: Block) -> Result<VariableDef, Diagnostic> {
    const KNOWN: [&str; 4] = ["default", "description", "sensitive", "type"];
    let (name, span) = block.labels[0].clone();
    let mut def = VariableDef {
        name,
        span,
        default: None,
        ty: None,
        description: String::new(),
        sensitive: false,
        validations: Vec::new(),
    };
    for attr in block.body.attrs {
        match (attr.name.as_str(), &attr.value.kind) {
            ("default", _) => def.default = Some(attr.value),
            ("type", _) => def.ty = Some(attr.value),
            ("description", Kind::Literal(Value::String(text))) => def.description.clone_from(text),
            ("sensitive", Kind::Literal(Value::Bool(yes))) => def.sensitive = *yes,
            ("description" | "sensitive", _) => {
                return fail(format!("`{}` must be a constant", attr.name), attr.value.span);
            }
            _ => return Err(unexpected(&attr, &KNOWN)),
        }
    }
    for inner in block.body.blocks {
        if inner.kind != "validation" {
            let d = Diagnostic::error(
                format!("blocks of type `{}` are not expected here", inner.kind),
                inner.span,
            );
            return Err(suggest(d, &inner.kind, ["validation"]));
        }
        def.validations.push(validation(inner)?);
    }
    Ok(def)
}

fn validation(block: Block) -> Result<(Expr, Expr), Diagnostic> {
    let (mut condition, mut message) = (None, None);
    for attr in block.body.attrs {
        match attr.name.as_str() {
            "condition" => condition = Some(attr.value),
            "error_message" => message = Some(attr.value),
            _ => return Err(unexpected(&attr, &["condition", "error_message"])),
        }
    }
    match (condition, message) {
        (Some(condition), Some(message)) => Ok((condition, message)),
        _ => fail("a `validation` needs `condition` and `error_message`", block.span),
    }
}

fn function(block: Block) -> Result<FunctionDef, Diagnostic> {
    const KNOWN: [&str; 3] = ["params", "result", "variadic_params"];
    let (name, span) = block.labels[0].clone();
    let (mut params, mut variadic, mut result) = (None, None, None);
    for attr in block.body.attrs {
        match attr.name.as_str() {
            "params" => {
                let Kind::Array(items) = &attr.value.kind else {
                    return fail("`params` must be a list of names", attr.value.span);
                };
                params = Some(items.iter().map(keyword).collect::<Result<Vec<_>, _>>()?);
            }
            "variadic_params" | "variadic_param" => variadic = Some(keyword(&attr.value)?),
            "result" => result = Some(attr.value),
            _ => return Err(unexpected(&attr, &KNOWN)),
        }
    }
    let Some(result) = result else {
        return fail(format!("empty result not allowed for `{name}`"), span);
    };
    let Some(params) = params else {
        return fail(format!("empty params not allowed for `{name}`"), span);
    };
    Ok(FunctionDef { name, params, variadic, result })
}

fn keyword(expr: &Expr) -> Result<String, Diagnostic> {
    match expr.as_keyword() {
        Some(name) if matches!(parse_expr(name, expr.span)?.kind, Kind::Variable(_)) => {
            Ok(name.to_owned())
        }
        _ => fail("each parameter name must be an identifier", expr.span),
    }
}

fn hidden(f: &FunctionDef) -> Option<Diagnostic> {
    let built_in = func::find(&f.name).is_some() || func::SPECIAL.contains(&f.name.as_str());
    let message = format!("function `{}` is hidden by the built-in of that name", f.name);
    built_in.then(|| Diagnostic::warning(message, f.result.span).with_hint("give it another name"))
}

/// The error for an attribute nobody knows.
pub(crate) fn unexpected(attr: &Attr, known: &[&str]) -> Diagnostic {
    let message = format!("an argument named `{}` is not expected here", attr.name);
    suggest(Diagnostic::error(message, attr.name_span), &attr.name, known.iter().copied())
}
