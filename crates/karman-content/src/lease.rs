//! Leases: what running processes use and garbage collection must keep.

use std::collections::HashSet;
use std::fs::File;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use karman_sys::fs::{Dir, FsError};
use rustix::fs::FlockOperation;

use crate::error::{Result, StoreError};
use crate::lock::lock_file;
use crate::process::{locked_file, open_if_held};
use crate::store::{Store, now};

/// The name of the lock between growing leases and garbage collection.
pub(crate) const GC_LOCK: &str = "gc";

/// A lease file is not read beyond this: about a million ids.
const LEASE_MAX: u64 = 128 << 20;

const HEADER: &str = "karman-lease 1 ";

/// Keeps things in the store while it is held; ends with the value or with the process.
#[derive(Debug)]
pub struct Lease {
    store: Store,
    name: String,
    file: File,
}

/// What this process uses, once [`Store::keep_uses`] was called.
#[derive(Debug, Default)]
pub(crate) struct Uses {
    held: Mutex<Option<Held>>,
    collecting: AtomicBool,
}

#[derive(Debug)]
struct Held {
    name: String,
    file: File,
    /// Lines that are in the file.
    known: HashSet<String>,
}

impl Uses {
    /// While this process collects garbage itself, its own uses must not wait for that.
    pub(crate) fn collecting(&self, now: bool) {
        self.collecting.store(now, Ordering::SeqCst);
    }

    /// Whether it does so now, and so holds the lock that keeps others from it.
    pub(crate) fn is_collecting(&self) -> bool {
        self.collecting.load(Ordering::SeqCst)
    }

    /// Removes the file; the lock ends with the descriptor.
    pub(crate) fn release(&self, locks: &Dir) {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(held) = held {
            // A leftover is removed by whoever looks at it next.
            let _ = locks.unlink(&held.name);
        }
    }
}

/// What all leases held at one moment protect.
#[derive(Debug, Clone, Default)]
pub struct LiveLeases {
    held: HashSet<(String, String)>,
    oldest: Option<i64>,
}

impl Store {
    /// Starts a lease that protects everything created from now on, and what is added to it.
    pub fn lease(&self) -> Result<Lease> {
        let (name, file) = self.lease_file()?;
        Ok(Lease { store: self.clone(), name, file })
    }

    /// From now on everything that this process creates here, and every blob that it finds here,
    /// stays until the store is closed. Calling it again changes nothing.
    pub fn keep_uses(&self) -> Result<()> {
        let mut uses = self.inner.uses.held.lock().unwrap_or_else(PoisonError::into_inner);
        if uses.is_none() {
            let (name, file) = self.lease_file()?;
            *uses = Some(Held { name, file, known: HashSet::new() });
        }
        Ok(())
    }

    /// Protects a thing as [`Lease::add`] does, after [`Store::keep_uses`]; does nothing before.
    pub fn keep(&self, kind: &str, id: &str) -> Result<()> {
        let mut uses = self.inner.uses.held.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(held) = &mut *uses else { return Ok(()) };
        let line = line(kind, id)?;
        if !held.known.contains(&line) {
            self.grow(&held.name, &held.file, &line)?;
            held.known.insert(line);
        }
        Ok(())
    }

    fn lease_file(&self) -> Result<(String, File)> {
        let name = format!("lease-{}", self.temp_name("use"));
        let header = format!("{HEADER}{}\n", now());
        let file = locked_file(&self.inner.locks, &name, header.as_bytes())
            .map_err(|error| self.files(error))?;
        Ok((name, file))
    }

    fn grow(&self, name: &str, mut file: &File, line: &str) -> Result<()> {
        // Waits while another process chooses what to remove.
        let collecting = self.inner.uses.is_collecting();
        let gc = || lock_file(&self.inner.locks, GC_LOCK, FlockOperation::LockShared);
        let _gc = if collecting { None } else { Some(gc().map_err(|error| self.files(error))?) };
        file.write_all(line.as_bytes())
            .map_err(|error| self.files(FsError::io("write", name, error)))
    }

    /// What running processes protect now. Files of ended leases are removed on the way.
    pub fn live_leases(&self) -> Result<LiveLeases> {
        let mut live = LiveLeases::default();
        let locks = &self.inner.locks;
        for entry in locks.read_dir().map_err(|error| self.files(error))? {
            if !entry.name.as_encoded_bytes().starts_with(b"lease-") {
                continue;
            }
            if let Some(file) =
                open_if_held(locks, &entry.name).map_err(|error| self.files(error))?
            {
                let mut text = String::new();
                let read = file.take(LEASE_MAX).read_to_string(&mut text);
                read.map_err(|error| self.files(FsError::io("read", &entry.name, error)))?;
                live.add(&text);
            }
        }
        Ok(live)
    }
}

impl Lease {
    /// Protects the thing `id` of the given kind (`blob`, `snapshot`, …) while the lease is held.
    ///
    /// Add first, then look whether the thing exists: what exists after the call stays.
    pub fn add(&self, kind: &str, id: &str) -> Result<()> {
        self.store.grow(&self.name, &self.file, &line(kind, id)?)
    }
}

fn line(kind: &str, id: &str) -> Result<String> {
    if kind.contains(['\n', '\t']) || id.contains('\n') {
        return Err(StoreError::LeaseId(id.to_owned()));
    }
    Ok(format!("{kind}\t{id}\n"))
}

impl Drop for Lease {
    fn drop(&mut self) {
        // The lock ends with the descriptor; a leftover file is removed by whoever looks at it next.
        let _ = self.store.inner.locks.unlink(&self.name);
    }
}

impl LiveLeases {
    /// Whether a thing created at `created` (nanoseconds since 1970) must stay.
    #[must_use]
    pub fn protects(&self, kind: &str, id: &str, created: i64) -> bool {
        self.oldest.is_some_and(|oldest| created >= oldest)
            || (!self.held.is_empty() && self.held.contains(&(kind.to_owned(), id.to_owned())))
    }

    /// When the oldest live lease began, in nanoseconds since 1970.
    #[must_use]
    pub fn oldest(&self) -> Option<i64> {
        self.oldest
    }

    fn add(&mut self, text: &str) {
        let (header, lines) = text.split_once('\n').unwrap_or((text, ""));
        // A header that cannot be read protects everything.
        let start =
            header.strip_prefix(HEADER).and_then(|time| time.parse().ok()).unwrap_or(i64::MIN);
        self.oldest = Some(self.oldest.map_or(start, |oldest| oldest.min(start)));
        let ids = lines.lines().filter_map(|line| line.split_once('\t'));
        self.held.extend(ids.map(|(kind, id)| (kind.to_owned(), id.to_owned())));
    }
}
