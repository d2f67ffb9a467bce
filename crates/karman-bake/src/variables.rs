//! The value of a variable: `--var` before the environment before its default.

use karman_diag::{Diagnostic, FileId, Span};

use crate::eval::{Eval, Locals, fail, suggest};
use crate::file::VariableDef;
use crate::request::parse_bool;
use crate::scope::Scope;
use crate::types::Type;
use crate::value::Value;

/// A variable of this suffix holds the JSON form of a value for the variable without it.
const JSON_SUFFIX: &str = "_JSON";

impl Scope<'_> {
    /// A variable, top-level attribute or built-in by name.
    pub(crate) fn global(&self, name: &str, span: Span, locals: &Locals<'_>) -> Eval<Value> {
        if let Some(value) = self.values.borrow().get(name) {
            self.charge(value.weight(), span)?;
            return Ok(value.clone());
        }
        if let Some(known) = self.failed.borrow().get(name) {
            return Err(known.clone());
        }
        let value = self.fresh(name, span, locals);
        match &value {
            Ok(value) => drop(self.values.borrow_mut().insert(name.to_owned(), value.clone())),
            // An unknown name is a problem of each place that uses it.
            Err(_) if !self.is_defined(name) => {}
            Err(d) => drop(self.failed.borrow_mut().insert(name.to_owned(), d.clone())),
        }
        value
    }

    fn is_defined(&self, name: &str) -> bool {
        self.bake.variables.iter().any(|v| v.name == name)
            || self.bake.attrs.iter().any(|a| a.name == name)
    }

    fn fresh(&self, name: &str, span: Span, locals: &Locals<'_>) -> Eval<Value> {
        let _progress = self.begin(name).map_err(|chain| {
            Diagnostic::error(format!("variable cycle not allowed for `{name}`"), span)
                .with_hint(format!("the references are {chain}"))
        })?;
        self.compute(name, span, locals)
    }

    fn compute(&self, name: &str, span: Span, locals: &Locals<'_>) -> Eval<Value> {
        if let Some(text) = self.request.builtin(name) {
            return Ok(Value::text(text));
        }
        let attr = self.bake.attrs.iter().rev().find(|a| a.name == name);
        let var = self.bake.variables.iter().rev().find(|v| v.name == name);
        let top = Locals::default();
        match (var, attr) {
            (Some(var), attr) => self.variable_value(var, attr.map(|a| &a.value)),
            (None, Some(attr)) => self.eval(&attr.value, &top),
            (None, None) if matches!(name, "target" | "group") => {
                fail(format!("cannot access `{name}` as a variable"), span)
            }
            (None, None) => Err(self.no_variable(name, span, locals.names())),
        }
    }

    /// Whether a name has a value everywhere in the files.
    pub(crate) fn is_global(&self, name: &str) -> bool {
        self.is_defined(name) || self.request.builtin(name).is_some()
    }

    /// The error for a name without a value; `known` are those that are bound where it is used.
    pub(crate) fn no_variable<'n>(
        &'n self,
        name: &str,
        span: Span,
        mut known: Vec<&'n str>,
    ) -> Diagnostic {
        known.extend(self.bake.variables.iter().map(|v| v.name.as_str()));
        known.extend(self.bake.attrs.iter().map(|a| a.name.as_str()));
        known.extend(["BAKE_CMD_CONTEXT", "BAKE_LOCAL_PLATFORM"]);
        let d = Diagnostic::error(format!("there is no variable named `{name}`"), span);
        suggest(d, name, known)
    }

    fn variable_value(
        &self,
        var: &VariableDef,
        attr: Option<&crate::syntax::ast::Expr>,
    ) -> Eval<Value> {
        let declared = self.variable_type(var)?;
        let name = &var.name;
        let default = match attr.or(var.default.as_ref()) {
            Some(expr) => {
                let value = self.eval(expr, &Locals::default())?;
                match &declared {
                    Some(ty) => ty.convert(value).map_err(|m| {
                        Diagnostic::error(format!("invalid default of `{name}`: {m}"), expr.span)
                    })?,
                    None => value,
                }
            }
            None if declared.is_some() => Value::Null,
            None => Value::text(""),
        };
        let given = self.given(var, declared.is_some());
        match (given, declared) {
            (None, _) => Ok(default),
            (Some(Given::Json(text, source)), Some(ty)) => from_json(var, &ty, text, &source),
            (Some(Given::Text(text) | Given::Json(text, _)), ty) => {
                let typed = ty.is_some();
                let ty = ty.or_else(|| Type::of_value(&default)).unwrap_or(Type::String);
                from_text(var, &ty, typed, text)
            }
        }
    }

    /// What `--var` or the environment gives a variable. Where it has a type, `NAME_JSON` comes before `NAME`,
    /// unless a variable of that very name is declared.
    fn given(&self, var: &VariableDef, typed: bool) -> Option<Given<'_>> {
        let plain = || self.request.lookup(&var.name).map(|text| Given::Text(text));
        let json = || {
            let name = format!("{}{JSON_SUFFIX}", var.name);
            let declared = self.bake.variables.iter().any(|v| v.name == name);
            let text = self.request.lookup(&name).filter(|_| !declared)?;
            Some(Given::Json(text, name))
        };
        if typed { json().or_else(plain) } else { plain().or_else(json) }
    }

    /// The declared type of a variable.
    pub(crate) fn variable_type(&self, var: &VariableDef) -> Eval<Option<Type>> {
        let constant = |e: &crate::syntax::ast::Expr| self.eval(e, &Locals::default());
        var.ty.as_ref().map(|expr| Type::of_expr(expr, &constant)).transpose()
    }

    /// Checks the `validation` blocks of a variable.
    pub(crate) fn validate(&self, var: &VariableDef) -> Eval<()> {
        for (cond, message) in &var.validations {
            let value = self.eval(cond, &Locals::default())?;
            match value.to_bool() {
                Some(true) => {}
                Some(false) => {
                    let text = self.eval(message, &Locals::default())?.to_text();
                    let text = text.unwrap_or_else(|| "validation failed".to_owned());
                    return Err(Diagnostic::error(text, cond.span)
                        .with_code("validation")
                        .with_hint(format!("the value of `{}` fails this condition", var.name)));
                }
                None => return fail("a validation condition must be a bool", cond.span),
            }
        }
        Ok(())
    }
}

