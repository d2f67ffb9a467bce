//! `karman cache verify`: whether the store is what its index says, and taking out what is not.
//!
//! Nothing is locked while it reads: other processes build and prune meanwhile. What they remove is
//! not missing, and what they add is not looked at.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use karman_control::{Cause, SolveError};
use karman_exporter::export::closure;
use karman_oci::Digest;
use karman_snapshot::{Checked, SnapshotId};

use crate::engine::Engine;
use crate::error::{OrFail as _, chain as error_chain, store as store_error};
use crate::export::is_as_shipped;
use crate::images::LocalImage;
use crate::solve::locked;
use crate::transfer::is_elsewhere;

/// One thing that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// `index`, `blob`, `layer` or `image`.
    pub kind: &'static str,
    /// Its id; the name of an image.
    pub id: String,
    /// What is wrong with it.
    pub what: String,
    /// Whether it was taken out of the store, so that it is made or fetched again.
    pub removed: bool,
}

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verified {
    /// Blobs read.
    pub blobs: usize,
    /// Layers read.
    pub layers: usize,
    /// Layers among them that had no seal before; what they held now is what they are compared
    /// with from now on.
    pub sealed: usize,
    /// Images of the local store looked at.
    pub images: usize,
    /// What is wrong.
    pub damage: Vec<Damage>,
}

/// Told after each blob or layer: how many of how many are done.
type OnOne<'a> = &'a (dyn Fn(usize, usize) + Sync);

impl Engine {
    /// Reads everything in the store and compares it with its digests. With `repair`, what is damaged
    /// is taken out, and names of images that are not complete go too.
    ///
    /// # Errors
    /// When the index cannot be read, or a repair cannot be written.
    pub fn verify(&self, repair: bool, on_one: OnOne<'_>) -> Result<Verified, SolveError> {
        let store = self.store();
        let problems = store.check_index().map_err(store_error)?;
        let index =
            |what| Damage { kind: "index", id: "index.db".to_owned(), what, removed: false };
        let damage: Vec<Damage> = problems.into_iter().map(index).collect();
        if !damage.is_empty() {
            // Nothing that such an index says can be relied on.
            return Ok(Verified { damage, ..Verified::default() });
        }
        let blobs = store.blobs().map_err(store_error)?;
        let layers = self.snapshots().list().or_fail(Cause::Store, "list the layers")?;
        let all = blobs.len() + layers.len();
        let found = Mutex::new(Verified {
            blobs: blobs.len(),
            layers: layers.len(),
            ..Verified::default()
        });
        let blob = |at: usize| {
            let fault = store.check_blob(&blobs[at]).map_err(store_error)?;
            Ok(fault.map(|what| damaged("blob", blobs[at].digest.to_string(), what)))
        };
        self.each(blobs.len(), &found, &|done| on_one(done, all), &blob)?;
        let layer = |at: usize| self.check_layer(&layers[at].id, &found);
        self.each(layers.len(), &found, &|done| on_one(blobs.len() + done, all), &layer)?;
        let mut found = found.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        found.damage.sort_by(|a, b| (a.kind, &a.id).cmp(&(b.kind, &b.id)));
        if repair {
            for one in &mut found.damage {
                self.take_out(one)?;
            }
        }
        self.check_images(repair, &mut found)?;
        Ok(found)
    }

    /// Calls `check` for all numbers below `count`, on all cores.
    fn each(
        &self,
        count: usize,
        found: &Mutex<Verified>,
        on_one: OnlyDone<'_>,
        check: &(dyn Fn(usize) -> Result<Option<Damage>, SolveError> + Sync),
    ) -> Result<(), SolveError> {
        let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let failed: Mutex<Option<SolveError>> = Mutex::new(None);
        let work = || {
            loop {
                let at = next.fetch_add(1, Ordering::SeqCst);
                if at >= count || self.interrupted() || locked(&failed).is_some() {
                    return;
                }
                match check(at) {
                    Ok(damage) => locked(found).damage.extend(damage),
                    Err(error) => {
                        locked(&failed).get_or_insert(error);
                    }
                }
                on_one(done.fetch_add(1, Ordering::SeqCst) + 1);
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..self.cores().min(count) {
                scope.spawn(work);
            }
            work();
        });
        if self.interrupted() {
            return Err(SolveError::new(Cause::Interrupted, "the verification was interrupted"));
        }
        let failed = locked(&failed).take();
        failed.map_or(Ok(()), Err)
    }

    fn check_layer(
        &self,
        id: &SnapshotId,
        found: &Mutex<Verified>,
    ) -> Result<Option<Damage>, SolveError> {
        let damage = |what: &str| Ok(Some(damaged("layer", id.to_string(), what.to_owned())));
        match self.snapshots().check(id) {
            Ok(Checked::Sound) => Ok(None),
            Ok(Checked::Changed) => damage("its files are not what they were"),
            Ok(Checked::Missing) => damage("its directory is missing"),
            Ok(Checked::Unsealed(seal)) => {
                if is_as_shipped(self, id)? == Some(false) {
                    return damage("its files are not those that it was shipped with");
                }
                self.snapshots().put_seal(id, seal).or_fail(Cause::Store, "seal a layer")?;
                locked(found).sealed += 1;
                Ok(None)
            }
            Err(error) => damage(&error_chain(&error)),
        }
    }

    fn take_out(&self, damage: &mut Damage) -> Result<(), SolveError> {
        match damage.kind {
            "blob" => {
                let Ok(digest) = Digest::parse(&damage.id) else { return Ok(()) };
                self.store().discard_blob(&digest).map_err(store_error)?;
                self.forget_layer_of(&digest)?;
            }
            "layer" => {
                let Some(id) = SnapshotId::parse(&damage.id) else { return Ok(()) };
                self.snapshots().remove(&id).or_fail(Cause::Store, "remove a layer")?;
            }
            _ => return Ok(()),
        }
        damage.removed = true;
        Ok(())
    }

    /// A layer that came with an image is shipped as it came. Without its blob it would be shipped in
    /// other bytes, so it goes too: both are fetched again.
    pub(crate) fn forget_layer_of(&self, blob: &Digest) -> Result<(), SolveError> {
        for (id, _) in self.origins()?.iter().filter(|(_, origin)| origin == blob) {
            self.snapshots().remove(id).or_fail(Cause::Store, "remove a layer")?;
        }
        Ok(())
    }

    /// Whether every image that has a name is complete.
    fn check_images(&self, repair: bool, found: &mut Verified) -> Result<(), SolveError> {
        for image in self.images()? {
            found.images += 1;
            let Some(what) = self.lacking(&image)? else { continue };
            let mut damage = damaged("image", image.reference.clone(), what);
            if repair {
                self.remove_image(&image.reference)?;
                damage.removed = true;
            }
            found.damage.push(damage);
        }
        Ok(())
    }

    fn lacking(&self, image: &LocalImage) -> Result<Option<String>, SolveError> {
        let store = self.store();
        let all = match closure(store, &image.descriptor) {
            Ok(all) => all,
            Err(error) => return Ok(Some(error_chain(&error))),
        };
        for descriptor in all {
            let digest = &descriptor.digest;
            if !store.contains(digest).map_err(store_error)? && !is_elsewhere(store, digest)? {
                return Ok(Some(format!("it lacks the blob {}", descriptor.digest)));
            }
        }
        Ok(None)
    }
}

/// Told how many are done.
type OnlyDone<'a> = &'a (dyn Fn(usize) + Sync);

fn damaged(kind: &'static str, id: String, what: String) -> Damage {
    Damage { kind, id, what, removed: false }
}
