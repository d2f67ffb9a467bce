//! `.dockerignore` and `<Dockerfile>.dockerignore`.

use std::path::{Path, PathBuf};

use karman_diag::{Diagnostic, Span};
use karman_pattern::{Matcher, PatternError, read_ignore_file};

use crate::error::{Problem, Step};
use crate::files::{Read, read_bounded, shown};
use crate::plan::Planner;

/// The name of the file and the suffix of the one that belongs to one Dockerfile.
const NAME: &str = ".dockerignore";
/// The largest ignore file read: real ones have a few kilobytes.
const MAX_BYTES: usize = 4 << 20;

impl Planner<'_> {
    /// The patterns for a context: of `<Dockerfile>.dockerignore` where there is one, even an
    /// empty one, else of the context's `.dockerignore`.
    pub(crate) fn ignored(
        &mut self,
        context: &Path,
        dockerfile: Option<&Path>,
    ) -> Step<Vec<String>> {
        let own = dockerfile.map(|file| {
            let mut name = file.as_os_str().to_owned();
            name.push(NAME);
            PathBuf::from(name)
        });
        for path in own.into_iter().chain([context.join(NAME)]) {
            if let Some(patterns) = self.ignore_file(&path)? {
                return Ok(patterns);
            }
        }
        Ok(Vec::new())
    }

    fn ignore_file(&mut self, path: &Path) -> Step<Option<Vec<String>>> {
        if let Some(known) = self.ignore_files.get(path) {
            return Ok(known.clone());
        }
        let name = shown(path, &self.facts.cwd);
        let bytes = match read_bounded(path, MAX_BYTES) {
            Ok(Read::Bytes(bytes)) => bytes,
            Ok(Read::Missing) => {
                self.ignore_files.insert(path.to_owned(), None);
                return Ok(None);
            }
            // BuildKit takes what it cannot read as a file for no file.
            Err(e) if e.kind() == std::io::ErrorKind::IsADirectory => {
                self.ignore_files.insert(path.to_owned(), None);
                return Ok(None);
            }
            Ok(Read::TooLarge) => {
                return Err(Problem::input(format!("`{name}` is larger than {MAX_BYTES} bytes")));
            }
            Err(e) => return Err(Problem::input(format!("read `{name}`: {e}"))),
        };
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let patterns = read_ignore_file(&text);
        if let Err(error) = Matcher::new(&patterns) {
            return Err(self.bad_pattern(&name, text, &error));
        }
        self.ignore_files.insert(path.to_owned(), Some(patterns.clone()));
        Ok(Some(patterns))
    }

    fn bad_pattern(&mut self, name: &str, text: String, error: &PatternError) -> Problem {
        let wanted = match error {
            PatternError::Syntax { pattern } => Some(pattern.as_str()),
            PatternError::EmptyException => Some("!"),
            PatternError::TooLong { limit, .. } => {
                text.lines().find(|l| l.chars().count() > *limit)
            }
            PatternError::TooMany { .. } => None,
        };
        let at = wanted.and_then(|w| text.find(w).map(|start| (start, start + w.len())));
        let file = self.sources.add(name, text);
        let span = at.map(|(start, end)| Span::new(file, start, end));
        Problem::Found(vec![Diagnostic::error(format!("`{name}`: {error}"), span)])
    }
}
