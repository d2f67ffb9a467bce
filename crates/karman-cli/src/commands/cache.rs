//! `karman cache`.

use std::io::{BufRead as _, IsTerminal as _};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use karman_diag::ExitCode;
use karman_report::{Table, human_age, human_size};
use karman_worker::{PruneFilter, RowFilter, SpaceLimits, UsageRow, Verified};
use serde_json::json;

use crate::commands::{mounts, why};
use crate::driver::watched;
use crate::failure::{Done, Failure};
use crate::out;
use crate::setup::Context;
use crate::units::{parse_duration, parse_size};

/// What `--filter type=` takes, and what buildx calls it.
const KINDS: [(&str, &str); 7] = [
    ("layer", "layer"),
    ("blob", "blob"),
    ("cache-mount", "cache-mount"),
    ("packages", "packages"),
    ("advisories", "advisories"),
    ("regular", "layer"),
    ("exec.cachemount", "cache-mount"),
];

/// Subcommands.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Show what takes space
    Du {
        /// Only `type=KIND`, `id=PREFIX`, `until=DURATION` or `inuse=BOOL`, such as type=cache-mount
        #[arg(long, value_name = "FILTER", value_parser = parse_filter)]
        filter: Vec<Filter>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove build cache that no image needs
    Prune(PruneArgs),
    /// Read everything in the store and compare it with its digests
    Verify(VerifyArgs),
    /// Tell why steps of the last build were no cache hits
    Why(why::Args),
    /// List the cache mounts of RUN steps
    Mounts(mounts::ListArgs),
    /// Write cache mounts to an archive, a directory or a registry, for other machines
    Export(mounts::ExportArgs),
    /// Take cache mounts from there
    Import(mounts::ImportArgs),
}

