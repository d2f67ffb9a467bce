//! How two builds differ, step by step. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::facts::{COMMAND, IDENTITY, VARIABLE};
use super::{Happened, Ledger, Row};
use crate::made_by::split_name;

/// Stages with more steps are compared by place, not by likeness.
const MAX_ALIGNED: usize = 2000;

/// A step of the last build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// Its name for people.
    pub step: String,
    /// What happened.
    pub outcome: Happened,
    /// Why it ran; `None` for one that did not.
    pub reason: Option<Reason>,
}

/// Why a step was no cache hit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// The cache was passed over.
    PassedOver,
    /// No earlier build of the target is remembered.
    FirstBuild,
    /// There was no step like it.
    NewStep,
    /// The last build did not come so far.
    NotReached,
    /// It failed in the last build.
    FailedBefore,
    /// Nothing changed, but its result is gone.
    Gone,
    /// What it reads of a local directory changed.
    Files {
        /// The first path.
        path: String,
        /// Its digest before; `None` when it is new.
        old: Option<String>,
        /// Its digest now; `None` when it is gone.
        new: Option<String>,
        /// How many more paths changed.
        more: usize,
    },
    /// Something that the step itself says.
    Changed {
        /// What: `command`, `build-arg`, `variable`, `source`, `option`.
        kind: &'static str,
        /// The name of it, where the kind has names.
        name: String,
        /// Before; `None` when it is new.
        old: Option<String>,
        /// Now; `None` when it is gone.
        new: Option<String>,
    },
    /// A step that it stands on or reads gave something else.
    Parent {
        /// Its name.
        step: String,
    },
}

/// The steps of the last build, in order.
pub(super) fn explain(ledger: &Ledger) -> Vec<Explained> {
    let before = ledger.before.as_deref();
    let pairs = before.map(|before| align(&ledger.now, before)).unwrap_or_default();
    let steps = ledger.now.iter().enumerate().filter(|(_, row)| !row.uncached);
    let explained = steps.map(|(at, row)| {
        let ran = matches!(row.outcome, Happened::Ran | Happened::Failed);
        let reason = ran.then(|| match before {
            _ if row.fresh => Reason::PassedOver,
            None => Reason::FirstBuild,
            Some(before) => {
                let old = pairs.get(&at).map(|old| &before[*old]);
                old.map_or(Reason::NewStep, |old| compare(ledger, row, old, before))
            }
        });
        Explained { step: row.name.clone(), outcome: row.outcome, reason }
    });
    explained.collect()
}

/// Which row of before each row of now is compared with.
fn align(now: &[Row], before: &[Row]) -> BTreeMap<usize, usize> {
    let mut pairs = BTreeMap::new();
    let by_key: BTreeMap<&str, usize> =
        before.iter().enumerate().map(|(at, row)| (row.key.as_str(), at)).collect();
    for (at, row) in now.iter().enumerate() {
        if let Some(old) = by_key.get(row.key.as_str()) {
            pairs.insert(at, *old);
        }
    }
    let stages = |rows: &[Row]| {
        let mut all: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (at, row) in rows.iter().enumerate() {
            all.entry(stage_of(&row.name)).or_default().push(at);
        }
        all
    };
    let old_stages = stages(before);
    for (stage, new) in stages(now) {
        let Some(old) = old_stages.get(&stage) else { continue };
        for (new, old) in align_stage(now, &new, before, old) {
            pairs.entry(new).or_insert(old);
        }
    }
    // A source is what the same input of the same step was.
    for (at, row) in now.iter().enumerate().rev() {
        let Some(old) = pairs.get(&at).map(|old| &before[*old]) else { continue };
        for (input, old_input) in row.inputs.iter().zip(&old.inputs) {
            if now[*input].inputs.is_empty() && before[*old_input].inputs.is_empty() {
                pairs.entry(*input).or_insert(*old_input);
            }
        }
    }
    pairs
}

