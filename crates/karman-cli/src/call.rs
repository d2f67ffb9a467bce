//! `--check` and `--call`: what is asked of targets instead of building them.

use std::collections::BTreeSet;

use karman_bake::{Resolved, print_json};
use karman_build::{Answered, Call, TargetSpec};
use karman_diag::{ExitCode, nearest};
use serde_json::{Map, Value};

use crate::failure::{Done, Failure};
use crate::out;

/// How a context names another target.
const LINK: &str = "target:";

/// Flags of `build` and `bake`.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct CallArgs {
    /// The same as --call=check: show warnings about all stages, build nothing; exit code 1 when
    /// there are any
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    check: Option<bool>,
    /// Ask instead of building: check, outline, targets or subrequests.describe, with
    /// `,format=json` for programs and `,ignorestatus=true` for exit code 0 [default: build]
    #[arg(long, value_name = "METHOD", value_parser = parse)]
    call: Option<Method>,
}

/// What `--call` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Method {
    /// The question; `None` is a build.
    call: Option<Call>,
    json: bool,
    ignore_status: bool,
}

impl CallArgs {
    /// What is asked for, and how it is shown; `None` is a build.
    pub(crate) fn method(&self) -> Option<(Call, Method)> {
        let method = self.call.unwrap_or(BUILD);
        let check = (self.check == Some(true)).then_some(Call::Check);
        Some((method.call.or(check)?, method))
    }
}

/// A build.
const BUILD: Method = Method { call: None, json: false, ignore_status: false };

/// Reads `METHOD[,format=json|text][,ignorestatus=BOOL]`, in any order.
pub(crate) fn parse(text: &str) -> Result<Method, String> {
    let mut method = BUILD;
    let mut name = None;
    for field in text.split(',') {
        match field.split_once('=') {
            Some(("format", "json")) => method.json = true,
            Some(("format", "text" | "")) => method.json = false,
            Some(("format", other)) => {
                return Err(format!("unknown format `{other}` (want json or text)"));
            }
            Some(("ignorestatus", value)) => {
                let value =
                    value.parse().map_err(|_| format!("`{value}` is neither true nor false"));
                method.ignore_status = value?;
            }
            Some((key, _)) => return Err(format!("unknown field `{key}`")),
            None if name.is_some() => return Err(format!("`{text}` names two methods")),
            None => name = Some(field),
        }
    }
    method.call = match name {
        None | Some("build" | "") => None,
        Some(name) => Some(find(name)?),
    };
    Ok(method)
}

fn find(name: &str) -> Result<Call, String> {
    let known = Call::ALL.iter().find(|(known, _)| *known == name);
    known.map(|(_, call)| *call).ok_or_else(|| {
        let near = nearest(name, Call::ALL.iter().map(|(known, _)| *known).chain(["build"]));
        let near = near.map_or(String::new(), |near| format!("; did you mean `{near}`?"));
        format!("unknown method `{name}`{near}")
    })
}

impl Method {
    fn status(self, code: u8) -> u8 {
        if self.ignore_status { ExitCode::Success.code() } else { code }
    }

    /// Writes the answer of the only target.
    pub(crate) fn show(self, answers: Vec<Answered>) -> Done {
        let mut code = ExitCode::Success.code();
        for answer in answers {
            out::data(if self.json { &answer.json } else { &answer.text })?;
            if let Some((text, exit)) = answer.error {
                return Err(Failure::Rendered { text, exit });
            }
            code = code.max(self.status(answer.code));
        }
        Ok(code)
    }
}

/// A question to some targets of bake files.
pub(crate) struct Question {
    /// What is asked.
    pub(crate) call: Call,
    method: Method,
    /// Who.
    pub(crate) targets: BTreeSet<String>,
}

/// What is asked of bake targets: the command line's question of all of them, else that of each
/// one's `call`.
pub(crate) fn questions(args: &CallArgs, resolved: &Resolved) -> Done<Vec<Question>> {
    if let Some((call, method)) = args.method() {
        return Ok(vec![Question {
            call,
            method,
            targets: resolved.order.iter().cloned().collect(),
        }]);
    }
    let mut all: Vec<Question> = Vec::new();
    for (name, target) in &resolved.targets {
        let text = target.call.as_deref().unwrap_or_default();
        let method =
            parse(text).map_err(|why| Failure::usage(format!("target `{name}`: `call`: {why}")))?;
        let Some(call) = method.call else { continue };
        match all.iter_mut().find(|q| q.method == method) {
            Some(known) => drop(known.targets.insert(name.clone())),
            None => all.push(Question { call, method, targets: BTreeSet::from([name.clone()]) }),
        }
    }
    Ok(all)
}

