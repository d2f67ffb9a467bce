//! Lists and objects.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::{Args, Fault, Out, fault};
use crate::limits::MAX_RANGE;
use crate::value::{Number, Value};

/// The elements once each, in cty's order of sets.
pub(crate) fn as_set(mut items: Vec<Value>) -> Vec<Value> {
    items.sort_by(order);
    items.dedup();
    items
}

fn order(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (Value::Number(a), Value::Number(b)) => a.partial_cmp(b).unwrap_or(Ordering::Equal),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        _ => a.to_json().cmp(&b.to_json()),
    }
}

fn position(items: &[Value], i: i128) -> Result<usize, Fault> {
    usize::try_from(i)
        .ok()
        .filter(|&i| i <= items.len())
        .ok_or_else(|| Fault(format!("index {i} is out of range: {} elements", items.len())))
}

pub(super) fn chunklist(mut a: Args) -> Out {
    let (items, size) = (a.list(0)?, a.int(1)?);
    let Ok(size) = usize::try_from(size) else {
        return fault("the size of a chunk must not be negative");
    };
    if size == 0 {
        return Ok(Value::List(vec![Value::List(items)]));
    }
    Ok(Value::List(items.chunks(size).map(|c| Value::List(c.to_vec())).collect()))
}

pub(super) fn coalesce(a: Args) -> Out {
    let found = a.0.into_iter().find(|v| *v != Value::Null);
    found.ok_or_else(|| Fault("no argument is other than null".to_owned()))
}

pub(super) fn coalescelist(a: Args) -> Out {
    let found = a.0.into_iter().find(|v| matches!(v, Value::List(items) if !items.is_empty()));
    found.ok_or_else(|| Fault("no argument is a list with elements".to_owned()))
}

pub(super) fn compact(mut a: Args) -> Out {
    let mut items = a.list(0)?;
    items.retain(|v| !matches!(v, Value::Null) && *v != Value::text(""));
    Ok(Value::List(items))
}

pub(super) fn concat(mut a: Args) -> Out {
    let mut all = Vec::new();
    for i in 0..a.len() {
        all.append(&mut a.list(i)?);
    }
    Ok(Value::List(all))
}

pub(super) fn contains(mut a: Args) -> Out {
    let items = a.list(0)?;
    Ok(Value::Bool(items.contains(&a.take(1))))
}

pub(super) fn distinct(mut a: Args) -> Out {
    let mut out: Vec<Value> = Vec::new();
    for item in a.list(0)? {
        if !out.contains(&item) {
            out.push(item);
        }
    }
    Ok(Value::List(out))
}

/// The element at the index modulo the length.
pub(super) fn element(mut a: Args) -> Out {
    let (mut items, i) = (a.list(0)?, a.int(1)?);
    if items.is_empty() {
        return fault("cannot take an element of an empty list");
    }
    let i = usize::try_from(i.rem_euclid(items.len() as i128)).unwrap_or(0);
    Ok(items.swap_remove(i))
}

pub(super) fn flatten(mut a: Args) -> Out {
    fn add(items: Vec<Value>, out: &mut Vec<Value>) {
        for item in items {
            match item {
                Value::List(inner) => add(inner, out),
                other => out.push(other),
            }
        }
    }
    let mut out = Vec::new();
    add(a.list(0)?, &mut out);
    Ok(Value::List(out))
}

pub(super) fn hasindex(mut a: Args) -> Out {
    let key = a.take(1);
    Ok(Value::Bool(match a.take(0) {
        Value::List(items) => {
            let i = key.to_number().and_then(Number::as_int);
            i.is_some_and(|i| i >= 0 && i < items.len() as i128)
        }
        Value::Object(map) => key.to_text().is_some_and(|k| map.contains_key(&k)),
        other => {
            return fault(format!(
                "argument 1 must be a list or an object, not {}",
                other.type_name()
            ));
        }
    }))
}

