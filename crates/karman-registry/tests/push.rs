//! Uploads: what is sent, what is not, and how a broken one goes on.

#[expect(dead_code, reason = "each test binary uses a part of the support")]
mod support;

use std::io::{Cursor, Read, Seek, SeekFrom};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use karman_oci::{Descriptor, Digest, Reference, media_type};
use karman_registry::{Config, Pushed, Registry, RegistryError, UploadLog};
use support::http::{Reply, Server};
use support::store::Shelf;
use support::{describe, reference, registry};

/// More than is sent together with the end of an upload.
const LARGE: usize = 3 * 1024 * 1024;

fn large() -> Vec<u8> {
    (0..LARGE).map(|i| (i * 7 % 251) as u8).collect()
}

fn open(bytes: Vec<u8>) -> impl Fn(u64) -> std::io::Result<Box<dyn Read + Send>> + Send + Sync {
    move |offset| {
        let mut cursor = Cursor::new(bytes.clone());
        cursor.seek(SeekFrom::Start(offset))?;
        Ok(Box::new(cursor) as Box<dyn Read + Send>)
    }
}

fn layer(bytes: &[u8]) -> Descriptor {
    describe(media_type::OCI_LAYER_GZIP, bytes)
}

fn push(client: &Registry, to: &Reference, bytes: &[u8]) -> Result<Pushed, RegistryError> {
    client.push_blob(to, &layer(bytes), &[], &Log::default(), open(bytes.to_vec()))
}

/// What a store remembers of an upload.
#[derive(Default)]
struct Log(std::cell::RefCell<Option<String>>);

impl UploadLog for Log {
    fn begun(&self) -> Option<String> {
        self.0.borrow().clone()
    }

    fn note(&self, location: &str) {
        *self.0.borrow_mut() = Some(location.to_owned());
    }

    fn ended(&self) {
        *self.0.borrow_mut() = None;
    }
}

/// A registry where the first two uploads break after a mebibyte, and what a client that gives up at once
/// leaves in its log.
fn broken_upload(shelf: &Shelf, log: &Log) -> Server {
    let (served, broken) = (shelf.clone(), Arc::new(AtomicUsize::new(0)));
    let cut = move |seen: &support::http::Seen| {
        let first = seen.method == "PATCH" && broken.fetch_add(1, Ordering::SeqCst) < 1;
        first.then_some(1024 * 1024)
    };
    let server = Server::start_cutting(cut, move |seen| served.serve(seen));
    let once = karman_net::Retry { max_attempts: 1, ..karman_net::Retry::default() };
    let net = karman_net::Config { retry: once, ..karman_net::Config::default() };
    let killed = Registry::new(karman_net::Client::new(net).unwrap(), Config::default());
    let bytes = large();
    let gone = killed.push_blob(&reference(&server), &layer(&bytes), &[], log, open(bytes.clone()));
    assert!(gone.is_err() && log.begun().is_some());
    server
}

#[test]
fn another_process_goes_on_with_an_upload() {
    let (shelf, log) = (Shelf::default(), Log::default());
    let server = broken_upload(&shelf, &log);
    let (client, bytes) = (registry(Config::default()), large());
    let pushed =
        client.push_blob(&reference(&server), &layer(&bytes), &[], &log, open(bytes.clone()));
    assert_eq!(pushed.unwrap(), Pushed::Uploaded);
    assert!(shelf.blob("a/b", &Digest::sha256_of(&bytes)) == Some(bytes));
    let ranges: Vec<Option<String>> = server
        .seen()
        .iter()
        .filter(|seen| seen.method == "PATCH")
        .map(|seen| seen.header("content-range").map(str::to_owned))
        .collect();
    assert_eq!(ranges, [None, Some("1048576-3145727".to_owned())]);
    assert_eq!(log.begun(), None);
}

#[test]
fn an_upload_of_another_process_that_is_gone_or_wrong_is_begun_anew() {
    for harm in [Shelf::forget_uploads, Shelf::spoil_uploads] {
        let (shelf, log) = (Shelf::default(), Log::default());
        let server = broken_upload(&shelf, &log);
        harm(&shelf);
        let (client, bytes) = (registry(Config::default()), large());
        let pushed =
            client.push_blob(&reference(&server), &layer(&bytes), &[], &log, open(bytes.clone()));
        assert_eq!(pushed.unwrap(), Pushed::Uploaded);
        assert!(shelf.blob("a/b", &Digest::sha256_of(&bytes)) == Some(bytes));
        assert_eq!(log.begun(), None);
    }
}

