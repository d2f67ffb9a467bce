//! Sources of `COPY` and `ADD` that `.dockerignore` excludes.

use karman_pattern::{MatchState, Matcher};

use super::{Checks, rules};

/// Reports a source that the patterns exclude. A list with exceptions says nothing: whether a
/// directory is wholly excluded cannot be told from its name.
pub(crate) fn check_source(path: &str, patterns: &[String], is_add: bool, checks: &Checks) {
    if patterns.is_empty() || patterns.iter().any(|p| p.trim_start().starts_with('!')) {
        return;
    }
    let path = karman_pattern::clean(path);
    let excludes = Matcher::new(patterns).is_ok_and(|matcher| matches(&matcher, &path));
    if excludes {
        let keyword = if is_add { "Add" } else { "Copy" };
        let message =
            format!("Attempting to {keyword} file {path:?} that is excluded by .dockerignore");
        checks.found_here(&rules::COPY_IGNORED_FILE, message);
    }
}

/// moby's `MatchesOrParentMatches`: unlike in a walk of the context, `*` matches the root too.
fn matches(matcher: &Matcher, path: &str) -> bool {
    let mut state = MatchState::default();
    for (at, _) in path.match_indices('/').filter(|(at, _)| *at > 0) {
        (_, state) = matcher.matches(&path[..at], &state);
    }
    matcher.matches(path, &state).0
}
