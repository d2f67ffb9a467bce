//! Inputs of the resolver, and what is made of its answers.

use karman_constraints::{
    LockScript, PinsError, Requirements, Resolution, Told, apply, failure_hints, parse_compiled,
    render_diff, render_pins,
};

use crate::{Subject, rendered};

pub(crate) fn script(subject: &Subject<'_>) -> String {
    let held = subject.case.section("held").map(|s| parse_compiled(&s.body).expect("pins"));
    shown(&subject.series.lock_script(held.as_ref()))
}

pub(crate) fn image(subject: &Subject<'_>) -> String {
    let pins = parse_compiled(subject.case.body("pins")).expect("pins");
    let services = subject.series.services.iter();
    let each = services
        .map(|s| format!("# {}\n{}", s.name, shown(&subject.series.image_script(s, &pins))));
    each.collect()
}

fn shown(script: &LockScript) -> String {
    let files = script.files.iter().map(|f| format!("== {}\n{}", f.name, f.contents));
    let commands =
        script.commands.iter().map(|c| format!("== Python {}\n{}\n", c.python, c.argv.join("\n")));
    files.chain(commands).collect()
}

pub(crate) fn render(subject: &Subject<'_>) -> String {
    let held = subject.case.section("held").map(|s| parse_compiled(&s.body).expect("pins"));
    karman_constraints::render(&subject.series, held.as_ref(), &resolutions(subject))
}

pub(crate) fn verify(subject: &Subject<'_>) -> String {
    let found = karman_constraints::verify(&subject.series, &resolutions(subject));
    rendered(&found, &subject.sources)
}

pub(crate) fn hints(subject: &Subject<'_>) -> String {
    failure_hints(&subject.series, subject.case.body("stderr")).join("\n")
}

/// The graph that is recorded, and what the log did not tell.
pub(crate) fn record(subject: &Subject<'_>) -> String {
    let logs = subject.case.sections.iter().filter(|s| s.name == "log");
    let compiled = subject.case.sections.iter().filter(|s| s.name == "compiled");
    let told: Vec<Told<'_>> = compiled
        .zip(logs)
        .map(|(answer, log)| Told {
            python: answer.value.parse().expect("a Python version"),
            answer: &answer.body,
            log: &log.body,
        })
        .collect();
    let held = subject.case.section("held").map(|s| parse_compiled(&s.body).expect("pins"));
    let recorded =
        karman_constraints::record(&subject.series, held.as_ref(), &resolutions(subject), &told);
    let text = recorded.requirements.render();
    let again = Requirements::parse(&text).expect("a graph");
    assert_eq!(again, recorded.requirements, "what is written is read back");
    let untold = recorded.untold.iter().map(|edge| format!("untold {edge}\n"));
    text + &untold.collect::<String>()
}

pub(crate) fn graph(subject: &Subject<'_>) -> String {
    match Requirements::parse(subject.case.body("graph")) {
        Ok(graph) => graph.render(),
        Err(error) => {
            let cause = std::error::Error::source(&error).map(|e| format!(": {e}"));
            format!("{error}{}\n", cause.unwrap_or_default())
        }
    }
}

pub(crate) fn expired(subject: &Subject<'_>) -> String {
    let today = subject.case.section("today").expect("a `today`").value.parse().expect("a date");
    rendered(&subject.series.expired(today), &subject.sources)
}

pub(crate) fn diff(subject: &Subject<'_>) -> String {
    let compared = || -> Result<String, PinsError> {
        let old = parse_compiled(subject.case.body("old"))?;
        let new = parse_compiled(subject.case.body("new"))?;
        Ok(render_diff(&karman_constraints::diff(&old, &new)))
    };
    compared().unwrap_or_else(|error| format!("{error}\n"))
}

/// Somebody else's file under the bounds of the series.
pub(crate) fn import(subject: &Subject<'_>) -> String {
    let pins = parse_compiled(subject.case.body("imported"));
    let pins = match pins {
        Ok(pins) => pins,
        Err(error) => return format!("{error}\n"),
    };
    match apply(&subject.series, &pins) {
        Ok(applied) => render_pins(&subject.series, &applied),
        Err(found) => rendered(&found, &subject.sources),
    }
}

fn resolutions(subject: &Subject<'_>) -> Vec<Resolution> {
    let compiled = subject.case.sections.iter().filter(|s| s.name == "compiled");
    compiled
        .map(|s| Resolution {
            python: s.value.parse().expect("a Python version"),
            pins: parse_compiled(&s.body).expect("pins"),
        })
        .collect()
}
