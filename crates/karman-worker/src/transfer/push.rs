//! Pushing a fleet: each unique blob once, then the manifests, and the tags last of all.
//!
//! Every step looks first whether its work is done already, so a push that was interrupted goes on
//! where it stopped, also in the middle of a blob where the registry still has its beginning, and
//! nobody sees a tag whose image is not complete.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Seek as _, SeekFrom};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use karman_content::{Store, StoreError};
use karman_control::{Cause, SolveError};
use karman_exporter::export::closure;
use karman_oci::{Descriptor, Digest, Reference, media_type};
use karman_registry::{Pushed, RegistryError};

use super::absent;
use super::journal::Journal;
use super::known;
use crate::engine::Engine;
use crate::error::{OrFail as _, store as store_error};
use crate::images::MAX_DOCUMENT;
use crate::solve::locked;
use crate::sources::{discard_damaged, registry_error};

/// Blobs on their way at once: more only share the same bandwidth.
const PARALLEL: usize = 4;

/// An image with the names under which it is to be found.
#[derive(Debug, Clone)]
pub struct PushItem {
    /// Its manifest or index, in the store with everything below it.
    pub top: Descriptor,
    /// Where it goes: references with a tag.
    pub names: Vec<Reference>,
}

/// What a push did. A blob counts once for each repository that it went to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PushReport {
    /// Blobs whose bytes were sent.
    pub uploaded: usize,
    /// Bytes of those.
    pub uploaded_bytes: u64,
    /// Blobs taken from another repository of the registry.
    pub mounted: usize,
    /// Blobs that were there.
    pub existed: usize,
    /// Manifests and indexes that were not there.
    pub manifests: usize,
    /// Tags that were moved.
    pub tags: usize,
}

/// Told after each blob: how many of how many are done.
pub(crate) type OnBlob<'a> = &'a (dyn Fn(usize, usize) + Sync);

/// A blob and the repositories of one registry that need it.
struct BlobJob {
    descriptor: Descriptor,
    places: Vec<Reference>,
}

/// Pushes all items.
pub(crate) fn push(
    engine: &Engine,
    items: &[PushItem],
    on_blob: OnBlob<'_>,
) -> Result<PushReport, SolveError> {
    let mut documents: Vec<(Reference, Descriptor)> = Vec::new();
    let mut jobs: BTreeMap<(String, Digest), BlobJob> = BTreeMap::new();
    // What an index of this push refers to must be there before it.
    let mut below: BTreeSet<Digest> = BTreeSet::new();
    for item in items {
        let all = closure(engine.store(), &item.top).or_fail(Cause::Store, "read the image")?;
        below.extend(all.iter().map(|d| d.digest).filter(|digest| *digest != item.top.digest));
        for place in repositories(&item.names) {
            for descriptor in &all {
                sort(&place, descriptor, &mut documents, &mut jobs);
            }
        }
    }
    let report = Mutex::new(PushReport::default());
    let jobs: Vec<BlobJob> = jobs.into_values().collect();
    push_blobs(engine, &jobs, &report, on_blob)?;
    let mut report = report.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    // A document is listed before what it refers to, so that the reverse order is the safe one.
    for (place, descriptor) in documents.iter().rev() {
        if below.contains(&descriptor.digest) || !goes_by_name(items, place, descriptor) {
            report.manifests += usize::from(push_document(engine, place, descriptor)?);
        }
    }
    for item in items {
        for name in &item.names {
            report.tags += usize::from(push_document(engine, name, &item.top)?);
        }
    }
    Ok(report)
}

/// Whether a document gets to a repository with a tag, so that it need not go there by its digest before.
fn goes_by_name(items: &[PushItem], place: &Reference, document: &Descriptor) -> bool {
    let tops = items.iter().filter(|item| item.top.digest == document.digest);
    tops.flat_map(|item| &item.names).any(|name| name.tag.is_some() && bare(name) == *place)
}

/// A name without tag and digest.
pub(super) fn bare(name: &Reference) -> Reference {
    Reference { tag: None, digest: None, ..name.clone() }
}

/// Pushes a cache: blobs, then its manifest under the tag of `place`.
pub(crate) fn push_cache(
    engine: &Engine,
    place: &Reference,
    blobs: &[Descriptor],
    top: &Descriptor,
    on_blob: OnBlob<'_>,
) -> Result<(), SolveError> {
    let own = bare(place);
    let job = |blob: &Descriptor| BlobJob { descriptor: blob.clone(), places: vec![own.clone()] };
    let jobs: Vec<BlobJob> = blobs.iter().map(job).collect();
    push_blobs(engine, &jobs, &Mutex::default(), on_blob)?;
    push_document(engine, place, top).map(drop)
}

/// The repositories of names, each once, without tags.
fn repositories(names: &[Reference]) -> BTreeSet<Reference> {
    names.iter().map(bare).collect()
}

fn sort(
    place: &Reference,
    descriptor: &Descriptor,
    documents: &mut Vec<(Reference, Descriptor)>,
    jobs: &mut BTreeMap<(String, Digest), BlobJob>,
) {
    let kind = &descriptor.media_type;
    if media_type::is_index(kind) || media_type::is_manifest(kind) {
        if !documents.iter().any(|(p, d)| p == place && d.digest == descriptor.digest) {
            documents.push((place.clone(), descriptor.clone()));
        }
        return;
    }
    let fresh = || BlobJob { descriptor: descriptor.clone(), places: Vec::new() };
    let job = jobs.entry((place.host.clone(), descriptor.digest)).or_insert_with(fresh);
    if !job.places.contains(place) {
        job.places.push(place.clone());
    }
}

