//! Values of the expression language and their conversions, after go-cty.

use std::collections::BTreeMap;
use std::fmt;

use crate::limits::{MAX_STEPS, MAX_VALUE_DEPTH};

/// Significant digits printed of a fraction: what an `f64` keeps of a decimal.
const FRACTION_DIGITS: usize = 15;
/// What an element costs besides its content: it takes 32 bytes in each copy, and several copies live at once.
const ELEMENT_STEPS: u64 = 4;
/// What an object costs besides its entries: a node of the map takes 640 bytes, however few entries are in it.
const OBJECT_STEPS: u64 = 64;
/// Floats of this size and more have no fraction and may not fit an integer.
const MAX_EXACT: f64 = 1e30;

/// A number: whole numbers are exact, fractions are `f64`.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Number {
    Int(i128),
    Float(f64),
}

impl Number {
    /// The number; an integer where it has no fraction.
    pub(crate) fn from_f64(f: f64) -> Self {
        if f.fract() == 0.0 && f.abs() < MAX_EXACT {
            // The bound above keeps the cast exact.
            #[expect(clippy::cast_possible_truncation, reason = "whole and within i128")]
            return Self::Int(f as i128);
        }
        Self::Float(f)
    }

    /// The number of a decimal text; `None` for anything else, infinities included.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let ok =
            text.chars().all(|c| c.is_ascii_digit() || matches!(c, '-' | '+' | '.' | 'e' | 'E'));
        if !ok || text.is_empty() {
            return None;
        }
        match text.parse::<i128>() {
            Ok(i) => Some(Self::Int(i)),
            Err(_) => text.parse::<f64>().ok().filter(|f| f.is_finite()).map(Self::from_f64),
        }
    }

    pub(crate) fn as_f64(self) -> f64 {
        match self {
            #[expect(clippy::cast_precision_loss, reason = "the float form is asked for")]
            Self::Int(i) => i as f64,
            Self::Float(f) => f,
        }
    }

    /// The whole number, where it is one.
    pub(crate) fn as_int(self) -> Option<i128> {
        match self {
            Self::Int(i) => Some(i),
            Self::Float(_) => None,
        }
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.partial_cmp(other) == Some(std::cmp::Ordering::Equal)
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => Some(a.cmp(b)),
            (a, b) => a.as_f64().partial_cmp(&b.as_f64()),
        }
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(i) => write!(f, "{i}"),
            Self::Float(x) => {
                // Rounded to the digits an `f64` keeps, so that 0.1 + 0.2 prints as 0.3.
                let rounded = format!("{x:.*e}", FRACTION_DIGITS - 1).parse::<f64>();
                write!(f, "{}", rounded.unwrap_or(*x))
            }
        }
    }
}

/// A value. Maps and objects are one kind, sorted by key; lists, tuples and sets are one kind.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Number(Number),
    String(String),
    List(Vec<Value>),
    Object(BTreeMap<String, Value>),
}

impl Value {
    /// A string.
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self::String(text.into())
    }

    /// A whole number.
    pub(crate) fn int(n: impl TryInto<i128>) -> Self {
        Self::Number(Number::Int(n.try_into().unwrap_or(i128::MAX)))
    }

    /// What people call its type.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "bool",
            Self::Number(_) => "number",
            Self::String(_) => "string",
            Self::List(_) => "list",
            Self::Object(_) => "object",
        }
    }

    /// As text; `None` for null, lists and objects.
    pub(crate) fn to_text(&self) -> Option<String> {
        match self {
            Self::Bool(b) => Some(b.to_string()),
            Self::Number(n) => Some(n.to_string()),
            Self::String(s) => Some(s.clone()),
            _ => None,
        }
    }

    /// As a number; strings are read.
    pub(crate) fn to_number(&self) -> Option<Number> {
        match self {
            Self::Number(n) => Some(*n),
            Self::String(s) => Number::parse(s),
            _ => None,
        }
    }

    /// As a truth value; `"true"`, `"1"`, `"false"` and `"0"` are read.
    pub(crate) fn to_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(b) => Some(*b),
            Self::String(s) => match s.as_str() {
                "true" | "1" => Some(true),
                "false" | "0" => Some(false),
                _ => None,
            },
            _ => None,
        }
    }

    /// What copying it costs, in steps; more than all steps where it is nested too deeply.
    pub(crate) fn weight(&self) -> u64 {
        self.weigh(0)
    }

    fn weigh(&self, depth: usize) -> u64 {
        // Values are walked recursively, so their depth must not be up to a file.
        if depth > MAX_VALUE_DEPTH {
            return MAX_STEPS + 1;
        }
        let text = |s: &String| 1 + (s.len() / 16) as u64;
        match self {
            Self::String(s) => text(s),
            Self::List(items) => {
                1 + items.iter().map(|v| ELEMENT_STEPS + v.weigh(depth + 1)).sum::<u64>()
            }
            Self::Object(map) => {
                OBJECT_STEPS + map.iter().map(|(k, v)| text(k) + v.weigh(depth + 1)).sum::<u64>()
            }
            _ => 1,
        }
    }

    /// The JSON text, as Go prints it.
    pub(crate) fn to_json(&self) -> String {
        let mut out = String::new();
        self.write_json(&mut out);
        out
    }

    pub(crate) fn write_json(&self, out: &mut String) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
            Self::Number(n) => out.push_str(&n.to_string()),
            Self::String(s) => json_string(out, s),
            Self::List(items) => {
                out.push('[');
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    item.write_json(out);
                }
                out.push(']');
            }
            Self::Object(map) => {
                out.push('{');
                for (i, (key, value)) in map.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    json_string(out, key);
                    out.push(':');
                    value.write_json(out);
                }
                out.push('}');
            }
        }
    }
}

/// A JSON string as Go's encoder writes it: `<`, `>`, `&` and the line separators escaped.
pub(crate) fn json_string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c if u32::from(c) < 0x20 => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}
