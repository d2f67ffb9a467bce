//! uv, in the builder's image or on the host.
//!
//! The image is the default: its Python and headers are those the fleet is built with. A uv of the
//! host gives the same answer where nothing has to be built, and needs no image.

use std::any::Any;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use karman_constraints::{LockCommand, LockScript, PythonVersion};
use karman_diag::ExitCode;
use karman_sys::program::Program;
use karman_worker::{Engine, RunRequest};

use super::super::bake;
use crate::driver::{is_interrupted, watched};
use crate::failure::{Done, Failure};
use crate::metadata::write;
use crate::setup::Context;

/// Where the image sees the files.
const INSIDE: &str = "/lock";
/// What uv says about its work goes to this file beside its inputs.
const LOG: &str = "uv.log";
/// uv's cache, for the resolutions of one command.
const CACHE: &str = "cache";
/// The largest answer that is read.
const MAX_ANSWER: u64 = 16 << 20;
/// The largest log that is read: that of OpenStack as a whole has some megabytes.
const MAX_LOG: u64 = 256 << 20;
/// Starts uv with its standard error in the file.
const REDIRECT: &str = "exec \"$@\" 2>uv.log";

/// Flags of commands that resolve.
#[derive(Debug, clap::Args)]
pub(crate) struct ResolverArgs {
    /// Bake target whose image has uv and a compiler
    #[arg(long, value_name = "TARGET", default_value = "constraints-resolver")]
    resolver: String,
    /// Resolve with this uv of the host instead of an image
    #[arg(long, value_name = "PROGRAM", conflicts_with = "resolver")]
    uv: Option<PathBuf>,
}

/// A place where uv runs.
pub(crate) struct Resolver<'a> {
    context: &'a Context,
    kind: Kind,
    scratch: PathBuf,
    /// Removes the directory in the end.
    _scratch: Box<dyn Any>,
}

enum Kind {
    Image { engine: Engine, image: String },
    Host(PathBuf),
}

/// What uv answered for one Python.
pub(crate) struct Answer {
    /// The Python.
    pub(crate) python: PythonVersion,
    /// Its standard output.
    pub(crate) pins: String,
    /// Its standard error.
    pub(crate) log: String,
}

/// uv found no resolution.
pub(crate) struct Refusal {
    /// The Python.
    pub(crate) python: PythonVersion,
    /// Why, in uv's words.
    pub(crate) words: String,
}

impl<'a> Resolver<'a> {
    /// Takes on the identity of a builder before anything is said: an ordinary user's program starts
    /// once more in there.
    pub(crate) fn enter(args: &ResolverArgs, context: &Context) -> Done<()> {
        if args.uv.is_none() {
            context.enter()?;
        }
        Ok(())
    }

    /// Builds the image, where one is wanted.
    pub(crate) fn open(args: &ResolverArgs, context: &'a Context) -> Done<Self> {
        let Some(program) = &args.uv else {
            bake::run(bake::Args::of(&args.resolver), context)?;
            let engine = context.open(false)?;
            let dir =
                engine.store().temp_dir("lock").map_err(|e| Failure::host("use the store", e))?;
            let scratch = dir.path().to_owned();
            let kind = Kind::Image { engine, image: args.resolver.clone() };
            return Ok(Self { context, kind, scratch, _scratch: Box::new(dir) });
        };
        let root = context.store_dir()?;
        let failed = |e| Failure::host("make a temporary directory below the store", e);
        let dir = tempfile::Builder::new().prefix("lock-").tempdir_in(&root).map_err(failed)?;
        let scratch = dir.path().to_owned();
        let kind = Kind::Host(found(program, context));
        Ok(Self { context, kind, scratch, _scratch: Box::new(dir) })
    }

