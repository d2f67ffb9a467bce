//! From a statement to a typed instruction.

use karman_diag::nearest;

use super::error::{ParseError, ParseErrorKind};
use super::flags::Flags;
use super::statement::Statement;
use super::{command, files, pairs, stage};
use crate::instruction::{Instruction, InstructionKind, Onbuild, Stage};

/// The instructions there are.
const KEYWORDS: &[&str] = &[
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// What a statement is.
pub(super) enum Parsed {
    /// A `FROM`.
    Stage(Stage),
    /// Any other.
    Instruction(Instruction),
}

/// Whether a statement may announce heredocs: `RUN`, `COPY`, `ADD`, or `ONBUILD` of one of them,
/// in the shell form.
pub(super) fn may_hold_heredocs(statement: &Statement<'_>) -> bool {
    match statement.keyword_text().to_ascii_uppercase().as_str() {
        "RUN" | "COPY" | "ADD" => !files::is_json(statement),
        "ONBUILD" => {
            let trigger = trigger(statement);
            let keyword = trigger.keyword_text().to_ascii_uppercase();
            matches!(keyword.as_str(), "RUN" | "COPY" | "ADD") && !files::is_json(&trigger)
        }
        _ => false,
    }
}

/// The typed instruction of a statement.
pub(super) fn parse_statement(statement: &Statement<'_>) -> Result<Parsed, ParseError> {
    let name = statement.keyword_text().to_ascii_uppercase();
    let kind = match name.as_str() {
        "FROM" => return stage::stage(statement).map(Parsed::Stage),
        "ONBUILD" => InstructionKind::Onbuild(onbuild(statement)?),
        name => simple(statement, name)?,
    };
    Ok(Parsed::Instruction(Instruction {
        kind,
        span: statement.span,
        text: statement.line.text[statement.keyword.start..].trim().to_owned(),
    }))
}

fn simple(statement: &Statement<'_>, name: &str) -> Result<InstructionKind, ParseError> {
    match name {
        "ADD" => files::add(statement),
        "ARG" => pairs::arg(statement).map(InstructionKind::Arg),
        "CMD" => command::cmd(statement),
        "COPY" => files::copy(statement),
        "ENTRYPOINT" => command::entrypoint(statement),
        "ENV" => pairs::env(statement),
        "EXPOSE" => pairs::expose(statement),
        "HEALTHCHECK" => command::healthcheck(statement),
        "LABEL" => pairs::label(statement),
        "MAINTAINER" => pairs::whole(statement, "MAINTAINER").map(InstructionKind::Maintainer),
        "RUN" => command::run(statement),
        "SHELL" => command::shell(statement),
        "STOPSIGNAL" => pairs::whole(statement, "STOPSIGNAL").map(InstructionKind::Stopsignal),
        "USER" => pairs::whole(statement, "USER").map(InstructionKind::User),
        "VOLUME" => files::volume(statement),
        "WORKDIR" => pairs::whole(statement, "WORKDIR").map(InstructionKind::Workdir),
        _ => Err(unknown(statement)),
    }
}

fn unknown(statement: &Statement<'_>) -> ParseError {
    let word = statement.keyword_text();
    let span = statement.span_of(statement.keyword.clone());
    let mut error = ParseError::new(ParseErrorKind::UnknownInstruction(word.to_owned()), span);
    error.meant = nearest(word, KEYWORDS.iter().copied()).map(str::to_owned);
    error
}

/// The statement inside an `ONBUILD`, on the same line.
fn trigger<'l>(statement: &Statement<'l>) -> Statement<'l> {
    let mut inner = Statement::split(statement.line, statement.args.start, statement.escape);
    inner.heredocs.clone_from(&statement.heredocs);
    inner
}

fn onbuild(statement: &Statement<'_>) -> Result<Onbuild, ParseError> {
    if statement.args.is_empty() {
        return Err(statement.error(ParseErrorKind::AtLeastOneArgument("ONBUILD")));
    }
    Flags::parse(statement, &[])?;
    let inner = trigger(statement);
    let keyword = inner.keyword_text().to_ascii_uppercase();
    match keyword.as_str() {
        "ONBUILD" => return Err(inner.error(ParseErrorKind::OnbuildChained)),
        "FROM" | "MAINTAINER" => return Err(inner.error(ParseErrorKind::OnbuildTrigger(keyword))),
        _ => {}
    }
    let instruction = match parse_statement(&inner) {
        Ok(Parsed::Instruction(instruction)) => Some(Box::new(instruction)),
        Err(error) if error.kind.is_line_level() => return Err(error),
        Ok(Parsed::Stage(_)) | Err(_) => None,
    };
    let text = &statement.line.text;
    let mut expression = text[statement.keyword.end..].trim_start().to_owned();
    for heredoc in &statement.heredocs {
        expression.push('\n');
        expression.push_str(&heredoc.body.value);
        expression.push_str(&heredoc.name);
    }
    Ok(Onbuild { expression, instruction })
}
