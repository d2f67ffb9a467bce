//! OCI layouts: the base image is written as one, results are read from them.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use flate2::Compression;
use flate2::write::GzEncoder;
use karman_oci::Digest;
use serde_json::{Value, json};
use tar::{EntryType, Header};

const EPOCH: u64 = 1_577_836_800;
const STAMP: &str = "2020-01-01T00:00:00Z";
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const PASSWD: &str =
    "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:application:/home/app:/bin/sh\n";
const GROUP: &str = "root:x:0:\napp:x:1000:\nops:x:3000:app\n";
const DIRECTORIES: [(&str, u32, u64); 17] = [
    ("bin", 0o755, 0),
    ("dev", 0o755, 0),
    ("etc", 0o755, 0),
    ("home", 0o755, 0),
    ("home/app", 0o755, 1000),
    ("opt", 0o755, 0),
    ("proc", 0o755, 0),
    ("root", 0o700, 0),
    ("run", 0o755, 0),
    ("srv", 0o755, 0),
    ("sys", 0o755, 0),
    ("tmp", 0o1777, 0),
    ("usr", 0o755, 0),
    ("usr/bin", 0o755, 0),
    ("var", 0o755, 0),
    ("var/lib", 0o755, 0),
    ("var/log", 0o755, 0),
];

/// The tar of a root filesystem around a static busybox; an error says why there is none.
pub(crate) fn busybox_layer(busybox: &Path) -> Result<Vec<u8>, String> {
    let program = fs::read(busybox).map_err(|e| format!("{}: {e}", busybox.display()))?;
    let listed = Command::new(busybox).arg("--list").output();
    let listed = listed.map_err(|e| format!("{}: {e}", busybox.display()))?;
    let applets = String::from_utf8_lossy(&listed.stdout).into_owned();
    if is_dynamic(&program) {
        return Err(format!("`{}` is not static (package busybox-static)", busybox.display()));
    }
    let mut tar = tar::Builder::new(Vec::new());
    for (path, mode, owner) in DIRECTORIES {
        put(&mut tar, EntryType::Directory, &format!("{path}/"), mode, owner, b"", "");
    }
    put(&mut tar, EntryType::Regular, "bin/busybox", 0o755, 0, &program, "");
    put(&mut tar, EntryType::Regular, "etc/passwd", 0o644, 0, PASSWD.as_bytes(), "");
    put(&mut tar, EntryType::Regular, "etc/group", 0o644, 0, GROUP.as_bytes(), "");
    let applets: BTreeSet<&str> = applets.split_whitespace().filter(|a| *a != "busybox").collect();
    for applet in applets {
        put(&mut tar, EntryType::Symlink, &format!("bin/{applet}"), 0o777, 0, b"", "busybox");
    }
    tar.into_inner().map_err(|e| e.to_string())
}

/// Whether a 64-bit ELF file names an interpreter.
fn is_dynamic(program: &[u8]) -> bool {
    let number = |at: usize, len: usize| {
        let bytes = program.get(at..at + len).unwrap_or_default();
        bytes.iter().rev().fold(0_usize, |n, b| (n << 8) | usize::from(*b))
    };
    let (headers, size, count) = (number(32, 8), number(54, 2), number(56, 2));
    (0..count).any(|i| number(headers + i * size, 4) == 3)
}

fn put(
    tar: &mut tar::Builder<Vec<u8>>,
    kind: EntryType,
    path: &str,
    mode: u32,
    owner: u64,
    data: &[u8],
    link: &str,
) {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(owner);
    header.set_gid(owner);
    header.set_mtime(EPOCH);
    header.set_size(data.len() as u64);
    if !link.is_empty() {
        header.set_link_name(link).expect("a short link");
    }
    tar.append_data(&mut header, path, data).expect("written to memory");
}

/// Writes a layout with one image of these layers, named `latest`.
pub(crate) fn write_image(dir: &Path, layers: &[Vec<u8>]) {
    write_with_config(dir, layers, json!({ "Env": [PATH], "Cmd": ["sh"] }));
}

/// The same with a configuration.
pub(crate) fn write_with_config(dir: &Path, layers: &[Vec<u8>], config: Value) {
    fs::create_dir_all(dir.join("blobs/sha256")).expect("a layout");
    let descriptor = image_blobs(dir, layers, config, &karman_oci::Platform::host());
    write_index(dir, descriptor);
}

/// Writes a layout with an index `latest` of three images, each of which has `/etc/arch` only.
pub(crate) fn write_multi(dir: &Path) {
    fs::create_dir_all(dir.join("blobs/sha256")).expect("a layout");
    let platforms = ["linux/amd64", "linux/arm64", "linux/arm/v7"]
        .map(|text| karman_oci::Platform::parse(text).expect("a platform"));
    let manifests: Vec<Value> = platforms
        .iter()
        .map(|platform| {
            let mut tar = tar::Builder::new(Vec::new());
            let text = format!("{platform}\n");
            put(&mut tar, EntryType::Directory, "etc/", 0o755, 0, b"", "");
            put(&mut tar, EntryType::Regular, "etc/arch", 0o644, 0, text.as_bytes(), "");
            let layer = tar.into_inner().expect("in memory");
            let config = json!({ "Env": [PATH], "Labels": { "arch": platform.to_string() } });
            let mut entry = image_blobs(dir, &[layer], config, platform);
            entry["platform"] = serde_json::to_value(platform).expect("plain data");
            entry
        })
        .collect();
    let media = "application/vnd.oci.image.index.v1+json";
    let index = json!({ "schemaVersion": 2, "mediaType": media, "manifests": manifests });
    let descriptor = blob(dir, index.to_string().as_bytes(), media);
    write_index(dir, descriptor);
}

