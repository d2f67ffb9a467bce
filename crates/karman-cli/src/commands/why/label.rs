//! What people call a step: its label as the progress prints it, or a part of it.

use std::collections::BTreeSet;

/// What the progress prints before the brackets of a label.
const MARKS: [&str; 3] = ["=>", "CACHED", "ERROR"];
/// Steps that are named where none is meant.
const MAX_NEAR: usize = 4;

/// A way to read what was asked for: a target, or else the last build, and a step of it, or else all.
pub(super) type Reading = (Option<String>, Option<String>);

/// All ways to read it, the likeliest first. What is in brackets, and what has a count such as `2/5`, may be a label
/// of the last build; otherwise a slash comes after the target.
pub(super) fn readings(asked: &str) -> Vec<Reading> {
    let asked = unquoted(unmarked(asked));
    let label = Some(asked.to_owned()).filter(|text| !text.is_empty());
    if let Some(inside) = asked.strip_prefix('[') {
        let first = inside.split([' ', ']']).next().unwrap_or_default();
        return vec![(None, label.clone()), (Some(first.to_owned()), label)];
    }
    let mut all = match asked.split_once('/') {
        None => vec![(label.clone(), None)],
        // No target has a blank in its name.
        Some((target, _)) if target.contains(' ') => Vec::new(),
        Some((target, step)) => {
            let target = Some(target.to_owned()).filter(|t| !t.is_empty());
            vec![(target, Some(step.to_owned()))]
        }
    };
    if all.is_empty() || asked.split_whitespace().any(|word| count(word).is_some()) {
        all.push((None, label));
    }
    all
}

/// Whether a step is meant: `[nova build 4/5] RUN make` by its number (`4`, `4/5`), its stage and number (`build 4`,
/// `build 4/5`, `nova build 4/5`, in brackets or not), with the text after it or not, or by a part of its text.
pub(super) fn is_called(name: &str, wanted: &str) -> bool {
    let (place, text) = parts(name);
    let wanted = unquoted(unmarked(wanted));
    if let (Some(asked), rest) = parts(wanted) {
        return is_place(place.unwrap_or_default(), asked) && begins(text, rest);
    }
    let words: Vec<&str> = wanted.split_whitespace().collect();
    let counted = words.iter().position(|word| count(word).is_some());
    // `build 4` has no text after it, because nothing would tell the number from the text.
    let end = counted.unwrap_or(words.len().saturating_sub(1)) + 1;
    let (asked, rest) = words.split_at(end.min(words.len()));
    let is_place = place
        .is_some_and(|place| is_place(place, &asked.join(" ")) && begins(text, &rest.join(" ")));
    // A number is never a part of a text.
    is_place || (wanted.parse::<u32>().is_err() && text.contains(wanted))
}

/// The names that are nearest to what was asked for, at most four: those that have most words in common.
pub(super) fn near<'a>(names: impl IntoIterator<Item = &'a str>, wanted: &str) -> Vec<&'a str> {
    let words = |text: &str| -> BTreeSet<String> {
        let parts = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
        parts.map(str::to_lowercase).collect()
    };
    let asked = words(wanted);
    let mut all: Vec<(usize, &str)> =
        names.into_iter().map(|name| (words(name).intersection(&asked).count(), name)).collect();
    all.sort_by_key(|(common, _)| std::cmp::Reverse(*common));
    all.into_iter().map(|(_, name)| name).take(MAX_NEAR).collect()
}

/// `[build 4/5] RUN make` → `build 4/5` and `RUN make`.
fn parts(label: &str) -> (Option<&str>, &str) {
    match label.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((place, text)) => (Some(place), text.trim_start()),
        None => (None, label),
    }
}

/// Whether the last words of a place are these; the last of all may be a number without its total.
fn is_place(place: &str, asked: &str) -> bool {
    let mut own = place.split_whitespace().rev();
    let mut asked = asked.split_whitespace().rev();
    let (Some(last), Some(number)) = (own.next(), asked.next()) else { return false };
    let is_number = last == number || count(last).is_some_and(|(at, _)| at == number);
    is_number && asked.all(|word| own.next() == Some(word))
}

