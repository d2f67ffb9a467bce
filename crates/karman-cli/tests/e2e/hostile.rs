//! Files that somebody else wrote: every one ends in an error, and nothing is tagged, exported or
//! written outside.

use std::fs;
use std::path::Path;

use karman_oci::Digest;
use karman_testing::{Place, Tested, Told};
use serde_json::{Value, json};
use tar::{EntryType, Header};

use crate::Tests;
use crate::lab::{Lab, need, tool};
use crate::layout;

pub(crate) const TESTS: Tests = &[
    ("what_is_no_dockerfile_is_refused", no_dockerfile),
    ("dockerfiles_of_100_megabytes_are_refused", huge_dockerfiles),
    ("ten_thousand_stages_are_refused", many_stages),
    ("layouts_that_lie_are_refused", lying_layouts),
    ("layers_do_not_climb_out", climbing_layers),
    ("a_failure_leaves_the_tag_and_the_outputs", failures_leave_what_was),
    ("one_failed_output_leaves_no_other", failed_output),
];

const MEGABYTE: usize = 1 << 20;

/// A build as `x` of an image `evil`.
fn build_evil(lab: &Lab, place: &Place, source: &Path) -> Told {
    place.write("ctx/Dockerfile", "FROM evil\nRUN true\n");
    let context = format!("evil=oci-layout://{}", source.display());
    lab.build(
        place,
        &[
            "--build-context",
            &context,
            "-t",
            "x",
            "-o",
            "type=oci,dest=out.tar",
            "-o",
            "type=image",
            "ctx",
        ],
    )
}

#[track_caller]
fn nothing_was_made(place: &Place) {
    place.run(["image", "inspect", "x"]).is(7, "no image");
    assert!(!place.work().join("out.tar").exists(), "something was exported");
}

fn no_dockerfile(lab: &Lab) -> Tested {
    let place = lab.place()?;
    place.write("ctx/f", "f");
    fs::create_dir(place.work().join("ctx/directory")).expect("a directory");
    let mkfifo = need("mkfifo")?;
    tool(&place, &mkfifo, &["ctx/pipe"]);
    let build = |file: &str| {
        lab.build(&place, &["-t", "x", "-f", file, "-o", "type=oci,dest=out.tar", "ctx"])
    };
    build("ctx/pipe").is(3, "pipe");
    build("ctx/directory").is(3, "directory");
    build("ctx/gone").is(3, "gone");
    place.write("ctx/zeros", "\0\0\0\0");
    build("ctx/zeros").is(3, "zeros:1");
    nothing_was_made(&place);
    Ok(())
}

fn huge_dockerfiles(lab: &Lab) -> Tested {
    let place = lab.place()?;
    let size = 100 * MEGABYTE;
    let line = format!("# {}\n", "a".repeat(998));
    let texts = [
        "a".repeat(size),
        line.repeat(size / line.len()) + "FROM busybox\n",
        format!("FROM busybox\nRUN <<EOF\n{}EOF\n", line.repeat(size / line.len())),
    ];
    for text in texts {
        let file = place.write("huge.Dockerfile", text).display().to_string();
        place.write("ctx/f", "f");
        let told =
            lab.build(&place, &["-f", &file, "-t", "x", "-o", "type=oci,dest=out.tar", "ctx"]);
        assert!(told.err.len() < 10_000, "an error of {} bytes", told.err.len());
        told.is(3, "size of 16777216 bytes");
        let endless = ["build", "-t", "x", "-f", "-", "ctx"];
        let mut command = place.command(endless);
        command.stdin(fs::File::open(&file).expect("the file"));
        Told::of(&command.output().expect("starts")).is(3, "size of 16777216 bytes");
    }
    nothing_was_made(&place);
    Ok(())
}

