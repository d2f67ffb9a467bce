//! The index: rows by bucket and key in SQLite, with times and sizes so that use can be measured and pruned.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use crate::error::{Result, StoreError};
use crate::store::{STORE_VERSION, Store, now};

/// How long a writer waits for other processes before it gives up.
const BUSY_TIMEOUT: Duration = Duration::from_secs(60);

/// Uses of rows are written when this many have come together, or at [`Store::flush_touches`], or at the end.
const TOUCH_BATCH: usize = 4096;

/// Connections kept open between uses.
const POOL_MAX: usize = 8;

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS entry (
        bucket TEXT NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL,
        size INTEGER NOT NULL, created INTEGER NOT NULL, last_used INTEGER NOT NULL,
        PRIMARY KEY (bucket, key));
    CREATE TABLE IF NOT EXISTS blob (
        digest TEXT NOT NULL PRIMARY KEY,
        size INTEGER NOT NULL, created INTEGER NOT NULL, last_used INTEGER NOT NULL) WITHOUT ROWID;";

/// A row of the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its key.
    pub key: Vec<u8>,
    /// Its value.
    pub value: Vec<u8>,
    /// The bytes it stands for, on disk or in the value.
    pub size: u64,
    /// When it was first put, in nanoseconds since 1970.
    pub created: i64,
    /// When it was last put or read, in nanoseconds since 1970. Reads are written in batches.
    pub last_used: i64,
}

/// A row to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Put {
    /// Its bucket.
    pub bucket: &'static str,
    /// Its key.
    pub key: Vec<u8>,
    /// Its value.
    pub value: Vec<u8>,
    /// The bytes it stands for, if that is not the length of the value.
    pub size: Option<u64>,
}

/// Connections to one database file.
#[derive(Debug)]
pub(crate) struct Index {
    path: PathBuf,
    pool: Mutex<Vec<Connection>>,
    touches: Mutex<HashMap<(String, Vec<u8>), i64>>,
}

impl Store {
    /// The value of a row. Counts as a use.
    pub fn get(&self, bucket: &str, key: impl AsRef<[u8]>) -> Result<Option<Vec<u8>>> {
        let key = key.as_ref();
        let value = self.inner.index.with("read", |db| {
            db.prepare_cached("SELECT value FROM entry WHERE bucket = ?1 AND key = ?2")?
                .query_row(params![bucket, key], |row| row.get(0))
                .optional()
        })?;
        if value.is_some() {
            self.touch(bucket, key)?;
        }
        Ok(value)
    }

    /// Writes a row whose size is the length of its value.
    pub fn put(&self, bucket: &'static str, key: impl AsRef<[u8]>, value: &[u8]) -> Result<()> {
        self.put_many(&[Put {
            bucket,
            key: key.as_ref().to_vec(),
            value: value.to_vec(),
            size: None,
        }])
    }

    /// Writes rows in one transaction: all of them or none.
    pub fn put_many(&self, rows: &[Put]) -> Result<()> {
        let now = now();
        self.inner.index.write("write", |db| {
            let mut statement = db.prepare_cached(
                "INSERT INTO entry (bucket, key, value, size, created, last_used) VALUES (?1, ?2, ?3, ?4, ?5, ?5)
                 ON CONFLICT (bucket, key) DO UPDATE SET value = ?3, size = ?4, last_used = ?5",
            )?;
            for row in rows {
                let size = row.size.unwrap_or(row.value.len() as u64);
                statement.execute(params![row.bucket, row.key, row.value, signed(size), now])?;
            }
            Ok(())
        })
    }

    /// Removes a row; returns whether there was one.
    pub fn delete(&self, bucket: &str, key: impl AsRef<[u8]>) -> Result<bool> {
        let key = key.as_ref();
        self.inner.index.write("delete", |db| {
            db.prepare_cached("DELETE FROM entry WHERE bucket = ?1 AND key = ?2")?
                .execute(params![bucket, key])
                .map(|count| count > 0)
        })
    }

    /// Removes rows in one transaction; returns how many there were.
    pub fn delete_many(&self, bucket: &str, keys: &[Vec<u8>]) -> Result<usize> {
        self.inner.index.write("delete", |db| {
            let mut statement =
                db.prepare_cached("DELETE FROM entry WHERE bucket = ?1 AND key = ?2")?;
            keys.iter().map(|key| statement.execute(params![bucket, key])).sum()
        })
    }

    /// The rows of a bucket whose key starts with `prefix`, by key. Does not count as a use.
    pub fn list(&self, bucket: &str, prefix: impl AsRef<[u8]>) -> Result<Vec<Row>> {
        let prefix = prefix.as_ref();
        let end = after_prefix(prefix);
        self.inner.index.with("list", |db| {
            let mut statement = db.prepare_cached(
                "SELECT key, value, size, created, last_used FROM entry
                 WHERE bucket = ?1 AND key >= ?2 AND (?3 IS NULL OR key < ?3) ORDER BY key",
            )?;
            let rows = statement.query_map(params![bucket, prefix, end], |row| {
                Ok(Row {
                    key: row.get(0)?,
                    value: row.get(1)?,
                    size: unsigned(row.get(2)?),
                    created: row.get(3)?,
                    last_used: row.get(4)?,
                })
            })?;
            rows.collect()
        })
    }

