//! Where outputs go: what cannot be written after the build is told before it, and so is a plan of layers that cannot be read.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};

use karman_build::TargetSpec;
use karman_control::{Export, Layering, OutputKind};
use rustix::fs::{Access, access};

use crate::failure::{Done, Failure};

/// Refuses destinations that cannot become what is wanted of them.
pub(crate) fn check(specs: &[TargetSpec]) -> Done<()> {
    refuse_terminal(specs)?;
    refuse_shared(specs)?;
    plans(specs).into_iter().try_for_each(karman_worker::check_layer_plan)?;
    files(specs).try_for_each(|(_, file)| check_file(file))?;
    directories(specs).try_for_each(check_dir)
}

/// Refuses a place at which no file could be made: there is no such directory, it cannot be written, or the place is one.
pub(crate) fn check_file(file: &Path) -> Done<()> {
    let failed =
        |source: io::Error| Failure::File { doing: "write", path: file.to_owned(), source };
    match file.metadata() {
        Ok(found) if found.is_dir() => {
            return Err(failed(io::Error::from(io::ErrorKind::IsADirectory)));
        }
        // A pipe or a device is written as it is.
        Ok(found) if !found.is_file() => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Err(failed(error)),
        _ => {}
    }
    let parent = match file.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    access(parent, Access::WRITE_OK | Access::EXEC_OK).map_err(|error| failed(error.into()))
}

/// Refuses a place that is no directory and cannot become one. What is missing above it is made, too.
fn check_dir(dir: &Path) -> Done<()> {
    let failed = |source: io::Error| Failure::File { doing: "write", path: dir.to_owned(), source };
    for place in dir.ancestors() {
        let place = if place == Path::new("") { Path::new(".") } else { place };
        match place.metadata() {
            Ok(found) if !found.is_dir() => {
                return Err(failed(io::Error::from(io::ErrorKind::NotADirectory)));
            }
            Ok(_) => {
                let writable = access(place, Access::WRITE_OK | Access::EXEC_OK);
                return writable.map_err(|error| failed(error.into()));
            }
            // A link that leads nowhere is there.
            Err(error)
                if error.kind() == io::ErrorKind::NotFound && place.symlink_metadata().is_err() => {
            }
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(())
}

/// Whether an output of these goes to standard output.
pub(crate) fn uses_stdout(specs: &[TargetSpec]) -> bool {
    archives(specs).any(|(_, export)| export.dest.is_none())
}

/// Archives do not go to a terminal, and only one goes to standard output.
fn refuse_terminal(specs: &[TargetSpec]) -> Done<()> {
    match archives(specs).filter(|(_, export)| export.dest.is_none()).count() {
        0 => Ok(()),
        1 if io::stdout().is_terminal() => Err(Failure::usage_hint(
            "refusing to write an archive to the terminal",
            "redirect standard output, or name a file with `dest=`",
        )),
        1 => Ok(()),
        _ => Err(Failure::usage_hint(
            "only one output can go to standard output",
            "name files with `dest=`",
        )),
    }
}

/// Of two archives in one file only the later would be there.
fn refuse_shared(specs: &[TargetSpec]) -> Done<()> {
    let mut owners: BTreeMap<PathBuf, &str> = BTreeMap::new();
    for (target, file) in files(specs) {
        if file.metadata().is_ok_and(|found| !found.is_file()) {
            continue;
        }
        // `./a.tar` is `a.tar`.
        let whole = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
        if let Some(other) = owners.insert(whole, target) {
            let whose = match other == target {
                true => format!("of `{target}`"),
                false => format!("of `{other}` and `{target}`"),
            };
            return Err(Failure::usage_hint(
                format!("two outputs {whose} go to the same file `{}`", file.display()),
                "give each a `dest=` of its own; `type=oci,tar=false` is a directory for several",
            ));
        }
    }
    Ok(())
}

/// Outputs that are one file, with their targets.
fn archives(specs: &[TargetSpec]) -> impl Iterator<Item = (&str, &Export)> {
    let exports = specs.iter().flat_map(|s| s.exports.iter().map(|e| (s.name.as_str(), e)));
    exports.filter(|(_, export)| {
        let file = matches!(export.kind, OutputKind::Oci | OutputKind::Docker | OutputKind::Tar);
        file && export.archive && export.load.is_none()
    })
}

/// The plans that layers are cut by.
fn plans(specs: &[TargetSpec]) -> BTreeSet<&Path> {
    let exports = specs.iter().flat_map(|spec| &spec.exports);
    let plans = exports.filter_map(|export| match &export.layering {
        Layering::Packages(layers) => layers.plan.as_deref(),
        Layering::Steps => None,
    });
    plans.collect()
}

/// Directories that outputs go to.
fn directories(specs: &[TargetSpec]) -> impl Iterator<Item = &Path> {
    specs.iter().flat_map(|spec| &spec.exports).filter_map(|export| {
        let is_layout = matches!(export.kind, OutputKind::Oci | OutputKind::Docker)
            && !export.archive
            && export.load.is_none();
        let is_dir = is_layout || export.kind == OutputKind::Local;
        export.dest.as_deref().filter(|_| is_dir)
    })
}

fn files(specs: &[TargetSpec]) -> impl Iterator<Item = (&str, &Path)> {
    archives(specs).filter_map(|(target, export)| Some((target, export.dest.as_deref()?)))
}
