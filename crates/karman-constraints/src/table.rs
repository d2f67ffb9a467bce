//! Typed access to TOML tables: every complaint has its place, and unknown keys are errors.

use std::ops::Range;

use karman_diag::{Diagnostic, FileId, Span, nearest};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A string and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Text {
    pub(crate) value: String,
    pub(crate) span: Span,
}

/// Collects what is wrong with one file.
#[derive(Debug)]
pub(crate) struct Complaints {
    file: FileId,
    pub(crate) list: Vec<Diagnostic>,
}

impl Complaints {
    pub(crate) fn new(file: FileId) -> Self {
        Self { file, list: Vec::new() }
    }

    pub(crate) fn span(&self, range: Range<usize>) -> Span {
        Span::new(self.file, range.start, range.end)
    }

    pub(crate) fn error(&mut self, message: impl Into<String>, span: Span) {
        self.list.push(Diagnostic::error(message, span));
    }

    pub(crate) fn error_with_hint(
        &mut self,
        message: impl Into<String>,
        span: Span,
        hint: impl Into<String>,
    ) {
        self.list.push(Diagnostic::error(message, span).with_hint(hint));
    }

    /// The value, or a complaint at `text`.
    pub(crate) fn take<T, E: std::fmt::Display>(
        &mut self,
        result: Result<T, E>,
        span: Span,
    ) -> Option<T> {
        result.map_err(|error| self.error(error.to_string(), span)).ok()
    }
}

/// One table, with the name that messages call it by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Table<'a> {
    table: &'a DeTable<'a>,
    name: &'a str,
    pub(crate) span: Span,
}

impl<'a> Table<'a> {
    /// A table whose keys are all among `known`; others are complained about.
    pub(crate) fn open(
        table: &'a DeTable<'a>,
        name: &'a str,
        span: Span,
        known: &[&str],
        complaints: &mut Complaints,
    ) -> Self {
        for key in table.keys() {
            let word: &str = key.get_ref();
            if known.contains(&word) {
                continue;
            }
            let span = complaints.span(key.span());
            let message = format!("unknown key `{word}` in {name}");
            match nearest(word, known.iter().copied()) {
                Some(near) => {
                    complaints.error_with_hint(message, span, format!("did you mean `{near}`?"));
                }
                None => complaints.error_with_hint(
                    message,
                    span,
                    format!("the keys here are: {}", known.join(", ")),
                ),
            }
        }
        Self { table, name, span }
    }

    /// The value of a key.
    pub(crate) fn value(&self, key: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.table.iter().find(|(k, _)| k.get_ref() == key).map(|(_, v)| v)
    }

    /// A string that must be there.
    pub(crate) fn required(&self, key: &str, complaints: &mut Complaints) -> Option<Text> {
        if self.value(key).is_none() {
            complaints.error(format!("{} has no `{key}`", self.name), self.span);
        }
        self.string(key, complaints)
    }

    /// A string that may be there. TOML's own dates are taken as their text.
    pub(crate) fn string(&self, key: &str, complaints: &mut Complaints) -> Option<Text> {
        let value = self.value(key)?;
        let span = complaints.span(value.span());
        match value.get_ref() {
            DeValue::String(text) => Some(Text { value: text.to_string(), span }),
            DeValue::Datetime(date) => Some(Text { value: date.to_string(), span }),
            other => {
                let found = other.type_str();
                complaints.error(format!("`{key}` must be a string, not {found}"), span);
                None
            }
        }
    }

    /// A boolean; false where there is none.
    pub(crate) fn flag(&self, key: &str, complaints: &mut Complaints) -> bool {
        let Some(value) = self.value(key) else { return false };
        value.get_ref().as_bool().unwrap_or_else(|| {
            let span = complaints.span(value.span());
            complaints.error(format!("`{key}` must be `true` or `false`"), span);
            false
        })
    }

    /// A list of strings; empty where there is none.
    pub(crate) fn strings(&self, key: &str, complaints: &mut Complaints) -> Vec<Text> {
        let mut texts = Vec::new();
        for value in self.array(key, complaints) {
            let span = complaints.span(value.span());
            match value.get_ref().as_str() {
                Some(text) => texts.push(Text { value: text.to_owned(), span }),
                None => complaints.error(format!("`{key}` must be a list of strings"), span),
            }
        }
        texts
    }

    /// The tables of an array of tables; empty where there is none.
    pub(crate) fn tables(
        &self,
        key: &str,
        complaints: &mut Complaints,
    ) -> Vec<(&'a DeTable<'a>, Span)> {
        let mut tables = Vec::new();
        for value in self.array(key, complaints) {
            let span = complaints.span(value.span());
            match value.get_ref().as_table() {
                Some(table) => tables.push((table, span)),
                None => complaints.error(format!("`{key}` must be tables: `[[{key}]]`"), span),
            }
        }
        tables
    }

    fn array(&self, key: &str, complaints: &mut Complaints) -> Vec<&'a Spanned<DeValue<'a>>> {
        let Some(value) = self.value(key) else { return Vec::new() };
        match value.get_ref().as_array() {
            Some(array) => array.iter().collect(),
            None => {
                let span = complaints.span(value.span());
                complaints.error(format!("`{key}` must be a list"), span);
                Vec::new()
            }
        }
    }
}
