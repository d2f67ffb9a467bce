//! The series of this repository: they are well-formed, and their pins are what `karman constraints
//! lock` wrote for them. With `KARMAN_TEST_UV` naming a uv program, they are also resolved anew from
//! PyPI, and the requirement graph is recorded anew.

use std::path::{Path, PathBuf};
use std::process::Command;

use karman_constraints::{
    Requirements, Resolution, Series, Told, parse, parse_compiled, record, render, verify,
};
use karman_diag::{Diagnostic, SourceMap, render as render_diagnostic};

fn constraints_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../constraints")
}

/// Every series, with the file it was read from.
fn all_series() -> Vec<(Series, SourceMap)> {
    let entries = std::fs::read_dir(constraints_dir()).expect("`constraints/`");
    let mut files: Vec<PathBuf> = entries.map(|e| e.expect("an entry").path()).collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "toml"));
    files.sort();
    assert!(!files.is_empty(), "`constraints/` holds no series");
    files.iter().map(|path| read(path)).collect()
}

fn read(path: &Path) -> (Series, SourceMap) {
    let text = std::fs::read_to_string(path).expect("a series");
    let mut sources = SourceMap::new();
    let file = sources.add(path.display().to_string(), text.as_str());
    let (series, diagnostics) = parse(file, &text);
    assert!(diagnostics.is_empty(), "{}", rendered(&diagnostics, &sources));
    let series = series.expect("a series without errors");
    assert_eq!(path.file_stem().and_then(|s| s.to_str()), Some(series.name.as_str()));
    (series, sources)
}

fn rendered(diagnostics: &[Diagnostic], sources: &SourceMap) -> String {
    diagnostics.iter().map(|d| render_diagnostic(d, sources)).collect()
}

#[test]
fn every_series_is_well_formed_and_its_pins_are_up_to_date() {
    for (series, sources) in all_series() {
        let path = constraints_dir().join(&series.name).join("upper-constraints.txt");
        let Ok(text) = std::fs::read_to_string(&path) else {
            eprintln!("SKIP pins of {}: not locked yet", series.name);
            continue;
        };
        let &[python] = series.pythons.as_slice() else {
            eprintln!("SKIP pins of {}: the lines of several Pythons are joined", series.name);
            continue;
        };
        let pins = parse_compiled(&text).expect("pins");
        let resolutions = [Resolution { python, pins }];
        let problems = verify(&series, &resolutions);
        assert!(problems.is_empty(), "{}", rendered(&problems, &sources));
        let written = render(&series, None, &resolutions);
        // The first line that differs says more than two whole files.
        let stale = written.lines().zip(text.lines()).find(|(new, old)| new != old);
        assert_eq!(stale, None, "`karman constraints lock {}` writes something else", series.name);
        assert_eq!(written.len(), text.len(), "one of them is longer");
    }
}

#[test]
fn the_requirement_graph_of_every_series_fits_its_pins() {
    for (series, _) in all_series() {
        let dir = constraints_dir().join(&series.name);
        let Ok(text) = std::fs::read_to_string(dir.join("requirements.json")) else {
            eprintln!("SKIP graph of {}: not locked yet", series.name);
            continue;
        };
        let graph = Requirements::parse(&text).expect("a graph");
        assert_eq!(graph.render(), text, "it is written as `lock` writes it");
        let pins = std::fs::read_to_string(dir.join("upper-constraints.txt")).expect("pins");
        let pins = parse_compiled(&pins).expect("pins");
        for (name, node) in graph.pythons.values().flatten() {
            assert!(pins.get(name).iter().any(|p| p.version == node.version), "{name}");
            for requirement in &node.requires {
                let found = pins.get(&requirement.name);
                let holds = |v: &str| {
                    requirement.specifiers.is_empty() || requirement.specifiers.contains(v)
                };
                assert!(found.iter().any(|p| holds(&p.version)), "{name}: {}", requirement.line());
            }
        }
        // Every pin is there because some service, or every image, asks for it.
        for (name, _) in pins.iter() {
            assert!(!graph.chains(&series, name).is_empty(), "nothing leads to {name}");
        }
    }
}

#[test]
fn uv_resolves_every_series() {
    let Some(uv) = std::env::var_os("KARMAN_TEST_UV") else {
        eprintln!("SKIP uv_resolves_every_series: KARMAN_TEST_UV is not set");
        return;
    };
    for (series, sources) in all_series() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut answers = Vec::new();
        let script = series.lock_script(None);
        for file in &script.files {
            std::fs::write(dir.path().join(file.name), &file.contents).expect("writes");
        }
        let mut resolutions = Vec::new();
        for command in &script.commands {
            let output = Command::new(&uv)
                .args(&command.argv[1..])
                .current_dir(dir.path())
                .output()
                .expect("runs uv");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let text = String::from_utf8(output.stdout).expect("UTF-8");
            let pins = parse_compiled(&text).expect("pins");
            assert!(pins.len() > 50, "{text}");
            resolutions.push(Resolution { python: command.python, pins });
            let log = String::from_utf8_lossy(&output.stderr).into_owned();
            answers.push((command.python, text, log));
        }
        let problems = verify(&series, &resolutions);
        assert!(problems.is_empty(), "{}", rendered(&problems, &sources));
        let told: Vec<Told<'_>> = answers
            .iter()
            .map(|(python, answer, log)| Told { python: *python, answer, log })
            .collect();
        let recorded = record(&series, None, &resolutions, &told);
        assert_eq!(recorded.untold, Vec::<String>::new(), "uv's log is read");
        let graph = constraints_dir().join(&series.name).join("requirements.json");
        let graph = std::fs::read_to_string(graph).unwrap_or_default();
        let same = recorded.requirements.render() == graph;
        assert!(same, "`karman constraints lock {}` records another graph", series.name);
        if let Some(dest) = std::env::var_os("KARMAN_TEST_UV_OUT") {
            std::fs::write(dest, render(&series, None, &resolutions)).expect("writes");
        }
    }
}
