//! `karman constraints lock`.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use karman_constraints::{
    PackageName, Pins, Requirements, Resolution, Told, diff, failure_hints, parse_compiled, record,
    render, render_diff, verify,
};
use karman_diag::{Diagnostic, ExitCode};

use super::place::{Loaded, Place, SeriesArgs, pins, today};
use super::resolver::{Refusal, Resolver, ResolverArgs};
use crate::failure::{Done, Failure};
use crate::out;
use crate::setup::Context;

/// Requirements without a version that are named before the rest is only counted.
const UNTOLD_SHOWN: usize = 3;

/// Arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    series: SeriesArgs,
    #[command(flatten)]
    resolver: ResolverArgs,
    /// Write nothing; exit code 1 when the files would change
    #[arg(long)]
    check: bool,
}

/// What a resolution of the fleet makes.
pub(super) struct Locked {
    /// `upper-constraints.txt`.
    pub(super) text: String,
    /// Its pins.
    pub(super) pins: Pins,
    /// `requirements.json`.
    pub(super) graph: Requirements,
}

pub(super) fn run(args: &Args, context: &Context) -> Done {
    let place = args.series.place(context)?;
    Resolver::enter(&args.resolver, context)?;
    let loaded = place.load(context)?;
    loaded.tell(&loaded.warnings);
    let expired = loaded.series.expired(today(None)?);
    loaded.tell(&expired.into_iter().filter(|d| !d.is_error()).collect::<Vec<_>>());
    let resolver = Resolver::open(&args.resolver, context)?;
    let locked = match resolve(&place, &loaded, &BTreeSet::new(), &resolver, context)? {
        Ok(locked) => locked,
        Err(refusal) => {
            return Err(refusal.failure(&failure_hints(&loaded.series, &refusal.words)));
        }
    };
    let files =
        [(place.locked(), locked.text.clone()), (place.requirements(), locked.graph.render())];
    let before = |path| std::fs::read_to_string(context.env.absolute(path)).unwrap_or_default();
    if let Ok(old) = parse_compiled(&before(&files[0].0)) {
        out::data(&render_diff(&diff(&old, &locked.pins)))?;
    }
    let mut code = ExitCode::Success;
    let mut changed = Vec::new();
    for (path, text) in &files {
        if before(path) == *text {
            out::note(&format!("{} is up to date\n", path.display()));
        } else if args.check {
            out::note(&format!("{} is not what the series says now\n", path.display()));
            code = ExitCode::Failure;
        } else {
            changed.push((path.clone(), text.as_str()));
        }
    }
    write_files(&changed, context)?;
    Ok(code.code())
}

/// Writes files of a series that belong together: all are there under other names, on the disk, before the
/// first takes its place. So a full disk or a missing permission changes none of them; what is left is a
/// kill between two renames.
pub(super) fn write_files(files: &[(PathBuf, &str)], context: &Context) -> Done<()> {
    let mut ready = Vec::new();
    for (path, text) in files {
        let full = context.env.absolute(path);
        let failed = |doing| {
            let path = path.clone();
            move |source| Failure::File { doing, path, source }
        };
        let dir = full.parent().unwrap_or(Path::new("/"));
        std::fs::create_dir_all(dir).map_err(failed("make the directory of"))?;
        let mut temp = tempfile::NamedTempFile::new_in(dir).map_err(failed("write"))?;
        let mode = std::fs::Permissions::from_mode(0o644);
        temp.write_all(text.as_bytes())
            .and_then(|()| temp.as_file().set_permissions(mode))
            .and_then(|()| temp.as_file().sync_all())
            .map_err(failed("write"))?;
        ready.push((path, full, temp));
    }
    for (path, full, temp) in ready {
        temp.persist(&full).map_err(|e| Failure::File {
            doing: "write",
            path: path.clone(),
            source: e.error,
        })?;
        out::note(&format!("wrote {}\n", path.display()));
    }
    Ok(())
}

/// Resolves the whole fleet and holds the answer against the series. Imported pins of `released` do not
/// hold.
pub(super) fn resolve(
    place: &Place,
    loaded: &Loaded,
    released: &BTreeSet<PackageName>,
    resolver: &Resolver<'_>,
    context: &Context,
) -> Done<Result<Locked, Refusal>> {
    let series = &loaded.series;
    let held = place.held(loaded, context)?.map(|applied| applied.pins.without(released));
    let answers = match resolver.run(&series.lock_script(held.as_ref()))? {
        Ok(answers) => answers,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let mut resolutions = Vec::new();
    for answer in &answers {
        let pins = pins("the resolver's answer".as_ref(), &answer.pins)?;
        resolutions.push(Resolution { python: answer.python, pins });
    }
    let found = verify(series, &resolutions);
    if found.iter().any(Diagnostic::is_error) {
        return Err(loaded.failure(&found));
    }
    loaded.tell(&found);
    let told: Vec<Told<'_>> =
        answers.iter().map(|a| Told { python: a.python, answer: &a.pins, log: &a.log }).collect();
    let recorded = record(series, held.as_ref(), &resolutions, &told);
    if !recorded.untold.is_empty() {
        let shown: Vec<&str> =
            recorded.untold.iter().take(UNTOLD_SHOWN).map(String::as_str).collect();
        out::note(&format!(
            "WARNING: uv did not tell the versions of {} requirements, such as {}\n",
            recorded.untold.len(),
            shown.join(", ")
        ));
    }
    let text = render(series, held.as_ref(), &resolutions);
    let pins = pins(&place.locked(), &text)?;
    Ok(Ok(Locked { text, pins, graph: recorded.requirements }))
}
