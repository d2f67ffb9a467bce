//! Attribute access, indexing and splats.

use karman_diag::{Diagnostic, Span};

use super::{Eval, Locals, fail, suggest};
use crate::scope::Scope;
use crate::syntax::ast::{Expr, Kind, Step};
use crate::value::Value;

type Steps<'a> = &'a [(Step, Span)];

impl Scope<'_> {
    pub(super) fn traverse(
        &self,
        root: &Expr,
        steps: Steps<'_>,
        locals: &Locals<'_>,
    ) -> Eval<Value> {
        if let Kind::Variable(name) = &root.kind
            && matches!(name.as_str(), "target" | "group")
            && !locals.names().contains(&name.as_str())
        {
            let (value, used) = self.block_value(name, steps, root.span)?;
            return self.follow(value, &steps[used..], locals);
        }
        let value = self.eval(root, locals)?;
        self.follow(value, steps, locals)
    }

    fn follow(&self, mut value: Value, steps: Steps<'_>, locals: &Locals<'_>) -> Eval<Value> {
        for (at, (step, span)) in steps.iter().enumerate() {
            self.charge(1, *span)?;
            value = match step {
                Step::Attr(name) => attribute(value, name, *span)?,
                Step::Index(key) => {
                    let key = self.eval(key, locals)?;
                    index(value, &key, *span)?
                }
                Step::AttrSplat => {
                    let rest = &steps[at + 1..];
                    let attrs = rest.iter().take_while(|(s, _)| matches!(s, Step::Attr(_))).count();
                    let list = self.splat(value, &rest[..attrs], locals)?;
                    return self.follow(list, &rest[attrs..], locals);
                }
                Step::FullSplat => return self.splat(value, &steps[at + 1..], locals),
            };
        }
        Ok(value)
    }

    /// The steps applied to each element; null has none and anything else is its own only element.
    fn splat(&self, value: Value, steps: Steps<'_>, locals: &Locals<'_>) -> Eval<Value> {
        let items = match value {
            Value::List(items) => items,
            Value::Null => Vec::new(),
            other => vec![other],
        };
        let all = items.into_iter().map(|item| self.follow(item, steps, locals));
        Ok(Value::List(all.collect::<Eval<_>>()?))
    }
}

fn attribute(value: Value, name: &str, span: Span) -> Eval<Value> {
    match value {
        Value::Object(mut map) => match map.remove(name) {
            Some(value) => Ok(value),
            None => {
                let d = Diagnostic::error(format!("there is no attribute `{name}`"), span);
                Err(suggest(d, name, map.keys().map(String::as_str)))
            }
        },
        Value::Null => fail(format!("cannot take `{name}` of null"), span),
        other => fail(format!("cannot take `{name}` of {}", other.type_name()), span),
    }
}

fn index(value: Value, key: &Value, span: Span) -> Eval<Value> {
    match value {
        Value::List(mut items) => {
            let n = key.to_number().and_then(crate::value::Number::as_int);
            match n.and_then(|n| usize::try_from(n).ok()) {
                Some(n) if n < items.len() => Ok(items.swap_remove(n)),
                Some(n) => {
                    fail(format!("index {n} is out of range: {} elements", items.len()), span)
                }
                None => fail("the index of a list must be a whole number", span),
            }
        }
        Value::Object(_) => match key.to_text() {
            Some(name) => attribute(value, &name, span),
            None => fail("the index of an object must be a string", span),
        },
        other => fail(format!("cannot index {}", other.type_name()), span),
    }
}