pub(super) fn index(mut a: Args) -> Out {
    match &a.0[0] {
        Value::Object(_) => {
            let key = a.text(1)?;
            let found = a.map(0)?.remove(&key);
            found.ok_or_else(|| Fault(format!("there is no element `{key}`")))
        }
        _ => {
            let i = a.int(1)?;
            let mut items = a.list(0)?;
            let at = position(&items, i)?;
            if at == items.len() {
                return fault(format!("index {i} is out of range: {} elements", items.len()));
            }
            Ok(items.swap_remove(at))
        }
    }
}

pub(super) fn indexof(mut a: Args) -> Out {
    let (items, wanted) = (a.list(0)?, a.take(1));
    if items.is_empty() {
        return fault("cannot search an empty list");
    }
    match items.iter().position(|v| *v == wanted) {
        Some(i) => Ok(Value::int(i as u64)),
        None => fault("item not found"),
    }
}

pub(super) fn keys(mut a: Args) -> Out {
    Ok(Value::List(a.map(0)?.into_keys().map(Value::String).collect()))
}

pub(super) fn values(mut a: Args) -> Out {
    Ok(Value::List(a.map(0)?.into_values().collect()))
}

pub(super) fn length(a: Args) -> Out {
    Ok(Value::int(match &a.0[0] {
        Value::List(items) => items.len() as u64,
        Value::Object(map) => map.len() as u64,
        other => {
            return fault(format!("argument 1 must be a collection, not {}", other.type_name()));
        }
    }))
}

pub(super) fn lookup(mut a: Args) -> Out {
    let key = a.text(1)?;
    match (a.map(0)?.remove(&key), a.len()) {
        (Some(value), _) => Ok(value),
        (None, 3) => Ok(a.take(2)),
        (None, _) => fault(format!("there is no element `{key}`")),
    }
}

pub(super) fn merge(a: Args) -> Out {
    let mut out = BTreeMap::new();
    for (i, value) in a.0.into_iter().enumerate() {
        match value {
            Value::Object(map) => out.extend(map),
            Value::Null => {}
            other => {
                return fault(format!(
                    "argument {} must be an object, not {}",
                    i + 1,
                    other.type_name()
                ));
            }
        }
    }
    Ok(Value::Object(out))
}

/// `range(end)`, `range(start, end)`, `range(start, end, step)`.
pub(super) fn range(a: Args) -> Out {
    let (start, end) = match a.len() {
        1 => (Number::Int(0), a.number(0)?),
        _ => (a.number(0)?, a.number(1)?),
    };
    let down = end < start;
    let step = if a.len() == 3 { a.number(2)? } else { Number::Int(if down { -1 } else { 1 }) };
    let zero = Number::Int(0);
    if step == zero || (start != end && (step < zero) != down) {
        return fault("the step must lead from the start to the end");
    }
    let mut out = Vec::new();
    let mut at = start;
    while if down { at > end } else { at < end } {
        if out.len() >= MAX_RANGE {
            return fault(format!("more than {MAX_RANGE} values were generated"));
        }
        out.push(Value::Number(at));
        at = super::number::add(at, step)?;
    }
    Ok(Value::List(out))
}

pub(super) fn reverselist(mut a: Args) -> Out {
    let mut items = a.list(0)?;
    items.reverse();
    Ok(Value::List(items))
}

pub(super) fn slice(mut a: Args) -> Out {
    let (items, start, end) = (a.list(0)?, a.int(1)?, a.int(2)?);
    let (start, end) = (position(&items, start)?, position(&items, end)?);
    if start > end {
        return fault("the start is after the end");
    }
    Ok(Value::List(items[start..end].to_vec()))
}

pub(super) fn sort(mut a: Args) -> Out {
    let mut all = a.texts(0)?;
    all.sort();
    Ok(Value::List(all.into_iter().map(Value::String).collect()))
}

pub(super) fn zipmap(mut a: Args) -> Out {
    let (keys, values) = (a.texts(0)?, a.list(1)?);
    if keys.len() != values.len() {
        return fault(format!("{} keys for {} values", keys.len(), values.len()));
    }
    Ok(Value::Object(keys.into_iter().zip(values).collect()))
}
