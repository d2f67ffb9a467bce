//! `karman cache mounts`, `karman cache export` and `karman cache import`.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use karman_oci::Reference;
use karman_report::{Table, human_age, human_size};
use karman_worker::{CacheMount, MountsPlace, MovedMount};
use serde_json::json;

use crate::driver::watched;
use crate::failure::{Done, Failure};
use crate::out;
use crate::setup::Context;

/// How a place of a registry is written, as for contexts.
const REGISTRY: &str = "docker-image://";

/// Arguments of `mounts`.
#[derive(Debug, clap::Args)]
pub(crate) struct ListArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `export`.
#[derive(Debug, clap::Args)]
pub(crate) struct ExportArgs {
    /// Where to: a file `*.tar`, a directory (OCI layout), or docker-image://REF
    #[arg(value_name = "PLACE", value_parser = parse_place)]
    place: MountsPlace,
    /// Only the cache mounts of this id [default: all]
    #[arg(long, value_name = "ID")]
    id: Vec<String>,
}

/// Arguments of `import`.
#[derive(Debug, clap::Args)]
pub(crate) struct ImportArgs {
    /// Where from: a file `*.tar`, a directory (OCI layout), or docker-image://REF
    #[arg(value_name = "PLACE", value_parser = parse_place)]
    place: MountsPlace,
    /// Only the cache mounts of this id [default: all]
    #[arg(long, value_name = "ID")]
    id: Vec<String>,
    /// Replace cache mounts that are here already; they are left alone otherwise
    #[arg(long)]
    replace: bool,
}

fn parse_place(text: &str) -> Result<MountsPlace, String> {
    if let Some(reference) = text.strip_prefix(REGISTRY) {
        let reference = Reference::parse(reference).map_err(|e| e.to_string())?;
        return Ok(MountsPlace::Registry(reference));
    }
    if text.contains("://") {
        return Err(format!("want a file `*.tar`, a directory, or `{REGISTRY}REF`"));
    }
    let path = PathBuf::from(text);
    let is_archive = path.extension().is_some_and(|e| e == "tar") && !path.is_dir();
    Ok(if is_archive { MountsPlace::Archive(path) } else { MountsPlace::Directory(path) })
}

/// Lists the cache mounts.
pub(crate) fn list(args: &ListArgs, context: &Context) -> Done<()> {
    let mounts = context.open(false)?.cache_mounts()?;
    out::data(&if args.json { to_json(&mounts) } else { to_table(&mounts) })
}

/// Writes cache mounts to a place.
pub(crate) fn export(args: &ExportArgs, context: &Context) -> Done<()> {
    let engine = context.open(false)?;
    let place = below(&args.place, context);
    let work = || engine.export_cache_mounts(&args.id, &place);
    show(&watched(&engine, || (), work)?.map_err(Failure::from)?, "exported")
}

/// Takes cache mounts from a place.
pub(crate) fn import(args: &ImportArgs, context: &Context) -> Done<()> {
    let engine = context.open(false)?;
    let place = below(&args.place, context);
    if let MountsPlace::Archive(path) | MountsPlace::Directory(path) = &place {
        let read = |source| Failure::File { doing: "read", path: path.clone(), source };
        path.metadata().map_err(read)?;
    }
    let work = || engine.import_cache_mounts(&args.id, &place, args.replace);
    show(&watched(&engine, || (), work)?.map_err(Failure::from)?, "imported")
}

fn below(place: &MountsPlace, context: &Context) -> MountsPlace {
    match place {
        MountsPlace::Archive(path) => MountsPlace::Archive(context.env.cwd.join(path)),
        MountsPlace::Directory(path) => MountsPlace::Directory(context.env.cwd.join(path)),
        registry => registry.clone(),
    }
}

/// One line for each mount: what it is on standard output, what became of it for people.
fn show(moved: &[MovedMount], verb: &str) -> Done<()> {
    for mount in moved {
        let what = match mount.kept {
            true => "kept: there is one already (see --replace)".to_owned(),
            false => format!("{verb} ({})", human_size(mount.size)),
        };
        out::note(&format!("{}: {what}\n", mount.place));
    }
    let places: String =
        moved.iter().filter(|m| !m.kept).map(|m| format!("{}\n", m.place)).collect();
    out::data(&places)
}

fn to_table(mounts: &[CacheMount]) -> String {
    let mut table = Table::new(["ID", "SCOPE", "SHARING", "SIZE", "LAST USED"]);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    for mount in mounts {
        let used = Duration::from_nanos(u64::try_from(mount.last_used).unwrap_or(0));
        let scope = if mount.scope.is_empty() { "all" } else { &mount.scope };
        table.row([
            mount.id.clone(),
            scope.to_owned(),
            mount.sharing.clone(),
            human_size(mount.size),
            human_age(now.saturating_sub(used)),
        ]);
    }
    table.render()
}

fn to_json(mounts: &[CacheMount]) -> String {
    let records = mounts.iter().map(|mount| {
        json!({
            "place": mount.place,
            "id": mount.id,
            "scope": mount.scope,
            "sharing": mount.sharing,
            "size": mount.size,
            "lastUsed": mount.last_used,
        })
    });
    format!("{:#}\n", json!({ "mounts": records.collect::<Vec<_>>() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_told_apart() {
        assert_eq!(parse_place("a.tar"), Ok(MountsPlace::Archive("a.tar".into())));
        assert_eq!(parse_place("a"), Ok(MountsPlace::Directory("a".into())));
        assert!(matches!(parse_place("docker-image://h:1/a:b"), Ok(MountsPlace::Registry(_))));
        assert!(parse_place("https://h/a").is_err());
    }
}
