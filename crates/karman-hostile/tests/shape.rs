//! The shape of errors: what is wrong, where (`file:line`, the lines, `>>>`), and the nearest right word.

use std::path::{Path, PathBuf};

use karman_bake::Request;
use karman_diag::{Diagnostic, SourceMap, render};
use karman_dockerfile::lower::{Options, ResolveError, ResolvedBase, Resolver, lower};
use karman_llb::Graph;
use karman_oci::{ImageConfig, Platform};
use karman_testing::{Case, case_files};

/// Crates whose cases show errors about a text.
const CRATES: [&str; 3] = ["karman-dockerfile", "karman-bake", "karman-cli"];

/// Cases whose error has no line: what is wrong stands in no file.
const NO_LINE: &[(&str, &str)] = &[
    ("karman-bake/tests/cases/set/", "the command line is wrong, not the file"),
    ("karman-bake/tests/cases/group/pattern_none.case", "the pattern is an argument"),
    (
        "karman-bake/tests/cases/group/no_default.case",
        "nothing is asked for and nothing is default",
    ),
    ("karman-bake/tests/cases/group/missing.case", "the target is an argument"),
    (
        "karman-bake/tests/cases/compose/dot_env_error.case",
        "the line is told; the file is no bake file",
    ),
    ("karman-dockerfile/tests/cases/errors/no-from-but-comments.case", "an instruction is missing"),
    ("karman-cli/tests/e2e/cases/context/", "the command line is wrong"),
    ("karman-cli/tests/e2e/cases/output/", "the command line is wrong"),
    ("karman-cli/tests/e2e/cases/platform/", "the command line is wrong"),
    ("karman-cli/tests/e2e/cases/run/ulimit-malformed.case", "the limit is an argument"),
    ("karman-cli/tests/e2e/cases/call-unknown.case", "the method is an argument"),
    ("karman-cli/tests/e2e/cases/bake-allow.case", "the command line does not allow it"),
    ("karman-cli/tests/e2e/cases/bake-keep-going.case", "one target has no file"),
    ("karman-cli/tests/e2e/cases/error-unknown-stage.case", "the stage is an argument"),
    ("karman-cli/tests/e2e/cases/error-empty-dockerfile.case", "the file has no lines"),
    ("karman-cli/tests/e2e/cases/error-no-dockerfile.case", "there is no file"),
    ("karman-cli/tests/e2e/cases/bake-unknown-target.case", "the target is an argument"),
    ("karman-dockerfile/tests/cases/errors/only-global-args.case", "an instruction is missing"),
    ("karman-dockerfile/tests/cases/errors/only-comments.case", "an instruction is missing"),
];

fn cases() -> Vec<PathBuf> {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let all = CRATES.iter().flat_map(|name| case_files(&crates.join(name).join("tests")));
    all.map(|path| path.canonicalize().expect("a case")).collect()
}

/// The errors of an expectation, each with the lines up to the next one.
fn errors(text: &str) -> Vec<Vec<&str>> {
    let mut all: Vec<Vec<&str>> = Vec::new();
    let mut is_error = false;
    for line in text.lines() {
        if line.starts_with("ERROR: ") {
            all.push(Vec::new());
            is_error = true;
        } else if line.starts_with("WARNING: ") {
            is_error = false;
        }
        if let Some(last) = all.last_mut().filter(|_| is_error) {
            last.push(line);
        }
    }
    all
}

/// `name:line`.
fn is_place(line: &str) -> bool {
    line.rsplit_once(':').is_some_and(|(name, n)| !name.is_empty() && n.parse::<u32>().is_ok())
}