    /// Runs every command of `script`; the first one without a resolution ends it.
    pub(crate) fn run(&self, script: &LockScript) -> Done<Result<Vec<Answer>, Refusal>> {
        let dir = &self.scratch;
        for file in &script.files {
            write(&dir.join(file.name), &file.contents)?;
        }
        let mut answers = Vec::new();
        for command in &script.commands {
            let (success, pins) = match &self.kind {
                Kind::Image { engine, image } => self.in_image(engine, image, command)?,
                Kind::Host(program) => self.on_host(program, command)?,
            };
            let log = read_bounded(&dir.join(LOG), MAX_LOG)?;
            if !success {
                return Ok(Err(Refusal { python: command.python, words: words(&log) }));
            }
            answers.push(Answer { python: command.python, pins, log });
        }
        Ok(Ok(answers))
    }

    fn in_image(
        &self,
        engine: &Engine,
        image: &str,
        command: &LockCommand,
    ) -> Done<(bool, String)> {
        let (answer, pipe) = std::io::pipe().map_err(|e| Failure::host("make a pipe", e))?;
        let shell = ["/bin/sh", "-c", REDIRECT, "uv"].map(str::to_owned);
        let request = RunRequest {
            image: image.to_owned(),
            args: shell.into_iter().chain(command.argv.iter().cloned()).collect(),
            entrypoint: Some(String::new()),
            env: vec![format!("UV_CACHE_DIR={INSIDE}/{CACHE}")],
            workdir: Some(INSIDE.to_owned()),
            volumes: vec![(self.scratch.clone(), INSIDE.to_owned(), false)],
            stdout: Some(OwnedFd::from(pipe)),
            ..RunRequest::default()
        };
        let reader = std::thread::spawn(move || {
            let mut text = String::new();
            answer.take(MAX_ANSWER).read_to_string(&mut text).map(|_| text)
        });
        let session = self.context.session();
        let run = || engine.run(request, &session).map_err(Failure::from);
        let code = watched(engine, || {}, run)??;
        if is_interrupted() {
            return Err(Failure::Interrupted { what: "resolver" });
        }
        let read = reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let text = read.map_err(|e| Failure::host("read the resolver's answer", e))?;
        Ok((code == 0, text))
    }

    fn on_host(&self, program: &Path, command: &LockCommand) -> Done<(bool, String)> {
        let dir = &self.scratch;
        let program = Program::new(program)
            .args(command.argv.iter().skip(1))
            .env_all(&self.context.env.all)
            .env("UV_CACHE_DIR", dir.join(CACHE))
            .dir(dir);
        let output = program.output().map_err(|e| Failure::host("start uv", e))?;
        write(&dir.join(LOG), &String::from_utf8_lossy(&output.stderr))?;
        Ok((output.success, String::from_utf8_lossy(&output.stdout).into_owned()))
    }
}

impl Refusal {
    /// A failure with uv's words.
    pub(crate) fn failure(&self, hints: &[String]) -> Failure {
        let hints: String = hints.iter().map(|hint| format!("hint: {hint}\n")).collect();
        Failure::Rendered {
            text: format!(
                "ERROR: nothing resolves for Python {}\n{}{hints}",
                self.python, self.words
            ),
            exit: ExitCode::Failure,
        }
    }
}

/// A path stands as it is; a bare name is looked for on the `PATH`.
fn found(program: &Path, context: &Context) -> PathBuf {
    if program.components().count() > 1 {
        context.env.absolute(program)
    } else {
        program.to_owned()
    }
}

/// What people are to read of a log: everything from the error on, without what was being tried.
fn words(log: &str) -> String {
    let noise = ["DEBUG ", "TRACE ", "INFO ", "WARN "];
    let said: Vec<&str> =
        log.lines().filter(|line| !noise.iter().any(|word| line.starts_with(word))).collect();
    let error = said.iter().position(|line| line.trim_start().starts_with("error"));
    let said = &said[error.unwrap_or(0)..];
    said.iter().map(|line| format!("{line}\n")).collect()
}

fn read_bounded(path: &Path, limit: u64) -> Done<String> {
    let failed = |e| Failure::host("read the resolver's log", e);
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes).map_err(failed)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