fn push_blobs(
    engine: &Engine,
    jobs: &[BlobJob],
    report: &Mutex<PushReport>,
    on_blob: OnBlob<'_>,
) -> Result<(), SolveError> {
    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let failed: Mutex<Option<SolveError>> = Mutex::new(None);
    let work = || {
        while let Some(job) = jobs.get(next.fetch_add(1, Ordering::SeqCst)) {
            if engine.interrupted() || locked(&failed).is_some() {
                return;
            }
            if let Err(error) = push_blob(engine, job, report) {
                locked(&failed).get_or_insert(error);
                return;
            }
            on_blob(done.fetch_add(1, Ordering::SeqCst) + 1, jobs.len());
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..PARALLEL.min(jobs.len()) {
            scope.spawn(work);
        }
        work();
    });
    if engine.interrupted() {
        return Err(SolveError::new(Cause::Interrupted, "the push was interrupted"));
    }
    let failed = locked(&failed).take();
    failed.map_or(Ok(()), Err)
}

/// Brings a blob to all repositories of one registry: its bytes to the first at most, the others take
/// it from there.
fn push_blob(engine: &Engine, job: &BlobJob, report: &Mutex<PushReport>) -> Result<(), SolveError> {
    let (store, digest) = (engine.store(), job.descriptor.digest);
    for place in &job.places {
        let mut others = known::repositories(store, &place.host, &digest)?;
        others.reverse();
        let journal = Journal::of(store, place, &digest);
        let pushed = match without_bytes(engine, place, job, &others, &journal)? {
            Some(pushed) => pushed,
            None => {
                let open = reader(store, digest);
                let (registry, blob) = (engine.registry(), &job.descriptor);
                match registry.push_blob(place, blob, &others, &journal, open) {
                    Ok(pushed) => pushed,
                    Err(error) => return Err(blame(engine, &digest, &error)?),
                }
            }
        };
        known::remember(store, place, &digest)?;
        if absent::is_elsewhere(store, &digest)? {
            // An image is kept longer than the cache that its layers came from.
            absent::note(store, &digest, place)?;
        }
        let report = &mut *locked(report);
        match pushed {
            Pushed::Existed => report.existed += 1,
            Pushed::Mounted => report.mounted += 1,
            Pushed::Uploaded => {
                report.uploaded += 1;
                report.uploaded_bytes += job.descriptor.size;
            }
        }
    }
    Ok(())
}

/// A blob that is not in the store is asked for and mounted first. Where it must be sent it is in the store then.
fn without_bytes(
    engine: &Engine,
    place: &Reference,
    job: &BlobJob,
    others: &[String],
    journal: &Journal<'_>,
) -> Result<Option<Pushed>, SolveError> {
    if engine.store().contains(&job.descriptor.digest).map_err(store_error)? {
        return Ok(None);
    }
    let mounted = engine.registry().mount_blob(place, &job.descriptor, others, journal);
    let mounted = mounted.map_err(|e| registry_error(&e))?;
    if mounted.is_none() {
        absent::bring(engine, &job.descriptor)?;
    }
    Ok(mounted)
}

/// What gives a blob of the store from an offset on.
pub(super) fn reader(
    store: &Store,
    digest: Digest,
) -> impl Fn(u64) -> std::io::Result<Box<dyn std::io::Read + Send>> + Send + Sync + use<> {
    let store = store.clone();
    move |offset| {
        let mut file = store.open_blob(&digest).map_err(std::io::Error::other)?;
        file.seek(SeekFrom::Start(offset))?;
        Ok(Box::new(file))
    }
}

/// Why a blob was not taken: a registry that refuses it may be right.
fn blame(
    engine: &Engine,
    digest: &Digest,
    error: &RegistryError,
) -> Result<SolveError, SolveError> {
    let told = registry_error(error);
    if matches!(error, RegistryError::Refused { .. }) && discard_damaged(engine.store(), digest)? {
        engine.forget_layer_of(digest)?;
        return Ok(store_error(StoreError::Corrupt(*digest)));
    }
    Ok(told)
}

/// Puts a document under the tag of `place`, or under its digest, unless it is there. Gives whether it
/// was put.
fn push_document(
    engine: &Engine,
    place: &Reference,
    descriptor: &Descriptor,
) -> Result<bool, SolveError> {
    if engine.interrupted() {
        return Err(SolveError::new(Cause::Interrupted, "the push was interrupted"));
    }
    let registry = engine.registry();
    let asked = match place.tag {
        Some(_) => place.clone(),
        None => place.clone().with_digest(descriptor.digest),
    };
    let there = registry.manifest_digest(&asked).map_err(|e| registry_error(&e))?;
    if there == Some(descriptor.digest) {
        return Ok(false);
    }
    let store = engine.store();
    let bytes = store.read_blob(&descriptor.digest, MAX_DOCUMENT).map_err(store_error)?;
    let put = registry.push_manifest(place, &descriptor.media_type, &bytes);
    put.map_err(|e| registry_error(&e))?;
    Ok(true)
}
