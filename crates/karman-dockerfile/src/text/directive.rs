//! Parser directives: `# syntax=`, `# escape=`, `# check=`.
//!
//! They stand at the very top, before any comment, empty line or instruction
//! (<https://docs.docker.com/reference/dockerfile/#parser-directives>).

use super::PhysicalLine;

/// The directives there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DirectiveName {
    /// The front end image; ours is built in, so it only informs.
    Syntax,
    /// The escape character.
    Escape,
    /// What the linter does.
    Check,
}

impl DirectiveName {
    fn parse(word: &str) -> Option<Self> {
        match word.to_ascii_lowercase().as_str() {
            "syntax" => Some(Self::Syntax),
            "escape" => Some(Self::Escape),
            "check" => Some(Self::Check),
            _ => None,
        }
    }

    /// The name in lower case.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Syntax => "syntax",
            Self::Escape => "escape",
            Self::Check => "check",
        }
    }
}

/// A directive of the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FoundDirective {
    /// Which one.
    pub(crate) name: DirectiveName,
    /// Its value, trimmed.
    pub(crate) value: String,
    /// Byte range of the value.
    pub(crate) value_range: (usize, usize),
    /// Whether one of that name came before.
    pub(crate) repeated: bool,
    /// Whether it has an effect: BuildKit looks for `syntax` and `check` in lines that begin with
    /// `#`, and stops at the first that does not, while `escape` may be indented.
    pub(crate) is_heeded: bool,
}

/// Reads directives line by line until the first line that is none.
#[derive(Debug, Default)]
pub(crate) struct DirectiveReader {
    done: bool,
    after_shebang: bool,
    after_indent: bool,
    lines: usize,
    seen: Vec<DirectiveName>,
}

impl DirectiveReader {
    /// The directive on this line, where directives are still possible.
    pub(crate) fn read(&mut self, line: &PhysicalLine<'_>) -> Option<FoundDirective> {
        if self.done {
            return None;
        }
        self.lines += 1;
        if self.lines == 1 && line.text.starts_with("#!") {
            // BuildKit looks for `syntax` and `check` below a shebang, but not for `escape`.
            self.after_shebang = true;
            return None;
        }
        let Some((name, value)) = split(line.text) else {
            self.done = true;
            return None;
        };
        self.after_indent |= !line.text.starts_with('#');
        let repeated = self.seen.contains(&name);
        self.seen.push(name);
        if self.after_shebang && (repeated || name == DirectiveName::Escape) {
            self.done |= repeated;
            return None;
        }
        let start = line.start + (value.as_ptr() as usize - line.text.as_ptr() as usize);
        Some(FoundDirective {
            is_heeded: name == DirectiveName::Escape || !self.after_indent,
            name,
            value: value.to_owned(),
            value_range: (start, start + value.len()),
            repeated,
        })
    }
}

/// `# name = value` in its parts.
fn split(line: &str) -> Option<(DirectiveName, &str)> {
    let rest = line.trim_start().strip_prefix('#')?.trim_start();
    let length = rest.find(|c: char| !c.is_ascii_alphanumeric())?;
    let (word, rest) = rest.split_at(length);
    if !word.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return None;
    }
    let value = rest.trim_start().strip_prefix('=')?.trim();
    if value.is_empty() {
        return None;
    }
    Some((DirectiveName::parse(word)?, value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::PhysicalLines;

    fn names(source: &str) -> Vec<(&'static str, String)> {
        let mut reader = DirectiveReader::default();
        PhysicalLines::new(source)
            .filter_map(|line| reader.read(&line))
            .filter(|d| d.is_heeded)
            .map(|d| (d.name.as_str(), d.value))
            .collect()
    }

    #[test]
    fn directives_end_at_the_first_other_line() {
        let table: &[(&str, &[(&str, &str)])] = &[
            ("# syntax=a/b:1\n# escape=`\n", &[("syntax", "a/b:1"), ("escape", "`")]),
            ("#SYNTAX = x y \n", &[("syntax", "x y")]),
            ("# Check=skip=all\n", &[("check", "skip=all")]),
            ("   # escape=`\n", &[("escape", "`")]),
            ("   # check=skip=all\n", &[]),
            ("   # escape=`\n# syntax=x\n", &[("escape", "`")]),
            ("# syntax=x\n\t# escape=`\n", &[("syntax", "x"), ("escape", "`")]),
            ("#\tsyntax\t=\tx\r\n", &[("syntax", "x")]),
            ("# 1syntax=x\n# syntax=y\n", &[]),
            ("# syntax x\n# syntax=y\n", &[]),
            ("//syntax=x\n# syntax=y\n", &[]),
            ("\n# escape=`\n", &[]),
            ("# a comment\n# escape=`\n", &[]),
            ("# unknown=1\n# escape=`\n", &[]),
            ("# escape=\n# syntax=x\n", &[]),
            ("#!/usr/bin/env karman\n# syntax=x\n", &[("syntax", "x")]),
            ("#!/bin/x\n# escape=`\n# syntax=x\n", &[("syntax", "x")]),
            ("#!/bin/x\n# syntax=x\n# syntax=y\n# check=z\n", &[("syntax", "x")]),
            ("# syntax=x\n#!/bin/x\n# check=z\n", &[("syntax", "x")]),
            ("FROM a\n# syntax=x\n", &[]),
        ];
        for (source, expect) in table {
            let expect: Vec<_> = expect.iter().map(|&(n, v)| (n, v.to_owned())).collect();
            assert_eq!(names(source), expect, "{source:?}");
        }
    }

    #[test]
    fn a_repeated_directive_is_marked() {
        let mut reader = DirectiveReader::default();
        let found: Vec<_> = PhysicalLines::new("# escape=`\n# ESCAPE=\\\n")
            .filter_map(|line| reader.read(&line))
            .map(|d| d.repeated)
            .collect();
        assert_eq!(found, [false, true]);
    }
}
