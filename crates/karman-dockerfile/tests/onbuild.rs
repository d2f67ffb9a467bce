//! Triggers of base images.

use karman_diag::{FileId, Span};
use karman_dockerfile::instruction::{CommandLine, Instruction, InstructionKind, SourceWord};
use karman_dockerfile::{parse, parse_onbuild};

fn trigger(text: &str) -> Result<Instruction, String> {
    parse_onbuild(text, Span::new(FileId(3), 10, 20))
        .map_err(|problems| problems.into_iter().map(|d| d.message).collect::<Vec<_>>().join("; "))
}

#[test]
fn a_trigger_is_one_instruction_at_the_place_of_its_from() {
    let found = trigger("copy   --chown=1:1   a   /b").expect("parses");
    let InstructionKind::Copy(copy) = &found.kind else { panic!("{found:?}") };
    assert_eq!(copy.files.chown.as_ref().map(|w| w.value.as_str()), Some("1:1"));
    assert_eq!(found.text, "copy   --chown=1:1   a   /b");
    assert_eq!(found.span, Span::new(FileId(3), 10, 20));
    assert_eq!(copy.files.dest.span, Span::new(FileId(3), 10, 20));
}

#[test]
fn what_onbuild_stores_parses_again() {
    let source =
        "FROM a\nONBUILD RUN <<-EOF <<'X' cat\n\tone\n\tEOF\n$two\nX\nONBUILD COPY <<E /x\nb\nE\n";
    let (tree, problems) = parse(source, FileId(0));
    assert!(problems.is_empty(), "{problems:?}");
    let stage = &tree.expect("a tree").stages[0];
    let stored: Vec<&str> = stage
        .instructions
        .iter()
        .map(|i| match &i.kind {
            InstructionKind::Onbuild(onbuild) => onbuild.expression.as_str(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(stored, ["RUN <<-EOF <<'X' cat\n\tone\nEOF\n$two\nX", "COPY <<E /x\nb\nE"]);

    let InstructionKind::Run(run) = trigger(stored[0]).expect("parses").kind else { panic!("RUN") };
    assert_eq!(run.command, CommandLine::Shell("<<-EOF <<'X' cat".to_owned()));
    let bodies: Vec<_> = run.heredocs.iter().map(|h| (h.text(), h.expand)).collect();
    assert_eq!(bodies, [("one\n".to_owned(), true), ("$two\n".to_owned(), false)]);

    let InstructionKind::Copy(copy) = trigger(stored[1]).expect("parses").kind else {
        panic!("COPY")
    };
    let SourceWord::Heredoc(heredoc) = &copy.files.sources[0] else { panic!("{copy:?}") };
    assert_eq!((heredoc.name.as_str(), heredoc.text()), ("E", "b\n".to_owned()));
}

#[test]
fn what_is_no_trigger_says_why() {
    let table = [
        ("", "onbuild trigger should be a single expression: \"\""),
        ("# only a comment", "onbuild trigger should be a single expression: \"# only a comment\""),
        ("RUN a\nRUN b", "onbuild trigger should be a single expression: \"RUN a\\nRUN b\""),
        ("FROM a", "FROM isn't allowed as an ONBUILD trigger"),
        ("maintainer a", "MAINTAINER isn't allowed as an ONBUILD trigger"),
        ("ONBUILD RUN a", "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"),
        ("NOPE a", "unknown instruction: NOPE"),
        ("RUN <<E\nx", "unterminated heredoc"),
        ("COPY --nope a b", "unknown flag: --nope"),
    ];
    for (text, expect) in table {
        assert_eq!(trigger(text).err().as_deref(), Some(expect), "{text:?}");
    }
}
