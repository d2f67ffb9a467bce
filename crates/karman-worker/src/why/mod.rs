//! Why a step was no cache hit: what is remembered of the last two builds of a target, and how they differ.
//!
//! Bucket `why`: target and where it is defined → [`Ledger`] (JSON, zstd). Bucket `why-state`: the same key →
//! [`State`]. A build in which nothing ran and nothing changed reads that one small row. Of the files that a step
//! reads of a local directory the digests are kept, so that a change can be named; they are in the stat
//! cache already when the step has run.

mod explain;
mod facts;
mod record;

use std::io::Read as _;

use karman_content::Store;
use karman_control::{Cause, SolveError};
use serde::{Deserialize, Serialize};

use crate::engine::Engine;
use crate::error::{OrFail as _, store as store_error};

pub use explain::{Explained, Reason};
pub(crate) use record::record;

/// Bucket of ledgers.
const BUCKET: &str = "why";
/// Bucket of states.
const STATE: &str = "why-state";
/// Builds that are remembered; the oldest go.
const MAX_LEDGERS: usize = 200;
/// The largest ledger that is read, in bytes of JSON.
const MAX_LEDGER: u64 = 256 << 20;

/// The last two builds of a target.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ledger {
    target: String,
    /// The context, the Dockerfile and the stage.
    definition: String,
    /// Seconds since 1970 of the last build.
    at: i64,
    /// Names of the build arguments that were given.
    args: Vec<String>,
    now: Vec<Row>,
    before: Option<Vec<Row>>,
}

/// What says whether a ledger must be written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    /// The digest of all keys of the last build.
    keys: String,
    /// Whether anything ran in it.
    ran: bool,
    /// When it was, in seconds since 1970.
    at: i64,
}

/// A vertex of a build.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Row {
    name: String,
    key: String,
    op: String,
    outcome: Happened,
    /// Whether the cache was passed over.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    fresh: bool,
    /// Whether its results are never in the cache: what only rearranges layers, and sources.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    uncached: bool,
    /// Rows that it reads.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    inputs: Vec<usize>,
    /// What the op says, in the order in which it is compared.
    facts: Vec<(String, String)>,
    /// The digest of the result's layers, where it is known.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    result: String,
    /// Files that are read of local directories: path → digest of what counts.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    files: Vec<(String, String)>,
}

/// What happened to a vertex.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Happened {
    /// It was not looked at.
    #[default]
    Unseen,
    /// Its result was there.
    Cached,
    /// It ran.
    Ran,
    /// It failed.
    Failed,
}

/// Why steps of the last build of a target ran.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WhyReport {
    /// The target.
    pub target: String,
    /// The context, the Dockerfile and the stage.
    pub definition: String,
    /// When it was built, in seconds since 1970.
    pub at: i64,
    /// All steps, those that people see.
    pub steps: Vec<Explained>,
}

impl Engine {
    /// What is remembered of the last build of a target, or of the last build without a name.
    ///
    /// # Errors
    /// When there is none, or the store cannot be read.
    pub fn why(&self, target: Option<&str>) -> Result<WhyReport, SolveError> {
        let mut rows = self.store().list(STATE, "").map_err(store_error)?;
        rows.sort_by_key(|row| std::cmp::Reverse(row.last_used));
        let mut known = Vec::new();
        for row in rows {
            let name = target_of(&row.key);
            if target.is_none_or(|wanted| wanted == name)
                && let Some(ledger) = load(self.store(), &row.key)?
            {
                let state: State =
                    serde_json::from_slice(&row.value).or_fail(Cause::Store, "read a record")?;
                return Ok(report(ledger, &state));
            }
            known.push(name);
        }
        let message = match target {
            Some(target) => format!("no build of `{target}` is remembered"),
            None => "no build is remembered".to_owned(),
        };
        let error = SolveError::new(Cause::NotFound, message);
        let near = target.and_then(|t| karman_diag::nearest(t, known.iter().map(String::as_str)));
        Err(match near {
            Some(near) => error.with_hint(format!("did you mean `{near}`?")),
            None => error.with_hint("build something first, with this store"),
        })
    }
}

/// The key of a ledger.
fn key_of(target: &str, definition: &str) -> Vec<u8> {
    format!("{target}\0{definition}").into_bytes()
}

fn target_of(key: &[u8]) -> String {
    let name = key.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(name).into_owned()
}

fn report(mut ledger: Ledger, state: &State) -> WhyReport {
    if !state.ran {
        let rows = ledger.now.iter_mut().filter(|row| !row.uncached);
        rows.for_each(|row| row.outcome = Happened::Cached);
    }
    WhyReport {
        steps: explain::explain(&ledger),
        target: ledger.target,
        definition: ledger.definition,
        at: state.at,
    }
}

fn load(store: &Store, key: &[u8]) -> Result<Option<Ledger>, SolveError> {
    let value = store.get(BUCKET, key).map_err(store_error)?;
    // What is not understood is written anew.
    Ok(value.and_then(|value| decode(&value).ok()))
}

fn decode(value: &[u8]) -> Result<Ledger, SolveError> {
    let doing = "read what is remembered of a build";
    let decoder = zstd::stream::read::Decoder::new(value).or_fail(Cause::Store, doing)?;
    let mut json = Vec::new();
    decoder.take(MAX_LEDGER).read_to_end(&mut json).or_fail(Cause::Store, doing)?;
    serde_json::from_slice(&json).or_fail(Cause::Store, doing)
}

fn encode(ledger: &Ledger) -> Result<Vec<u8>, SolveError> {
    let doing = "remember a build";
    let json = serde_json::to_vec(ledger).or_fail(Cause::Engine, doing)?;
    zstd::bulk::compress(&json, 1).or_fail(Cause::Engine, doing)
}
