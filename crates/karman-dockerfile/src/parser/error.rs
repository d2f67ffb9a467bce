//! What can be wrong with an instruction; worded as BuildKit words it.

use karman_diag::{Diagnostic, Span, nearest};

use super::heredoc::MAX_HEREDOCS;
use super::{MAX_INSTRUCTIONS, MAX_STAGES};
use crate::text::MAX_SOURCE_BYTES;

/// A longer message is cut: it may quote a word of megabytes.
const MAX_MESSAGE_CHARS: usize = 1_000;

/// An instruction that does not parse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ParseError {
    pub(super) kind: ParseErrorKind,
    pub(super) span: Span,
    /// What was probably meant.
    pub(super) meant: Option<String>,
}

impl ParseError {
    pub(super) fn new(kind: ParseErrorKind, span: Span) -> Self {
        Self { kind, span, meant: None }
    }

    /// With the known word that is nearest to what stands there.
    pub(super) fn meant(mut self, word: &str, known: &[&str]) -> Self {
        self.meant = nearest(word, known.iter().copied()).map(str::to_owned);
        self
    }

    pub(super) fn into_diagnostic(self) -> Diagnostic {
        let mut message = self.kind.to_string();
        if let Some((at, _)) = message.char_indices().nth(MAX_MESSAGE_CHARS) {
            message.truncate(at);
            message.push('…');
        }
        let diagnostic = Diagnostic::error(message, self.span);
        match self.meant {
            Some(word) => diagnostic.with_hint(format!("did you mean `{word}`?")),
            None => diagnostic,
        }
    }
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ParseErrorKind {
    #[error("unknown instruction: {0}")]
    UnknownInstruction(String),
    #[error("unknown flag: --{0}")]
    UnknownFlag(String),
    #[error("duplicate flag specified: --{0}")]
    DuplicateFlag(String),
    #[error("missing a value on flag: --{0}")]
    FlagWithoutValue(String),
    #[error("expecting boolean value for flag --{name}, not: {value}")]
    FlagNotBoolean { name: String, value: String },
    #[error("{0} requires at least one argument")]
    AtLeastOneArgument(&'static str),
    #[error("{0} requires exactly one argument")]
    ExactlyOneArgument(&'static str),
    #[error(
        "{0} requires at least two arguments, but only one was provided. Destination could not be determined"
    )]
    NoDestination(&'static str),
    #[error("{0} cannot accept a heredoc as a destination")]
    HeredocDestination(&'static str),
    #[error("{0} names can not be blank")]
    BlankName(&'static str),
    #[error("{0} must have two arguments")]
    TwoArguments(&'static str),
    #[error("Syntax error - can't find = in {0:?}. Must be of the form: name=value")]
    NoEqualsSign(String),
    #[error("when using JSON array syntax, arrays must be comprised of strings only")]
    NotStringArray,
    #[error("{0} requires the arguments to be in JSON form")]
    NotJson(&'static str),
    #[error("VOLUME specified can not be an empty string")]
    EmptyVolume,
    #[error("FROM requires either one or three arguments")]
    FromArguments,
    #[error(
        "invalid name for build stage: {0:?}, name can't start with a number or contain symbols"
    )]
    StageName(String),
    #[error("no build stage in current context")]
    NoStage,
    #[error("dockerfile contains no stages to build")]
    NoStages,
    #[error("the Dockerfile cannot be empty")]
    Empty,
    #[error("file with no instructions")]
    NoInstructions,
    #[error("Dockerfile exceeds maximum allowed size of {0} bytes")]
    TooLarge(usize),
    #[error("more than {MAX_STAGES} stages")]
    TooManyStages,
    #[error("more than {MAX_INSTRUCTIONS} instructions")]
    TooManyInstructions,
    #[error("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")]
    OnbuildChained,
    #[error("{0} isn't allowed as an ONBUILD trigger")]
    OnbuildTrigger(String),
    #[error("onbuild trigger should be a single expression: {0:?}")]
    OnbuildNotSingle(String),
    #[error("HEALTHCHECK NONE takes no arguments")]
    HealthcheckNone,
    #[error("Missing command after HEALTHCHECK CMD")]
    HealthcheckWithoutCommand,
    #[error("Unknown type {0:?} in HEALTHCHECK (try CMD)")]
    HealthcheckType(String),
    #[error("Interval {0:?} cannot be less than 1ms")]
    IntervalTooShort(&'static str),
    #[error("{0}")]
    Duration(super::duration::DurationError),
    #[error("invalid value for --retries: {0:?}")]
    Retries(String),
    #[error("--retries cannot be negative ({0})")]
    NegativeRetries(i64),
    #[error("invalid network mode {0:?}")]
    Network(String),
    #[error("security {0:?} is not valid")]
    Security(String),
    #[error("{0}")]
    Mount(super::mount::MountError),
    #[error("more than {MAX_HEREDOCS} heredocs in one instruction")]
    TooManyHeredocs,
    #[error("{0} repeats heredocs of more than {MAX_SOURCE_BYTES} bytes")]
    HeredocsTooLarge(&'static str),
    #[error("unterminated heredoc")]
    UnterminatedHeredoc,
    #[error("{0}")]
    HeredocWord(crate::expand::ExpandError),
    #[error("only one {0} parser directive can be used")]
    RepeatedDirective(&'static str),
    #[error("invalid escape token '{0}' does not match ` or \\")]
    EscapeToken(String),
}

impl ParseErrorKind {
    /// Whether BuildKit finds it already when it reads a line, so that even an `ONBUILD` trigger
    /// that is never run fails.
    pub(super) fn is_line_level(&self) -> bool {
        matches!(self, Self::TwoArguments(_) | Self::NoEqualsSign(_) | Self::NotStringArray)
    }
}
