//! `karman constraints`: the constraints of an OpenStack series.

use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use karman_constraints::{
    LockCommand, LockScript, Pins, Resolution, Series, diff, failure_hints, parse, parse_compiled,
    render, render_diff, verify,
};
use karman_diag::{Diagnostic, ExitCode, SourceMap};
use karman_worker::{Engine, RunRequest};

use super::bake;
use crate::driver::watched;
use crate::failure::{Done, Failure};
use crate::metadata::write;
use crate::out;
use crate::setup::Context;

/// The file of one series that people do not edit.
const LOCKED: &str = "upper-constraints.txt";
/// Where the resolver sees its input files.
const INSIDE: &str = "/lock";
/// The largest answer of a resolver that is read.
const MAX_ANSWER: u64 = 16 << 20;

/// Commands.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Resolve the whole fleet at once and write constraints/SERIES/upper-constraints.txt
    Lock(LockArgs),
    /// Compare two constraints files
    Diff(DiffArgs),
}

/// Arguments of `lock`.
#[derive(Debug, clap::Args)]
pub(crate) struct LockArgs {
    /// Series; its source is DIR/SERIES.toml
    series: String,
    /// Directory of the constraints
    #[arg(long, value_name = "DIR", default_value = "constraints")]
    dir: PathBuf,
    /// Bake target whose image has uv and a compiler
    #[arg(long, value_name = "TARGET", default_value = "constraints-resolver")]
    resolver: String,
    /// Write nothing; exit code 1 when the file would change
    #[arg(long)]
    check: bool,
}

/// Arguments of `diff`.
#[derive(Debug, clap::Args)]
pub(crate) struct DiffArgs {
    /// Older file
    old: PathBuf,
    /// Newer file
    new: PathBuf,
}

/// Runs a command; gives the exit code.
pub(crate) fn run(command: Command, context: &Context) -> Done {
    match command {
        Command::Lock(args) => lock(&args, context),
        Command::Diff(args) => {
            let (old, new) = (read(&args.old, context)?, read(&args.new, context)?);
            out::data(&render_diff(&diff(&pins(&args.old, &old)?, &pins(&args.new, &new)?)))?;
            Ok(0)
        }
    }
}

fn lock(args: &LockArgs, context: &Context) -> Done {
    // An ordinary user's program starts once more in there: nothing may be said before.
    context.enter()?;
    let source = args.dir.join(format!("{}.toml", args.series));
    let target = args.dir.join(&args.series).join(LOCKED);
    let mut sources = SourceMap::new();
    let file = sources.add(source.display().to_string(), read(&source, context)?);
    let text = sources.get(file).map(|f| f.text.to_string()).unwrap_or_default();
    let (series, found) = parse(file, &text);
    let Some(series) = series else {
        return Err(Failure::diagnostics(&found, &sources, ExitCode::Input));
    };
    tell(&found, &sources);
    bake::run(bake::Args::of(&args.resolver), context)?;
    let resolutions = resolve(&series, &args.resolver, context)?;
    let found = verify(&series, &resolutions);
    if found.iter().any(Diagnostic::is_error) {
        return Err(Failure::diagnostics(&found, &sources, ExitCode::Input));
    }
    tell(&found, &sources);
    let locked = render(&series, &resolutions);
    let path = context.env.absolute(&target);
    let before = std::fs::read_to_string(&path).unwrap_or_default();
    if let (Ok(old), Ok(new)) = (parse_compiled(&before), parse_compiled(&locked)) {
        out::data(&render_diff(&diff(&old, &new)))?;
    }
    if before == locked {
        out::note(&format!("{} is up to date\n", target.display()));
        return Ok(0);
    }
    if args.check {
        out::note(&format!("{} is not what the series says now\n", target.display()));
        return Ok(ExitCode::Failure.code());
    }
    write(&path, &locked)?;
    out::note(&format!("wrote {}\n", target.display()));
    Ok(0)
}

fn tell(found: &[Diagnostic], sources: &SourceMap) {
    found.iter().for_each(|d| out::note(&karman_diag::render(d, sources)));
}

/// Runs the resolver once for every Python.
fn resolve(series: &Series, image: &str, context: &Context) -> Done<Vec<Resolution>> {
    let engine = context.open(false)?;
    let scratch = engine.store().temp_dir("lock").map_err(|e| Failure::host("use the store", e))?;
    let LockScript { files, commands } = series.lock_script();
    for file in &files {
        write(&scratch.path().join(file.name), &file.contents)?;
    }
    let answer = |command: &LockCommand| -> Done<Resolution> {
        let text = ask(&engine, command, image, scratch.path(), context)?;
        let pins = pins(Path::new("the resolver's answer"), &text)?;
        Ok(Resolution { python: command.python, pins })
    };
    commands.iter().map(answer).collect::<Done<Vec<_>>>().inspect_err(|_| {
        let hints = failure_hints(series, "");
        hints.iter().for_each(|hint| out::note(&format!("hint: {hint}\n")));
    })
}

/// Runs one resolution in the image and gives what it printed.
fn ask(
    engine: &Engine,
    command: &LockCommand,
    image: &str,
    files: &Path,
    context: &Context,
) -> Done<String> {
    let (answer, pipe) = std::io::pipe().map_err(|e| Failure::host("make a pipe", e))?;
    let request = RunRequest {
        image: image.to_owned(),
        args: command.argv.clone(),
        entrypoint: Some(String::new()),
        workdir: Some(INSIDE.to_owned()),
        volumes: vec![(files.to_owned(), INSIDE.to_owned(), true)],
        stdout: Some(OwnedFd::from(pipe)),
        ..RunRequest::default()
    };
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        answer.take(MAX_ANSWER).read_to_string(&mut text).map(|_| text)
    });
    let session = context.session();
    let code = watched(engine, || {}, || engine.run(request, &session).map_err(Failure::from))??;
    let read = reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    let text = read.map_err(|e| Failure::host("read the resolver's answer", e))?;
    if code != 0 {
        let message = format!("the resolver failed with exit code {code}");
        return Err(Failure::Rendered {
            text: format!("ERROR: {message}\n"),
            exit: ExitCode::Failure,
        });
    }
    Ok(text)
}

fn pins(path: &Path, text: &str) -> Done<Pins> {
    parse_compiled(text).map_err(|e| Failure::Rendered {
        text: format!("ERROR: {}: {e}\n", path.display()),
        exit: ExitCode::Input,
    })
}

fn read(path: &Path, context: &Context) -> Done<String> {
    let full = context.env.absolute(path);
    std::fs::read_to_string(&full).map_err(|source| Failure::File {
        doing: "read",
        path: path.to_owned(),
        source,
    })
}
