//! An archive in memory: tiny packages, indexes, and Release files signed by a key made for the test.
#![allow(dead_code, clippy::allow_attributes, reason = "each test binary uses a part of it")]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::sync::Mutex;

use karman_debootstrap::{
    Cache, Environment, Fetch, FetchError, Keyring, Mirrors, Plan, PlanError, Source, Want,
};
use pgp::composed::{
    ArmorOptions, CleartextSignedMessage, DetachedSignature, KeyType, SecretKeyParamsBuilder,
    SignedPublicKey, SignedSecretKey,
};
use pgp::crypto::hash::HashAlgorithm;
use pgp::types::Password;
use sha2::{Digest as _, Sha256};

/// Sun, 22 Nov 2026 00:00:00 UTC.
pub(crate) const NOW: u64 = 1_795_305_600;
pub(crate) const DATE: &str = "Sat, 21 Nov 2026 09:15:44 UTC";
pub(crate) const DATE_SECONDS: u64 = 1_795_252_544;
pub(crate) const MAIN: &str = "http://deb.debian.org/debian";
pub(crate) const SECURITY: &str = "http://deb.debian.org/debian-security";

pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A key pair.
pub(crate) struct Key(SignedSecretKey);

impl Key {
    pub(crate) fn new() -> Self {
        let params = SecretKeyParamsBuilder::default()
            .key_type(KeyType::Ed25519Legacy)
            .can_certify(true)
            .can_sign(true)
            .primary_user_id("Test Archive <archive@example.org>".to_owned())
            .build()
            .expect("key parameters");
        Self(params.generate(rand::thread_rng()).expect("key"))
    }

    pub(crate) fn keyring(&self) -> Keyring {
        let public = SignedPublicKey::from(self.0.clone());
        Keyring::from_bytes(&public.to_armored_bytes(ArmorOptions::default()).expect("armor"))
            .expect("keyring")
    }

    pub(crate) fn inline(&self, text: &str) -> Vec<u8> {
        CleartextSignedMessage::sign(
            rand::thread_rng(),
            text,
            &self.0.primary_key,
            &Password::empty(),
        )
        .expect("sign")
        .to_armored_bytes(ArmorOptions::default())
        .expect("armor")
    }

    pub(crate) fn detached(&self, text: &str) -> Vec<u8> {
        let (rng, key) = (rand::thread_rng(), &self.0.primary_key);
        DetachedSignature::sign_binary_data(
            rng,
            key,
            &Password::empty(),
            HashAlgorithm::Sha512,
            text.as_bytes(),
        )
        .expect("sign")
        .to_armored_bytes(ArmorOptions::default())
        .expect("armor")
    }
}

/// One entry of a data archive.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) path: String,
    pub(crate) kind: u8,
    pub(crate) mode: u32,
    pub(crate) link: String,
    pub(crate) content: Vec<u8>,
}

pub(crate) fn dir(path: &str) -> Entry {
    Entry {
        path: path.to_owned(),
        kind: b'5',
        mode: 0o755,
        link: String::new(),
        content: Vec::new(),
    }
}

pub(crate) fn file(path: &str, content: &str) -> Entry {
    Entry { kind: b'0', mode: 0o644, content: content.as_bytes().to_vec(), ..dir(path) }
}

pub(crate) fn symlink(path: &str, target: &str) -> Entry {
    Entry { kind: b'2', mode: 0o777, link: target.to_owned(), ..dir(path) }
}

pub(crate) fn hard_link(path: &str, target: &str) -> Entry {
    Entry { kind: b'1', mode: 0o644, link: target.to_owned(), ..dir(path) }
}

/// A tar archive whose names are written as they are, legal or not.
pub(crate) fn tar(entries: &[Entry]) -> Vec<u8> {
    let mut out = Vec::new();
    for entry in entries {
        let mut header = tar::Header::new_gnu();
        let bytes = header.as_mut_bytes();
        bytes[..entry.path.len()].copy_from_slice(entry.path.as_bytes());
        bytes[157..157 + entry.link.len()].copy_from_slice(entry.link.as_bytes());
        bytes[156] = entry.kind;
        header.set_mode(entry.mode);
        header.set_uid(u64::from(rustix::process::geteuid().as_raw()));
        header.set_gid(u64::from(rustix::process::getegid().as_raw()));
        header.set_mtime(1_700_000_000);
        header.set_size(entry.content.len() as u64);
        header.set_cksum();
        out.extend_from_slice(header.as_bytes());
        out.extend_from_slice(&entry.content);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.resize(out.len() + 1024, 0);
    out
}

pub(crate) fn ar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = b"!<arch>\n".to_vec();
    for (name, content) in members {
        writeln!(out, "{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`", 0, 0, 0, "100644", content.len())
            .expect("write");
        out.extend_from_slice(content);
        if content.len() % 2 == 1 {
            out.push(b'\n');
        }
    }
    out
}