/// A value from outside the files: plain, or the JSON form with the name it was found under.
enum Given<'r> {
    Text(&'r str),
    Json(&'r str, String),
}

/// The value of a plain text: lists, sets and tuples are CSV, maps are CSV of `key:value`.
fn from_text(var: &VariableDef, ty: &Type, typed: bool, text: &str) -> Eval<Value> {
    let name = &var.name;
    // The value of a sensitive variable must not end up in a log.
    let shown = if var.sensitive { String::new() } else { format!(": `{text}`") };
    let wrong = |what: &str| {
        let d = Diagnostic::error(format!("failed to parse `{name}` as {what}{shown}"), var.span);
        match what {
            "bool" => d.with_hint(format!(
                "want `true` or `false`; the value of `{name}` is from `--var` or the environment"
            )),
            _ => d,
        }
    };
    let csv = |line: &str| crate::csv::fields(line).map_err(|_| wrong("CSV"));
    let simple = |ty: &Type| ty.is_primitive() || *ty == Type::Any;
    let element = |ty: &Type, text: &str| {
        plain(ty, text).ok_or_else(|| {
            let shown = if var.sensitive { String::new() } else { format!(" `{text}`") };
            let message = format!("failed to parse element{shown} of `{name}` as {ty}");
            Diagnostic::error(message, var.span)
        })
    };
    match ty {
        ty if simple(ty) => plain(ty, text).ok_or_else(|| wrong(&ty.to_string())),
        Type::List(inner) | Type::Set(inner) if typed && simple(inner) => {
            let items =
                csv(text)?.iter().map(|field| element(inner, field)).collect::<Eval<_>>()?;
            ty.convert(Value::List(items)).map_err(|_| wrong(&ty.to_string()))
        }
        Type::Tuple(types) if typed && types.iter().all(simple) => {
            let fields = csv(text)?;
            if fields.len() != types.len() {
                let message =
                    format!("`{name}` has {} elements, not {}", types.len(), fields.len());
                return fail(message, var.span);
            }
            let each = types.iter().zip(&fields).map(|(ty, field)| element(ty, field));
            Ok(Value::List(each.collect::<Eval<_>>()?))
        }
        Type::Map(inner) if typed && simple(inner) => {
            let mut map = std::collections::BTreeMap::new();
            for field in csv(text)? {
                match field.split_once(':') {
                    Some((key, value)) if !value.contains(':') => {
                        map.insert(key.to_owned(), element(inner, value)?);
                    }
                    _ => return Err(wrong("`key:value` pairs")),
                }
            }
            Ok(Value::Object(map))
        }
        _ => {
            let d = Diagnostic::error(
                format!("unsupported type {ty} for variable `{name}` given as text"),
                var.span,
            );
            Err(match typed {
                true => d.with_hint(format!("set `{name}{JSON_SUFFIX}` to its JSON form instead")),
                false => d.with_hint("declare its `type`, as in `type = list(string)`"),
            })
        }
    }
}

/// A text as a value of a simple type.
fn plain(ty: &Type, text: &str) -> Option<Value> {
    match ty {
        Type::Bool => parse_bool(text).map(Value::Bool),
        Type::Number => Value::text(text).to_number().map(Value::Number),
        _ => Some(Value::text(text)),
    }
}

fn from_json(var: &VariableDef, ty: &Type, text: &str, source: &str) -> Eval<Value> {
    let name = &var.name;
    let value = crate::syntax::json::parse(FileId::default(), text).map_err(|d| {
        Diagnostic::error(
            format!("failed to parse `{source}` for `{name}`: {}", d.message),
            var.span,
        )
    })?;
    ty.convert(value.into_value()).map_err(|m| {
        Diagnostic::error(format!("invalid value of `{source}` for `{name}`: {m}"), var.span)
    })
}
