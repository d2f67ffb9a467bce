//! `karman cache why`.

mod label;

use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use karman_control::{Cause, SolveError};
use karman_report::human_age;
use karman_worker::{Engine, Explained, Happened, Reason, WhyReport};
use serde_json::{Value, json};

use self::label::{is_called, near, readings};
use crate::failure::Done;
use crate::out;
use crate::setup::Context;

/// Characters of a value that are shown.
const MAX_SHOWN: usize = 72;
/// Characters before the first difference that are shown.
const LEAD: usize = 16;

/// Arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Target, as in `nova` (`default` for `karman build`), with a step after a slash: its number, as in
    /// `nova/4`, its stage and number, as in `nova/build 4`, its label as the progress prints it, or words of it
    /// [default: the last build]
    #[arg(value_name = "TARGET[/STEP]")]
    step: Vec<String>,
    /// How it is printed
    #[arg(long, value_name = "FORMAT", value_parser = ["text", "json"], default_value = "text")]
    format: String,
}

/// Explains.
pub(crate) fn run(args: &Args, context: &Context) -> Done<()> {
    let engine = context.open(false)?;
    // A label that nobody quoted comes in several arguments.
    let asked = args.step.join(" ");
    let mut refused = None;
    for (target, step) in readings(&asked) {
        match find(&engine, target.as_deref(), step.as_deref()) {
            Ok(report) => {
                return out::data(&match args.format.as_str() {
                    "json" => to_json(&report),
                    _ => to_text(&report, step.is_some()),
                });
            }
            // The likeliest reading is what people are told about.
            Err(failure) => drop(refused.get_or_insert(failure)),
        }
    }
    refused.map_or(Ok(()), Err)
}

/// What was built, and the steps of it that are meant.
struct Shown {
    report: WhyReport,
    steps: Vec<Explained>,
}

fn find(engine: &Engine, target: Option<&str>, step: Option<&str>) -> Done<Shown> {
    let report = engine.why(target)?;
    let Some(step) = step else {
        return Ok(Shown { steps: report.steps.clone(), report });
    };
    let meant = report.steps.iter().filter(|one| is_called(&one.step, step));
    let steps: Vec<Explained> = meant.cloned().collect();
    if !steps.is_empty() {
        return Ok(Shown { report, steps });
    }
    let near = near(report.steps.iter().map(|one| one.step.as_str()), step);
    let near: String = near.iter().map(|name| format!("\n  {}", cut(name, 0))).collect();
    let message = format!("no step of `{}` that runs is called `{step}`", report.target);
    let hint = match near.is_empty() {
        true => "none of its steps runs: sources are not remembered".to_owned(),
        false => format!(
            "a step is named by its number, its stage and number, its label, or words of it; such as{near}"
        ),
    };
    Err(SolveError::new(Cause::NotFound, message).with_hint(hint).into())
}

fn to_text(Shown { report, steps: shown }: &Shown, all: bool) -> String {
    let ran = report.steps.iter().filter(|s| s.reason.is_some()).count();
    let (count, now) =
        (report.steps.len(), SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
    let age = now.saturating_sub(Duration::from_secs(u64::try_from(report.at).unwrap_or(0)));
    let (target, age) = (&report.target, human_age(age));
    let mut text = match ran {
        0 => format!("{target}, built {age}: all of {count} steps were there\n"),
        ran => format!("{target}, built {age}: {ran} of {count} steps ran\n"),
    };
    for one in shown {
        match &one.reason {
            Some(reason) => {
                let failed = if one.outcome == Happened::Failed { " (failed)" } else { "" };
                let _ = writeln!(text, "{}{failed}\n  {}", one.step, words(reason));
            }
            None if all => {
                let what = match one.outcome {
                    Happened::Unseen => "was not needed, or the build did not come so far",
                    _ => "was there",
                };
                let _ = writeln!(text, "{}\n  {what}", one.step);
            }
            None => {}
        }
    }
    text
}

/// A reason in a sentence.
fn words(reason: &Reason) -> String {
    match reason {
        Reason::PassedOver => "the cache was passed over, as asked".to_owned(),
        Reason::FirstBuild => "no earlier build of this target is remembered".to_owned(),
        Reason::NewStep => "the step is new: the build before had none like it".to_owned(),
        Reason::NotReached => "the build before did not come so far".to_owned(),
        Reason::FailedBefore => "it failed in the build before".to_owned(),
        Reason::Gone => "nothing changed, but its result is no longer in the store".to_owned(),
        Reason::Parent { step } => format!("what it stands on or reads changed: {step}"),
        Reason::Files { path, old, new, more } => {
            let what = match (old, new) {
                (Some(old), Some(new)) => format!("file `{path}` changed ({old} → {new})"),
                (None, _) => format!("file `{path}` is new"),
                (_, None) => format!("file `{path}` is gone"),
            };
            if *more > 0 { format!("{what}, and {more} more") } else { what }
        }
        Reason::Changed { kind, name, old, new } => {
            let what = match *kind {
                "build-arg" => format!("build arg {name}"),
                "variable" => format!("variable {name}"),
                "command" => "the command".to_owned(),
                "source" if name == "digest" => "the digest of the base image".to_owned(),
                "source" => format!("the source ({name})"),
                _ => name.clone(),
            };
            match (old, new) {
                (Some(old), Some(new)) => {
                    let (old, new) = excerpts(old, new);
                    format!("{what} changed: {old} → {new}")
                }
                (None, new) => format!("{what} is new: {}", cut(new.as_deref().unwrap_or(""), 0)),
                (Some(old), None) => format!("{what} is gone; it was {}", cut(old, 0)),
            }
        }
    }
}

/// Both values, from a little before their first difference on.
fn excerpts(old: &str, new: &str) -> (String, String) {
    let same = old.chars().zip(new.chars()).take_while(|(a, b)| a == b).count();
    let longest = old.chars().count().max(new.chars().count());
    let from = if longest <= MAX_SHOWN { 0 } else { same.saturating_sub(LEAD) };
    (cut(old, from), cut(new, from))
}

/// A value on one line.
fn cut(text: &str, from: usize) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let part: String = line.chars().skip(from).take(MAX_SHOWN).collect();
    let before = if from > 0 { "…" } else { "" };
    let after = if line.chars().count() > from + MAX_SHOWN { "…" } else { "" };
    format!("`{before}{part}{after}`")
}

