//! Typed instructions: what the parser hands to the lints and to the lowering.
//!
//! All words are *raw*: as written, with quotes, escapes and `$variables` in place. They are
//! expanded where the variables are known. Spans point into the file that was parsed.

use karman_diag::{Diagnostic, Span};

/// A value and where it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where it was written.
    pub span: Span,
}

impl<T> Spanned<T> {
    /// A value at a place.
    pub fn new(value: T, span: Span) -> Self {
        Self { value, span }
    }
}

/// A raw, unexpanded word.
pub type Word = Spanned<String>;

/// A whole Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Dockerfile {
    /// The parser directives at the top.
    pub directives: Directives,
    /// The `ARG`s before the first `FROM`.
    pub global_args: Vec<Instruction>,
    /// The stages in their order.
    pub stages: Vec<Stage>,
    /// What the build checks found while the text was read, silenced or not; up to the first
    /// error. [`crate::check::of_syntax`] knows what of it to show.
    pub found: Vec<Diagnostic>,
    /// `# check=…` comments right above an instruction, with the span of the instruction.
    pub local_checks: Vec<Word>,
}

/// Parser directives (`# name=value` lines at the top).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directives {
    /// `syntax`: the frontend image asked for.
    pub syntax: Option<Word>,
    /// `escape`: `\` or a backtick.
    pub escape: char,
    /// `check`: options of the lints.
    pub check: Option<Word>,
}

impl Default for Directives {
    fn default() -> Self {
        Self { syntax: None, escape: '\\', check: None }
    }
}

/// A `FROM` and the instructions up to the next one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// The name after `AS`, in lower case as BuildKit keeps it; the span covers it as written.
    pub name: Option<Word>,
    /// The base as written: an image, a stage, `scratch` or a named context.
    pub base: Word,
    /// The value of `--platform`.
    pub platform: Option<Word>,
    /// The `FROM` instruction.
    pub span: Span,
    /// The `FROM` instruction as written, continuation lines joined.
    pub text: String,
    /// The comment above, where it begins with the stage's name.
    pub description: Option<String>,
    /// What follows.
    pub instructions: Vec<Instruction>,
}

/// One instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instruction {
    /// What it says.
    pub kind: InstructionKind,
    /// Where it is, heredoc bodies included.
    pub span: Span,
    /// BuildKit's `node.Original`: as written, continuation lines joined, comments dropped,
    /// heredoc bodies not included.
    pub text: String,
}

/// What an instruction says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InstructionKind {
    /// `ADD`.
    Add(Add),
    /// `ARG`; more than one argument in one instruction is allowed.
    Arg(Vec<ArgPair>),
    /// `CMD`.
    Cmd(CommandLine),
    /// `COPY`.
    Copy(Copy),
    /// `ENTRYPOINT`.
    Entrypoint(CommandLine),
    /// `ENV`.
    Env(Vec<Pair>),
    /// `EXPOSE`: the port words.
    Expose(Vec<Word>),
    /// `HEALTHCHECK`.
    Healthcheck(Healthcheck),
    /// `LABEL`.
    Label(Vec<Pair>),
    /// `MAINTAINER` (deprecated).
    Maintainer(Word),
    /// `ONBUILD`.
    Onbuild(Onbuild),
    /// `RUN`.
    Run(Run),
    /// `SHELL`: the words of the JSON list, final.
    Shell(Vec<String>),
    /// `STOPSIGNAL`.
    Stopsignal(Word),
    /// `USER`.
    User(Word),
    /// `VOLUME`: the paths, raw also where they were written as a JSON list.
    Volume(Vec<Word>),
    /// `WORKDIR`.
    Workdir(Word),
}

/// `name=value` of `ENV` and `LABEL`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// The name, raw.
    pub name: Word,
    /// The value, raw.
    pub value: Word,
    /// Whether it was written `NAME value` (old form).
    pub legacy: bool,
}

/// `name[=default]` of `ARG`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArgPair {
    /// The name, raw.
    pub name: Word,
    /// The default, raw; `None` where there is no `=`.
    pub value: Option<Word>,
    /// The comment above, where it begins with the argument's name.
    pub description: Option<String>,
}

/// A command in one of its two forms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandLine {
    /// A JSON list, decoded. Never expanded.
    Exec(Vec<String>),
    /// A line for the shell, verbatim after continuation lines are joined. Never expanded.
    Shell(String),
}