/// The stage of a step, without the target: `[nova build 2/5] RUN x` is of `build`.
fn stage_of(name: &str) -> String {
    let (place, _) = split_name(name);
    place.and_then(|place| place.rsplit(' ').next()).unwrap_or_default().to_owned()
}

fn word_of(row: &Row) -> &str {
    let (_, text) = split_name(&row.name);
    text.split(' ').next().unwrap_or_default()
}

/// Pairs steps of a stage: equal ops in their order (the longest common subsequence), and between these
/// instructions of the same word.
fn align_stage(now: &[Row], new: &[usize], before: &[Row], old: &[usize]) -> Vec<(usize, usize)> {
    let is_same = |n: usize, o: usize| now[new[n]].op == before[old[o]].op;
    let anchors = match new.len().max(old.len()) > MAX_ALIGNED {
        true => Vec::new(),
        false => common(new.len(), old.len(), &is_same),
    };
    let mut pairs = Vec::new();
    let (mut from_new, mut from_old) = (0, 0);
    let ends = anchors.iter().copied().chain([(new.len(), old.len())]);
    for (to_new, to_old) in ends {
        let mut left: Vec<usize> = old[from_old..to_old].to_vec();
        for &n in &new[from_new..to_new] {
            let like = left.iter().position(|o| word_of(&now[n]) == word_of(&before[*o]));
            if let Some(like) = like {
                pairs.push((n, left[like]));
                left.drain(..=like);
            }
        }
        if let (Some(n), Some(o)) = (new.get(to_new), old.get(to_old)) {
            pairs.push((*n, *o));
        }
        (from_new, from_old) = (to_new + 1, to_old + 1);
        if from_new > new.len() || from_old > old.len() {
            break;
        }
    }
    pairs
}

/// The longest common subsequence, as pairs of places.
fn common(new: usize, old: usize, is_same: &dyn Fn(usize, usize) -> bool) -> Vec<(usize, usize)> {
    let mut length = vec![vec![0_u32; old + 1]; new + 1];
    for n in (0..new).rev() {
        for o in (0..old).rev() {
            length[n][o] = match is_same(n, o) {
                true => length[n + 1][o + 1] + 1,
                false => length[n + 1][o].max(length[n][o + 1]),
            };
        }
    }
    let (mut n, mut o, mut pairs) = (0, 0, Vec::new());
    while n < new && o < old {
        if is_same(n, o) {
            pairs.push((n, o));
            (n, o) = (n + 1, o + 1);
        } else if length[n + 1][o] >= length[n][o + 1] {
            n += 1;
        } else {
            o += 1;
        }
    }
    pairs
}

/// Why a step ran that was `old` in the build before.
fn compare(ledger: &Ledger, row: &Row, old: &Row, before: &[Row]) -> Reason {
    if row.key == old.key {
        return match old.outcome {
            Happened::Failed => Reason::FailedBefore,
            Happened::Unseen => Reason::NotReached,
            Happened::Ran | Happened::Cached => Reason::Gone,
        };
    }
    if row.op != old.op
        && let Some(changed) = changed_fact(row, old, &ledger.args)
    {
        return changed;
    }
    if let Some(files) = changed_files(row, old) {
        return files;
    }
    let mut parent = None;
    for (new, was) in row.inputs.iter().zip(&old.inputs) {
        let (Some(new), Some(was)) = (ledger.now.get(*new), before.get(*was)) else { continue };
        let same_result = !new.result.is_empty() && new.result == was.result;
        if new.key == was.key || same_result {
            continue;
        }
        if new.inputs.is_empty() {
            // A source has nothing below it that could say more.
            if let Some(changed) = changed_fact(new, was, &ledger.args) {
                return changed;
            }
        }
        parent.get_or_insert_with(|| Reason::Parent { step: new.name.clone() });
    }
    parent.unwrap_or(match old.outcome {
        Happened::Unseen => Reason::NotReached,
        Happened::Failed => Reason::FailedBefore,
        _ if row.inputs.len() != old.inputs.len() => changed_option("inputs", row, old),
        _ => Reason::Gone,
    })
}

