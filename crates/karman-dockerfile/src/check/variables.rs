//! Unset variables, and what was probably meant.

use std::collections::BTreeSet;

use super::{Checks, rules};

/// A name this far from the one meant is not meant (BuildKit's and HCL's limit).
const TOO_FAR: usize = 3;

/// Longer names are not compared: the distance costs their product in time.
const MAX_NAME: usize = 128;

/// Variables that the build reads but no instruction sees.
const NOT_IN_ENVIRONMENT: &[&str] = &["BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"];

/// Reports variables of a word that are neither set nor declared. `known` are the names that are
/// set, for suggestions.
pub(crate) fn check_unset<'a>(
    unset: &BTreeSet<String>,
    is_declared: impl Fn(&str) -> bool,
    known: impl Iterator<Item = &'a str> + Clone,
    checks: &Checks,
) {
    for name in unset {
        if checks.is_full() || is_declared(name) || NOT_IN_ENVIRONMENT.contains(&name.as_str()) {
            continue;
        }
        let mut message = format!("Usage of undefined variable '${name}'");
        if let Some(meant) = suggest(name, known.clone(), checks) {
            message.push_str(&format!(" (did you mean ${meant}?)"));
        }
        checks.found_here(&rules::UNDEFINED_VAR, message);
    }
}

/// The option nearest to a word, if near enough; the first of several. None where the word is one
/// of the options: then something else is wrong; and none where a file made us compare too many.
pub(crate) fn suggest<'a>(
    word: &str,
    options: impl Iterator<Item = &'a str>,
    checks: &Checks,
) -> Option<&'a str> {
    let mut best = None;
    let mut nearest = TOO_FAR;
    for option in options {
        if option == word {
            return None;
        }
        // A name differs by at least as many bytes; a character has up to four of them.
        if word.len() > MAX_NAME || option.len().abs_diff(word.len()) >= 4 * TOO_FAR {
            continue;
        }
        if !checks.may_compare() {
            break;
        }
        let distance = levenshtein(word, option);
        if distance < nearest {
            (best, nearest) = (Some(option), distance);
        }
    }
    best
}

fn levenshtein(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let change = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Checks, suggest};
    use crate::instruction::Dockerfile;

    #[test]
    fn near_names_are_suggested() {
        let options = ["PATH", "HOME", "DIR_ASSETS"];
        for (word, want) in [
            ("PAHT", Some("PATH")),
            ("DIR_ASSET", Some("DIR_ASSETS")),
            ("path", None),
            ("HOME", None),
            ("XYZZY", None),
        ] {
            let checks = Checks::new(&Dockerfile::default(), &BTreeMap::new()).expect("fine");
            assert_eq!(suggest(word, options.into_iter(), &checks), want, "{word}");
        }
    }
}