#[test]
fn a_blob_is_sent_once_and_found_afterwards() {
    let shelf = Shelf::default();
    let served = shelf.clone();
    let server = Server::start(move |seen| served.serve(seen));
    let (client, name) = (registry(Config::default()), reference(&server));
    for bytes in [b"small".to_vec(), Vec::new(), large()] {
        assert_eq!(push(&client, &name, &bytes).unwrap(), Pushed::Uploaded);
        assert_eq!(push(&client, &name, &bytes).unwrap(), Pushed::Existed);
        assert!(shelf.blob("a/b", &Digest::sha256_of(&bytes)) == Some(bytes));
    }
    let puts = server.lines().iter().filter(|line| line.starts_with("PUT")).count();
    assert_eq!(puts, 3);
}

#[test]
fn an_upload_that_breaks_goes_on_where_it_stopped() {
    let shelf = Shelf::default();
    let (served, broken) = (shelf.clone(), Arc::new(AtomicUsize::new(0)));
    let cut = move |seen: &support::http::Seen| {
        let first_two = seen.method == "PATCH" && broken.fetch_add(1, Ordering::SeqCst) < 2;
        first_two.then_some(1024 * 1024)
    };
    let server = Server::start_cutting(cut, move |seen| served.serve(seen));
    let bytes = large();
    let pushed = push(&registry(Config::default()), &reference(&server), &bytes);
    assert_eq!(pushed.unwrap(), Pushed::Uploaded);
    assert!(shelf.blob("a/b", &Digest::sha256_of(&bytes)) == Some(bytes));
    let patches: Vec<String> = server
        .seen()
        .iter()
        .filter(|seen| seen.method == "PATCH")
        .map(|seen| seen.header("content-range").unwrap_or("-").to_owned())
        .collect();
    assert_eq!(patches, ["-", "1048576-3145727", "2097152-3145727"]);
}

#[test]
fn an_upload_that_the_registry_forgot_is_begun_anew() {
    let shelf = Shelf::default();
    let (served, calls) = (shelf.clone(), Arc::new(AtomicUsize::new(0)));
    let server = Server::start(move |seen| {
        if seen.method == "PATCH" && calls.fetch_add(1, Ordering::SeqCst) == 0 {
            served.forget_uploads();
            return Reply::new(503, "");
        }
        served.serve(seen)
    });
    let bytes = large();
    push(&registry(Config::default()), &reference(&server), &bytes).unwrap();
    assert!(shelf.blob("a/b", &Digest::sha256_of(&bytes)) == Some(bytes));
}

#[test]
fn trouble_that_stays_ends_the_upload() {
    let shelf = Shelf::default();
    let server = Server::start(move |seen| match seen.method.as_str() {
        "PATCH" => Reply::new(500, ""),
        _ => shelf.serve(seen),
    });
    let error = push(&registry(Config::default()), &reference(&server), &large()).unwrap_err();
    assert!(matches!(&error, RegistryError::Push { source, .. } if source.status() == Some(500)));
    let patches = server.lines().iter().filter(|line| line.starts_with("PATCH")).count();
    assert!((2..=20).contains(&patches), "{patches}");
}

#[test]
fn a_registry_that_asks_for_patience_gets_it() {
    let shelf = Shelf::default();
    let (served, calls) = (shelf.clone(), Arc::new(AtomicUsize::new(0)));
    let server = Server::start(move |seen| {
        if calls.fetch_add(1, Ordering::SeqCst) % 2 == 0 {
            return Reply::new(429, "").with("retry-after", "0");
        }
        served.serve(seen)
    });
    let client = registry(Config::default());
    assert_eq!(push(&client, &reference(&server), b"small").unwrap(), Pushed::Uploaded);
    client.push_manifest(&reference(&server), media_type::OCI_MANIFEST, b"{}").unwrap();
}

#[test]
fn a_blob_of_another_repository_is_mounted() {
    let shelf = Shelf::default();
    shelf.0.lock().unwrap().mounts = true;
    let served = shelf.clone();
    let server = Server::start(move |seen| served.serve(seen));
    let client = registry(Config::default());
    let other = Reference::parse(&format!("{}/base/image:1", server.host())).unwrap();
    let bytes = large();
    push(&client, &other, &bytes).unwrap();
    let mount = |others: &[String]| {
        client.push_blob(
            &reference(&server),
            &layer(&bytes),
            others,
            &Log::default(),
            open(bytes.clone()),
        )
    };
    assert_eq!(mount(&["base/image".to_owned()]).unwrap(), Pushed::Mounted);
    assert!(shelf.blob("a/b", &Digest::sha256_of(&bytes)).is_some());
    let sent = server.seen().iter().filter(|seen| seen.body.len() > 1024).count();
    assert_eq!(sent, 1);
}