impl CommandLine {
    /// Whether there is nothing to run.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Exec(words) => words.is_empty(),
            Self::Shell(line) => line.is_empty(),
        }
    }
}

/// A here-document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heredoc {
    /// The delimiter without quotes.
    pub name: String,
    /// The body as written, tabs not yet stripped, last newline included, delimiter line not.
    pub body: Spanned<String>,
    /// Whether variables in the body are expanded (the delimiter was not quoted).
    pub expand: bool,
    /// Whether leading tabs are stripped (`<<-`).
    pub strip_tabs: bool,
    /// The file descriptor before `<<`; 0 where there is none.
    pub fd: u32,
    /// The `<<NAME` word.
    pub span: Span,
}

impl Heredoc {
    /// The body as its reader sees it: leading tabs of each line stripped after `<<-`.
    pub fn text(&self) -> String {
        if !self.strip_tabs {
            return self.body.value.clone();
        }
        let lines = self.body.value.split_inclusive('\n');
        lines.map(|line| line.trim_start_matches('\t')).collect()
    }
}

/// A source of `ADD` or `COPY`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceWord {
    /// A path, pattern or URL, raw.
    Path(Word),
    /// A heredoc: a file of the delimiter's name.
    Heredoc(Heredoc),
}

/// `ADD`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Add {
    /// What `ADD` shares with `COPY`.
    pub files: Files,
    /// `--keep-git-dir`; `None` where it is not written.
    pub keep_git_dir: Option<bool>,
    /// `--checksum`.
    pub checksum: Option<Word>,
    /// `--unpack`; `None` where it is not written.
    pub unpack: Option<bool>,
}

/// `COPY`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// What `COPY` shares with `ADD`.
    pub files: Files,
    /// `--from`: a stage, its number, a context or an image.
    pub from: Option<Word>,
}

/// Sources, destination and flags that `ADD` and `COPY` share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The sources, at least one.
    pub sources: Vec<SourceWord>,
    /// The destination, raw.
    pub dest: Word,
    /// `--chown`.
    pub chown: Option<Word>,
    /// `--chmod`.
    pub chmod: Option<Word>,
    /// `--link`.
    pub link: bool,
    /// `--parents` (only `COPY`'s, by BuildKit's parser).
    pub parents: bool,
    /// `--exclude`, each.
    pub exclude: Vec<Word>,
}

/// `RUN`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The command. With heredocs the shell line still holds the `<<NAME` words.
    pub command: CommandLine,
    /// The heredocs of the line, in order.
    pub heredocs: Vec<Heredoc>,
    /// `--mount`, each.
    pub mounts: Vec<RawMount>,
    /// `--network`.
    pub network: Option<Word>,
    /// `--security`.
    pub security: Option<Word>,
    /// `--device`, each.
    pub devices: Vec<Word>,
}

/// The value of one `--mount`: comma-separated (CSV, quotes allowed) `key[=value]`. The parser
/// checks keys and syntax; values stay raw because any of them may hold variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawMount {
    /// The options in order; keys in lower case.
    pub options: Vec<MountOption>,
    /// The flag's value.
    pub span: Span,
}

/// One `key[=value]` of a mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountOption {
    /// The key, in lower case.
    pub key: String,
    /// The raw value; `None` where there is no `=`.
    pub value: Option<String>,
    /// The option, or the whole flag where the place inside it is not known.
    pub span: Span,
}

/// `HEALTHCHECK`. Durations are nanoseconds; `None` where the flag is not written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Healthcheck {
    /// The command; `None` is `HEALTHCHECK NONE`.
    pub command: Option<CommandLine>,
    /// `--interval`.
    pub interval: Option<i64>,
    /// `--timeout`.
    pub timeout: Option<i64>,
    /// `--start-period`.
    pub start_period: Option<i64>,
    /// `--start-interval`.
    pub start_interval: Option<i64>,
    /// `--retries`.
    pub retries: Option<i64>,
}

/// `ONBUILD`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Onbuild {
    /// The trigger as the image config keeps it: the original text without `ONBUILD`, and for
    /// each heredoc a newline, its body, and its delimiter.
    pub expression: String,
    /// The trigger parsed, for checks; `None` where it is wrong, which BuildKit minds only when
    /// the trigger runs.
    pub instruction: Option<Box<Instruction>>,
}
