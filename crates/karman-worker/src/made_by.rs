//! Which step made a layer, written down when it has run, so that an inventory can tell later.
//!
//! Bucket `made-by`: snapshot → [`MadeBy`] (JSON). A layer that came with a pulled image has none.
//! The names of steps are of the build that ran them first: the same step in another file is a
//! cache hit and makes no other layer.

use karman_content::Store;
use karman_control::{Cause, Session, SolveError};
use karman_inventory::audit::secrets::{Mark, marks};
use karman_inventory::{Step, StepKind};
use karman_llb::{FileAction, MountKind, Op};
use karman_snapshot::SnapshotId;
use serde::{Deserialize, Serialize};

use crate::cache::Chain;
use crate::error::{OrFail as _, store as store_error};

/// Snapshot → what made it.
pub(crate) const BUCKET: &str = "made-by";
/// The name of the main context in what is shown.
const CONTEXT: &str = "context";

/// A step that has run.
pub(crate) struct Ran<'a> {
    /// Its name for people, such as `[build 2/5] RUN make`.
    pub(crate) name: &'a str,
    pub(crate) op: &'a Op,
    /// Name and layers of each input; a directory of the caller has no layers.
    pub(crate) inputs: Vec<(&'a str, Option<&'a Chain>)>,
    pub(crate) session: &'a Session,
}

/// What made a layer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MadeBy {
    pub(crate) step: Step,
    /// What it copied.
    #[serde(default)]
    pub(crate) copies: Vec<Copied>,
    /// What is kept of the secrets that were lent to it.
    #[serde(default)]
    pub(crate) secrets: Vec<Mark>,
}

/// One copy of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Copied {
    /// The layers it read; none for a directory of the caller.
    pub(crate) chain: Option<Chain>,
    /// Path or pattern in these.
    pub(crate) src: String,
    /// Where it went.
    pub(crate) dest: String,
}

/// Writes down what made a layer.
pub(crate) fn remember(store: &Store, layer: &SnapshotId, ran: &Ran<'_>) -> Result<(), SolveError> {
    let mut made = made_by(ran);
    made.secrets = secrets(store, ran)?;
    let bytes = serde_json::to_vec(&made).or_fail(Cause::Engine, "write a record")?;
    store.put(BUCKET, layer.as_str(), &bytes).map_err(store_error)
}

/// Writes down what made a layer of a cache: what it copied is not known here, nor what was lent to it.
pub(crate) fn adopt(store: &Store, layer: &SnapshotId, step: Step) -> Result<(), SolveError> {
    let made = MadeBy { step, ..MadeBy::default() };
    let bytes = serde_json::to_vec(&made).or_fail(Cause::Engine, "write a record")?;
    store.put(BUCKET, layer.as_str(), &bytes).map_err(store_error)
}

/// What made a layer, where it is known.
pub(crate) fn recall(store: &Store, layer: &SnapshotId) -> Result<Option<MadeBy>, SolveError> {
    let Some(bytes) = store.get(BUCKET, layer.as_str()).map_err(store_error)? else {
        return Ok(None);
    };
    serde_json::from_slice(&bytes).or_fail(Cause::Store, "read a record").map(Some)
}

/// Marks of the secrets that a command was lent, so that an audit can look for them without having
/// them.
fn secrets(store: &Store, ran: &Ran<'_>) -> Result<Vec<Mark>, SolveError> {
    let Op::Exec(exec) = ran.op else { return Ok(Vec::new()) };
    let mounted = exec.mounts.iter().filter_map(|mount| match &mount.kind {
        MountKind::Secret { id, .. } => Some(id),
        _ => None,
    });
    let mut all = Vec::new();
    for id in mounted.chain(exec.secret_env.iter().map(|s| &s.id)) {
        // The step has run with it; one that was optional and absent has no value.
        if let Some(value) = crate::exec::secret(ran.session, id, true)? {
            let salt = store.random_id().map_err(store_error)?;
            all.extend(marks(id, &value, &salt));
        }
    }
    Ok(all)
}

