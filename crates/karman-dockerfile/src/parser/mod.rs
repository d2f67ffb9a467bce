//! Dockerfile text to typed instructions.
//!
//! | file | content |
//! |---|---|
//! | `statement` | a logical line as keyword, flags, arguments |
//! | `dispatch` | which instruction it is; `ONBUILD` |
//! | `command`, `files`, `pairs`, `stage` | the instructions |
//! | `heredoc` | here-documents |
//! | `frontend` | files that ask for another frontend |
//! | `flags`, `mount`, `json`, `words`, `duration` | parts of them |
//! | `checks` | build checks that need no more than the text |
//! | `error` | what can be wrong |

mod checks;
mod command;
mod dispatch;
mod duration;
mod error;
mod files;
mod flags;
mod frontend;
mod heredoc;
mod json;
mod mount;
mod pairs;
mod stage;
mod statement;
mod words;

use karman_diag::{Diagnostic, FileId, Span};

use crate::instruction::{Dockerfile, Instruction, InstructionKind, Stage, Word};
use crate::text::{
    DirectiveName, FoundDirective, LogicalItem, LogicalLine, LogicalReader, MAX_SOURCE_BYTES,
};
use dispatch::{Parsed, may_hold_heredocs, parse_statement};
use error::{ParseError, ParseErrorKind};
use frontend::foreign_frontend;
pub(crate) use heredoc::is_heredoc;
use heredoc::{HeredocError, read_heredocs};
pub(crate) use mount::csv_fields;
use statement::Statement;

/// A Dockerfile has at most so many stages: linking and naming them is not free.
pub const MAX_STAGES: usize = 5_000;

/// Instructions of a Dockerfile, all stages together: each takes up to a thousand bytes before anything is built, and a
/// filesystem has room for 500 layers.
pub const MAX_INSTRUCTIONS: usize = 50_000;

/// After so many problems the rest is not read.
const MAX_PROBLEMS: usize = 100;

/// Reads a Dockerfile. The tree holds what could be understood even where there are errors, and is
/// `None` where not one stage could.
///
/// The diagnostics are errors, worded as BuildKit's. What is only doubtful is in
/// [`Dockerfile::found`].
pub fn parse(source: &str, file: FileId) -> (Option<Dockerfile>, Vec<Diagnostic>) {
    if source.is_empty() || source.len() > MAX_SOURCE_BYTES {
        let kind = match source.len() {
            0 => ParseErrorKind::Empty,
            _ => ParseErrorKind::TooLarge(MAX_SOURCE_BYTES),
        };
        return (None, vec![Diagnostic::error(kind.to_string(), None)]);
    }
    let mut parser = Parser::new(LogicalReader::new(source, file));
    parser.run();
    let asked = parser.tree.directives.syntax.as_ref().map(|word| word.value.as_str());
    let foreign = foreign_frontend(source, asked);
    let (tree, mut problems) = parser.finish();
    if let (Some(image), Some(first)) = (foreign, problems.iter_mut().find(|p| p.is_error())) {
        let hint =
            format!("the file asks for the frontend `{image}`; Karman reads Dockerfiles only");
        *first = first.clone().with_hint(hint);
    }
    (tree, problems)
}

/// Reads an `ONBUILD` trigger of a base image: one instruction with its heredocs, in a file of its
/// own where a backslash escapes. Every span is `at`, the `FROM` that brings the trigger.
///
/// # Errors
/// What is wrong with it; more than one instruction, `FROM`, `MAINTAINER` and `ONBUILD`.
pub fn parse_onbuild(text: &str, at: Span) -> Result<Instruction, Vec<Diagnostic>> {
    let fail = |kind| vec![ParseError::new(kind, at).into_diagnostic()];
    let shown = || text.chars().take(80).collect::<String>();
    if text.len() > MAX_SOURCE_BYTES {
        return Err(fail(ParseErrorKind::TooLarge(MAX_SOURCE_BYTES)));
    }
    let mut parser = Parser::new(LogicalReader::detached(text, at));
    parser.trigger = true;
    parser.run();
    let Parser { mut instructions, problems, .. } = parser;
    if problems.iter().any(Diagnostic::is_error) {
        return Err(problems);
    }
    match (instructions.pop(), instructions.is_empty()) {
        (Some(instruction), true) => Ok(instruction),
        _ => Err(fail(ParseErrorKind::OnbuildNotSingle(shown()))),
    }
}

/// The state of one parse.
struct Parser<'a> {
    reader: LogicalReader<'a>,
    tree: Dockerfile,
    /// The instructions of a trigger.
    instructions: Vec<Instruction>,
    trigger: bool,
    problems: Vec<Diagnostic>,
    /// Instructions after a `FROM` that failed are not blamed for having no stage.
    stage_failed: bool,
    stopped: bool,
    count: usize,
}

impl<'a> Parser<'a> {
    fn new(reader: LogicalReader<'a>) -> Self {
        Self {
            reader,
            tree: Dockerfile::default(),
            instructions: Vec::new(),
            trigger: false,
            problems: Vec::new(),
            stage_failed: false,
            stopped: false,
            count: 0,
        }
    }

