//! A place with a series, a server of files, and an index of Python packages.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use karman_oci::Digest;
use karman_testing::{Place, Told};

/// An advisory of a real flaw: `GHSA-79v4-65xg-pq4g`.
pub(crate) const CRYPTOGRAPHY: &str =
    include_str!("../../../karman-constraints/tests/advisories/cryptography-2024-12797.json");
/// Another one: `GHSA-38jv-5279-wg99`.
pub(crate) const URLLIB3: &str =
    include_str!("../../../karman-constraints/tests/advisories/urllib3-2026-21441.json");

/// A place to run karman in.
pub(crate) fn place() -> Place {
    Place::new(Path::new(env!("CARGO_BIN_EXE_karman")))
}

/// Writes a file below the working directory.
pub(crate) fn file(place: &Place, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
    let path = place.work().join(name);
    std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
    std::fs::write(&path, text).expect("a file");
    path
}

/// The text of a file below the working directory.
pub(crate) fn text(place: &Place, name: &str) -> String {
    std::fs::read_to_string(place.work().join(name)).expect("a file")
}

/// Runs `karman constraints` with words separated by blanks.
pub(crate) fn constraints(place: &Place, words: &str) -> Told {
    place.run(["constraints"].into_iter().chain(words.split(' ')))
}

/// A zip archive of records.
pub(crate) fn zip(records: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut archive = rawzip::ZipArchiveWriter::new(&mut bytes);
    for (name, text) in records {
        let (mut entry, config) = archive
            .new_file(name)
            .compression_method(rawzip::CompressionMethod::DEFLATE)
            .start()
            .expect("an entry");
        let encoder =
            flate2::write::DeflateEncoder::new(&mut entry, flate2::Compression::default());
        let mut writer = config.wrap(encoder);
        writer.write_all(text.as_bytes()).expect("writes");
        let (encoder, descriptor) = writer.finish().expect("finishes");
        encoder.finish().expect("finishes");
        entry.finish(descriptor).expect("finishes");
    }
    archive.finish().expect("finishes");
    bytes
}

/// A body and its `Content-Type`.
type File = (&'static str, Vec<u8>);

/// A server of files in memory, with entity tags.
pub(crate) struct Server {
    port: u16,
    files: Arc<Mutex<BTreeMap<String, File>>>,
    log: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let files = Arc::<Mutex<BTreeMap<String, File>>>::default();
        let log = Arc::<Mutex<Vec<String>>>::default();
        let (shared, lines) = (Arc::clone(&files), Arc::clone(&log));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (files, log) = (Arc::clone(&shared), Arc::clone(&lines));
                std::thread::spawn(move || answer(&stream, &files, &log));
            }
        });
        Self { port, files, log }
    }

    pub(crate) fn put(&self, path: &str, kind: &'static str, body: impl Into<Vec<u8>>) {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.insert(path.to_owned(), (kind, body.into()));
    }

    pub(crate) fn remove(&self, path: &str) {
        self.files.lock().unwrap_or_else(PoisonError::into_inner).remove(path);
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// `METHOD PATH STATUS` of every request so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn answer(
    stream: &TcpStream,
    files: &Mutex<BTreeMap<String, File>>,
    log: &Mutex<Vec<String>>,
) -> Option<()> {
    let mut lines = BufReader::new(stream).lines();
    let request = lines.next()?.ok()?;
    let mut words = request.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut known = String::new();
    for line in lines.map_while(Result::ok).take_while(|l| !l.is_empty()) {
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("if-none-match")
        {
            value.trim().clone_into(&mut known);
        }
    }
    let found = files.lock().unwrap_or_else(PoisonError::into_inner).get(&path).cloned();
    let (status, kind, body) = match found {
        None => ("404 Not Found", "text/plain", b"no such file".to_vec()),
        Some((kind, body)) if tag(&body) == known => ("304 Not Modified", kind, Vec::new()),
        Some((kind, body)) => ("200 OK", kind, body),
    };
    let line = format!("{method} {path} {}", &status[..3]);
    log.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nETag: {}\r\nConnection: close\r\n\r\n",
        body.len(),
        tag(&body)
    );
    let mut out = stream;
    out.write_all(head.as_bytes()).ok()?;
    if method != "HEAD" {
        out.write_all(&body).ok()?;
    }
    Some(())
}

fn tag(body: &[u8]) -> String {
    let sum = body.iter().fold(17u64, |sum, b| sum.wrapping_mul(31).wrapping_add(u64::from(*b)));
    format!("\"{sum:x}\"")
}

/// One release of the index: name, version, day of the upload, requirements.
pub(crate) type Release = (&'static str, &'static str, &'static str, &'static [&'static str]);

/// An index (PEP 691, with metadata by PEP 658) of these releases; no wheel is ever fetched.
pub(crate) fn index(releases: &[Release]) -> Server {
    const JSON: &str = "application/vnd.pypi.simple.v1+json";
    let server = Server::start();
    let mut names: BTreeMap<&str, Vec<&Release>> = BTreeMap::new();
    for release in releases {
        names.entry(release.0).or_default().push(release);
    }
    for (name, releases) in names {
        let mut files = Vec::new();
        for (_, version, day, requires) in releases {
            let wheel = format!("{}-{version}-py3-none-any.whl", name.replace('-', "_"));
            let mut metadata = format!("Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n");
            for requirement in *requires {
                writeln!(metadata, "Requires-Dist: {requirement}").expect("writes");
            }
            server.put(&format!("/files/{wheel}.metadata"), "text/plain", metadata);
            // uv tells distributions apart by their digests.
            let sha256 = Digest::sha256_of(wheel.as_bytes()).hex();
            files.push(serde_json::json!({
                "filename": wheel,
                "url": format!("/files/{wheel}"),
                "hashes": { "sha256": sha256 },
                "core-metadata": true,
                "upload-time": format!("{day}T12:00:00Z"),
                "size": 1,
            }));
        }
        let page = serde_json::json!({
            "meta": { "api-version": "1.1" },
            "name": name,
            "files": files,
        });
        server.put(&format!("/simple/{name}/"), JSON, page.to_string());
    }
    server
}

/// OpenStack's own constraints of 2026.1: not in this repository, but beside it, or below
/// `KARMAN_TEST_SHARED`.
pub(crate) fn openstack_s_own_file(test: &str) -> Option<PathBuf> {
    let named = std::env::var_os("KARMAN_TEST_SHARED").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let path = named.unwrap_or(beside).join("data/upper-constraints-2026.1.txt");
    if !path.exists() {
        eprintln!("SKIP {test}: no `{}`", path.display());
        return None;
    }
    Some(path)
}

/// uv, or why there is none.
pub(crate) fn uv(test: &str) -> Option<PathBuf> {
    let named = std::env::var_os("KARMAN_TEST_UV").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join("uv")).find(|p| p.is_file());
    let Some(uv) = named.or(found) else {
        eprintln!("SKIP {test}: no uv on the PATH, and KARMAN_TEST_UV is not set");
        return None;
    };
    let python = Command::new(&uv)
        .args(["python", "find", "--no-config"])
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("UV_PYTHON_DOWNLOADS", "never")
        .output();
    if !python.is_ok_and(|o| o.status.success()) {
        eprintln!("SKIP {test}: uv finds no Python");
        return None;
    }
    Some(uv)
}
