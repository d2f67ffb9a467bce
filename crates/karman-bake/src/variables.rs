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
            (None, None) => {
                let mut known = locals.names();
                known.extend(self.bake.variables.iter().map(|v| v.name.as_str()));
                known.extend(self.bake.attrs.iter().map(|a| a.name.as_str()));
                known.extend(["BAKE_CMD_CONTEXT", "BAKE_LOCAL_PLATFORM"]);
                let d = Diagnostic::error(format!("there is no variable named `{name}`"), span);
                Err(suggest(d, name, known))
            }
        }
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
        let ty = declared.or_else(|| Type::of_value(&default)).unwrap_or(Type::String);
        let json = format!("{name}{JSON_SUFFIX}");
        if let Some(text) = self.request.lookup(name) {
            return from_text(var, &ty, text);
        }
        // A variable declared under that very name is not an override of this one.
        if !self.bake.variables.iter().any(|v| v.name == json)
            && let Some(text) = self.request.lookup(&json)
        {
            return from_json(var, &ty, text, &json);
        }
        Ok(default)
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

fn from_text(var: &VariableDef, ty: &Type, text: &str) -> Eval<Value> {
    let name = &var.name;
    let wrong = |what: &str| {
        // The value of a sensitive variable must not end up in a log.
        let shown = if var.sensitive { String::new() } else { format!(": `{text}`") };
        Diagnostic::error(format!("failed to parse `{name}` as {what}{shown}"), var.span)
    };
    match ty {
        Type::String | Type::Any => Ok(Value::text(text)),
        Type::Bool => parse_bool(text).map(Value::Bool).ok_or_else(|| wrong("bool")),
        Type::Number => {
            Value::text(text).to_number().map(Value::Number).ok_or_else(|| wrong("number"))
        }
        Type::List(element) | Type::Set(element)
            if element.is_primitive() || **element == Type::Any =>
        {
            let fields = crate::csv::fields(text).map_err(|_| wrong("CSV"))?;
            let items = Value::List(fields.into_iter().map(Value::String).collect());
            ty.convert(items).map_err(|_| wrong(&ty.to_string()))
        }
        Type::Tuple(_) => {
            let fields = crate::csv::fields(text).map_err(|_| wrong("CSV"))?;
            let items = Value::List(fields.into_iter().map(Value::String).collect());
            ty.convert(items).map_err(|_| wrong(&ty.to_string()))
        }
        _ => {
            Err(Diagnostic::error(format!("unsupported type {ty} for variable `{name}`"), var.span)
                .with_hint(format!("set `{name}{JSON_SUFFIX}` to its JSON form instead")))
        }
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