#[test]
fn a_mount_that_is_not_granted_becomes_the_upload_itself() {
    let shelf = Shelf::default();
    let served = shelf.clone();
    let server = Server::start(move |seen| served.serve(seen));
    let bytes = large();
    let others = ["base/image".to_owned(), "base/other".to_owned()];
    let client = registry(Config::default());
    let pushed = client.push_blob(
        &reference(&server),
        &layer(&bytes),
        &others,
        &Log::default(),
        open(bytes.clone()),
    );
    assert_eq!(pushed.unwrap(), Pushed::Uploaded);
    let posts = server.lines().iter().filter(|line| line.starts_with("POST")).count();
    assert_eq!(posts, 1, "the session that the registry opened is used");
}

#[test]
fn a_blob_that_is_not_at_hand_is_found_or_mounted_or_else_its_upload_goes_on_later() {
    let shelf = Shelf::default();
    let served = shelf.clone();
    let server = Server::start(move |seen| served.serve(seen));
    let (client, bytes, log) = (registry(Config::default()), large(), Log::default());
    let other = Reference::parse(&format!("{}/base/image:1", server.host())).unwrap();
    push(&client, &other, &bytes).unwrap();
    let begin = |others: &[&str]| {
        let others: Vec<String> = others.iter().map(|other| (*other).to_owned()).collect();
        client.mount_blob(&reference(&server), &layer(&bytes), &others, &log).unwrap()
    };
    assert_eq!((begin(&[]), log.begun()), (None, None), "nothing is begun without a place");
    // The registry does not mount: the upload that it opened is the one that gets the bytes.
    assert_eq!(begin(&["base/image"]), None);
    assert!(log.begun().is_some());
    let pushed =
        client.push_blob(&reference(&server), &layer(&bytes), &[], &log, open(bytes.clone()));
    assert_eq!((pushed.unwrap(), log.begun()), (Pushed::Uploaded, None));
    let posts = server.lines().iter().filter(|line| line.starts_with("POST")).count();
    assert_eq!(posts, 2, "one for each repository");
    assert_eq!(begin(&["base/image"]), Some(Pushed::Existed));
    shelf.0.lock().unwrap().mounts = true;
    let third = Reference::parse(&format!("{}/third:1", server.host())).unwrap();
    let others = ["nowhere".to_owned(), "base/image".to_owned()];
    let mounted = client.mount_blob(&third, &layer(&bytes), &others, &log).unwrap();
    assert_eq!((mounted, log.begun()), (Some(Pushed::Mounted), None), "from the second");
    assert!(shelf.blob("third", &Digest::sha256_of(&bytes)).is_some());
}

#[test]
fn bytes_that_are_not_those_of_the_digest_are_refused_with_the_registrys_words() {
    let shelf = Shelf::default();
    let server = Server::start(move |seen| shelf.serve(seen));
    let client = registry(Config::default());
    let blob = layer(b"right");
    let error =
        client.push_blob(&reference(&server), &blob, &[], &Log::default(), open(b"wrong".to_vec()));
    let error = error.unwrap_err().to_string();
    assert!(error.contains("DIGEST_INVALID: provided digest did not match"), "{error}");
    assert!(error.contains(&blob.digest.to_string()), "{error}");
}

#[test]
fn a_tag_moves_to_the_manifest() {
    let shelf = Shelf::default();
    let served = shelf.clone();
    let server = Server::start(move |seen| served.serve(seen));
    let (client, name) = (registry(Config::default()), reference(&server));
    assert_eq!(client.manifest_digest(&name).unwrap(), None);
    client.push_manifest(&name, media_type::OCI_MANIFEST, br#"{"layers":[]}"#).unwrap();
    let digest = Digest::sha256_of(br#"{"layers":[]}"#);
    assert_eq!(client.manifest_digest(&name).unwrap(), Some(digest));
    let untagged = Reference { tag: None, digest: None, ..name.clone() };
    client.push_manifest(&untagged, media_type::OCI_MANIFEST, b"{}").unwrap();
    let held = shelf.0.lock().unwrap();
    let by_digest = ("a/b".to_owned(), Digest::sha256_of(b"{}").to_string());
    assert!(held.manifests.contains_key(&by_digest));
}

#[test]
fn credentials_of_an_upload_stay_at_the_registry() {
    let elsewhere = Server::start(|_| Reply::new(201, ""));
    let place = elsewhere.other_url("/upload");
    let server = Server::start(move |seen| {
        if seen.header("authorization").is_none() {
            return Reply::new(401, "").with("www-authenticate", r#"Basic realm="x""#);
        }
        match seen.method.as_str() {
            "HEAD" => Reply::new(404, ""),
            _ => Reply::new(202, "").with("location", &place),
        }
    });
    let client = registry(support::as_user());
    push(&client, &reference(&server), b"small").unwrap();
    let seen = elsewhere.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].header("authorization"), None, "another host gets no credentials");
}
