//! `karman cache`.

use std::io::{BufRead as _, IsTerminal as _};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use karman_report::{Table, human_age, human_size};
use karman_worker::{PruneFilter, UsageRow};
use serde_json::json;

use crate::failure::{Done, Failure};
use crate::out;
use crate::setup::Context;
use crate::units::{parse_duration, parse_size};

/// Subcommands.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Show what takes space
    Du {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove build cache that no image needs
    Prune(PruneArgs),
}

/// Arguments of `prune`.
#[derive(Debug, clap::Args)]
pub(crate) struct PruneArgs {
    /// Remove cache mounts and fetched packages too
    #[arg(short, long)]
    all: bool,
    /// `until=DURATION`: only what was not used for this long, such as until=24h
    #[arg(long, value_name = "FILTER", value_parser = parse_filter)]
    filter: Option<Duration>,
    /// Keep this much of what was used last, such as 10GB
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    keep_storage: Option<u64>,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

fn parse_filter(text: &str) -> Result<Duration, String> {
    match text.split_once('=') {
        Some(("until" | "unused-for", value)) => parse_duration(value),
        _ => Err(format!("unknown filter `{text}`: want `until=DURATION`")),
    }
}

/// Runs a subcommand.
pub(crate) fn run(command: Command, context: &Context) -> Done {
    match command {
        Command::Du { json } => {
            let rows = context.open(false)?.usage()?;
            out::data(&if json { usage_json(&rows) } else { usage_table(&rows) })?;
        }
        Command::Prune(args) => prune(&args, context)?,
    }
    Ok(0)
}

fn prune(args: &PruneArgs, context: &Context) -> Done<()> {
    // Whoever is asked for an identity runs twice: ask only in the process that prunes.
    let engine = context.open(false)?;
    if !args.force && !confirmed(args.all)? {
        return Ok(());
    }
    let filter =
        PruneFilter { all: args.all, unused_for: args.filter, keep_storage: args.keep_storage };
    let pruned = engine.prune(filter)?;
    out::data(&format!("Removed: {}\nTotal:   {}\n", pruned.removed, human_size(pruned.bytes)))
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