fn many_stages(lab: &Lab) -> Tested {
    let place = lab.place()?;
    place.write("ctx/Dockerfile", "FROM busybox\n".repeat(10_000));
    lab.build(&place, &["-t", "x", "ctx"]).is(3, "stages");
    let doubling = "ENV a=$a$a$a$a$a$a$a$a\n".repeat(40);
    place.write("ctx/Dockerfile", format!("FROM busybox\nENV a=x\n{doubling}"));
    lab.build(&place, &["-t", "x", "ctx"]).is(3, "Dockerfile:");
    place.write("docker-bake.hcl", "target \"a\" {\n  contexts = { b = \"target:b\" }\n}\ntarget \"b\" {\n  contexts = { a = \"target:a\" }\n}\n");
    place.run(["bake", "a"]).is(3, "docker-bake.hcl:");
    nothing_was_made(&place);
    Ok(())
}

/// A layout of one small image that a test then spoils.
struct Evil {
    dir: std::path::PathBuf,
    index: Value,
    manifest: Value,
}

impl Evil {
    fn new(place: &Place, name: &str) -> Self {
        let dir = place.work().join(name);
        layout::write_image(&dir, &[layer(&[("f", EntryType::Regular, name.as_bytes(), "")])]);
        let index = read_json(&dir.join("index.json"));
        let manifest = read_json(&blob_path(&dir, &index["manifests"][0]));
        Self { dir, index, manifest }
    }

    /// Puts the manifest back as it was changed, with a right digest.
    fn keep_manifest(&mut self) {
        self.index["manifests"][0]["digest"] =
            self.put(self.manifest.to_string().as_bytes()).into();
        self.index["manifests"][0]["size"] = self.manifest.to_string().len().into();
        self.keep_index();
    }

    fn keep_index(&self) {
        fs::write(self.dir.join("index.json"), self.index.to_string()).expect("an index");
    }

    fn put(&self, bytes: &[u8]) -> String {
        let digest = Digest::sha256_of(bytes);
        fs::write(self.dir.join("blobs/sha256").join(digest.hex()), bytes).expect("a blob");
        digest.to_string()
    }

    fn blob(&self, of: &Value) -> std::path::PathBuf {
        blob_path(&self.dir, of)
    }
}

fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).expect("a file")).expect("JSON")
}

fn blob_path(dir: &Path, descriptor: &Value) -> std::path::PathBuf {
    let digest = descriptor["digest"].as_str().expect("a digest");
    dir.join("blobs/sha256").join(digest.trim_start_matches("sha256:"))
}

/// How a layout lies, and words of the error.
type Lie = (&'static str, fn(&mut Evil), &'static str);

const LIES: [Lie; 13] = [
    ("a changed layer", |e| flip(&e.blob(&e.manifest["layers"][0])), "digest"),
    ("a changed config", |e| flip(&e.blob(&e.manifest["config"])), "digest"),
    ("a changed manifest", |e| flip(&e.blob(&e.index["manifests"][0])), "digest"),
    (
        "a missing layer",
        |e| fs::remove_file(e.blob(&e.manifest["layers"][0])).expect("gone"),
        "sha256",
    ),
    (
        "a missing manifest",
        |e| fs::remove_file(e.blob(&e.index["manifests"][0])).expect("gone"),
        "sha256",
    ),
    ("a short layer", shorten_layer, ""),
    (
        "a wrong size",
        |e| {
            e.manifest["layers"][0]["size"] = json!(7);
            e.keep_manifest();
        },
        "7",
    ),
    (
        "a climbing digest",
        |e| {
            e.manifest["layers"][0]["digest"] = json!("sha256:../../../../etc/passwd");
            e.keep_manifest();
        },
        "digest",
    ),
    (
        "a climbing index",
        |e| {
            e.index["manifests"][0]["digest"] = json!("../../oci-layout");
            e.keep_index();
        },
        "digest",
    ),
    ("an index in itself", nested_index, ""),
    ("a huge config", huge_config, "16777216"),
    (
        "a config of another kind",
        |e| {
            let bytes = b"[1, 2]";
            e.manifest["config"]["digest"] = e.put(bytes).into();
            e.manifest["config"]["size"] = bytes.len().into();
            e.keep_manifest();
        },
        "document",
    ),
    ("another diff id", other_diff_id, "layer is"),
];