    fn run(&mut self) {
        while !self.stopped && self.problems.len() < MAX_PROBLEMS {
            match self.reader.next_item() {
                None => return,
                Some(Ok(LogicalItem::Directive(directive))) => self.directive(directive),
                Some(Ok(LogicalItem::Line(line))) => self.line(&line),
                Some(Err(error)) => self.stop(Diagnostic::error(error.to_string(), error.span())),
            }
        }
    }

    fn finish(mut self) -> (Option<Dockerfile>, Vec<Diagnostic>) {
        let failed = self.problems.iter().any(Diagnostic::is_error);
        if self.tree.stages.is_empty() && !failed {
            let kind = match self.tree.global_args.is_empty() {
                true => ParseErrorKind::NoInstructions,
                false => ParseErrorKind::NoStages,
            };
            self.problems.push(Diagnostic::error(kind.to_string(), None));
        }
        let tree = (!self.tree.stages.is_empty()).then_some(self.tree);
        (tree, self.problems)
    }

    fn stop(&mut self, problem: Diagnostic) {
        self.problems.push(problem);
        self.stopped = true;
    }

    fn fail(&mut self, error: ParseError) {
        self.problems.push(error.into_diagnostic());
    }

    fn directive(&mut self, found: FoundDirective) {
        let (start, end) = found.value_range;
        let span = self.reader.span(start, end);
        if found.repeated {
            let kind = ParseErrorKind::RepeatedDirective(found.name.as_str());
            return self.fail(ParseError::new(kind, span));
        }
        if !found.is_heeded {
            return;
        }
        let directives = &mut self.tree.directives;
        match found.name {
            DirectiveName::Syntax => directives.syntax = Some(Word::new(found.value, span)),
            DirectiveName::Check => directives.check = Some(Word::new(found.value, span)),
            DirectiveName::Escape => match found.value.as_str() {
                "\\" => directives.escape = '\\',
                "`" => directives.escape = '`',
                _ => {
                    let kind = ParseErrorKind::EscapeToken(found.value);
                    self.fail(ParseError::new(kind, span));
                }
            },
        }
    }

    fn line(&mut self, line: &LogicalLine) {
        self.check_line(line);
        let mut statement = Statement::split(line, 0, self.reader.escape);
        if line.text.contains("<<") && may_hold_heredocs(&statement) {
            match read_heredocs(line, &mut self.reader) {
                Ok(heredocs) => statement.heredocs = heredocs,
                Err(HeredocError::Parse(error)) => return self.fail(error),
                Err(HeredocError::Read(error)) => {
                    return self.stop(Diagnostic::error(error.to_string(), error.span()));
                }
            }
            if !statement.heredocs.is_empty() {
                statement.span = statement.span.to(self.reader.end());
            }
        }
        self.check_statement(&statement);
        match parse_statement(&statement) {
            Ok(Parsed::Stage(stage)) => self.stage(stage, &statement),
            Ok(Parsed::Instruction(instruction)) => self.instruction(instruction, &statement),
            Err(error) => {
                self.stage_failed |= statement.keyword_text().eq_ignore_ascii_case("FROM");
                self.problems.push(error.into_diagnostic().within(statement.span));
            }
        }
    }

    fn stage(&mut self, stage: Stage, statement: &Statement<'_>) {
        if self.trigger {
            let kind = ParseErrorKind::OnbuildTrigger("FROM".to_owned());
            self.fail(ParseError::new(kind, stage.span));
        } else if self.tree.stages.len() == MAX_STAGES {
            let error = ParseError::new(ParseErrorKind::TooManyStages, stage.span);
            self.stop(error.into_diagnostic());
        } else {
            self.check_description(statement, stage.name.iter().map(|n| n.value.as_str()));
            self.tree.stages.push(stage);
        }
    }

    fn instruction(&mut self, instruction: Instruction, statement: &Statement<'_>) {
        if self.trigger {
            return self.trigger_instruction(instruction);
        }
        self.count += 1;
        if self.count > MAX_INSTRUCTIONS {
            let error = ParseError::new(ParseErrorKind::TooManyInstructions, instruction.span);
            return self.stop(error.into_diagnostic());
        }
        if let InstructionKind::Arg(pairs) = &instruction.kind {
            self.check_description(statement, pairs.iter().map(|p| p.name.value.as_str()));
        }
        match (self.tree.stages.last_mut(), &instruction.kind) {
            (Some(stage), _) => stage.instructions.push(instruction),
            (None, InstructionKind::Arg(_)) => self.tree.global_args.push(instruction),
            (None, _) if self.stage_failed => {}
            (None, _) => {
                self.stage_failed = true;
                self.fail(statement.error(ParseErrorKind::NoStage));
            }
        }
    }

    fn trigger_instruction(&mut self, instruction: Instruction) {
        let kind = match &instruction.kind {
            InstructionKind::Onbuild(_) => ParseErrorKind::OnbuildChained,
            InstructionKind::Maintainer(_) => {
                ParseErrorKind::OnbuildTrigger("MAINTAINER".to_owned())
            }
            _ => return self.instructions.push(instruction),
        };
        self.fail(ParseError::new(kind, instruction.span));
    }
}
