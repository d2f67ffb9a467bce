//! `.case` files: one build and what it gives.
//!
//! | section | meaning |
//! |---|---|
//! | `Dockerfile` | the file `ctx/Dockerfile` |
//! | `ctx/…`, `work/…` | a file of the context, or beside it; `mode=0755` or `link=TARGET` as value |
//! | `setup` | a shell script that runs in the context before the build |
//! | `beside` | the same, beside the context |
//! | `stdin` | a file beside the context that is standard input |
//! | `www/…` | a file that a server has at `{server}/…`; `www/NAME.head` are lines of its answer |
//! | `options` | added to `karman build`; `{base}` is the source of the base image |
//! | `args` | the whole command line instead; `out.tar` is read for `tree`, `out` for `config` |
//! | `env` | a variable of the environment, `NAME=value` |
//! | `change` | a shell script that runs in the context before a second build, for `cached` |
//! | `requires` | `root`, or a program of the host |
//! | `expect` | `tree`, `tree times`, `layers`, `config`, `history`, `cached`, `index`, `dir`, `stdout`, `file NAME`, or `stderr exit=N` |
//!
//! A tree shows what the base image does not have, and with `-` what it lost; `layers` shows the entries of
//! each layer above the base; `cached` shows which instructions the second build ran. `{multi}` is the
//! source of an index of three platforms without programs. `index` shows the layout `out`, `dir` the
//! directory `out`, `file` a file that the build wrote beside the context.

use std::fs;
use std::path::Path;

use karman_testing::{Case, Place, Skip, Tested, Told, Trial, Who, case_files, check_file};

use crate::lab::{Lab, need, need_root};
use crate::layout::Layout;
use crate::repeat::steps;
use crate::scene::Scene;
use crate::shown;
use crate::tree::{Times, Tree};

/// Where the cases are.
fn directory() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/cases"))
}

/// Every case as a test.
pub(crate) fn trials(lab: &Lab) -> Vec<Trial<'_>> {
    let files = case_files(directory());
    assert!(!files.is_empty(), "no cases in {}", directory().display());
    let trial = |path: std::path::PathBuf| {
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        Trial::new(format!("case::{name}"), move || run(lab, &path, Who::Caller, true))
    };
    files.into_iter().map(trial).collect()
}

/// Runs a case by name as somebody else.
pub(crate) fn run_as(lab: &Lab, name: &str, who: Who) -> Tested {
    run(lab, &directory().join(format!("{name}.case")), who, false)
}

fn run(lab: &Lab, path: &Path, who: Who, may_bless: bool) -> Tested {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let case = Case::parse(&text);
    check_needs(&case)?;
    let bless = may_bless && std::env::var_os("KARMAN_BLESS").is_some();
    let mut place = lab.place_of(who)?;
    for pair in case.values("env") {
        let (name, value) = pair.split_once('=').expect("NAME=value");
        place = place.with_env(name, value);
    }
    let base = lab.base_tree()?;
    let answer = check_file(path, bless, |case| lab.masked(&answer(lab, &place, case, base)));
    if let Err(failure) = answer {
        panic!("\nexpected:\n{}actual:\n{}", failure.expected, failure.actual);
    }
    Ok(())
}

fn check_needs(case: &Case) -> Result<(), Skip> {
    for wanted in case.values("requires").flat_map(str::split_whitespace) {
        match wanted {
            "root" => need_root()?,
            // Every place can build; see `Lab::place`.
            "userns" => {}
            program => drop(need(program)?),
        }
    }
    Ok(())
}

fn answer(lab: &Lab, place: &Place, case: &Case, base: &Tree) -> String {
    let scene = Scene::set(place, case);
    let expect = case.section("expect").map_or("", |s| s.value.as_str());
    let (kind, rest) = expect.split_once(' ').unwrap_or((expect, ""));
    let arguments = arguments(lab, &scene, case, kind);
    let mut command = place.command(&arguments);
    if let Some(file) = case.values("stdin").next() {
        command.stdin(fs::File::open(place.work().join(file)).expect("standard input"));
    }
    let told = Told::of(&command.output().expect("the program starts"));
    let normal = |text: &str| normal(&scene.unnamed(text), place);
    if kind == "stderr" {
        let want: i32 = rest.strip_prefix("exit=").and_then(|n| n.parse().ok()).expect("exit=N");
        let note =
            if told.code == want { String::new() } else { format!("(exit {})\n", told.code) };
        return normal(&told.err) + &note + left_over(place, case);
    }
    if told.code != 0 {
        return format!("(exit {})\n{}{}", told.code, normal(&told.out), normal(&told.err));
    }
    match kind {
        "tree" => {
            let tar = fs::read(place.work().join("out.tar")).expect("the output");
            let times = if rest == "times" { Times::Shown } else { Times::Hidden };
            Tree::read(&tar).beyond(base, times)
        }
        "layers" => layers(&layout(place)),
        "config" => format!("{:#}\n", layout(place).config["config"]),
        "history" => history(&layout(place)),
        "cached" => {
            scene.change(place, case);
            cached(&place.run(&arguments))
        }
        "stdout" => normal(&told.out),
        "index" => normal(&shown::index(&place.work().join("out"))),
        "dir" => shown::directory(&place.work().join("out")),
        "file" => normal(&fs::read_to_string(place.work().join(rest)).expect("a file")),
        other => panic!("unknown expectation `{other}`"),
    }
}

