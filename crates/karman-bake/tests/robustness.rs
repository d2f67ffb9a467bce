//! Damaged bake files are refused with diagnostics inside the text, never with a panic.

use std::path::{Path, PathBuf};

use karman_bake::{Request, list_variables, parse, print_json, resolve};
use karman_testing::Case;

/// Damaged copies of each file; more find nothing new and cost time.
const ROUNDS: usize = 40;
/// Pieces that change the meaning of what follows.
const PIECES: [&str; 16] = [
    "${",
    "}",
    "%{ if ",
    "\"",
    "[",
    "]",
    "(",
    ")",
    "null",
    "-1",
    "99999999999999999999",
    "é",
    "\n",
    "...",
    "*",
    ".",
];

fn cases(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        match path.is_dir() {
            true => cases(&path, out),
            false => out.push(path),
        }
    }
}

/// A small generator of numbers, the same in every run.
struct Lcg(u64);

impl Lcg {
    fn below(&mut self, n: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap_or(0) % n.max(1)
    }
}

fn damage(text: &str, random: &mut Lcg) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for _ in 0..1 + random.below(4) {
        let at = random.below(chars.len() + 1);
        match random.below(3) {
            0 if at < chars.len() => drop(chars.remove(at)),
            1 if at < chars.len() => {
                let from = random.below(chars.len());
                chars[at] = chars[from];
            }
            _ => {
                let piece = PIECES[random.below(PIECES.len())];
                chars.splice(at..at, piece.chars());
            }
        }
    }
    chars.into_iter().collect()
}

#[test]
fn damaged_files_never_panic() {
    let mut paths = Vec::new();
    cases(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases"), &mut paths);
    assert!(!paths.is_empty());
    paths.sort();
    let mut random = Lcg(7);
    for path in paths.iter().filter(|p| !p.components().any(|c| c.as_os_str() == "limit")) {
        let case = Case::parse(&std::fs::read_to_string(path).unwrap_or_default());
        for section in
            case.sections.iter().filter(|s| s.name.contains("bake") || s.name.contains("compose"))
        {
            for _ in 0..ROUNDS {
                check(&section.name, damage(&section.body, &mut random));
            }
        }
    }
}

fn check(name: &str, text: String) {
    let length = text.len();
    let request = Request { targets: vec!["*".to_owned()], ..Request::default() };
    let (bake, mut diagnostics) = parse(&[(name.to_owned(), text)], &request);
    if diagnostics.is_empty() {
        diagnostics.extend(list_variables(&bake, &request).err().into_iter().flatten());
        match resolve(&bake, &request) {
            Ok(resolved) => assert!(print_json(&resolved).ends_with("}\n")),
            Err(problems) => {
                assert!(!problems.is_empty());
                diagnostics.extend(problems);
            }
        }
    }
    for span in diagnostics.iter().filter_map(|d| d.span) {
        assert!(span.start <= span.end && span.end as usize <= length, "{diagnostics:?}");
    }
}