fn changed_option(name: &str, row: &Row, old: &Row) -> Reason {
    let count = |row: &Row| Some(row.inputs.len().to_string());
    Reason::Changed { kind: "option", name: name.to_owned(), old: count(old), new: count(row) }
}

/// The first fact that differs.
fn changed_fact(row: &Row, old: &Row, args: &[String]) -> Option<Reason> {
    let map = |row: &Row| -> BTreeMap<String, String> { row.facts.iter().cloned().collect() };
    let (now, was) = (map(row), map(old));
    let order = row.facts.iter().chain(&old.facts).map(|(label, _)| label);
    // Build arguments first: what they are in is the same text.
    let is_arg = |label: &str| {
        label.strip_prefix(VARIABLE).is_some_and(|name| args.iter().any(|arg| arg == name))
    };
    let mut labels: Vec<&String> = order.collect();
    labels.sort_by_key(|label| !is_arg(label));
    let label = labels.into_iter().find(|label| now.get(*label) != was.get(*label))?;
    let (kind, name) = match label.strip_prefix(VARIABLE) {
        Some(name) if is_arg(label) => ("build-arg", name),
        Some(name) => ("variable", name),
        None if label == COMMAND => ("command", ""),
        None if label == IDENTITY || row.uncached => ("source", label.as_str()),
        None => ("option", label.as_str()),
    };
    let name = name.to_owned();
    let (old, new) = (was.get(label).cloned(), now.get(label).cloned());
    Some(Reason::Changed { kind, name, old, new })
}