fn to_json(Shown { report, steps: shown }: &Shown) -> String {
    let steps: Vec<Value> = shown.iter().map(step_json).collect();
    let value = json!({
        "target": report.target,
        "definition": report.definition,
        "at": report.at,
        "steps": steps,
    });
    format!("{value:#}\n")
}

fn step_json(one: &Explained) -> Value {
    let outcome = match one.outcome {
        Happened::Unseen => "unseen",
        Happened::Cached => "cached",
        Happened::Ran => "ran",
        Happened::Failed => "failed",
    };
    let mut value = json!({ "step": one.step, "outcome": outcome });
    if let Some(reason) = &one.reason {
        value["reason"] = reason_json(reason);
        value["reason"]["message"] = words(reason).into();
    }
    value
}

fn reason_json(reason: &Reason) -> Value {
    match reason {
        Reason::PassedOver => json!({ "kind": "passed-over" }),
        Reason::FirstBuild => json!({ "kind": "first-build" }),
        Reason::NewStep => json!({ "kind": "new-step" }),
        Reason::NotReached => json!({ "kind": "not-reached" }),
        Reason::FailedBefore => json!({ "kind": "failed-before" }),
        Reason::Gone => json!({ "kind": "gone" }),
        Reason::Parent { step } => json!({ "kind": "parent", "step": step }),
        Reason::Files { path, old, new, more } => {
            json!({ "kind": "file", "name": path, "old": old, "new": new, "more": more })
        }
        Reason::Changed { kind, name, old, new } => {
            json!({ "kind": kind, "name": name, "old": old, "new": new })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_values_are_shown_where_they_differ() {
        let old = format!("{}a{}", "x".repeat(200), "y".repeat(200));
        let new = old.replace('a', "b");
        let (old, new) = excerpts(&old, &new);
        assert!(old.starts_with("`…xxxx") && old.contains("xay") && old.ends_with("y…`"), "{old}");
        assert!(new.contains("xby") && new.chars().count() <= MAX_SHOWN + 4, "{new}");
        assert_eq!(excerpts("1\n2", "3"), ("`1 2`".to_owned(), "`3`".to_owned()));
    }

    #[test]
    fn reasons_are_sentences() {
        let changed = |kind, name: &str| Reason::Changed {
            kind,
            name: name.to_owned(),
            old: Some("a".to_owned()),
            new: Some("b".to_owned()),
        };
        assert_eq!(words(&changed("build-arg", "X")), "build arg X changed: `a` → `b`");
        assert_eq!(words(&changed("command", "")), "the command changed: `a` → `b`");
        let digest = "the digest of the base image changed: `a` → `b`";
        assert_eq!(words(&changed("source", "digest")), digest);
        let (path, old, new) = ("src/a.py".to_owned(), Some("1".to_owned()), Some("2".to_owned()));
        let files = Reason::Files { path, old, new, more: 2 };
        assert_eq!(words(&files), "file `src/a.py` changed (1 → 2), and 2 more");
    }
}