    /// Notes the use of a row without writing to disk now.
    pub fn touch(&self, bucket: &str, key: impl AsRef<[u8]>) -> Result<()> {
        self.inner.index.touch(bucket, key.as_ref())
    }

    /// Writes the uses noted so far.
    pub fn flush_touches(&self) -> Result<()> {
        self.inner.index.flush_touches()
    }
}

impl Index {
    pub(crate) fn open(path: &Path, root: &Path) -> Result<Self> {
        let index =
            Self { path: path.to_owned(), pool: Mutex::default(), touches: Mutex::default() };
        let found = index.write("prepare", |db| {
            let found: u32 = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
            if found == 0 {
                db.execute_batch(SCHEMA)?;
                db.pragma_update(None, "user_version", STORE_VERSION)?;
            }
            Ok(found)
        })?;
        if found > STORE_VERSION {
            return Err(StoreError::Newer { root: root.to_owned(), found, known: STORE_VERSION });
        }
        Ok(index)
    }

    /// Runs a read on one of the connections.
    pub(crate) fn with<T>(
        &self,
        op: &'static str,
        run: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T> {
        let db = self.connection(op)?;
        let result = run(&db).map_err(|source| self.error(op, source))?;
        self.give_back(db);
        Ok(result)
    }

    /// Runs a transaction that takes the write lock at its start, so that it cannot fail half-way for being late.
    pub(crate) fn write<T>(
        &self,
        op: &'static str,
        run: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T> {
        let mut db = self.connection(op)?;
        let result = (|| {
            let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let result = run(&transaction)?;
            transaction.commit()?;
            Ok(result)
        })();
        let result = result.map_err(|source| self.error(op, source))?;
        self.give_back(db);
        Ok(result)
    }

    pub(crate) fn touch(&self, bucket: &str, key: &[u8]) -> Result<()> {
        let mut touches = lock(&self.touches);
        touches.insert((bucket.to_owned(), key.to_owned()), now());
        let full = touches.len() >= TOUCH_BATCH;
        drop(touches);
        if full { self.flush_touches() } else { Ok(()) }
    }

    pub(crate) fn flush_touches(&self) -> Result<()> {
        let touches = std::mem::take(&mut *lock(&self.touches));
        if touches.is_empty() {
            return Ok(());
        }
        self.write("note uses", |db| {
            let mut entry = db.prepare_cached(
                "UPDATE entry SET last_used = ?3 WHERE bucket = ?1 AND key = ?2 AND last_used < ?3",
            )?;
            let mut blob = db.prepare_cached(
                "UPDATE blob SET last_used = ?2 WHERE digest = ?1 AND last_used < ?2",
            )?;
            for ((bucket, key), time) in &touches {
                if bucket == BLOBS {
                    blob.execute(params![String::from_utf8_lossy(key), time])?;
                } else {
                    entry.execute(params![bucket, key, time])?;
                }
            }
            Ok(())
        })
    }

    pub(crate) fn flush_touches_quietly(&self) {
        // At the end of a process there is nobody to tell, and a use that is not noted harms nobody.
        let _ = self.flush_touches();
    }

    fn connection(&self, op: &'static str) -> Result<Connection> {
        if let Some(db) = lock(&self.pool).pop() {
            return Ok(db);
        }
        connect(&self.path).map_err(|source| self.error(op, source))
    }

    fn give_back(&self, db: Connection) {
        let mut pool = lock(&self.pool);
        if pool.len() < POOL_MAX {
            pool.push(db);
        }
    }

    fn error(&self, op: &'static str, source: rusqlite::Error) -> StoreError {
        StoreError::Index { op, path: self.path.clone(), source }
    }
}

/// The name under which uses of blobs are noted; not a bucket.
pub(crate) const BLOBS: &str = "\0blob";

pub(crate) fn signed(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

pub(crate) fn unsigned(size: i64) -> u64 {
    u64::try_from(size).unwrap_or(0)
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let db = Connection::open(path)?;
    db.busy_timeout(BUSY_TIMEOUT)?;
    // Two processes that create the database at once: SQLite does not wait for this switch by itself.
    let mut result = Ok(());
    for _ in 0..200 {
        result = db.pragma_update(None, "journal_mode", "WAL");
        match &result {
            Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy) => {
                std::thread::sleep(Duration::from_millis(10));
            }
            _ => break,
        }
    }
    result?;
    db.pragma_update(None, "synchronous", "NORMAL")?;
    db.set_prepared_statement_cache_capacity(32);
    Ok(db)
}

/// The smallest key greater than all keys with this prefix; `None` if there is no such key.
fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return Some(end);
        }
    }
    None
}

/// A panic in another thread leaves these maps consistent, so its poison does not matter.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::after_prefix;

    #[test]
    fn the_end_of_a_prefix_range() {
        assert_eq!(after_prefix(b"ab"), Some(b"ac".to_vec()));
        assert_eq!(after_prefix(b"a\xff\xff"), Some(b"b".to_vec()));
        assert_eq!(after_prefix(b"\xff"), None);
        assert_eq!(after_prefix(b""), None);
    }
}