/// Words that no expectation has, where a failed build exported something. Of several targets some may be built.
fn left_over(place: &Place, case: &Case) -> &'static str {
    let there = ["out.tar", "out"].iter().any(|name| place.work().join(name).exists());
    if there && case.section("args").is_none() { "(something was exported)\n" } else { "" }
}

/// The entries of each layer but the first, which is the base's.
fn layers(layout: &Layout) -> String {
    let mut out = String::new();
    for (at, tar) in layout.layers().iter().enumerate().skip(1) {
        out.push_str(&format!("layer {at}\n{}", Tree::read(tar).lines()));
    }
    out
}

/// The instructions of a build and whether each ran.
fn cached(told: &Told) -> String {
    assert_eq!(told.code, 0, "the second build: {}", told.err);
    let mut lines: Vec<String> = Vec::new();
    for (name, how) in steps(&told.err) {
        let Some((_, instruction)) = name.split_once("] ") else { continue };
        if ["RUN ", "COPY ", "ADD ", "WORKDIR "].iter().any(|w| instruction.starts_with(w)) {
            lines.push(format!(
                "{} {instruction}\n",
                if how == "CACHED" { "cached" } else { "ran" }
            ));
        }
    }
    lines.sort();
    lines.concat()
}

fn layout(place: &Place) -> Layout {
    let layout = Layout::open(&place.work().join("out"));
    layout.layers();
    layout
}

fn history(layout: &Layout) -> String {
    let entries = layout.config["history"].as_array().expect("history");
    let line = |entry: &serde_json::Value| {
        let mark = if entry["empty_layer"] == true { "empty" } else { "layer" };
        format!("{mark} {}\n", entry["created_by"].as_str().unwrap_or_default())
    };
    entries.iter().map(line).collect()
}

/// The whole command line.
fn arguments(lab: &Lab, scene: &Scene, case: &Case, kind: &str) -> Vec<String> {
    let fill = |text: &str| {
        let text = scene.named(text).replace("{base}", &lab.base());
        if text.contains("{multi}") { text.replace("{multi}", &lab.multi()) } else { text }
    };
    if let Some(args) = case.section("args") {
        return words(&fill(&args.value));
    }
    let output = match kind {
        "config" | "history" | "layers" | "index" => "type=oci,dest=out,tar=false",
        "dir" => "type=local,dest=out",
        "file" => "type=cacheonly",
        _ => "type=tar,dest=out.tar",
    };
    let mut all = lab.build_args(&[]);
    if kind != "cached" {
        all.retain(|a| a != "--progress=plain");
        all.push("--progress=quiet".to_owned());
    }
    let options: Vec<String> = case.values("options").flat_map(|o| words(&fill(o))).collect();
    if !options.iter().any(|o| o == "-o") {
        all.extend(["-o".to_owned(), output.to_owned()]);
    }
    // A context among the options is the last of them.
    let has_context = match options.as_slice() {
        [.., flag, last] => last.starts_with("https://") || (last == "-" && flag != "-f"),
        [only] => only.starts_with("https://") || only == "-",
        [] => false,
    };
    all.extend(options);
    if !has_context {
        all.push("ctx".to_owned());
    }
    all
}

/// Words as a shell splits them, with single and double quotes.
fn words(text: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in text.chars() {
        match (quote, c) {
            (Some(q), c) if q == c => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, ' ') => all.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
    }
    all.extend(word);
    all
}

/// The line of metadata with the name of a build, which depends on its image.
fn without_build(line: &str) -> String {
    match (line.contains("\"buildx.build.ref\": "), line.rsplit_once('/')) {
        (true, Some((before, id))) => {
            format!("{before}/[BUILD]{}", id.trim_start_matches(|c: char| c.is_ascii_hexdigit()))
        }
        _ => line.to_owned(),
    }
}

/// Text without what differs from run to run: the place, builds, and digests, numbered as they come.
fn normal(text: &str, place: &Place) -> String {
    let text = text.replace(&place.root().display().to_string(), "[PLACE]");
    let text: String = text.split_inclusive('\n').map(without_build).collect();
    let mut seen: Vec<String> = Vec::new();
    let mut out = String::new();
    let mut rest = text.as_str();
    while let Some(at) = rest.find("sha256:") {
        let (before, digest) = rest.split_at(at);
        let end =
            digest[7..].find(|c: char| !c.is_ascii_hexdigit()).map_or(digest.len(), |n| n + 7);
        out.push_str(before);
        if end == 7 + 64 {
            let known = seen.iter().position(|d| d == &digest[..end]).unwrap_or_else(|| {
                seen.push(digest[..end].to_owned());
                seen.len() - 1
            });
            out.push_str(&format!("[sha256:{}]", known + 1));
        } else {
            out.push_str(&digest[..end]);
        }
        rest = &digest[end..];
    }
    out + rest
}
