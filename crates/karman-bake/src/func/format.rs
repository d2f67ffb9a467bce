//! `format` and `formatlist`: C-like verbs, after go-cty.

use super::args::check_length;
use super::{Args, Fault, Out, fault};
use crate::limits::MAX_FORMAT_WIDTH;
use crate::value::{Number, Value};

/// One `%…` of a format.
#[derive(Default)]
struct Verb {
    minus: bool,
    plus: bool,
    space: bool,
    zero: bool,
    sharp: bool,
    width: usize,
    precision: Option<usize>,
    argument: Option<usize>,
    verb: char,
}

pub(super) fn format(mut a: Args) -> Out {
    let spec = a.text(0)?;
    Ok(Value::text(render(&spec, &a.rest(1))?))
}

/// `format` for each element of the lists among the arguments.
pub(super) fn formatlist(mut a: Args) -> Out {
    let spec = a.text(0)?;
    let args = a.rest(1);
    let mut count: Option<usize> = None;
    for arg in &args {
        if let Value::List(items) = arg {
            match count {
                Some(n) if n != items.len() => return fault("the lists differ in length"),
                _ => count = Some(items.len()),
            }
        }
    }
    let row = |i: usize| -> Vec<Value> {
        args.iter()
            .map(|arg| match arg {
                Value::List(items) => items[i].clone(),
                other => other.clone(),
            })
            .collect()
    };
    let all = (0..count.unwrap_or(1)).map(|i| render(&spec, &row(i)).map(Value::String));
    Ok(Value::List(all.collect::<Result<_, _>>()?))
}

fn render(spec: &str, args: &[Value]) -> Result<String, Fault> {
    let mut out = String::new();
    let mut rest = spec;
    let mut next = 0;
    let mut highest = 0;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        let (verb, used) = read_verb(&rest[at + 1..])?;
        rest = &rest[at + 1 + used..];
        if verb.verb == '%' {
            out.push('%');
            continue;
        }
        if let Some(n) = verb.argument {
            next = n - 1;
        }
        let Some(value) = args.get(next) else {
            return fault(format!("the format needs argument {}", next + 1));
        };
        next += 1;
        highest = highest.max(next);
        out.push_str(&one(&verb, value)?);
        check_length(Some(out.len()))?;
    }
    if highest < args.len() && !args.is_empty() {
        return fault(format!("{} arguments for a format that uses {highest}", args.len()));
    }
    out.push_str(rest);
    Ok(out)
}

/// The verb at the start of the text and how many bytes it takes.
fn read_verb(text: &str) -> Result<(Verb, usize), Fault> {
    let mut verb = Verb::default();
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(b) = bytes.get(at) {
        match b {
            b'-' => verb.minus = true,
            b'+' => verb.plus = true,
            b' ' => verb.space = true,
            b'0' => verb.zero = true,
            b'#' => verb.sharp = true,
            _ => break,
        }
        at += 1;
    }
    verb.width = digits(bytes, &mut at)?.unwrap_or(0);
    if bytes.get(at) == Some(&b'.') {
        at += 1;
        verb.precision = Some(digits(bytes, &mut at)?.unwrap_or(0));
    }
    if bytes.get(at) == Some(&b'[') {
        at += 1;
        verb.argument = digits(bytes, &mut at)?.filter(|n| *n > 0);
        if verb.argument.is_none() || bytes.get(at) != Some(&b']') {
            return fault("malformed argument number in the format");
        }
        at += 1;
    }
    match text.get(at..).and_then(|t| t.chars().next()) {
        Some(c) => {
            verb.verb = c;
            Ok((verb, at + c.len_utf8()))
        }
        None => fault("the format ends inside a verb"),
    }
}

fn digits(bytes: &[u8], at: &mut usize) -> Result<Option<usize>, Fault> {
    let mut found = None;
    while let Some(b @ b'0'..=b'9') = bytes.get(*at) {
        let n = found.unwrap_or(0) * 10 + usize::from(b - b'0');
        if n > MAX_FORMAT_WIDTH {
            return fault(format!("a field is wider than {MAX_FORMAT_WIDTH}"));
        }
        found = Some(n);
        *at += 1;
    }
    Ok(found)
}