#[test]
fn every_error_of_every_case_has_its_place_and_its_lines() {
    let mut seen = 0;
    let mut wrong = Vec::new();
    for path in cases() {
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(&path).expect("a case");
        let case = Case::parse(&text);
        let has_no_line = NO_LINE.iter().any(|(part, _)| shown.contains(part));
        for error in errors(case.body("expect")) {
            seen += 1;
            let message = error[0].trim_start_matches("ERROR: ");
            // A step that fails shows its lines first, as buildx does.
            let around = match message.starts_with("failed to build: ") {
                true => case.body("expect").lines().collect(),
                false => error.clone(),
            };
            let is_placed = around.iter().any(|line| is_place(line))
                && around.iter().any(|line| line.contains(" >>> "));
            let is_bare = message.is_empty() || message.ends_with('.') && !message.ends_with("..");
            if is_bare || !is_placed && !has_no_line {
                wrong.push(format!("{shown}: {}", error.join("\n    ")));
            }
        }
    }
    assert!(seen > 100, "only {seen} errors in the cases");
    assert!(wrong.is_empty(), "{} of {seen}:\n{}", wrong.len(), wrong.join("\n"));
}

struct Scratch;

impl Resolver for Scratch {
    fn image(&self, _: &str, platform: &Platform) -> Result<ResolvedBase, ResolveError> {
        Ok(ResolvedBase { source: None, config: ImageConfig::scratch(platform), digest: None })
    }
}

/// The errors of a Dockerfile as people see them.
fn dockerfile(text: &str, target: Option<&str>) -> String {
    let mut sources = SourceMap::new();
    let file = sources.add("Dockerfile", text);
    let (tree, mut problems) = karman_dockerfile::parse(text, file);
    let failed = problems.iter().any(Diagnostic::is_error);
    if let Some(tree) = tree.filter(|_| !failed) {
        let mut options = Options::new(Platform::new("linux", "amd64"));
        options.target = target.map(str::to_owned);
        problems
            .extend(lower(&tree, &options, &Scratch, &mut Graph::new()).err().unwrap_or_default());
    }
    problems.iter().filter(|d| d.is_error()).map(|d| render(d, &sources)).collect()
}

/// The errors of a bake file.
fn bake(text: &str, request: &Request) -> String {
    let (bake, mut problems) =
        karman_bake::parse(&[("docker-bake.hcl".to_owned(), text.to_owned())], request);
    if !problems.iter().any(Diagnostic::is_error) {
        problems.extend(karman_bake::resolve(&bake, request).err().unwrap_or_default());
    }
    problems.iter().filter(|d| d.is_error()).map(|d| render(d, &bake.sources)).collect()
}

#[test]
fn a_wrong_word_of_a_dockerfile_has_the_nearest_right_one() {
    let table = [
        ("FORM scratch\n", "FROM"),
        ("FROM scratch\nRNU x\n", "RUN"),
        ("FROM --platfrom=linux/amd64 scratch\n", "--platform"),
        ("FROM scratch\nCOPY --form=a b /c\n", "--from"),
        ("FROM scratch\nCOPY --chwon=a b /c\n", "--chown"),
        ("FROM scratch\nCOPY --lnik b /c\n", "--link"),
        ("FROM scratch\nADD --cheksum=a b /c\n", "--checksum"),
        ("FROM scratch\nRUN --moutn=type=bind x\n", "--mount"),
        ("FROM scratch\nRUN --netwrok=host x\n", "--network"),
        ("FROM scratch\nRUN --network=hots x\n", "host"),
        ("FROM scratch\nRUN --security=insecrue x\n", "insecure"),
        ("FROM scratch\nRUN --mount=type=cahce,target=/a x\n", "cache"),
        ("FROM scratch\nRUN --mount=type=cache,tagret=/a x\n", "target"),
        ("FROM scratch\nRUN --mount=type=cache,target=/a,sharing=locekd x\n", "locked"),
        ("FROM scratch\nHEALTHCHECK --intervall=1s CMD x\n", "--interval"),
        ("FROM scratch\nHEALTHCHECK CMDD x\n", "CMD"),
        ("FROM scratch\nSTOPSIGNAL SIGTREM\n", "SIGTERM"),
    ];
    let missing: Vec<String> = table
        .iter()
        .map(|(text, word)| (dockerfile(text, None), word))
        .filter(|(error, word)| !has_hint(error, word) || !error.contains(" | >>> "))
        .map(|(error, word)| format!("no `{word}` in:\n{error}"))
        .collect();
    assert!(missing.is_empty(), "{}", missing.join("\n"));
    let error = dockerfile("FROM scratch AS builder\n", Some("bulider"));
    assert!(has_hint(&error, "builder"), "{error}");
}