/// Whether a text is, or begins with, what was asked for; a terminal cuts long ones.
fn begins(text: &str, asked: &str) -> bool {
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let asked = words(asked);
    words(text).starts_with(asked.trim_end_matches("...").trim_end_matches('…').trim_end())
}

/// `4/5` → `4` and `5`.
fn count(word: &str) -> Option<(&str, &str)> {
    let is_number = |text: &str| text.parse::<u32>().is_ok();
    word.split_once('/').filter(|(at, total)| is_number(at) && is_number(total))
}

/// A line of the progress without what comes before the label: `#7 [build 4/5] …`, ` => CACHED [build 4/5] …`.
fn unmarked(line: &str) -> &str {
    let line = line.trim();
    let Some(bracket) = line.find('[') else { return line };
    let is_mark = |word: &str| {
        MARKS.contains(&word) || word.strip_prefix('#').is_some_and(|n| n.parse::<u32>().is_ok())
    };
    if line[..bracket].split_whitespace().all(is_mark) { &line[bracket..] } else { line }
}

/// Without the quotes round the whole.
fn unquoted(text: &str) -> &str {
    let quoted = ['\'', '"', '`']
        .into_iter()
        .find_map(|quote| text.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote)));
    quoted.unwrap_or(text).trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_found_by_number_stage_and_words() {
        let name = "[nova build 4/5] RUN make all";
        for wanted in [
            "4",
            "4/5",
            "build 4",
            "build 4/5",
            "nova build 4/5",
            "[nova build 4/5]",
            "[build 4/5]",
            "[nova build 4/5] RUN make all",
            "[nova build 4/5] RUN make…",
            "#12 [nova build 4/5] RUN make all",
            " => CACHED [nova build 4/5] RUN make ...",
            "build 4/5 RUN make all",
            "\"build 4/5\"",
            "make",
            "RUN make all",
        ] {
            assert!(is_called(name, wanted), "{wanted}");
        }
        for wanted in [
            "5",
            "4/6",
            "test 4",
            "nova",
            "cmake",
            "[build 4/5] RUN other",
            "[glance build 4/5]",
            "build 3/5",
            "build",
        ] {
            assert!(!is_called(name, wanted), "{wanted}");
        }
        assert!(is_called("[2/5] RUN x", "2"));
        assert!(is_called("[linux/amd64->arm64 build  2/10] RUN x", "build 2/10"));
        assert!(is_called("[build 2/3] RUN cp a 1/2", "cp a 1/2"));
    }

    #[test]
    fn a_slash_comes_after_the_target_or_in_a_label() {
        let read = |asked: &str| -> Vec<String> {
            let shown = |(target, step): Reading| {
                format!("{}|{}", target.unwrap_or_default(), step.unwrap_or_default())
            };
            readings(asked).into_iter().map(shown).collect()
        };
        assert_eq!(read("nova"), ["nova|"]);
        assert_eq!(read("nova/4"), ["nova|4"]);
        assert_eq!(read("nova/cp a b/c"), ["nova|cp a b/c"]);
        assert_eq!(read("default/stage-2 2/3"), ["default|stage-2 2/3", "|default/stage-2 2/3"]);
        assert_eq!(read("stage-2 2/3"), ["|stage-2 2/3"]);
        assert_eq!(read("2/3"), ["2|3", "|2/3"]);
        let label = "[nova build 2/3] RUN x";
        assert_eq!(read(&format!("#7 {label}")), [format!("|{label}"), format!("nova|{label}")]);
        assert_eq!(read(&format!("nova/{label}"))[0], format!("nova|{label}"));
    }

    #[test]
    fn names_with_common_words_are_near() {
        let names =
            ["[a 1/9] RUN x", "[b 2/9] RUN y", "[b 3/9] COPY z", "[b 4/9] RUN w", "[c 5/9] RUN v"];
        assert_eq!(near(names, "b 7/9")[..3], names[1..4]);
        assert_eq!(near(names, "nothing").len(), MAX_NEAR);
    }
}