fn flip(path: &Path) {
    let mut bytes = fs::read(path).expect("a blob");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).expect("written");
}

/// A right digest of half the bytes.
fn shorten_layer(evil: &mut Evil) {
    let bytes = fs::read(evil.blob(&evil.manifest["layers"][0])).expect("a blob");
    let half = &bytes[..bytes.len() / 2];
    evil.manifest["layers"][0]["digest"] = evil.put(half).into();
    evil.manifest["layers"][0]["size"] = half.len().into();
    evil.keep_manifest();
}

/// Indexes in indexes, deeper than anything real.
fn nested_index(evil: &mut Evil) {
    for _ in 0..8 {
        let mut entry = evil.index["manifests"][0].take();
        entry["annotations"] = Value::Null;
        entry["platform"] =
            json!({ "os": "linux", "architecture": karman_oci::Platform::host().architecture });
        let media = "application/vnd.oci.image.index.v1+json";
        entry.as_object_mut().expect("an object").retain(|_, v| !v.is_null());
        let text =
            json!({ "schemaVersion": 2, "mediaType": media, "manifests": [entry] }).to_string();
        evil.index["manifests"][0] = json!({
            "mediaType": media, "digest": evil.put(text.as_bytes()), "size": text.len(),
            "annotations": { "org.opencontainers.image.ref.name": "latest" },
        });
    }
    evil.keep_index();
}

fn huge_config(evil: &mut Evil) {
    let mut config = read_json(&evil.blob(&evil.manifest["config"]));
    config["config"]["Labels"] = json!({ "a": "a".repeat(20 * MEGABYTE) });
    let text = config.to_string();
    evil.manifest["config"]["digest"] = evil.put(text.as_bytes()).into();
    evil.manifest["config"]["size"] = text.len().into();
    evil.keep_manifest();
}

fn other_diff_id(evil: &mut Evil) {
    let mut config = read_json(&evil.blob(&evil.manifest["config"]));
    config["rootfs"]["diff_ids"][0] = json!(Digest::sha256_of(b"another").to_string());
    let text = config.to_string();
    evil.manifest["config"]["digest"] = evil.put(text.as_bytes()).into();
    evil.manifest["config"]["size"] = text.len().into();
    evil.keep_manifest();
}

fn lying_layouts(lab: &Lab) -> Tested {
    let place = lab.place()?;
    for (name, spoil, words) in LIES {
        let mut evil = Evil::new(&place, name);
        spoil(&mut evil);
        let told = build_evil(lab, &place, &evil.dir);
        assert!(matches!(told.code, 3 | 4), "{name}: exit {}: {}", told.code, told.err);
        assert!(told.err.contains("Dockerfile:1"), "{name}: {}", told.err);
        assert!(told.err.contains(words), "{name}: {}", told.err);
        assert!(!told.err.contains("panicked"), "{name}: {}", told.err);
        nothing_was_made(&place);
        fs::remove_dir_all(&evil.dir).expect("removed");
    }
    Ok(())
}

/// An entry of a layer: path, kind, bytes, link target.
type Entry<'a> = (&'a str, EntryType, &'a [u8], &'a str);

/// A layer of these entries; paths go in as they are.
fn layer(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, kind, data, link) in entries {
        let mut header = Header::new_ustar();
        header.set_entry_type(*kind);
        header.set_mode(0o755);
        header.set_size(data.len() as u64);
        let old = header.as_old_mut();
        old.name[..path.len()].copy_from_slice(path.as_bytes());
        old.linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_cksum();
        tar.append(&header, *data).expect("in memory");
    }
    tar.into_inner().expect("in memory")
}