/// A package being described.
#[derive(Clone)]
pub(crate) struct Deb {
    pub(crate) name: String,
    pub(crate) fields: BTreeMap<String, String>,
    pub(crate) control: Vec<Entry>,
    pub(crate) data: Vec<Entry>,
    pub(crate) bytes: Option<Vec<u8>>,
}

pub(crate) fn deb(name: &str, version: &str) -> Deb {
    let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let fields = [
        field("Package", name),
        field("Version", version),
        field("Architecture", "amd64"),
        field("Maintainer", "nobody <nobody@example.org>"),
        field("Description", "a test"),
    ];
    Deb {
        name: name.to_owned(),
        fields: fields.into(),
        control: Vec::new(),
        data: vec![dir("./")],
        bytes: None,
    }
}

impl Deb {
    pub(crate) fn with(mut self, field: &str, value: &str) -> Self {
        self.fields.insert(field.to_owned(), value.to_owned());
        self
    }

    pub(crate) fn essential(self) -> Self {
        self.with("Essential", "yes").with("Priority", "required")
    }

    pub(crate) fn data(mut self, entries: Vec<Entry>) -> Self {
        self.data.extend(entries);
        self
    }

    pub(crate) fn control(mut self, name: &str, content: &str) -> Self {
        self.control.push(Entry { mode: 0o755, ..file(&format!("./{name}"), content) });
        self
    }

    /// Other bytes than those of a sound package.
    pub(crate) fn bytes(mut self, bytes: Vec<u8>) -> Self {
        self.bytes = Some(bytes);
        self
    }

    fn stanza(&self) -> String {
        self.fields.iter().map(|(name, value)| format!("{name}: {value}\n")).collect()
    }

    pub(crate) fn build(&self) -> Vec<u8> {
        if let Some(bytes) = &self.bytes {
            return bytes.clone();
        }
        let mut control = vec![file("./control", &self.stanza())];
        control.extend(self.control.iter().cloned());
        let mut xz = Vec::new();
        liblzma::write::XzEncoder::new(&mut xz, 1).write_all(&tar(&control)).expect("xz");
        let data = zstd::encode_all(tar(&self.data).as_slice(), 1).expect("zstd");
        ar(&[("debian-binary", b"2.0\n"), ("control.tar.xz", &xz), ("data.tar.zst", &data)])
    }
}

/// Files by URL.
#[derive(Default)]
pub(crate) struct Archive {
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    pub(crate) asked: Mutex<Vec<String>>,
}

impl Fetch for Archive {
    fn get(&self, url: &str, limit: u64) -> Result<Vec<u8>, FetchError> {
        self.asked.lock().expect("lock").push(url.to_owned());
        let bytes =
            self.files.get(url).ok_or_else(|| FetchError::NotFound { url: url.to_owned() })?;
        assert!(bytes.len() as u64 <= limit);
        Ok(bytes.clone())
    }

    fn download(&self, url: &str, file: &mut File, _want: &Want<'_>) -> Result<(), FetchError> {
        let bytes = self.get(url, u64::MAX)?;
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(&bytes))
            .expect("write");
        Ok(())
    }
}

/// What a suite's Release file says, for tests to change.
#[derive(Clone)]
pub(crate) struct Suite {
    pub(crate) url: String,
    pub(crate) name: String,
    pub(crate) release: BTreeMap<String, String>,
    pub(crate) debs: Vec<Deb>,
}

pub(crate) fn suite(url: &str, name: &str, debs: Vec<Deb>) -> Suite {
    let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let release = [
        field("Suite", "stable"),
        field("Codename", name),
        field("Date", DATE),
        field("Architectures", "all amd64 arm64"),
        field("Components", "main"),
        field("Acquire-By-Hash", "yes"),
    ];
    Suite { url: url.to_owned(), name: name.to_owned(), release: release.into(), debs }
}

