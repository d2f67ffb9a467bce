//! Layer snapshots: when they were made, and where image layers are kept.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use karman_content::Store;
use karman_control::{Cause, SolveError};
use karman_oci::Digest;
use karman_snapshot::{Active, SnapshotId, Snapshots};
use karman_sys::fs::Time;

use crate::error::{OrFail as _, store as store_error};

/// Label: the windows of the layer, `SINCE-UNTIL` in nanoseconds since 1970, joined by commas.
const WINDOWS: &str = "windows";
/// Label: what made the layer.
const KIND: &str = "kind";
/// Bucket: diff id of an image's layer → snapshot.
const BY_DIFF_ID: &str = "layer-by-diff-id";
/// Bucket: snapshot → diff id of the image's layer it holds.
const DIFF_ID_OF: &str = "diff-id-of-layer";
/// A layer remembers at most this many windows; the oldest run together beyond that.
const MAX_WINDOWS: usize = 256;
/// File times may be this much later than our clock (nanoseconds; one jiffy at 100 Hz).
const LATE: i64 = 10_000_000;

/// The times in which commands ran whose files a layer holds, in nanoseconds since 1970.
///
/// A modification time inside one of them is the build's own and becomes the epoch in layers, so
/// that the same steps give the same digests. Times outside are inputs and stay. The windows are
/// as narrow as the commands, so that a context file edited between two cached steps keeps its time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Windows(Vec<(i64, i64)>);

impl Windows {
    /// From `started` (by the kernel's file clock) until now.
    pub(crate) fn since(started: Time) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos());
        let until = i64::try_from(now).unwrap_or(i64::MAX).saturating_add(LATE);
        Self(vec![(started.as_nanos(), until)])
    }

    /// Of a layer whose files of the build's own were given the epoch when it was written.
    pub(crate) fn at(epoch: i64) -> Self {
        let nanos = Time::from_secs(epoch).as_nanos();
        Self(vec![(nanos, nanos)])
    }

    /// Adds the windows of another layer.
    pub(crate) fn add(&mut self, other: &Windows) {
        self.0.extend(&other.0);
        self.0.sort_unstable();
        let mut merged: Vec<(i64, i64)> = Vec::with_capacity(self.0.len());
        let crowded = self.0.len() > MAX_WINDOWS;
        for &(since, until) in &self.0 {
            let oldest = crowded && merged.len() == 1;
            match merged.last_mut() {
                Some(last) if since <= last.1 || oldest => {
                    last.1 = last.1.max(until);
                }
                _ => merged.push((since, until)),
            }
        }
        self.0 = merged;
    }

    /// The windows as pairs, sorted and apart.
    pub(crate) fn pairs(&self) -> &[(i64, i64)] {
        &self.0
    }

    fn print(&self) -> String {
        let pairs: Vec<String> = self.0.iter().map(|(a, b)| format!("{a}-{b}")).collect();
        pairs.join(",")
    }

    fn parse(text: &str) -> Self {
        let pair = |p: &str| {
            let (a, b) = p.split_once('-')?;
            Some((a.parse().ok()?, b.parse().ok()?))
        };
        Self(text.split(',').filter_map(pair).collect())
    }
}

/// The kernel's file clock: files written from now on are not dated earlier.
pub(crate) fn file_clock() -> Time {
    karman_sys::fs::Time::coarse_now()
}

/// Commits a layer whose files carry times of those windows.
pub(crate) fn commit(
    active: Active,
    windows: &Windows,
    kind: &str,
) -> Result<SnapshotId, SolveError> {
    let labels =
        BTreeMap::from([(WINDOWS.to_owned(), windows.print()), (KIND.to_owned(), kind.to_owned())]);
    active.commit(labels).or_fail(Cause::Store, "commit a layer")
}

/// Commits a layer all of whose times are inputs: of an image, a context, an archive.
pub(crate) fn commit_dated(active: Active, kind: &str) -> Result<SnapshotId, SolveError> {
    commit(active, &Windows::default(), kind)
}

/// Commits a layer that came with an image. It is not made again from steps, so it is sealed at once.
pub(crate) fn commit_image(active: Active) -> Result<SnapshotId, SolveError> {
    let windows = Windows::default().print();
    let labels =
        BTreeMap::from([(WINDOWS.to_owned(), windows), (KIND.to_owned(), "image".to_owned())]);
    active.commit_sealed(labels).or_fail(Cause::Store, "commit a layer")
}

/// The windows of all layers of a chain: what its files may carry.
pub(crate) fn windows_of(
    snapshots: &Snapshots,
    chain: &[SnapshotId],
) -> Result<Windows, SolveError> {
    let mut all = Windows::default();
    for id in chain {
        let info = snapshots.info(id).or_fail(Cause::Store, "read a layer's record")?;
        if let Some(text) = info.as_ref().and_then(|i| i.labels.get(WINDOWS)) {
            all.add(&Windows::parse(text));
        }
    }
    Ok(all)
}

/// The snapshot that holds an image's layer, if it is there.
pub(crate) fn by_diff_id(
    store: &Store,
    snapshots: &Snapshots,
    diff_id: &Digest,
) -> Result<Option<SnapshotId>, SolveError> {
    let value = store.get(BY_DIFF_ID, diff_id.as_bytes()).map_err(store_error)?;
    let id = value.and_then(|v| String::from_utf8(v).ok()).and_then(|t| SnapshotId::parse(&t));
    Ok(id.filter(|id| snapshots.exists(id).unwrap_or(false)))
}

/// Remembers which snapshot holds an image's layer, both ways.
pub(crate) fn remember_diff_id(
    store: &Store,
    diff_id: &Digest,
    id: &SnapshotId,
) -> Result<(), SolveError> {
    let put = |bucket, key: &[u8], value: &[u8]| {
        let (key, value) = (key.to_vec(), value.to_vec());
        karman_content::Put { bucket, key, value, size: None }
    };
    let name = id.as_str().as_bytes();
    let rows =
        [put(BY_DIFF_ID, diff_id.as_bytes(), name), put(DIFF_ID_OF, name, diff_id.as_bytes())];
    store.put_many(&rows).map_err(store_error)
}

/// Remembers which snapshot became a layer of an image.
pub(crate) fn name_layer(
    store: &Store,
    diff_id: &Digest,
    id: &SnapshotId,
) -> Result<(), SolveError> {
    store.put(BY_DIFF_ID, diff_id.as_bytes(), id.as_str().as_bytes()).map_err(store_error)
}

/// The diff id of a snapshot that holds an image's layer.
pub(crate) fn diff_id_of(store: &Store, id: &SnapshotId) -> Result<Option<Digest>, SolveError> {
    let value = store.get(DIFF_ID_OF, id.as_str()).map_err(store_error)?;
    Ok(value.and_then(|v| v.try_into().ok()).map(Digest::from_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_merge_where_they_meet_and_stay_apart_elsewhere() {
        let mut w = Windows(vec![(5, 9)]);
        w.add(&Windows(vec![(20, 30), (8, 12)]));
        assert_eq!(w.pairs(), [(5, 12), (20, 30)]);
        assert_eq!(Windows::parse(&w.print()), w);
        assert_eq!(Windows::parse(""), Windows::default());
    }

    #[test]
    fn too_many_windows_run_together_at_the_old_end() {
        let mut w = Windows::default();
        let many = (0..2 * MAX_WINDOWS as i64).map(|n| (10 * n, 10 * n + 1)).collect();
        w.add(&Windows(many));
        assert_eq!(w.pairs().len(), 1);
    }
}