fn climbing_layers(lab: &Lab) -> Tested {
    let place = lab.place()?;
    let outside = place.root().join("out");
    fs::create_dir(&outside).expect("a directory");
    place.give(&outside);
    fs::write(outside.join("kept"), "kept").expect("a file");
    let target = outside.display().to_string();
    let climb = format!("{}{}/made", "../".repeat(20), target.trim_start_matches('/'));
    let kept = format!("{target}/kept");
    let up = format!("{}{}", "../".repeat(20), kept.trim_start_matches('/'));
    let absolute = format!("{target}/made");
    let layers: [&[Entry<'_>]; 6] = [
        &[(&climb, EntryType::Regular, b"evil", "")],
        &[(&absolute, EntryType::Regular, b"evil", "")],
        &[("l", EntryType::Symlink, b"", &target), ("l/made", EntryType::Regular, b"evil", "")],
        &[("l", EntryType::Symlink, b"", &target), ("l/kept", EntryType::Regular, b"evil", "")],
        &[("l", EntryType::Symlink, b"", &target), ("l/.wh.kept", EntryType::Regular, b"", "")],
        &[("h", EntryType::Link, b"", &up), ("h", EntryType::Regular, b"evil", "")],
    ];
    for (at, entries) in layers.into_iter().enumerate() {
        let dir = place.work().join(format!("evil{at}"));
        layout::write_image(&dir, &[layer(entries)]);
        place.write("ctx/Dockerfile", "FROM evil\nCOPY Dockerfile /in-it\n");
        let context = format!("evil=oci-layout://{}", dir.display());
        let told = lab.build(&place, &["--build-context", &context, "-t", "x", "ctx"]);
        assert!(matches!(told.code, 0 | 3 | 4), "{at}: {} {}", told.code, told.err);
        let there: Vec<_> =
            fs::read_dir(&outside).expect("it").flatten().map(|e| e.file_name()).collect();
        assert_eq!(there, ["kept"], "{at}");
        assert_eq!(fs::read_to_string(outside.join("kept")).expect("a file"), "kept", "{at}");
    }
    Ok(())
}

fn failures_leave_what_was(lab: &Lab) -> Tested {
    let place = lab.place()?;
    place.write("ctx/Dockerfile", "FROM busybox\nRUN echo good > /f\n");
    let outputs = "-t x -o type=image -o type=oci,dest=out.tar -o type=local,dest=out --iidfile id";
    let outputs: Vec<&str> = outputs.split(' ').collect();
    let good = lab.digest(&place, &[&outputs[..], &["ctx"]].concat());
    let archive = fs::read(place.work().join("out.tar")).expect("the archive");
    for text in [
        "FROM busybox\nRUN echo bad > /f\nRUN false\n",
        "FROM busybox\nRUN echo bad > /f\nCOPY gone /\n",
        "FROM busybox\nRUN echo bad > /f\nFROM gone.invalid/x\n",
        "FROM busybox\nRUN echo bad > /f\nRUNN true\n",
    ] {
        place.write("ctx/Dockerfile", text);
        let told = lab.build(&place, &[&outputs[..], &["ctx"]].concat());
        assert_ne!(told.code, 0, "{}", told.err);
        let told = place.run(["image", "inspect", "x"]).ok();
        assert!(told.out.contains(&good), "{}", told.out);
        assert_eq!(fs::read(place.work().join("out.tar")).expect("the archive"), archive);
        assert_eq!(fs::read_to_string(place.work().join("out/f")).expect("a file"), "good\n");
        // As with buildx: who reads this file must not get the id of another build.
        assert!(!place.work().join("id").exists());
    }
    Ok(())
}

fn failed_output(lab: &Lab) -> Tested {
    let place = lab.place()?;
    place.write("ctx/Dockerfile", "FROM busybox\nRUN echo good > /f\n");
    place.write("file", "in the way");
    let told = lab.build(
        &place,
        &["-t", "x", "-o", "type=image", "-o", "type=oci,dest=file/below/out.tar", "ctx"],
    );
    assert_ne!(told.code, 0, "{}", told.err);
    assert!(told.err.contains("file/below"), "{}", told.err);
    nothing_was_made(&place);
    assert_eq!(fs::read_to_string(place.work().join("file")).expect("a file"), "in the way");
    Ok(())
}