fn write_index(dir: &Path, mut descriptor: Value) {
    descriptor["annotations"] = json!({ "org.opencontainers.image.ref.name": "latest" });
    let index = json!({ "schemaVersion": 2, "manifests": [descriptor] });
    fs::write(dir.join("index.json"), index.to_string()).expect("an index");
    fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("a layout");
}

/// The blobs of one image; gives its descriptor.
fn image_blobs(
    dir: &Path,
    layers: &[Vec<u8>],
    config: Value,
    platform: &karman_oci::Platform,
) -> Value {
    let mut descriptors = Vec::new();
    let mut diff_ids = Vec::new();
    let mut history = Vec::new();
    for layer in layers {
        diff_ids.push(Digest::sha256_of(layer).to_string());
        let mut gzip = GzEncoder::new(Vec::new(), Compression::new(6));
        gzip.write_all(layer).expect("in memory");
        let bytes = gzip.finish().expect("in memory");
        descriptors.push(blob(dir, &bytes, "application/vnd.oci.image.layer.v1.tar+gzip"));
        history.push(json!({ "created": STAMP, "created_by": "base layer" }));
    }
    let mut config = json!({
        "architecture": platform.architecture, "os": "linux", "created": STAMP, "config": config,
        "rootfs": { "type": "layers", "diff_ids": diff_ids }, "history": history,
    });
    if let Some(variant) = &platform.variant {
        config["variant"] = json!(variant);
    }
    let config =
        blob(dir, config.to_string().as_bytes(), "application/vnd.oci.image.config.v1+json");
    let media = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({
        "schemaVersion": 2, "mediaType": media, "config": config, "layers": descriptors,
    });
    blob(dir, manifest.to_string().as_bytes(), media)
}

/// Puts the image of a layout into an index of its platform, as registries serve most images; gives
/// the digest of that index.
pub(crate) fn wrap_in_index(dir: &Path) -> String {
    let mut top = json_file(&dir.join("index.json"));
    let host = karman_oci::Platform::host();
    let mut manifest = top["manifests"][0].take();
    let annotations = manifest["annotations"].take();
    let size = manifest["size"].clone();
    manifest = json!({
        "mediaType": manifest["mediaType"], "digest": manifest["digest"], "size": size,
        "platform": { "os": "linux", "architecture": host.architecture },
    });
    let media = "application/vnd.oci.image.index.v1+json";
    let index = json!({ "schemaVersion": 2, "mediaType": media, "manifests": [manifest] });
    let mut descriptor = blob(dir, index.to_string().as_bytes(), media);
    let digest = descriptor["digest"].as_str().expect("a digest").to_owned();
    descriptor["annotations"] = annotations;
    top["manifests"][0] = descriptor;
    fs::write(dir.join("index.json"), top.to_string()).expect("an index");
    digest
}

fn blob(dir: &Path, bytes: &[u8], media: &str) -> Value {
    let digest = Digest::sha256_of(bytes);
    fs::write(dir.join("blobs/sha256").join(digest.hex()), bytes).expect("a blob");
    json!({ "mediaType": media, "digest": digest.to_string(), "size": bytes.len() })
}

/// A layout that holds one image.
pub(crate) struct Layout {
    /// Where it is.
    pub(crate) dir: PathBuf,
    /// The digest of the manifest.
    pub(crate) digest: String,
    /// The manifest.
    pub(crate) manifest: Value,
    /// The config.
    pub(crate) config: Value,
}

impl Layout {
    /// Opens a layout and checks the digest of everything in it.
    pub(crate) fn open(dir: &Path) -> Self {
        for entry in fs::read_dir(dir.join("blobs/sha256")).expect("blobs") {
            let path = entry.expect("an entry").path();
            let digest = Digest::sha256_of(&fs::read(&path).expect("a blob"));
            assert_eq!(path.file_name().expect("a name").to_string_lossy(), digest.hex());
        }
        let index = json_file(&dir.join("index.json"));
        let digest = index["manifests"][0]["digest"].as_str().expect("a digest").to_owned();
        let manifest = json_file(&Self::path(dir, &digest));
        let config = manifest["config"]["digest"].as_str().expect("a digest");
        let config = json_file(&Self::path(dir, config));
        Self { dir: dir.to_owned(), digest, manifest, config }
    }

    fn path(dir: &Path, digest: &str) -> PathBuf {
        dir.join("blobs/sha256").join(digest.trim_start_matches("sha256:"))
    }

    /// The layers, decompressed; checks them against the config.
    pub(crate) fn layers(&self) -> Vec<Vec<u8>> {
        let layers = self.manifest["layers"].as_array().expect("layers");
        let diff_ids = self.config["rootfs"]["diff_ids"].as_array().expect("diff ids");
        assert_eq!(layers.len(), diff_ids.len());
        let mut all = Vec::new();
        for (layer, diff_id) in layers.iter().zip(diff_ids) {
            let path = Self::path(&self.dir, layer["digest"].as_str().expect("a digest"));
            let bytes = decompressed(&fs::read(path).expect("a layer"));
            assert_eq!(diff_id, &json!(Digest::sha256_of(&bytes).to_string()));
            all.push(bytes);
        }
        all
    }
}

/// The bytes of a blob, out of gzip where they are in it.
pub(crate) fn decompressed(bytes: &[u8]) -> Vec<u8> {
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return bytes.to_vec();
    }
    let mut out = Vec::new();
    let mut rest = bytes;
    // Layers are written in several members.
    while !rest.is_empty() {
        let mut member = flate2::bufread::GzDecoder::new(rest);
        member.read_to_end(&mut out).expect("gzip");
        rest = member.into_inner();
    }
    out
}

fn json_file(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).expect("JSON")
}