#[test]
fn a_wrong_word_of_a_bake_file_has_the_nearest_right_one() {
    let table = [
        ("taget \"default\" {}\n", "target"),
        ("target \"default\" { tgas = [] }\n", "tags"),
        ("target \"default\" { inherits = [\"bsae\"] }\ntarget \"base\" {}\n", "base"),
        ("group \"default\" { targets = [\"nvoa\"] }\ntarget \"nova\" {}\n", "nova"),
        ("group \"default\" { tragets = [] }\n", "targets"),
        ("variable \"TAG\" { defualt = 1 }\ntarget \"default\" {}\n", "default"),
        ("variable \"SERIES\" {}\ntarget \"default\" { tags = [SEIRES] }\n", "SERIES"),
        ("target \"default\" { tags = [uper(\"a\")] }\n", "upper"),
        ("function \"mine\" {\n params = []\n resutl = 1\n}\ntarget \"default\" {}\n", "result"),
        (
            "function \"mine\" {\n params = []\n result = 1\n}\ntarget \"default\" { tags = [mnie()] }\n",
            "mine",
        ),
        ("target \"a\" { tags = [] }\ntarget \"default\" { tags = target.a.tgas }\n", "tags"),
        ("target \"nova\" {}\ntarget \"default\" { contexts = { x = \"target:nvoa\" } }\n", "nova"),
        ("variable \"x\" { type = strnig }\ntarget \"default\" { tags = [x] }\n", "string"),
    ];
    let missing: Vec<String> = table
        .iter()
        .map(|(text, word)| (bake(text, &Request::default()), word))
        .filter(|(error, word)| !has_hint(error, word) || !error.contains(" | >>> "))
        .map(|(error, word)| format!("no `{word}` in:\n{error}"))
        .collect();
    assert!(missing.is_empty(), "{}", missing.join("\n"));
    for (asked, word) in [("nvoa", "nova"), ("servcies", "services")] {
        let text = "target \"nova\" {}\ngroup \"services\" { targets = [\"nova\"] }\n";
        let request = Request { targets: vec![asked.to_owned()], ..Request::default() };
        let error = bake(text, &request);
        assert!(has_hint(&error, word), "{error}");
    }
}

/// Whether a hint names the word.
fn has_hint(error: &str, word: &str) -> bool {
    let quoted = format!("`{word}`");
    error.lines().any(|line| line.starts_with("hint: ") && line.contains(&quoted))
}

#[test]
fn every_documented_limit_is_a_constant_of_the_sources() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let text = std::fs::read_to_string(root.join("docs/limits.md")).expect("the documentation");
    let sources = sources(&root.join("crates"));
    let words = text.split('`').skip(1).step_by(2);
    let is_name =
        |w: &&str| w.contains('_') && w.chars().all(|c| c.is_ascii_uppercase() || c == '_');
    let names: Vec<&str> = words.filter(is_name).collect();
    assert!(names.len() > 30, "{names:?}");
    for name in names {
        let wanted = format!("const {name}: ");
        assert!(sources.contains(&wanted), "`{name}` of docs/limits.md is not in the sources");
    }
}

/// All Rust files below a directory, one after the other.
fn sources(dir: &Path) -> String {
    let mut out = String::new();
    for entry in std::fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            out.push_str(&sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            out.push_str(&std::fs::read_to_string(&path).expect("a source"));
        }
    }
    out
}
