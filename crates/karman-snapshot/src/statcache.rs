//! File digests by what `stat` says, so that an unchanged file is not read again.
//!
//! One value per layer or context in the bucket `statcache`: 4 bytes of format, then fixed records. A file of a
//! committed snapshot is known by its inode, since snapshots never change and their ids are never used again (links
//! made from it change its ctime). A file of a context is known by inode, size, mtime and ctime.

use std::collections::HashMap;

use karman_content::Store;
use karman_oci::Digest;
use karman_sys::fs::{Stat, Time};

use crate::error::Result;
use crate::view::{Origin, View};

const BUCKET: &str = "statcache";

/// Names the format; another one is as good as an empty cache.
const FORMAT: &[u8; 4] = b"KSC1";

const RECORD: usize = 5 * 8 + 2 * 32;

/// Files a table keeps although they were not met this time.
const MAX_UNSEEN: usize = 500_000;

/// A context file changed less than this long ago may change again without a new time stamp: it is not remembered.
const RACY_NANOS: i64 = 1_000_000_000;

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileDigest {
    /// The digest of its content.
    pub content: Digest,
    /// The digest of its attributes, if it has any that belong to the image.
    pub xattrs: Option<Digest>,
}

/// The cached digests of all layers of one view.
#[derive(Debug)]
pub struct ViewCache {
    store: Store,
    tables: Vec<Table>,
    newest: Option<i64>,
}

#[derive(Debug)]
struct Table {
    scope: String,
    immutable: bool,
    changed: bool,
    files: HashMap<(u64, u64), Known>,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    size: u64,
    mtime: i64,
    ctime: i64,
    digest: FileDigest,
    seen: bool,
}

impl ViewCache {
    /// Reads what is known about the layers of a view.
    pub fn load(store: &Store, view: &View) -> Result<Self> {
        let mut tables = Vec::with_capacity(view.layers.len());
        for layer in &view.layers {
            let (scope, immutable) = match (&layer.id, &view.origin) {
                (Some(id), _) => (format!("layer/{id}"), true),
                (None, Origin::Context(path)) => {
                    let name = Digest::sha256_of(path.as_os_str().as_encoded_bytes());
                    (format!("context/{}", name.hex()), false)
                }
                // A layer without a name cannot be recognised again.
                (None, Origin::Layers) => (String::new(), false),
            };
            let value = if scope.is_empty() { None } else { store.get(BUCKET, &scope)? };
            let files = value.map(|value| decode(&value)).unwrap_or_default();
            tables.push(Table { scope, immutable, changed: false, files });
        }
        Ok(Self { store: store.clone(), tables, newest: None })
    }

    /// Notes something of a directory of the caller that is looked at for a digest. Only the kernel sets ctimes; an mtime may
    /// well lie in the future.
    pub fn look(&mut self, stat: &Stat) {
        self.newest = self.newest.max(Some(stat.ctime.as_nanos()));
    }

    /// Whether nothing that was digested or looked at has changed at `time` or later. Kernels stamp files with
    /// [`Time::coarse_now`]: what changed in the same tick counts as changed.
    pub fn unchanged_since(&self, time: Time) -> bool {
        self.newest.is_none_or(|newest| newest < time.as_nanos())
    }

    /// The digest of a file of layer `layer` (0 is the topmost), if it has not changed.
    pub fn get(&mut self, layer: usize, stat: &Stat) -> Option<FileDigest> {
        let table = self.tables.get_mut(layer)?;
        let known = table.files.get_mut(&(stat.dev, stat.ino))?;
        let times = (stat.mtime.as_nanos(), stat.ctime.as_nanos());
        let same =
            known.size == stat.size && (table.immutable || (known.mtime, known.ctime) == times);
        known.seen |= same;
        same.then_some(known.digest)
    }

    /// Remembers the digest of a file. `stat` must be from before its content was read.
    pub fn insert(&mut self, layer: usize, stat: &Stat, digest: FileDigest) {
        let Some(table) = self.tables.get_mut(layer) else { return };
        let (mtime, ctime) = (stat.mtime.as_nanos(), stat.ctime.as_nanos());
        if !table.immutable && Time::now().as_nanos() - ctime.max(mtime) < RACY_NANOS {
            return;
        }
        let known = Known { size: stat.size, mtime, ctime, digest, seen: true };
        table.files.insert((stat.dev, stat.ino), known);
        table.changed = true;
    }

    /// Writes what is new. Two processes that save the same context: the last one wins, and nothing is wrong.
    pub fn save(&mut self) -> Result<()> {
        for table in self.tables.iter_mut().filter(|table| table.changed && !table.scope.is_empty())
        {
            if table.files.len() > MAX_UNSEEN {
                table.files.retain(|_, known| known.seen);
            }
            self.store.put(BUCKET, &table.scope, &encode(&table.files))?;
            table.changed = false;
        }
        Ok(())
    }
}

fn encode(files: &HashMap<(u64, u64), Known>) -> Vec<u8> {
    let mut out = Vec::with_capacity(FORMAT.len() + files.len() * RECORD);
    out.extend_from_slice(FORMAT);
    for ((dev, ino), known) in files {
        out.extend_from_slice(&dev.to_le_bytes());
        out.extend_from_slice(&ino.to_le_bytes());
        out.extend_from_slice(&known.size.to_le_bytes());
        out.extend_from_slice(&known.mtime.to_le_bytes());
        out.extend_from_slice(&known.ctime.to_le_bytes());
        out.extend_from_slice(known.digest.content.as_bytes());
        out.extend_from_slice(
            known.digest.xattrs.as_ref().map_or(&[0; 32], |digest| digest.as_bytes()),
        );
    }
    out
}

fn decode(value: &[u8]) -> HashMap<(u64, u64), Known> {
    let Some(records) = value.strip_prefix(FORMAT) else { return HashMap::new() };
    records
        .chunks_exact(RECORD)
        .map(|record| {
            let number = |at: usize| {
                let mut bytes = [0; 8];
                bytes.copy_from_slice(&record[at * 8..at * 8 + 8]);
                u64::from_le_bytes(bytes)
            };
            let digest = |at: usize| {
                let mut bytes = [0; 32];
                bytes.copy_from_slice(&record[at..at + 32]);
                bytes
            };
            let xattrs = digest(72);
            let digest = FileDigest {
                content: Digest::from_bytes(digest(40)),
                xattrs: (xattrs != [0; 32]).then(|| Digest::from_bytes(xattrs)),
            };
            let (mtime, ctime) = (number(3).cast_signed(), number(4).cast_signed());
            ((number(0), number(1)), Known { size: number(2), mtime, ctime, digest, seen: false })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_survive_the_trip_to_the_store() {
        let digest =
            FileDigest { content: Digest::sha256_of(b"a"), xattrs: Some(Digest::sha256_of(b"b")) };
        let plain = FileDigest { content: Digest::sha256_of(b"c"), xattrs: None };
        let known = |digest| Known { size: 3, mtime: -1, ctime: i64::MAX, digest, seen: true };
        let files = HashMap::from([((1, u64::MAX), known(digest)), ((2, 3), known(plain))]);
        let back = decode(&encode(&files));
        assert_eq!(back.len(), 2);
        for (key, file) in &files {
            let found = &back[key];
            let facts = (found.size, found.mtime, found.ctime, found.digest, found.seen);
            assert_eq!(facts, (3, -1, i64::MAX, file.digest, false));
        }
        assert!(decode(b"KSC9xxxx").is_empty());
        assert!(decode(b"").is_empty());
    }
}
