//! Hostile Dockerfiles end soon, in an error, without a panic.

use std::time::{Duration, Instant};

use karman_diag::{Diagnostic, FileId, SourceMap, Span};
use karman_dockerfile::instruction::{InstructionKind, SourceWord};
use karman_dockerfile::{MAX_LINE_BYTES, MAX_SOURCE_BYTES, MAX_STAGES, parse};

/// Generous for a debug build on a busy machine; what this guards against takes hours.
const SOON: Duration = Duration::from_secs(30);

fn first_error(source: &str) -> String {
    let start = Instant::now();
    let (_, problems) = parse(source, FileId(0));
    assert!(start.elapsed() < SOON, "took {:?}", start.elapsed());
    problems.into_iter().find(Diagnostic::is_error).map_or_else(String::new, |d| d.message)
}

#[test]
fn a_line_of_a_hundred_megabytes() {
    let source = format!("FROM a\nRUN {}", "x".repeat(100 << 20));
    let expect = format!("Dockerfile exceeds maximum allowed size of {MAX_SOURCE_BYTES} bytes");
    assert_eq!(first_error(&source), expect);
}

#[test]
fn a_line_over_the_limit_of_buildkit() {
    let fits = format!("FROM a\nRUN {}", "x".repeat(MAX_LINE_BYTES - 4));
    assert_eq!(first_error(&fits), "");
    let expect = "dockerfile line greater than max allowed size of 65535";
    assert_eq!(first_error(&format!("{fits}x")), expect);
    let heredoc = format!("FROM a\nRUN <<E\n{}\nE\n", "x".repeat(MAX_LINE_BYTES + 1));
    assert_eq!(first_error(&heredoc), expect);
}

#[test]
fn ten_thousand_stages() {
    let source = "FROM a\n".repeat(10_000);
    assert_eq!(first_error(&source), format!("more than {MAX_STAGES} stages"));
    assert_eq!(first_error(&"FROM a\n".repeat(MAX_STAGES)), "");
}

#[test]
fn a_continuation_over_the_whole_file() {
    let source = format!("FROM a\nRUN {}x", "xxxxxxx \\\n".repeat(MAX_SOURCE_BYTES / 10 - 10));
    assert_eq!(first_error(&source), "");
}

#[test]
fn more_errors_than_anybody_reads() {
    let (_, problems) = parse(&"BAD\n".repeat(1 << 18), FileId(0));
    assert_eq!(problems.len(), 100);
}

#[test]
fn many_heredocs_on_one_line() {
    let words = |n: usize| (0..n).map(|i| format!("<<{i:x} \\\n")).collect::<String>();
    let ends = |n: usize| (0..n).map(|i| format!("{i:x}\n")).collect::<String>();
    let source = format!("FROM a\nRUN {}x\n{}", words(1_000), ends(1_000));
    assert_eq!(first_error(&source), "");
    let source = format!("FROM a\nRUN {}x\n{}", words(100_000), ends(100_000));
    assert_eq!(first_error(&source), "more than 1000 heredocs in one instruction");
}

#[test]
fn one_heredoc_named_many_times() {
    let body = "x\n".repeat(4 << 20);
    let source = format!("FROM a\nCOPY {}/d/\n{}{body}A\n", "<<A ".repeat(900), "A\n".repeat(899));
    assert_eq!(first_error(&source), "COPY repeats heredocs of more than 16777216 bytes");
}

#[test]
fn many_descriptions_for_many_arguments() {
    let comments: String = (0..100_000).map(|i| format!("# c{i} text\n")).collect();
    let args: String = (0..100_000).map(|i| format!("a{i} \\\n")).collect();
    assert_eq!(first_error(&format!("{comments}ARG {args}z\nFROM a\n")), "");
}

#[test]
fn deep_substitutions_in_a_heredoc_word() {
    let deep = format!("{}x{}", "${a-".repeat(10_000), "}".repeat(10_000));
    // The lexer gives up, so nothing is announced.
    assert_eq!(first_error(&format!("FROM a\nRUN cat <<{deep}\n")), "");
    assert_eq!(first_error(&format!("FROM a\nRUN {}\n", "\\\n[".repeat(100_000))), "");
}

/// Small deterministic generator (SplitMix64): the cases are the same on every run.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % (n as u64)).unwrap_or(0)
    }
}

const TOKENS: &[&str] = &[
    "FROM",
    "RUN",
    "COPY",
    "ADD",
    "ENV",
    "ARG",
    "LABEL",
    "ONBUILD",
    "HEALTHCHECK",
    "VOLUME",
    "CMD",
    "EXPOSE",
    " ",
    " ",
    "\n",
    "\n",
    "\\\n",
    "\r\n",
    "\\",
    "`",
    "\"",
    "'",
    "$",
    "${",
    "}",
    ":-",
    "<<E",
    "<<-'E'",
    "\nE\n",
    "3<<",
    "--",
    "--mount=",
    "--chown",
    "=",
    ",",
    "[",
    "]",
    "[\"a\"]",
    "#",
    "# escape=`\n",
    "\t",
    "a",
    "ü",
    "日",
    "\u{feff}",
    "\u{a0}",
    "\u{85}",
    "\0",
    "AS",
    "CMD",
];

#[test]
fn random_text_gives_spans_inside_it() {
    let mut random = Random(7);
    for _ in 0..20_000 {
        let length = 1 + random.below(24);
        let mut source: String = (0..length).map(|_| TOKENS[random.below(TOKENS.len())]).collect();
        if random.below(3) != 0 {
            source.insert_str(0, "FROM a\n");
        }
        let mut sources = SourceMap::new();
        let file = sources.add("Dockerfile", source.as_str());
        let (tree, problems) = parse(&source, file);
        let inside = |span: Span| {
            let range = span.start as usize..span.end as usize;
            assert!(source.get(range).is_some(), "{span:?} in {source:?}");
        };
        assert!(tree.is_some() || problems.iter().any(Diagnostic::is_error), "{source:?}");
        for problem in &problems {
            problem.span.into_iter().for_each(inside);
            karman_diag::render(problem, &sources);
        }
        for stage in tree.iter().flat_map(|tree| &tree.stages) {
            inside(stage.span);
            inside(stage.base.span);
            for instruction in &stage.instructions {
                inside(instruction.span);
                if let InstructionKind::Copy(copy) = &instruction.kind {
                    inside(copy.files.dest.span);
                    for source in &copy.files.sources {
                        match source {
                            SourceWord::Path(word) => inside(word.span),
                            SourceWord::Heredoc(heredoc) => inside(heredoc.body.span),
                        }
                    }
                }
            }
        }
    }
}