fn made_by(ran: &Ran<'_>) -> MadeBy {
    let (place, text) = split_name(ran.name);
    let mut made = MadeBy { copies: copies(ran), ..MadeBy::default() };
    made.step = Step {
        kind: match ran.op {
            Op::Source(_) => StepKind::Base,
            _ => kind_of(text),
        },
        text: text.to_owned(),
        place: place.map(str::to_owned),
        from: None,
    };
    if matches!(made.step.kind, StepKind::Copy | StepKind::Add) {
        made.step.from = from_of(text).or_else(|| from_of_inputs(ran));
    }
    made
}

fn copies(ran: &Ran<'_>) -> Vec<Copied> {
    let Op::File(file) = ran.op else { return Vec::new() };
    let copies = file.actions.iter().filter_map(|action| match action {
        FileAction::Copy(copy) => Some(copy),
        _ => None,
    });
    let copies = copies.map(|copy| Copied {
        chain: copy.from.and_then(|i| ran.inputs.get(i)).and_then(|(_, chain)| chain.cloned()),
        src: copy.src.clone(),
        dest: copy.dest.clone(),
    });
    copies.collect()
}

/// `[keystone build 2/5] RUN make` → (`keystone build`, `RUN make`).
pub(crate) fn split_name(name: &str) -> (Option<&str>, &str) {
    let Some((place, text)) = name.strip_prefix('[').and_then(|rest| rest.split_once("] ")) else {
        return (None, name);
    };
    let is_count = |word: &str| word.split_once('/').is_some_and(|(a, _)| a.parse::<u32>().is_ok());
    let place = match place.rsplit_once(' ') {
        Some((before, last)) if is_count(last) => before.trim_end(),
        None if is_count(place) => "",
        _ => place,
    };
    (Some(place).filter(|p| !p.is_empty()), text)
}

/// The kind of an instruction as a build or a history words it.
pub(crate) fn kind_of(text: &str) -> StepKind {
    let text = text.strip_prefix("ONBUILD ").unwrap_or(text);
    match text.split(' ').next().unwrap_or_default() {
        "RUN" => StepKind::Run,
        "COPY" => StepKind::Copy,
        "ADD" => StepKind::Add,
        "WORKDIR" => StepKind::Workdir,
        // Docker's classic builder: a command, and `#(nop)` for all else.
        "/bin/sh" if !text.contains("#(nop)") => StepKind::Run,
        _ => StepKind::Base,
    }
}

/// The value of `--from`.
fn from_of(text: &str) -> Option<String> {
    let flags = text.split_whitespace().filter(|word| word.starts_with("--"));
    let mut values = flags.filter_map(|flag| flag.strip_prefix("--from="));
    values.next().map(str::to_owned)
}

/// A copy without `--from` reads the main context, `ADD` also what it fetches.
fn from_of_inputs(ran: &Ran<'_>) -> Option<String> {
    let Op::File(file) = ran.op else { return None };
    let mut copies = file.actions.iter().filter_map(|action| match action {
        FileAction::Copy(copy) => copy.from,
        _ => None,
    });
    let (name, chain) = ran.inputs.get(copies.next()?)?;
    let (place, text) = split_name(name);
    match chain {
        Some(_) if place.is_none_or(|p| !p.contains("internal")) => Some(text.to_owned()),
        _ => Some(CONTEXT.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_steps_fall_apart() {
        assert_eq!(split_name("[k build  2/15] RUN x"), (Some("k build"), "RUN x"));
        assert_eq!(split_name("[2/5] RUN x"), (None, "RUN x"));
        let base = "[python-base context base] debootstrap://debian/trixie@sha256:00";
        assert_eq!(split_name(base).0, Some("python-base context base"));
        assert_eq!(split_name("x"), (None, "x"));
    }

    #[test]
    fn instructions_are_known_by_their_words() {
        assert_eq!(kind_of("ONBUILD RUN x"), StepKind::Run);
        assert_eq!(kind_of("/bin/sh -c apt-get update"), StepKind::Run);
        assert_eq!(kind_of("/bin/sh -c #(nop) ADD file:1 in / "), StepKind::Base);
        assert_eq!(from_of("COPY --link --from=build /a /b").as_deref(), Some("build"));
        assert_eq!(from_of("COPY /a /b"), None);
    }
}
