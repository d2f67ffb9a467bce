//! `--call=check`, and what an ordinary build says at its end.

use std::fmt::Write as _;

use karman_diag::{Diagnostic, Hint, SourceFile, SourceMap};
use serde_json::{Map, Value, json};

use super::place::{excerpt, lines, location, source};
use super::{Answer, pretty};
use crate::check::rule;

/// Where an error of a report comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ErrorKind {
    /// The syntax is wrong.
    Syntax,
    /// The rest is.
    #[default]
    Meaning,
    /// Warnings are errors; they have no place of their own.
    Violation,
}

/// What the checks say of one target.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Warnings in the order in which they were found.
    pub warnings: Vec<Diagnostic>,
    /// What our own rules say that were not asked for.
    pub advice: Vec<Diagnostic>,
    /// Why the file cannot be built, where it cannot.
    pub error: Option<Diagnostic>,
    /// What kind of error that is.
    pub kind: ErrorKind,
}

impl CheckReport {
    /// The status code that BuildKit gives it.
    pub fn code(&self) -> u8 {
        u8::from(!self.warnings.is_empty() || self.error.is_some())
    }

    /// The report; what is wrong with the file is in the JSON only, as it is told as an error.
    pub fn answer(&self, file: &SourceFile) -> Answer {
        Answer { text: self.text(file), json: pretty(&self.json(file)) }
    }

    fn text(&self, file: &SourceFile) -> String {
        let mut out = match self.warnings.len() {
            0 if self.error.is_some() => String::new(),
            0 => "Check complete, no warnings found.\n".to_owned(),
            1 => "Check complete, 1 warning has been found!\n".to_owned(),
            n => format!("Check complete, {n} warnings have been found!\n"),
        };
        for (label, list) in [("WARNING", &self.warnings), ("ADVICE", &self.advice)] {
            for found in in_order(list, file) {
                let _ = write!(out, "\n{label}: {}", found.code);
                if let Some(rule) = rule(&found.code) {
                    let _ = write!(out, " - {}", rule.page());
                }
                let _ = writeln!(out, "\n{}", found.message);
                if let Some(span) = found.span {
                    excerpt(&mut out, span, file);
                }
            }
        }
        out
    }

    fn json(&self, file: &SourceFile) -> Value {
        let all = |list: &[Diagnostic]| list.iter().map(|f| finding(f, file)).collect::<Vec<_>>();
        let mut out = Map::new();
        out.insert("warnings".to_owned(), all(&self.warnings).into());
        if !self.advice.is_empty() {
            out.insert("advice".to_owned(), all(&self.advice).into());
        }
        out.insert("sources".to_owned(), json!([source(file)]));
        if let Some(error) = &self.error {
            let span = error.span.filter(|_| self.kind != ErrorKind::Violation);
            let message = self.message(error, file);
            let place = location(span, file);
            out.insert("buildError".to_owned(), json!({ "message": message, "location": place }));
        }
        Value::Object(out)
    }

    /// The error as BuildKit words it, with what was probably meant.
    fn message(&self, error: &Diagnostic, file: &SourceFile) -> String {
        let mut message = error.message.clone();
        let meant = |hint: &Hint| {
            let word = hint.0.strip_prefix("did you mean `")?.strip_suffix("`?")?;
            Some(format!(" (did you mean {word}?)"))
        };
        message.extend(error.hints.iter().find_map(meant));
        match error.span.filter(|_| self.kind == ErrorKind::Syntax) {
            Some(span) => {
                format!("dockerfile parse error on line {}: {message}", lines(span, file).0)
            }
            None => message,
        }
    }
}

/// What an ordinary build says at its end, in buildx's words: a line for each warning, or with
/// `expand` all there is to say. Empty where there is none.
pub fn summary(warnings: &[Diagnostic], sources: &SourceMap, expand: bool) -> String {
    let mut out = match warnings.len() {
        0 => return String::new(),
        1 => "\n 1 warning found".to_owned(),
        n => format!("\n {n} warnings found"),
    };
    out.push_str(if expand { ":\n" } else { " (use --debug to expand):\n" });
    for found in warnings {
        let _ = writeln!(out, " - {}", short(found, sources));
        if !expand {
            continue;
        }
        if let Some(rule) = rule(&found.code) {
            let _ = writeln!(out, "{}\nMore info: {}", rule.description, rule.page());
        }
        if let Some((span, file)) = found.span.and_then(|s| Some((s, sources.get(s.file)?))) {
            excerpt(&mut out, span, file);
        }
        out.push('\n');
    }
    out
}

/// A warning in one line: `RULE: message (line N)`.
pub fn short(found: &Diagnostic, sources: &SourceMap) -> String {
    let line = found.span.and_then(|span| sources.locate(span)).map(|(_, at)| at.line);
    let line = line.map_or(String::new(), |line| format!(" (line {line})"));
    format!("{}: {}{line}", found.code, found.message)
}

fn in_order<'d>(list: &'d [Diagnostic], file: &SourceFile) -> Vec<&'d Diagnostic> {
    let mut sorted: Vec<&Diagnostic> = list.iter().collect();
    sorted.sort_by_key(|found| found.span.map(|span| lines(span, file).0));
    sorted
}

fn finding(found: &Diagnostic, file: &SourceFile) -> Value {
    let mut out = Map::new();
    out.insert("ruleName".to_owned(), found.code.as_str().into());
    if let Some(rule) = rule(&found.code) {
        out.insert("description".to_owned(), rule.description.into());
        out.insert("url".to_owned(), rule.page().into());
    }
    out.insert("detail".to_owned(), found.message.as_str().into());
    out.insert("location".to_owned(), location(found.span, file));
    Value::Object(out)
}
