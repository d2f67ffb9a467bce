//! Typed access to the arguments of a function.

use std::collections::BTreeMap;

use super::{Fault, fault};
use crate::limits::MAX_STRING;
use crate::value::{Number, Value};

/// The arguments of one call; taking one leaves null.
pub(crate) struct Args(pub(crate) Vec<Value>);

impl Args {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The argument as it is.
    pub(crate) fn take(&mut self, i: usize) -> Value {
        self.0.get_mut(i).map_or(Value::Null, |v| std::mem::replace(v, Value::Null))
    }

    /// All arguments from `i` on.
    pub(crate) fn rest(&mut self, i: usize) -> Vec<Value> {
        self.0.split_off(i.min(self.0.len()))
    }

    fn wrong<T>(&self, i: usize, wanted: &str) -> Result<T, Fault> {
        let found = self.0.get(i).map_or("nothing", Value::type_name);
        fault(format!("argument {} must be {wanted}, not {found}", i + 1))
    }

    pub(crate) fn text(&self, i: usize) -> Result<String, Fault> {
        match self.0.get(i).and_then(Value::to_text) {
            Some(text) => Ok(text),
            None => self.wrong(i, "a string"),
        }
    }

    pub(crate) fn number(&self, i: usize) -> Result<Number, Fault> {
        match self.0.get(i).and_then(Value::to_number) {
            Some(n) => Ok(n),
            None => self.wrong(i, "a number"),
        }
    }

    pub(crate) fn int(&self, i: usize) -> Result<i128, Fault> {
        match self.number(i)?.as_int() {
            Some(n) => Ok(n),
            None => fault(format!("argument {} must be a whole number", i + 1)),
        }
    }

    pub(crate) fn bool(&self, i: usize) -> Result<bool, Fault> {
        match self.0.get(i).and_then(Value::to_bool) {
            Some(b) => Ok(b),
            None => self.wrong(i, "a bool"),
        }
    }

    pub(crate) fn list(&mut self, i: usize) -> Result<Vec<Value>, Fault> {
        match self.0.get_mut(i) {
            Some(Value::List(items)) => Ok(std::mem::take(items)),
            _ => self.wrong(i, "a list"),
        }
    }

    pub(crate) fn map(&mut self, i: usize) -> Result<BTreeMap<String, Value>, Fault> {
        match self.0.get_mut(i) {
            Some(Value::Object(map)) => Ok(std::mem::take(map)),
            _ => self.wrong(i, "an object"),
        }
    }

    pub(crate) fn texts(&mut self, i: usize) -> Result<Vec<String>, Fault> {
        let items = self.list(i)?;
        let all: Option<Vec<String>> = items.iter().map(Value::to_text).collect();
        all.ok_or_else(|| Fault(format!("argument {} must be a list of strings", i + 1)))
    }
}

/// Refuses a result that would be longer than a string may be.
pub(super) fn check_length(bytes: Option<usize>) -> Result<(), Fault> {
    match bytes {
        Some(n) if n <= MAX_STRING => Ok(()),
        _ => fault(format!("the result is longer than {MAX_STRING} bytes")),
    }
}
