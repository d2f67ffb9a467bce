//! Expressions to values.

use std::collections::BTreeMap;

use karman_diag::{Diagnostic, Span};

use super::{Eval, Locals, fail};
use crate::scope::Scope;
use crate::syntax::ast::{Call, Expr, For, Kind};
use crate::types::Type;
use crate::value::Value;

/// The names of an iteration: key (where asked for) and value.
pub(super) fn bind(
    key_var: Option<&String>,
    value_var: &str,
    key: Value,
    value: Value,
) -> Vec<(String, Value)> {
    let mut vars = vec![(value_var.to_owned(), value)];
    vars.extend(key_var.map(|name| (name.clone(), key)));
    vars
}

/// Keys and values of a collection; `None` where it is none.
pub(super) fn pairs(value: Value) -> Option<Vec<(Value, Value)>> {
    match value {
        Value::List(items) => {
            Some(items.into_iter().enumerate().map(|(i, v)| (Value::int(i as u64), v)).collect())
        }
        Value::Object(map) => Some(map.into_iter().map(|(k, v)| (Value::String(k), v)).collect()),
        _ => None,
    }
}

impl Scope<'_> {
    /// The value of an expression.
    pub(crate) fn eval(&self, expr: &Expr, locals: &Locals<'_>) -> Eval<Value> {
        let _depth = self.enter(expr.span)?;
        match &expr.kind {
            Kind::Literal(value) => {
                self.charge(value.weight(), expr.span)?;
                Ok(value.clone())
            }
            Kind::Template(parts) => {
                let mut out = String::new();
                self.render(parts, locals, expr.span, &mut out)?;
                Ok(Value::String(out))
            }
            Kind::Array(items) => {
                let all = items.iter().map(|item| self.eval(item, locals));
                Ok(Value::List(all.collect::<Eval<_>>()?))
            }
            Kind::Object(entries) => self.object(entries, locals),
            Kind::Variable(name) => self.variable(name, expr.span, locals),
            Kind::Conditional(parts) => {
                let [cond, yes, no] = parts.as_ref();
                let branch = if self.truth(cond, locals, "the condition")? { yes } else { no };
                self.eval(branch, locals)
            }
            Kind::Call(call) => self.call(call, expr.span, locals),
            Kind::Traversal(root, steps) => self.traverse(root, steps, locals),
            Kind::Not(inner) => {
                Ok(Value::Bool(!self.truth(inner, locals, "the operand of `!`")?))
            }
            Kind::Negate(inner) => self.negate(inner, locals),
            Kind::Binary(op, sides) => self.binary(*op, &sides[0], &sides[1], locals),
            Kind::For(f) => self.for_expr(f, expr.span, locals),
        }
    }

    fn variable(&self, name: &str, span: Span, locals: &Locals<'_>) -> Eval<Value> {
        if let Some(value) = locals.get(name) {
            self.charge(value.weight(), span)?;
            return Ok(value.clone());
        }
        self.global(name, span, locals)
    }

    /// A truth value.
    pub(super) fn truth(&self, expr: &Expr, locals: &Locals<'_>, what: &str) -> Eval<bool> {
        let value = self.eval(expr, locals)?;
        match value.to_bool() {
            Some(b) => Ok(b),
            None => fail(format!("{what} must be a bool, not {}", value.type_name()), expr.span),
        }
    }

    fn object(&self, entries: &[(Expr, Expr)], locals: &Locals<'_>) -> Eval<Value> {
        let mut map = BTreeMap::new();
        for (key, value) in entries {
            let name = self.key_text(key, locals)?;
            map.insert(name, self.eval(value, locals)?);
        }
        Ok(Value::Object(map))
    }

    fn key_text(&self, key: &Expr, locals: &Locals<'_>) -> Eval<String> {
        let value = self.eval(key, locals)?;
        match value.to_text() {
            Some(text) => Ok(text),
            None => {
                fail(format!("an object key must be a string, not {}", value.type_name()), key.span)
            }
        }
    }

    fn for_expr(&self, f: &For, span: Span, locals: &Locals<'_>) -> Eval<Value> {
        let collection = self.eval(&f.collection, locals)?;
        let kind = collection.type_name();
        let Some(pairs) = pairs(collection) else {
            return fail(format!("cannot iterate over {kind}"), f.collection.span);
        };
        let mut list = Vec::new();
        let mut map: BTreeMap<String, Value> = BTreeMap::new();
        for (k, v) in pairs {
            self.charge(1, span)?;
            let vars = bind(f.key_var.as_ref(), &f.value_var, k, v);
            let inner = locals.with(&vars);
            if let Some(cond) = &f.cond
                && !self.truth(cond, &inner, "the `if` of a `for`")?
            {
                continue;
            }
            let Some(key) = &f.key else {
                list.push(self.eval(&f.value, &inner)?);
                continue;
            };
            let name = self.key_text(key, &inner)?;
            let value = self.eval(&f.value, &inner)?;
            if f.group {
                match map.entry(name).or_insert_with(|| Value::List(Vec::new())) {
                    Value::List(group) => group.push(value),
                    _ => return fail("mixed grouping", span),
                }
            } else if map.insert(name.clone(), value).is_some() {
                return Err(Diagnostic::error(format!("duplicate object key `{name}`"), key.span)
                    .with_hint("add `...` after the value to group values by key"));
            }
        }
        Ok(if f.key.is_some() { Value::Object(map) } else { Value::List(list) })
    }

    fn call(&self, call: &Call, span: Span, locals: &Locals<'_>) -> Eval<Value> {
        match call.name.as_str() {
            "try" => return self.call_try(call, span, locals),
            "can" if call.args.len() == 1 => {
                return Ok(Value::Bool(self.eval(&call.args[0], locals).is_ok()));
            }
            "convert" if call.args.len() == 2 => return self.call_convert(call, locals),
            _ => {}
        }
        let mut args = Vec::with_capacity(call.args.len());
        for arg in &call.args {
            args.push(self.eval(arg, locals)?);
        }
        if call.expand {
            let place = call.args.last().map_or(span, |a| a.span);
            match args.pop() {
                Some(Value::List(items)) => args.extend(items),
                _ => return fail("`...` must follow a list", place),
            }
        }
        let value = self.function(call, args, span)?;
        self.charge(value.weight(), span)?;
        Ok(value)
    }

    /// The first argument that evaluates.
    fn call_try(&self, call: &Call, span: Span, locals: &Locals<'_>) -> Eval<Value> {
        let mut last = None;
        for arg in &call.args {
            match self.eval(arg, locals) {
                Ok(value) => return Ok(value),
                Err(error) => last = Some(error),
            }
        }
        let d = Diagnostic::error("no argument of `try` could be evaluated", span);
        Err(match last {
            Some(error) => d.with_hint(format!("the last one failed: {}", error.message)),
            None => d,
        })
    }

    fn call_convert(&self, call: &Call, locals: &Locals<'_>) -> Eval<Value> {
        let value = self.eval(&call.args[0], locals)?;
        let ty = Type::of_expr(&call.args[1], &|e| self.eval(e, &Locals::default()))?;
        let converted = ty.convert(value);
        converted.map_err(|m| Diagnostic::error(format!("cannot convert: {m}"), call.args[0].span))
    }
}