impl Suite {
    pub(crate) fn with(mut self, field: &str, value: &str) -> Self {
        self.release.insert(field.to_owned(), value.to_owned());
        self
    }

    /// Adds packages and index to an archive and returns the text to sign.
    pub(crate) fn publish(&self, archive: &mut Archive) -> String {
        let mut index = String::new();
        for deb in &self.debs {
            let bytes = deb.build();
            let filename =
                format!("pool/{}_{}.deb", deb.name, deb.fields["Version"].replace(':', "%3a"));
            let (size, digest) = (bytes.len(), sha256(&bytes));
            index.push_str(&format!(
                "{}Filename: {filename}\nSize: {size}\nSHA256: {digest}\n\n",
                deb.stanza()
            ));
            archive.files.insert(format!("{}/{filename}", self.url), bytes);
        }
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(index.as_bytes()).expect("gzip");
        let packed = packed.finish().expect("gzip");
        let path = "main/binary-amd64/Packages.gz";
        archive.files.insert(format!("{}/dists/{}/{path}", self.url, self.name), packed.clone());
        let fields: String =
            self.release.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
        format!("{fields}SHA256:\n {} {} {path}\n", sha256(&packed), packed.len())
    }

    /// Adds the suite with a signed Release file.
    pub(crate) fn add(&self, archive: &mut Archive, key: &Key) {
        let text = self.publish(archive);
        archive
            .files
            .insert(format!("{}/dists/{}/InRelease", self.url, self.name), key.inline(&text));
    }
}

/// Everything a plan needs, with one suite `stretchy` of Debian.
pub(crate) struct World {
    pub(crate) archive: Archive,
    pub(crate) key: Key,
    pub(crate) mirrors: Mirrors,
    pub(crate) dir: tempfile::TempDir,
}

impl World {
    pub(crate) fn empty() -> Self {
        Self {
            archive: Archive::default(),
            key: Key::new(),
            mirrors: Mirrors::new(),
            dir: tempfile::tempdir().expect("temporary directory"),
        }
    }

    pub(crate) fn new(debs: Vec<Deb>) -> Self {
        let mut world = Self::empty();
        world.add(&suite(MAIN, "stretchy", debs));
        world
    }

    pub(crate) fn add(&mut self, suite: &Suite) {
        suite.add(&mut self.archive, &self.key);
    }

    pub(crate) fn cache(&self) -> Cache {
        Cache::open(self.dir.path().join("cache")).expect("cache")
    }

    pub(crate) fn plan(&self, query: &str) -> Result<Plan, PlanError> {
        self.plan_with(query, &self.key.keyring())
    }

    pub(crate) fn plan_with(&self, query: &str, keyring: &Keyring) -> Result<Plan, PlanError> {
        let text = format!("debootstrap://debian/stretchy?updates=false&{query}");
        let source = Source::parse(&text).expect("source");
        let cache = self.cache();
        let env = Environment {
            fetch: &self.archive,
            keyring,
            mirrors: &self.mirrors,
            cache: &cache,
            now: NOW,
        };
        Plan::make(&source, "amd64", &env)
    }
}

/// The least that is a base set.
pub(crate) fn base() -> Vec<Deb> {
    vec![
        deb("base-files", "13").essential().data(vec![
            dir("./etc/"),
            dir("./usr/"),
            dir("./usr/bin/"),
            Entry { mode: 0o1777, ..dir("./tmp/") },
            symlink("./bin", "usr/bin"),
        ]),
        deb("dpkg", "1.22").essential().data(vec![
            dir("./usr/"),
            dir("./usr/bin/"),
            file("./usr/bin/dpkg", "dpkg"),
        ]),
        deb("apt", "3.0").data(vec![dir("./etc/"), dir("./etc/apt/")]),
    ]
}

pub(crate) fn with_base(more: Vec<Deb>) -> Vec<Deb> {
    [base(), more].concat()
}

/// An error with all its sources, as a person would see it.
pub(crate) fn shown(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text.push_str(": ");
        text.push_str(&error.to_string());
        next = error.source();
    }
    text
}