fn one(verb: &Verb, value: &Value) -> Result<String, Fault> {
    let wrong =
        |wanted: &str| Fault(format!("`%{}` needs {wanted}, not {}", verb.verb, value.type_name()));
    let number = || value.to_number().ok_or_else(|| wrong("a number"));
    let body = match verb.verb {
        'v' => match value {
            Value::String(text) if !verb.sharp => text.clone(),
            other => other.to_json(),
        },
        't' => value.to_bool().ok_or_else(|| wrong("a bool"))?.to_string(),
        's' => cut(value.to_text().ok_or_else(|| wrong("a string"))?, verb.precision),
        'q' => Value::text(cut(value.to_text().ok_or_else(|| wrong("a string"))?, verb.precision))
            .to_json(),
        'd' | 'b' | 'o' | 'x' | 'X' => {
            let n = number()?;
            let n = n.as_int().ok_or_else(|| wrong("a whole number"))?;
            signed(verb, n < 0, &radix(verb.verb, n.unsigned_abs()))
        }
        'f' | 'F' | 'e' | 'E' | 'g' | 'G' => {
            let n = number()?;
            signed(verb, n < Number::Int(0), &float(verb, n))
        }
        other => return fault(format!("`%{other}` is not a verb of `format`")),
    };
    Ok(pad(verb, body))
}

fn cut(text: String, precision: Option<usize>) -> String {
    match precision {
        Some(n) => text.chars().take(n).collect(),
        None => text,
    }
}

fn radix(verb: char, n: u128) -> String {
    match verb {
        'b' => format!("{n:b}"),
        'o' => format!("{n:o}"),
        'x' => format!("{n:x}"),
        'X' => format!("{n:X}"),
        _ => n.to_string(),
    }
}

fn float(verb: &Verb, n: Number) -> String {
    let f = n.as_f64().abs();
    let text = match verb.verb {
        'f' | 'F' => format!("{f:.*}", verb.precision.unwrap_or(6)),
        'e' | 'E' => exponent(&format!("{f:.*e}", verb.precision.unwrap_or(6))),
        _ => match (n, verb.precision) {
            (n, None) => n.to_string().trim_start_matches('-').to_owned(),
            (_, Some(p)) => {
                let rounded = format!("{f:.*e}", p.max(1) - 1).parse().unwrap_or(f);
                Number::from_f64(rounded).to_string()
            }
        },
    };
    if verb.verb.is_uppercase() { text.to_uppercase() } else { text }
}

/// `1.5e2` as C writes it: `1.5e+02`.
fn exponent(text: &str) -> String {
    let Some((mantissa, exponent)) = text.split_once('e') else { return text.to_owned() };
    let (sign, digits) = match exponent.strip_prefix('-') {
        Some(digits) => ('-', digits),
        None => ('+', exponent),
    };
    format!("{mantissa}e{sign}{digits:0>2}")
}

fn signed(verb: &Verb, negative: bool, digits: &str) -> String {
    match (negative, verb.plus, verb.space) {
        (true, ..) => format!("-{digits}"),
        (false, true, _) => format!("+{digits}"),
        (false, false, true) => format!(" {digits}"),
        _ => digits.to_owned(),
    }
}

fn pad(verb: &Verb, body: String) -> String {
    let missing = verb.width.saturating_sub(body.chars().count());
    if verb.minus {
        return body + &" ".repeat(missing);
    }
    if verb.zero && !matches!(verb.verb, 's' | 'q' | 'v' | 't') {
        let sign = usize::from(body.starts_with(['-', '+', ' ']));
        return format!("{}{}{}", &body[..sign], "0".repeat(missing), &body[sign..]);
    }
    " ".repeat(missing) + &body
}