/// Arguments of `prune`.
#[derive(Debug, clap::Args)]
pub(crate) struct PruneArgs {
    /// Remove cache mounts and fetched packages too
    #[arg(short, long)]
    all: bool,
    /// Only `until=DURATION` (not used for this long), `type=KIND` or `id=PREFIX`, such as until=24h
    #[arg(long, value_name = "FILTER", value_parser = parse_filter)]
    filter: Vec<Filter>,
    #[command(flatten)]
    limits: LimitArgs,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

/// How much may stay. The least recently used goes first.
#[derive(Debug, clap::Args)]
struct LimitArgs {
    /// Never remove below this much, such as 10GB
    #[arg(long, alias = "keep-storage", value_name = "SIZE", value_parser = parse_size)]
    reserved_space: Option<u64>,
    /// Remove until no more than this much is used
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    max_used_space: Option<u64>,
    /// Remove until this much of the file system is free
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    min_free_space: Option<u64>,
}

/// Arguments of `verify`.
#[derive(Debug, clap::Args)]
pub(crate) struct VerifyArgs {
    /// Take out what is damaged, so that it is made or fetched again
    #[arg(long)]
    repair: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// One condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Filter {
    Unused(Duration),
    Kind(&'static str),
    Id(String),
    InUse(bool),
}

fn parse_filter(text: &str) -> Result<Filter, String> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    match key {
        "until" | "unused-for" => parse_duration(value).map(Filter::Unused),
        "type" => match KINDS.iter().find(|(name, _)| *name == value) {
            Some((_, kind)) => Ok(Filter::Kind(kind)),
            None => Err(format!(
                "unknown type `{value}`: want `layer`, `blob`, `cache-mount`, `packages` or `advisories`"
            )),
        },
        "id" if !value.is_empty() => Ok(Filter::Id(value.to_owned())),
        "inuse" => match value {
            "" | "true" | "1" => Ok(Filter::InUse(true)),
            "false" | "0" => Ok(Filter::InUse(false)),
            _ => Err(format!("`{text}` is neither `inuse=true` nor `inuse=false`")),
        },
        _ => Err(format!("unknown filter `{text}`: want `until=`, `type=`, `id=` or `inuse=`")),
    }
}

/// Conditions of one kind are alternatives, except ages, of which the longest counts.
fn rows_of(filters: &[Filter]) -> RowFilter {
    let mut rows = RowFilter::default();
    for filter in filters {
        match filter {
            Filter::Unused(age) => rows.unused_for = rows.unused_for.max(Some(*age)),
            Filter::Kind(kind) => rows.kinds.push((*kind).to_owned()),
            Filter::Id(id) => rows.ids.push(id.clone()),
            Filter::InUse(_) => {}
        }
    }
    rows
}

/// Runs a subcommand.
pub(crate) fn run(command: Command, context: &Context) -> Done {
    match command {
        Command::Du { filter, json } => {
            let mut rows = context.open(false)?.usage()?;
            let wanted = rows_of(&filter);
            rows.retain(|row| wanted.lets(row));
            for in_use in filter.iter().filter_map(Filter::in_use) {
                rows.retain(|row| row.in_use == in_use);
            }
            out::data(&if json { usage_json(&rows) } else { usage_table(&rows) })?;
        }
        Command::Prune(args) => prune(&args, context)?,
        Command::Verify(args) => return verify(&args, context),
        Command::Why(args) => why::run(&args, context)?,
        Command::Mounts(args) => mounts::list(&args, context)?,
        Command::Export(args) => mounts::export(&args, context)?,
        Command::Import(args) => mounts::import(&args, context)?,
    }
    Ok(0)
}

impl Filter {
    fn in_use(&self) -> Option<bool> {
        match self {
            Self::InUse(value) => Some(*value),
            _ => None,
        }
    }
}

impl LimitArgs {
    /// Those of the configuration, where none is given.
    fn or(&self, policy: SpaceLimits) -> SpaceLimits {
        let own = SpaceLimits {
            reserved: self.reserved_space.unwrap_or(0),
            max_used: self.max_used_space.unwrap_or(0),
            min_free: self.min_free_space.unwrap_or(0),
        };
        let given = [self.reserved_space, self.max_used_space, self.min_free_space];
        if given.iter().any(Option::is_some) { own } else { policy }
    }
}

fn prune(args: &PruneArgs, context: &Context) -> Done<()> {
    if args.filter.contains(&Filter::InUse(true)) {
        return Err(Failure::usage("what images need is never removed: `inuse=true` cannot be"));
    }
    // Whoever is asked for an identity runs twice: ask only in the process that prunes.
    let engine = context.open(false)?;
    if !args.force && !confirmed(args.all)? {
        return Ok(());
    }
    // Filters and `--all` ask for something of their own; the policy is for the store as a whole.
    let plain = args.filter.is_empty() && !args.all;
    let policy = if plain { context.file.gc.limits() } else { SpaceLimits::default() };
    let filter =
        PruneFilter { all: args.all, rows: rows_of(&args.filter), limits: args.limits.or(policy) };
    let pruned = engine.prune(&filter)?;
    out::data(&format!("Removed: {}\nTotal:   {}\n", pruned.removed, human_size(pruned.bytes)))
}

fn verify(args: &VerifyArgs, context: &Context) -> Done {
    let engine = context.open(false)?;
    let told = AtomicUsize::new(0);
    let on_one = |done: usize, total: usize| {
        let tenth = done * 10 / total.max(1);
        if total >= 1000 && told.fetch_max(tenth, Ordering::SeqCst) < tenth {
            out::note(&format!("verifying {done} / {total}\n"));
        }
    };
    let found = watched(&engine, || {}, || engine.verify(args.repair, &on_one))??;
    if args.json {
        out::data(&verified_json(&found))?;
    } else {
        let lines = found.damage.iter().map(|one| {
            let done = if one.removed { " (removed)" } else { "" };
            format!("{} {}: {}{done}\n", one.kind, one.id, one.what)
        });
        out::data(&lines.collect::<String>())?;
    }
    let Verified { blobs, layers, sealed, images, .. } = found;
    out::note(&format!(
        "{blobs} blobs, {layers} layers ({sealed} newly sealed), {images} images\n"
    ));
    let left = found.damage.iter().filter(|one| !one.removed).count();
    match (found.damage.len(), left) {
        (0, _) => Ok(0),
        (all, 0) => {
            out::note(&format!("{all} damaged and removed: they are made or fetched again\n"));
            Ok(0)
        }
        (_, left) => {
            out::note(&format!("{left} damaged\n"));
            let broken_index = found.damage.iter().any(|one| one.kind == "index");
            out::note(match broken_index {
                true => {
                    "hint: the index cannot be repaired: remove the store, or use another with `--root`\n"
                }
                false => "hint: `karman cache verify --repair` takes out what is damaged\n",
            });
            Ok(ExitCode::Store as u8)
        }
    }
}

fn verified_json(found: &Verified) -> String {
    let damage: Vec<_> = found
        .damage
        .iter()
        .map(|one| json!({ "kind": one.kind, "id": one.id, "what": one.what, "removed": one.removed }))
        .collect();
    let Verified { blobs, layers, sealed, images, .. } = found;
    let all = json!({
        "blobs": blobs, "layers": layers, "sealed": sealed, "images": images, "damage": damage,
    });
    format!("{all:#}\n")
}

fn confirmed(all: bool) -> Done<bool> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(Failure::usage_hint(
            "`karman cache prune` asks before it removes anything, and nobody can answer",
            "give `--force`",
        ));
    }
    let what = if all { "all build cache, cache mounts and packages" } else { "build cache" };
    out::note(&format!("WARNING! This removes {what} that no image needs. Continue? [y/N] "));
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer).map_err(|e| Failure::host("read the answer", e))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn usage_table(rows: &[UsageRow]) -> String {
    let mut table = Table::new(["ID", "KIND", "RECLAIMABLE", "SIZE", "LAST USED"]);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    for row in rows {
        let used = Duration::from_nanos(u64::try_from(row.last_used).unwrap_or(0));
        table.row([
            short(&row.id),
            row.kind.to_owned(),
            (!row.in_use).to_string(),
            human_size(row.size),
            human_age(now.saturating_sub(used)),
        ]);
    }
    let (total, free) = totals(rows);
    format!(
        "{}Reclaimable:\t{}\nTotal:\t\t{}\n",
        table.render(),
        human_size(free),
        human_size(total)
    )
}

