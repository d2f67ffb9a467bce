//! Where advisories come from: OSV's archive of PyPI, another URL, a zip archive, a directory, a record.
//!
//! What was downloaded is kept below the store, `advisories/<digest of the URL>.zip` and `.etag`
//! beside it (the tag and the SHA-256 of the archive, a line each), and asked for again with the tag.
//! Without a network the copy is used, and that is said.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use karman_constraints::{
    Advisories, ArchiveError, Date, MAX_ADVISORIES, MAX_ARCHIVE_BYTES, PackageName,
};
use karman_diag::ExitCode;
use karman_net::{Client, Config, Expect, NetError, Request};
use karman_oci::Digest;

use crate::failure::{Done, Failure, chain};
use crate::out;
use crate::setup::Context;

/// OSV's archive of everything about PyPI.
pub(super) const DEFAULT_SOURCE: &str =
    "https://osv-vulnerabilities.storage.googleapis.com/PyPI/all.zip";
/// Directories inside directories that are looked into: databases sort by year and package.
const MAX_DEPTH: usize = 8;
/// How a zip archive begins.
const ZIP: &[u8] = b"PK";

/// The advisories about `packages`. `source` is a URL, a directory, an archive or one record.
pub(crate) fn load<'a>(
    source: &str,
    packages: impl IntoIterator<Item = &'a PackageName>,
    context: &Context,
) -> Done<Advisories> {
    let mut advisories = Advisories::about(packages);
    if is_url(source) {
        let path = Cached::of(source, context)?.fresh(source, context)?;
        let bytes = read(&path)?;
        advisories.add_archive(&bytes).map_err(|e| unusable(source, &e))?;
        return Ok(advisories);
    }
    let path = context.env.absolute(Path::new(source));
    if path.is_dir() {
        let mut files = Vec::new();
        list(&path, MAX_DEPTH, &mut files)?;
        if files.is_empty() {
            return Err(unusable(source, &NoRecords));
        }
        for file in files {
            let bytes = read(&file)?;
            advisories.add(&bytes).map_err(|e| unusable(&file.display().to_string(), &e))?;
        }
        return Ok(advisories);
    }
    let bytes = read(&path)?;
    if bytes.starts_with(ZIP) {
        advisories.add_archive(&bytes).map_err(|e: ArchiveError| unusable(source, &e))?;
    } else {
        advisories.add(&bytes).map_err(|e| unusable(source, &e))?;
    }
    Ok(advisories)
}

/// Whether a source is fetched.
pub(super) fn is_url(source: &str) -> bool {
    source.starts_with("https://") || source.starts_with("http://")
}

/// A client with the caller's CA and proxies.
pub(super) fn client(context: &Context) -> Done<Client> {
    let config = Config {
        ca_bundle: context.ca_bundle(),
        proxies: context.env.net_proxies(),
        ..Config::default()
    };
    Client::new(config).map_err(|e| Failure::host("set up the network client", e))
}

/// A directory of advisories without one.
#[derive(Debug, thiserror::Error)]
#[error("the directory holds no `.json` file")]
struct NoRecords;

fn unusable(what: &str, error: &dyn std::error::Error) -> Failure {
    Failure::Rendered {
        text: format!("ERROR: advisories of `{what}`: {}\n", chain(error)),
        exit: ExitCode::Input,
    }
}

/// Every `.json` below a directory, sorted; links are not followed.
fn list(dir: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Done<()> {
    let failed = |source| Failure::File { doing: "read", path: dir.to_owned(), source };
    let mut directories = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let kind = entry.file_type().map_err(failed)?;
        if kind.is_dir() && depth > 0 {
            directories.push(entry.path());
        } else if kind.is_file() && entry.path().extension().is_some_and(|e| e == "json") {
            files.push(entry.path());
        }
        if files.len() > MAX_ADVISORIES {
            return Err(Failure::usage(format!("more than {MAX_ADVISORIES} advisories")));
        }
    }
    directories.sort();
    for directory in directories {
        list(&directory, depth - 1, files)?;
    }
    files.sort();
    Ok(())
}

fn read(path: &Path) -> Done<Vec<u8>> {
    let failed = |source| Failure::File { doing: "read", path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let limit = MAX_ARCHIVE_BYTES as u64 + 1;
    File::open(path).map_err(failed)?.take(limit).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// A downloaded archive and its tag.
struct Cached {
    archive: PathBuf,
    tag: PathBuf,
}

impl Cached {
    fn of(url: &str, context: &Context) -> Done<Self> {
        let dir = context.store_dir()?.join("advisories");
        fs::create_dir_all(&dir).map_err(|e| Failure::host("use the store", e))?;
        let name = Digest::sha256_of(url.as_bytes()).hex();
        Ok(Self { archive: dir.join(format!("{name}.zip")), tag: dir.join(format!("{name}.etag")) })
    }

    /// The archive as the server has it now, or else the copy.
    fn fresh(&self, url: &str, context: &Context) -> Done<PathBuf> {
        let known = self.known();
        let client = client(context)?;
        let error = match self.renew(url, &client, known.as_deref()) {
            Ok(()) => return Ok(self.archive.clone()),
            Err(error) => error,
        };
        let (Error::Net(net), Some(_)) = (&error, &known) else {
            return Err(error.into());
        };
        out::note(&format!(
            "WARNING: {}; the copy of {} is used\n",
            chain(net),
            self.day().map_or_else(|| "an unknown day".to_owned(), |day| day.to_string())
        ));
        Ok(self.archive.clone())
    }

    /// The tag of the copy, where the copy is what the tag was written for.
    fn known(&self) -> Option<String> {
        let note = fs::read_to_string(&self.tag).ok()?;
        let (tag, digest) = note.trim_end().split_once('\n')?;
        let bytes = read(&self.archive).ok()?;
        (Digest::sha256_of(&bytes).hex() == digest).then(|| tag.to_owned())
    }

    fn renew(&self, url: &str, client: &Client, known: Option<&str>) -> Result<(), Error> {
        if let Some(tag) = known {
            let asked = client.send(&Request::head(url).header("if-none-match", tag))?;
            if asked.status() == 304 {
                return Ok(());
            }
        }
        let dir = self.archive.parent().unwrap_or(Path::new("."));
        let mut partial = tempfile::Builder::new().prefix("partial-").tempfile_in(dir)?;
        let limit = Expect::at_most(MAX_ARCHIVE_BYTES as u64);
        let done = client.download(url, partial.as_file_mut(), &limit)?;
        // The note goes first: a crash in between leaves a copy that does not fit its note.
        let _ = fs::remove_file(&self.tag);
        partial.persist(&self.archive).map_err(|e| e.error)?;
        if let Some(tag) = done.etag {
            let hex: String = done.sha256.iter().map(|b| format!("{b:02x}")).collect();
            fs::write(&self.tag, format!("{tag}\n{hex}\n"))?;
        }
        Ok(())
    }

    fn day(&self) -> Option<Date> {
        let changed = fs::metadata(&self.archive).ok()?.modified().ok()?;
        Date::of_unix_seconds(changed.duration_since(UNIX_EPOCH).ok()?.as_secs())
    }
}

/// Why an archive is not fresh.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Net(#[from] NetError),
    #[error(transparent)]
    File(#[from] std::io::Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Net(error) => Self::Rendered {
                text: format!(
                    "ERROR: {}\nhint: without a network, name a directory or an archive with `--advisories`\n",
                    chain(&error)
                ),
                exit: ExitCode::Fetch,
            },
            Error::File(error) => Self::host("keep the advisories below the store", error),
        }
    }
}
