//! What a plain YAML scalar is, after Go's `yaml.v3`, and numbers as Go prints them.

use super::node::Kind;

/// The value of a plain scalar.
pub(super) fn resolve(text: &str) -> Kind {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Kind::Null,
        "true" | "True" | "TRUE" => return Kind::Bool(true),
        "false" | "False" | "FALSE" => return Kind::Bool(false),
        _ => {}
    }
    match integer(text).map(|n| n.to_string()).or_else(|| float(text)) {
        Some(number) => Kind::Number(number),
        None => Kind::String(text.to_owned()),
    }
}

/// Decimal, `0x…`, `0o…` or `0…` (octal), `0b…`; underscores are allowed between digits.
fn integer(text: &str) -> Option<i128> {
    let plain = text.replace('_', "");
    let (negative, digits) = match plain.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, plain.strip_prefix('+').unwrap_or(&plain)),
    };
    let (radix, digits) = match digits.get(..2) {
        Some("0x" | "0X") => (16, &digits[2..]),
        Some("0o" | "0O") => (8, &digits[2..]),
        Some("0b" | "0B") => (2, &digits[2..]),
        _ if digits.len() > 1 && digits.starts_with('0') => (8, &digits[1..]),
        _ => (10, digits),
    };
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return None;
    }
    let n = i128::from_str_radix(digits, radix).ok()?;
    // What no 64-bit integer holds is a float.
    let n = if negative { -n } else { n };
    (i128::from(i64::MIN)..=i128::from(u64::MAX)).contains(&n).then_some(n)
}

fn float(text: &str) -> Option<String> {
    match text.trim_start_matches(['+', '-']) {
        ".inf" | ".Inf" | ".INF" => {
            return Some(if text.starts_with('-') { "-Inf" } else { "+Inf" }.to_owned());
        }
        ".nan" | ".NaN" | ".NAN" => return Some("NaN".to_owned()),
        _ => {}
    }
    let ok = |c: char| c.is_ascii_digit() || matches!(c, '.' | '-' | '+' | 'e' | 'E' | '_');
    if !text.chars().all(ok) || !text.bytes().any(|b| b.is_ascii_digit()) {
        return None;
    }
    let number: f64 = text.replace('_', "").parse().ok()?;
    Some(go_float(number))
}

/// The shortest form of a float as Go's `%v` prints it: with an exponent from `1e+06` on and below `1e-4`.
fn go_float(number: f64) -> String {
    let scientific = format!("{number:e}");
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..6).contains(&exponent) {
        return format!("{number}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_have_the_types_of_go() {
        let number = |text: &str| Kind::Number(text.to_owned());
        let string = |text: &str| Kind::String(text.to_owned());
        for (text, want) in [
            ("~", Kind::Null),
            ("True", Kind::Bool(true)),
            ("yes", string("yes")),
            ("1_000", number("1000")),
            ("0x1f", number("31")),
            ("0755", number("493")),
            ("08", number("8")),
            ("1.10", number("1.1")),
            ("1e3", number("1000")),
            ("1e6", number("1e+06")),
            ("-.inf", number("-Inf")),
            ("1.2.3", string("1.2.3")),
            ("3:30", string("3:30")),
            ("-", string("-")),
        ] {
            assert_eq!(resolve(text), want, "{text}");
        }
    }
}