fn usage_json(rows: &[UsageRow]) -> String {
    let (total, reclaimable) = totals(rows);
    let records = rows.iter().map(|row| {
        json!({
            "id": row.id,
            "name": row.name,
            "kind": row.kind,
            "size": row.size,
            "created": row.created,
            "lastUsed": row.last_used,
            "inUse": row.in_use,
        })
    });
    let records: Vec<_> = records.collect();
    format!("{:#}\n", json!({ "total": total, "reclaimable": reclaimable, "records": records }))
}

/// Bytes in all, and bytes that no image needs.
fn totals(rows: &[UsageRow]) -> (u64, u64) {
    let sum = |rows: &mut dyn Iterator<Item = &UsageRow>| rows.map(|r| r.size).sum::<u64>();
    (sum(&mut rows.iter()), sum(&mut rows.iter().filter(|r| !r.in_use)))
}

/// Ids are as long as digests; the first digits are enough for people.
fn short(id: &str) -> String {
    id.strip_prefix("sha256:").unwrap_or(id).chars().take(12).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_read() {
        assert_eq!(parse_filter("type=exec.cachemount"), Ok(Filter::Kind("cache-mount")));
        assert_eq!(parse_filter("inuse"), Ok(Filter::InUse(true)));
        assert_eq!(parse_filter("until=24h"), Ok(Filter::Unused(Duration::from_secs(86_400))));
        assert!(
            ["type=x", "until", "inuse=x", "id=", "size=3"]
                .map(parse_filter)
                .iter()
                .all(Result::is_err)
        );
        let rows = rows_of(&["until=1h", "until=2h", "id=00"].map(|f| parse_filter(f).expect(f)));
        assert_eq!(rows.unused_for, Some(Duration::from_secs(7200)));
        assert_eq!(rows.ids, ["00"]);
    }
}
