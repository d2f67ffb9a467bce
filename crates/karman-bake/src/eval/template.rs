//! Templates: text, `${…}`, `%{ if }` and `%{ for }`.

use karman_diag::{Diagnostic, Span};

use super::expr::{bind, pairs};
use super::{Eval, Locals, fail};
use crate::limits::MAX_STRING;
use crate::scope::Scope;
use crate::syntax::ast::{Expr, Part};

impl Scope<'_> {
    /// Appends the parts to `out`.
    pub(super) fn render(
        &self,
        parts: &[Part],
        locals: &Locals<'_>,
        span: Span,
        out: &mut String,
    ) -> Eval<()> {
        let _depth = self.enter(span)?;
        for part in parts {
            match part {
                Part::Text(text) => self.push(out, text, span)?,
                Part::Value(expr) => {
                    let text = self.interpolate(expr, locals)?;
                    self.push(out, &text, span)?;
                }
                Part::If(cond, yes, no) => {
                    let yes_or_no =
                        if self.truth(cond, locals, "the `if` of a template")? { yes } else { no };
                    self.render(yes_or_no, locals, span, out)?;
                }
                Part::For(f) => {
                    let collection = self.eval(&f.collection, locals)?;
                    let kind = collection.type_name();
                    let Some(pairs) = pairs(collection) else {
                        return fail(format!("cannot iterate over {kind}"), f.collection.span);
                    };
                    for (k, v) in pairs {
                        let vars = bind(f.key_var.as_ref(), &f.value_var, k, v);
                        self.render(&f.body, &locals.with(&vars), span, out)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn interpolate(&self, expr: &Expr, locals: &Locals<'_>) -> Eval<String> {
        let value = self.eval(expr, locals)?;
        value.to_text().ok_or_else(|| {
            let message = format!("cannot put {} into a string", value.type_name());
            let d = Diagnostic::error(message, expr.span);
            match value {
                crate::value::Value::List(_) => d.with_hint("use `join(\",\", list)`"),
                crate::value::Value::Object(_) => d.with_hint("use `jsonencode(object)`"),
                _ => d,
            }
        })
    }

    fn push(&self, out: &mut String, text: &str, span: Span) -> Eval<()> {
        self.charge(1 + (text.len() / 16) as u64, span)?;
        if out.len() + text.len() > MAX_STRING {
            return fail(format!("the string is longer than {MAX_STRING} bytes"), span);
        }
        out.push_str(text);
        Ok(())
    }
}
