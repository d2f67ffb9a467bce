//! `RUN`, `CMD`, `ENTRYPOINT`, `SHELL`, `HEALTHCHECK`.

use std::ops::Range;

use super::duration::parse_duration;
use super::error::{ParseError, ParseErrorKind};
use super::flags::{Flags, Takes};
use super::json::{JsonArray, json_array};
use super::mount::parse_mount;
use super::statement::{Statement, trim};
use crate::instruction::{CommandLine, Healthcheck, InstructionKind, Run, Word};

const RUN_FLAGS: &[(&str, Takes)] = &[
    ("mount", Takes::Many),
    ("network", Takes::One),
    ("security", Takes::One),
    ("device", Takes::Many),
];

const HEALTHCHECK_FLAGS: &[(&str, Takes)] = &[
    ("interval", Takes::One),
    ("timeout", Takes::One),
    ("start-period", Takes::One),
    ("start-interval", Takes::One),
    ("retries", Takes::One),
];

const NETWORK_MODES: &[&str] = &["default", "none", "host"];
const SECURITY_MODES: &[&str] = &["sandbox", "insecure"];

/// The shortest interval of a health check, in nanoseconds.
const SHORTEST_INTERVAL: i64 = 1_000_000;

pub(super) fn run(statement: &Statement<'_>) -> Result<InstructionKind, ParseError> {
    let flags = Flags::parse(statement, RUN_FLAGS)?;
    let command = command_line(statement, statement.args.clone())?;
    let mounts = flags.all("mount").map(|flag| parse_mount(&flag)).collect::<Result<_, _>>()?;
    let network = flags.all("network").next();
    if let Some(mode) = network.as_ref().filter(|m| !NETWORK_MODES.contains(&m.value.as_str())) {
        let error = ParseError::new(ParseErrorKind::Network(mode.value.clone()), mode.span);
        return Err(error.meant(&mode.value, NETWORK_MODES));
    }
    let security = flags.all("security").next();
    if let Some(mode) = security.as_ref().filter(|m| !SECURITY_MODES.contains(&m.value.as_str())) {
        let error = ParseError::new(ParseErrorKind::Security(mode.value.clone()), mode.span);
        return Err(error.meant(&mode.value, SECURITY_MODES));
    }
    Ok(InstructionKind::Run(Run {
        command,
        heredocs: statement.heredocs.clone(),
        mounts,
        network,
        security,
        devices: flags.all("device").collect(),
    }))
}

pub(super) fn cmd(statement: &Statement<'_>) -> Result<InstructionKind, ParseError> {
    Flags::parse(statement, &[])?;
    Ok(InstructionKind::Cmd(command_line(statement, statement.args.clone())?))
}

pub(super) fn entrypoint(statement: &Statement<'_>) -> Result<InstructionKind, ParseError> {
    Flags::parse(statement, &[])?;
    Ok(InstructionKind::Entrypoint(command_line(statement, statement.args.clone())?))
}

pub(super) fn shell(statement: &Statement<'_>) -> Result<InstructionKind, ParseError> {
    Flags::parse(statement, &[])?;
    match command_line(statement, statement.args.clone())? {
        line if line.is_empty() => {
            Err(statement.error(ParseErrorKind::AtLeastOneArgument("SHELL")))
        }
        CommandLine::Exec(words) => Ok(InstructionKind::Shell(words)),
        CommandLine::Shell(_) => Err(statement.error(ParseErrorKind::NotJson("SHELL"))),
    }
}

pub(super) fn healthcheck(statement: &Statement<'_>) -> Result<InstructionKind, ParseError> {
    let args = statement.args_text();
    let length = args.find(char::is_whitespace).unwrap_or(args.len());
    let word = args[..length].to_uppercase();
    let rest = trim(&statement.line.text, statement.args.start + length..statement.args.end);
    match word.as_str() {
        "" => return Err(statement.error(ParseErrorKind::AtLeastOneArgument("HEALTHCHECK"))),
        "NONE" if !rest.is_empty() => {
            return Err(statement.error(ParseErrorKind::HealthcheckNone));
        }
        "NONE" => return Ok(InstructionKind::Healthcheck(no_healthcheck())),
        _ => {}
    }
    // A JSON error comes first, as in BuildKit, whose line parser meets it.
    let command = command_line(statement, rest)?;
    let flags = Flags::parse(statement, HEALTHCHECK_FLAGS)?;
    if word != "CMD" {
        let error = statement.error(ParseErrorKind::HealthcheckType(word.clone()));
        return Err(error.meant(&word, &["CMD", "NONE"]));
    }
    if command.is_empty() {
        return Err(statement.error(ParseErrorKind::HealthcheckWithoutCommand));
    }
    Ok(InstructionKind::Healthcheck(Healthcheck {
        command: Some(command),
        interval: interval(&flags, "interval")?,
        timeout: interval(&flags, "timeout")?,
        start_period: interval(&flags, "start-period")?,
        start_interval: interval(&flags, "start-interval")?,
        retries: flags.one("retries").map(|word| retries(&word)).transpose()?,
    }))
}

/// A range of a statement in its JSON or its shell form.
fn command_line(statement: &Statement<'_>, range: Range<usize>) -> Result<CommandLine, ParseError> {
    let text = &statement.line.text[range];
    match json_array(text) {
        JsonArray::Strings(words) => {
            Ok(CommandLine::Exec(words.into_iter().map(|(word, _)| word).collect()))
        }
        JsonArray::Mixed => Err(statement.error(ParseErrorKind::NotStringArray)),
        JsonArray::No => Ok(CommandLine::Shell(text.to_owned())),
    }
}

fn no_healthcheck() -> Healthcheck {
    Healthcheck {
        command: None,
        interval: None,
        timeout: None,
        start_period: None,
        start_interval: None,
        retries: None,
    }
}

fn interval(flags: &Flags, name: &'static str) -> Result<Option<i64>, ParseError> {
    let Some(word) = flags.one(name) else { return Ok(None) };
    let nanos = parse_duration(&word.value)
        .map_err(|error| ParseError::new(ParseErrorKind::Duration(error), word.span))?;
    if nanos != 0 && nanos < SHORTEST_INTERVAL {
        return Err(ParseError::new(ParseErrorKind::IntervalTooShort(name), word.span));
    }
    Ok(Some(nanos))
}

fn retries(word: &Word) -> Result<i64, ParseError> {
    let fail = |kind| ParseError::new(kind, word.span);
    match word.value.parse::<i32>() {
        Ok(count) if count < 0 => Err(fail(ParseErrorKind::NegativeRetries(count.into()))),
        Ok(count) => Ok(count.into()),
        Err(_) => Err(fail(ParseErrorKind::Retries(word.value.clone()))),
    }
}