/// The first file that differs.
fn changed_files(row: &Row, old: &Row) -> Option<Reason> {
    // Files that were not looked at say nothing.
    if row.files.is_empty() || old.files.is_empty() {
        return None;
    }
    let map = |row: &Row| -> BTreeMap<String, String> { row.files.iter().cloned().collect() };
    let (now, was) = (map(row), map(old));
    let all: BTreeSet<&String> = now.keys().chain(was.keys()).collect();
    let mut changed = all.into_iter().filter(|path| now.get(*path) != was.get(*path));
    let path = changed.next()?;
    let (old, new) = (was.get(path).cloned(), now.get(path).cloned());
    Some(Reason::Files { path: path.clone(), old, new, more: changed.count() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, key: &str, op: &str, inputs: &[usize]) -> Row {
        Row {
            name: name.to_owned(),
            key: key.to_owned(),
            op: op.to_owned(),
            outcome: Happened::Ran,
            inputs: inputs.to_vec(),
            facts: vec![(COMMAND.to_owned(), op.to_owned())],
            ..Row::default()
        }
    }

    fn reasons(now: Vec<Row>, before: Option<Vec<Row>>) -> Vec<Reason> {
        let args = vec!["VERSION".to_owned()];
        let ledger = Ledger { now, before, args, ..Ledger::default() };
        explain(&ledger).into_iter().filter_map(|step| step.reason).collect()
    }

    fn changed(kind: &'static str, name: &str, old: &str, new: &str) -> Reason {
        let text = |t: &str| (!t.is_empty()).then(|| t.to_owned());
        Reason::Changed { kind, name: name.to_owned(), old: text(old), new: text(new) }
    }

    #[test]
    fn a_changed_command_is_the_reason_and_what_follows_names_it() {
        let before = vec![
            row("[a 1/3] FROM x", "base", "base", &[]),
            row("[a 2/3] RUN one", "k1", "one", &[0]),
            row("[a 3/3] RUN last", "k2", "last", &[1]),
        ];
        let mut now = before.clone();
        now[0].outcome = Happened::Cached;
        now[1] = row("[a 2/3] RUN two", "n1", "two", &[0]);
        now[2].key = "n2".to_owned();
        let parent = Reason::Parent { step: "[a 2/3] RUN two".to_owned() };
        assert_eq!(reasons(now, Some(before)), [changed("command", "", "one", "two"), parent]);
    }

    #[test]
    fn a_step_that_was_put_in_between_is_new() {
        let before = vec![
            row("[a 1/2] RUN one", "k1", "one", &[]),
            row("[a 2/2] COPY x", "k2", "copy", &[0]),
        ];
        let now = vec![
            Row { outcome: Happened::Cached, ..row("[a 1/3] RUN one", "k1", "one", &[]) },
            row("[a 2/3] RUN more", "n1", "more", &[0]),
            row("[a 3/3] COPY x", "n2", "copy", &[1]),
        ];
        let parent = Reason::Parent { step: "[a 2/3] RUN more".to_owned() };
        assert_eq!(reasons(now, Some(before)), [Reason::NewStep, parent]);
    }

    #[test]
    fn arguments_files_and_bases_are_told_with_their_values() {
        let with = |mut row: Row, label: &str, value: &str| {
            row.facts.push((label.to_owned(), value.to_owned()));
            row
        };
        let old = with(row("[a 2/2] RUN x", "k", "o1", &[]), "variable VERSION", "1");
        let mut new = with(row("[a 2/2] RUN x", "n", "o2", &[]), "variable VERSION", "2");
        new.facts[0].1 = old.facts[0].1.clone();
        assert_eq!(
            reasons(vec![new], Some(vec![old])),
            [changed("build-arg", "VERSION", "1", "2")]
        );

        let file = |digest: &str| vec![("src/a.py".to_owned(), digest.to_owned())];
        let old = Row { files: file("d1"), ..row("[a 2/2] COPY src", "k", "o", &[]) };
        let new = Row { key: "n".to_owned(), files: file("d2"), ..old.clone() };
        let (path, more) = ("src/a.py".to_owned(), 0);
        let (was, now) = (Some("d1".to_owned()), Some("d2".to_owned()));
        let want = Reason::Files { path, old: was, new: now, more };
        assert_eq!(reasons(vec![new], Some(vec![old])), [want]);

        let base = |digest: &str| {
            let row = row("[a 1/2] FROM x", digest, "base", &[]);
            let facts = vec![("digest".to_owned(), digest.to_owned())];
            Row { facts, outcome: Happened::Ran, uncached: true, ..row }
        };
        let step = row("[a 2/2] RUN x", "k", "o", &[0]);
        let now = vec![base("new"), Row { key: "n".to_owned(), ..step.clone() }];
        let want = changed("source", "digest", "old", "new");
        assert_eq!(reasons(now, Some(vec![base("old"), step])), [want]);
    }

    #[test]
    fn what_did_not_change_has_other_reasons() {
        let step = row("[a 1/1] RUN x", "k", "o", &[]);
        let was = |outcome| Some(vec![Row { outcome, ..step.clone() }]);
        assert_eq!(reasons(vec![step.clone()], None), [Reason::FirstBuild]);
        assert_eq!(reasons(vec![step.clone()], was(Happened::Failed)), [Reason::FailedBefore]);
        assert_eq!(reasons(vec![step.clone()], was(Happened::Unseen)), [Reason::NotReached]);
        assert_eq!(reasons(vec![step.clone()], was(Happened::Cached)), [Reason::Gone]);
        let fresh = Row { fresh: true, ..step.clone() };
        assert_eq!(reasons(vec![fresh], was(Happened::Ran)), [Reason::PassedOver]);
    }

    #[test]
    fn an_input_of_another_key_and_the_same_result_is_no_reason() {
        let read = |key: &str, result: &str| Row {
            outcome: Happened::Cached,
            result: result.to_owned(),
            ..row("[a 1/2] COPY x", key, "copy", &[])
        };
        let step = |key: &str| row("[a 2/2] RUN x", key, "o", &[0]);
        let same =
            reasons(vec![read("n", "r"), step("n2")], Some(vec![read("k", "r"), step("k2")]));
        assert_eq!(same, [Reason::Gone]);
        let other =
            reasons(vec![read("n", "s"), step("n2")], Some(vec![read("k", "r"), step("k2")]));
        assert_eq!(other, [Reason::Parent { step: "[a 1/2] COPY x".to_owned() }]);
    }
}
