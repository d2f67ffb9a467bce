//! Why a build failed, for people.

use std::fmt::Write as _;

use karman_control::SolveError;
use karman_diag::{Diagnostic, SourceMap, Span, render};

use crate::{Redactor, sanitize};

/// Places shown of one failure.
const MAX_SPANS: usize = 3;
const RULE: &str = "------";

/// The failure as people read it: what the command wrote last, the lines of the Dockerfile, the
/// message, hints. Ends with a newline; secrets are masked.
///
/// ```text
/// ------
///  > [build 2/5] RUN make:
/// make: *** No targets.  Stop.
/// ------
/// Dockerfile:12
///   12 | >>> RUN make
/// ERROR: failed to build: process `/bin/sh -c make` ended with exit code 2
/// hint: …
/// ```
pub fn render_solve_error(error: &SolveError, sources: &SourceMap, redactor: &Redactor) -> String {
    let mut out = String::new();
    if !error.log_tail.is_empty() {
        let _ = writeln!(out, "{RULE}\n > {}:", sanitize(&error.vertex_name));
        for line in &error.log_tail {
            let _ = writeln!(out, "{}", sanitize(&redactor.mask(line)));
        }
        let _ = writeln!(out, "{RULE}");
    }
    for span in error.spans.iter().take(MAX_SPANS) {
        out.push_str(&excerpt(*span, sources));
    }
    let _ = writeln!(out, "ERROR: failed to build: {}", error.message);
    for hint in &error.hints {
        let _ = writeln!(out, "hint: {hint}");
    }
    redactor.mask(&out)
}

/// The lines of a span, without the head that a diagnostic begins with.
fn excerpt(span: Span, sources: &SourceMap) -> String {
    let text = render(&Diagnostic::error("", span), sources);
    text.split_once('\n').map_or(String::new(), |(_, rest)| rest.to_owned())
}

#[cfg(test)]
mod tests {
    use karman_control::Cause;

    use super::*;

    #[test]
    fn a_failed_command_shows_its_log_its_lines_and_its_hint() {
        let mut sources = SourceMap::new();
        let id = sources.add("Dockerfile", "FROM a\nRUN make \\\n  all\nRUN b\n");
        let mut error =
            SolveError::new(Cause::Command(2), "process `/bin/sh -c make` ended with exit code 2")
                .with_hint("look at hunter2");
        error.vertex_name = "[build 2/5] RUN make all".into();
        error.log_tail = vec!["a \u{1b}[2Jhunter2".into(), "make: *** Stop.".into()];
        error.spans = vec![Span::new(id, 7, 24)];
        let text = render_solve_error(&error, &sources, &Redactor::new([b"hunter2".to_vec()]));
        let want = "\
------
 > [build 2/5] RUN make all:
a ***
make: *** Stop.
------
Dockerfile:2
   1 |     FROM a
   2 | >>> RUN make \\
   3 | >>>   all
   4 |     RUN b
ERROR: failed to build: process `/bin/sh -c make` ended with exit code 2
hint: look at ***
";
        assert_eq!(text, want);
    }

    #[test]
    fn an_error_without_a_place_is_one_line() {
        let error = SolveError::new(Cause::Fetch, "no route to host");
        let text = render_solve_error(&error, &SourceMap::new(), &Redactor::default());
        assert_eq!(text, "ERROR: failed to build: no route to host\n");
    }
}
