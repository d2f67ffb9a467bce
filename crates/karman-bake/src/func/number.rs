//! Numbers and truth values.

use super::{Args, Fault, Out, fault};
use crate::value::{Number, Value};

type Num = Result<Number, Fault>;

fn finite(f: f64) -> Num {
    if f.is_finite() { Ok(Number::from_f64(f)) } else { fault("the result is not a finite number") }
}

fn exact(
    a: Number,
    b: Number,
    int: fn(i128, i128) -> Option<i128>,
    float: fn(f64, f64) -> f64,
) -> Num {
    if let (Number::Int(x), Number::Int(y)) = (a, b)
        && let Some(n) = int(x, y)
    {
        return Ok(Number::Int(n));
    }
    finite(float(a.as_f64(), b.as_f64()))
}

pub(crate) fn add(a: Number, b: Number) -> Num {
    exact(a, b, i128::checked_add, |a, b| a + b)
}

pub(crate) fn subtract(a: Number, b: Number) -> Num {
    exact(a, b, i128::checked_sub, |a, b| a - b)
}

pub(crate) fn multiply(a: Number, b: Number) -> Num {
    exact(a, b, i128::checked_mul, |a, b| a * b)
}

pub(crate) fn divide(a: Number, b: Number) -> Num {
    if b.as_f64() == 0.0 {
        return fault("division by zero");
    }
    let whole = |a: i128, b: i128| (a.checked_rem(b)? == 0).then(|| a.checked_div(b))?;
    exact(a, b, whole, |a, b| a / b)
}

pub(crate) fn modulo(a: Number, b: Number) -> Num {
    if b.as_f64() == 0.0 {
        return fault("division by zero");
    }
    exact(a, b, i128::checked_rem, |a, b| a % b)
}

pub(super) fn f_add(a: Args) -> Out {
    add(a.number(0)?, a.number(1)?).map(Value::Number)
}
pub(super) fn f_subtract(a: Args) -> Out {
    subtract(a.number(0)?, a.number(1)?).map(Value::Number)
}
pub(super) fn f_multiply(a: Args) -> Out {
    multiply(a.number(0)?, a.number(1)?).map(Value::Number)
}
pub(super) fn f_divide(a: Args) -> Out {
    divide(a.number(0)?, a.number(1)?).map(Value::Number)
}
pub(super) fn f_modulo(a: Args) -> Out {
    modulo(a.number(0)?, a.number(1)?).map(Value::Number)
}

pub(super) fn negate(a: Args) -> Out {
    subtract(Number::Int(0), a.number(0)?).map(Value::Number)
}

pub(super) fn absolute(a: Args) -> Out {
    let n = a.number(0)?;
    if n < Number::Int(0) {
        subtract(Number::Int(0), n).map(Value::Number)
    } else {
        Ok(Value::Number(n))
    }
}

fn rounded(a: &Args, round: fn(f64) -> f64) -> Out {
    match a.number(0)? {
        Number::Float(f) => finite(round(f)).map(Value::Number),
        n => Ok(Value::Number(n)),
    }
}

pub(super) fn ceil(a: Args) -> Out {
    rounded(&a, f64::ceil)
}
pub(super) fn floor(a: Args) -> Out {
    rounded(&a, f64::floor)
}
pub(super) fn int(a: Args) -> Out {
    rounded(&a, f64::trunc)
}

pub(super) fn log(a: Args) -> Out {
    finite(a.number(0)?.as_f64().ln() / a.number(1)?.as_f64().ln()).map(Value::Number)
}

pub(super) fn pow(a: Args) -> Out {
    let (base, exponent) = (a.number(0)?, a.number(1)?);
    let int = |b: i128, e: i128| b.checked_pow(u32::try_from(e).ok()?);
    exact(base, exponent, int, f64::powf).map(Value::Number)
}

pub(super) fn signum(a: Args) -> Out {
    let zero = Number::Int(0);
    let n = a.number(0)?;
    Ok(Value::int(i64::from(n > zero) - i64::from(n < zero)))
}

fn extreme(a: &Args, better: fn(Number, Number) -> bool) -> Out {
    let mut best = a.number(0)?;
    for i in 1..a.len() {
        let n = a.number(i)?;
        if better(n, best) {
            best = n;
        }
    }
    Ok(Value::Number(best))
}

pub(super) fn max(a: Args) -> Out {
    extreme(&a, |n, best| n > best)
}
pub(super) fn min(a: Args) -> Out {
    extreme(&a, |n, best| n < best)
}

pub(super) fn parseint(a: Args) -> Out {
    let (text, base) = (a.text(0)?, a.int(1)?);
    let Some(radix) = u32::try_from(base).ok().filter(|r| (2..=62).contains(r)) else {
        return fault("the base must be a whole number from 2 to 62");
    };
    match in_base(&text, radix) {
        Some(n) => Ok(Value::int(n)),
        None => fault(format!("cannot read `{text}` as a base {base} number")),
    }
}

/// Digits are `0-9a-z`; from base 37 on `A-Z` follow, below they mean the same as `a-z`.
fn in_base(text: &str, radix: u32) -> Option<i128> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let mut number: i128 = 0;
    for byte in digits.bytes() {
        let digit = match byte {
            b'0'..=b'9' => u32::from(byte - b'0'),
            b'a'..=b'z' => u32::from(byte - b'a') + 10,
            b'A'..=b'Z' if radix <= 36 => u32::from(byte - b'A') + 10,
            b'A'..=b'Z' => u32::from(byte - b'A') + 36,
            _ => return None,
        };
        if digit >= radix {
            return None;
        }
        number = number.checked_mul(i128::from(radix))?.checked_add(i128::from(digit))?;
    }
    (!digits.is_empty()).then_some(if negative { -number } else { number })
}

pub(super) fn and(a: Args) -> Out {
    Ok(Value::Bool(a.bool(0)? && a.bool(1)?))
}
pub(super) fn or(a: Args) -> Out {
    Ok(Value::Bool(a.bool(0)? || a.bool(1)?))
}
pub(super) fn not(a: Args) -> Out {
    Ok(Value::Bool(!a.bool(0)?))
}
pub(super) fn equal(a: Args) -> Out {
    Ok(Value::Bool(a.0[0] == a.0[1]))
}
pub(super) fn notequal(a: Args) -> Out {
    Ok(Value::Bool(a.0[0] != a.0[1]))
}
pub(super) fn greaterthan(a: Args) -> Out {
    Ok(Value::Bool(a.number(0)? > a.number(1)?))
}
pub(super) fn greaterthanorequalto(a: Args) -> Out {
    Ok(Value::Bool(a.number(0)? >= a.number(1)?))
}
pub(super) fn lessthan(a: Args) -> Out {
    Ok(Value::Bool(a.number(0)? < a.number(1)?))
}
pub(super) fn lessthanorequalto(a: Args) -> Out {
    Ok(Value::Bool(a.number(0)? <= a.number(1)?))
}
