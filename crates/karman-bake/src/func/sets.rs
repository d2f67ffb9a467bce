//! Sets; a set is a sorted list without duplicates here.

use super::collection::as_set;
use super::{Args, Out, fault};
use crate::limits::MAX_PRODUCT;
use crate::value::Value;

fn fold(mut a: Args, keep: fn(Vec<Value>, Vec<Value>) -> Vec<Value>) -> Out {
    let mut out = as_set(a.list(0)?);
    for i in 1..a.len() {
        out = keep(out, as_set(a.list(i)?));
    }
    Ok(Value::List(as_set(out)))
}

pub(super) fn sethaselement(mut a: Args) -> Out {
    let items = a.list(0)?;
    Ok(Value::Bool(items.contains(&a.take(1))))
}

pub(super) fn setintersection(a: Args) -> Out {
    fold(a, |mut a, b| {
        a.retain(|v| b.contains(v));
        a
    })
}

pub(super) fn setsubtract(a: Args) -> Out {
    fold(a, |mut a, b| {
        a.retain(|v| !b.contains(v));
        a
    })
}

pub(super) fn setsymmetricdifference(a: Args) -> Out {
    fold(a, |a, b| {
        let only = |x: &[Value], y: &[Value]| -> Vec<Value> {
            x.iter().filter(|v| !y.contains(v)).cloned().collect()
        };
        [only(&a, &b), only(&b, &a)].concat()
    })
}

pub(super) fn setunion(a: Args) -> Out {
    fold(a, |a, b| [a, b].concat())
}

/// Every combination of one element of each list.
pub(super) fn setproduct(mut a: Args) -> Out {
    let mut out: Vec<Vec<Value>> = vec![Vec::new()];
    for i in 0..a.len() {
        let items = a.list(i)?;
        if out.len().saturating_mul(items.len()) > MAX_PRODUCT {
            return fault(format!("the product has more than {MAX_PRODUCT} elements"));
        }
        out = out
            .iter()
            .flat_map(|head| {
                items.iter().map(|item| [head.as_slice(), std::slice::from_ref(item)].concat())
            })
            .collect();
    }
    Ok(Value::List(out.into_iter().map(Value::List).collect()))
}
