//! Operators.

use karman_diag::{Diagnostic, Span};

use super::{Eval, Locals, fail};
use crate::func::number::{add, divide, modulo, multiply, subtract};
use crate::scope::Scope;
use crate::syntax::ast::{BinaryOp, Expr};
use crate::value::{Number, Value};

impl Scope<'_> {
    pub(super) fn negate(&self, inner: &Expr, locals: &Locals<'_>) -> Eval<Value> {
        let n = self.number(inner, locals, "-")?;
        let zero = Number::Int(0);
        Ok(Value::Number(subtract(zero, n).map_err(|f| Diagnostic::error(f.0, inner.span))?))
    }

    pub(super) fn binary(
        &self,
        op: BinaryOp,
        left: &Expr,
        right: &Expr,
        locals: &Locals<'_>,
    ) -> Eval<Value> {
        let span = left.span.to(right.span);
        match op {
            BinaryOp::And => {
                let both = self.truth(left, locals, "the left side of `&&`")?
                    && self.truth(right, locals, "the right side of `&&`")?;
                Ok(Value::Bool(both))
            }
            BinaryOp::Or => {
                let any = self.truth(left, locals, "the left side of `||`")?
                    || self.truth(right, locals, "the right side of `||`")?;
                Ok(Value::Bool(any))
            }
            BinaryOp::Eq => Ok(Value::Bool(self.eval(left, locals)? == self.eval(right, locals)?)),
            BinaryOp::NotEq => {
                Ok(Value::Bool(self.eval(left, locals)? != self.eval(right, locals)?))
            }
            _ => {
                let a = self.number(left, locals, op.as_str())?;
                let b = self.number(right, locals, op.as_str())?;
                arithmetic(op, a, b, span)
            }
        }
    }

    fn number(&self, expr: &Expr, locals: &Locals<'_>, op: &str) -> Eval<Number> {
        let value = self.eval(expr, locals)?;
        match value.to_number() {
            Some(n) => Ok(n),
            None => {
                let message = format!("`{op}` needs numbers, not {}", value.type_name());
                let d = Diagnostic::error(message, expr.span);
                Err(match (op, value) {
                    ("+", Value::String(_)) => {
                        d.with_hint("join strings in a template: \"${a}${b}\"")
                    }
                    _ => d,
                })
            }
        }
    }
}

fn arithmetic(op: BinaryOp, a: Number, b: Number, span: Span) -> Eval<Value> {
    let number = match op {
        BinaryOp::Plus => add(a, b),
        BinaryOp::Minus => subtract(a, b),
        BinaryOp::Mul => multiply(a, b),
        BinaryOp::Div => divide(a, b),
        BinaryOp::Mod => modulo(a, b),
        BinaryOp::Less => return Ok(Value::Bool(a < b)),
        BinaryOp::LessEq => return Ok(Value::Bool(a <= b)),
        BinaryOp::Greater => return Ok(Value::Bool(a > b)),
        BinaryOp::GreaterEq => return Ok(Value::Bool(a >= b)),
        BinaryOp::Eq | BinaryOp::NotEq | BinaryOp::And | BinaryOp::Or => {
            return fail("not an arithmetic operator", span);
        }
    };
    number.map(Value::Number).map_err(|f| Diagnostic::error(f.0, span))
}