/// The targets of these names and all that they link, in the order of the specs.
pub(crate) fn with_linked(specs: &[TargetSpec], names: &BTreeSet<String>) -> Vec<TargetSpec> {
    let mut wanted: BTreeSet<&str> = BTreeSet::new();
    let mut pending: Vec<&str> = names.iter().map(String::as_str).collect();
    while let Some(name) = pending.pop() {
        if wanted.insert(name) {
            let spec = specs.iter().filter(|spec| spec.name == name);
            let sources = spec.flat_map(|spec| spec.contexts.values().chain([&spec.context]));
            pending.extend(sources.filter_map(|source| source.strip_prefix(LINK)));
        }
    }
    specs.iter().filter(|spec| wanted.contains(spec.name.as_str())).cloned().collect()
}

/// What is built after the questions: the targets that were not asked, and what they link. One that
/// was asked goes nowhere.
pub(crate) fn left_to_build(
    specs: &[TargetSpec],
    questions: &[Question],
    resolved: &Resolved,
) -> Vec<TargetSpec> {
    let is_asked = |name: &String| questions.iter().any(|q| q.targets.contains(name));
    let is_linked = |name: &String| resolved.targets.get(name).is_some_and(|t| t.linked);
    let names = specs.iter().map(|spec| spec.name.clone());
    let built = names.filter(|name| !is_asked(name) && !is_linked(name)).collect();
    let mut specs = with_linked(specs, &built);
    for spec in specs.iter_mut().filter(|spec| is_asked(&spec.name)) {
        spec.exports.clear();
        spec.tags.clear();
    }
    specs
}

impl Question {
    /// Writes the answers of the targets that were asked, by name.
    pub(crate) fn show(&self, mut answers: Vec<Answered>, resolved: &Resolved) -> Done {
        answers.retain(|answer| self.targets.contains(&answer.target));
        answers.sort_by(|a, b| a.target.cmp(&b.target));
        let failed = |answer: &Answered| match answer.error {
            Some(_) => ExitCode::Failure.code(),
            None => self.method.status(answer.code),
        };
        let code = answers.iter().map(failed).max().unwrap_or_default();
        if self.method.json {
            out::data(&self.json(&answers, &print_json(resolved))?)?;
            return Ok(code);
        }
        for (at, answer) in answers.iter().enumerate() {
            let about = resolved.targets.get(&answer.target).and_then(|t| t.description.clone());
            let about = about.filter(|text| !text.is_empty()).map(|text| text + "\n");
            let error = answer.error.as_ref().map_or("", |(text, _)| text.as_str());
            out::data(&format!(
                "{}{}\n{}\n{}{error}",
                if at == 0 { "" } else { "\n" },
                answer.target,
                about.unwrap_or_default(),
                answer.text,
            ))?;
        }
        Ok(code)
    }

    /// buildx's shape: groups, and for each target its definition and the answer.
    fn json(&self, answers: &[Answered], resolved: &str) -> Done<String> {
        let read = |text: &str| {
            serde_json::from_str::<Value>(text).map_err(|e| Failure::host("read an answer", e))
        };
        let printed = read(resolved)?;
        let mut targets = Map::new();
        for answer in answers {
            let mut entry = Map::new();
            entry.insert("build".to_owned(), printed["target"][&answer.target].clone());
            let mut result = read(&answer.json)?;
            if let (Some((text, _)), Some(members)) = (&answer.error, result.as_object_mut()) {
                members.insert("error".to_owned(), text.trim_end().into());
            }
            entry.insert(self.call.name().to_owned(), result);
            targets.insert(answer.target.clone(), Value::Object(entry));
        }
        let mut all = Map::new();
        if let Some(groups) = printed.get("group") {
            all.insert("group".to_owned(), groups.clone());
        }
        all.insert("target".to_owned(), Value::Object(targets));
        Ok(format!("{:#}\n", Value::Object(all)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_has_a_name_and_fields() {
        let read = |text: &str| parse(text).map(|m| (m.call, m.json, m.ignore_status));
        assert_eq!(read("check"), Ok((Some(Call::Check), false, false)));
        assert_eq!(read("lint,format=json"), Ok((Some(Call::Check), true, false)));
        assert_eq!(read("format=json,outline"), Ok((Some(Call::Outline), true, false)));
        assert_eq!(read("check,ignorestatus=true"), Ok((Some(Call::Check), false, true)));
        assert_eq!(read("build"), Ok((None, false, false)));
        for (text, want) in [
            ("chek", "unknown method `chek`; did you mean `check`?"),
            ("check,outline", "`check,outline` names two methods"),
            ("check,format=xml", "unknown format `xml` (want json or text)"),
            ("check,x=y", "unknown field `x`"),
        ] {
            assert_eq!(parse(text), Err(want.to_owned()));
        }
    }
}
