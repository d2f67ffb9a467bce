//! Damage on disk is found, taken out and made again; the store stays as small as it is told to.

use std::fs;
use std::path::{Path, PathBuf};

use karman_testing::{Place, Skip, Tested, Told};
use serde_json::Value;

use crate::Tests;
use crate::lab::Lab;
use crate::layout::Layout;
use crate::registry::Registry;

pub(crate) const TESTS: Tests = &[
    ("a_sound_store_is_sound", a_sound_store_is_sound),
    ("a_flipped_bit_in_any_blob_is_found_and_made_again", flipped_blobs),
    ("a_flipped_bit_in_any_file_of_a_layer_is_found_and_made_again", flipped_files),
    ("a_damaged_base_blob_is_fetched_again_when_it_is_unpacked", damaged_base),
    ("a_damaged_layer_is_noticed_when_it_is_exported_or_pushed", damaged_when_used),
    ("damaged_documents_are_noticed_and_made_again", damaged_documents),
    ("what_is_missing_is_found", what_is_missing_is_found),
    ("an_image_that_lost_a_layer_loses_its_name", lost_layer),
    ("limits_keep_what_was_used_last", limits_keep_what_was_used_last),
    ("a_policy_prunes_after_builds", a_policy_prunes_after_builds),
    ("usage_is_filtered", usage_is_filtered),
    ("a_base_layer_goes_with_its_blob", a_base_layer_goes_with_its_blob),
];

const STEPS: &str = "\
FROM busybox AS tools
COPY data /data
RUN head -c 50000 /dev/zero > /zeros && cp /data /copied
FROM busybox
COPY --from=tools /copied /copied
RUN echo last > /last
";

/// A place with the image `x` built, and its digest.
fn built(lab: &Lab) -> Result<(Place, String), Skip> {
    let place = lab.place()?;
    place.write("ctx/Dockerfile", STEPS);
    place.write("ctx/data", "data of the context\n".repeat(100));
    let digest = lab.digest(&place, &["-t", "x", "ctx"]);
    Ok((place, digest))
}

fn verify(place: &Place, more: &[&str]) -> (i32, Vec<Value>) {
    let told = place.run([&["cache", "verify", "--json"], more].concat());
    assert!([0, 6].contains(&told.code), "{}", told.err);
    let json: Value = serde_json::from_str(&told.out).expect("JSON");
    (told.code, json["damage"].as_array().expect("a list").clone())
}

/// Changes one bit in the middle of a file, as a bad disk does: nothing else tells of it.
fn flip(path: &Path) {
    let before = fs::metadata(path).expect("the file");
    let mut bytes = fs::read(path).expect("the file");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    fs::write(path, bytes).expect("the file");
    let file = fs::File::options().write(true).open(path).expect("the file");
    file.set_modified(before.modified().expect("a time")).expect("a time");
}

fn files_below(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        let kind = fs::symlink_metadata(&path).expect("the file");
        if kind.is_dir() {
            files_below(&path, found);
        } else if kind.is_file() && kind.len() > 0 {
            found.push(path);
        }
    }
    found.sort();
}

fn a_sound_store_is_sound(lab: &Lab) -> Tested {
    let (place, digest) = built(lab)?;
    let told = place.run(["cache", "verify"]).ok();
    assert!(told.out.is_empty(), "{}", told.out);
    assert!(told.err.contains("1 images"), "{}", told.err);
    let again = place.run(["cache", "verify"]).ok();
    assert!(again.err.contains("(0 newly sealed)"), "{}", again.err);
    assert_eq!(lab.digest(&place, &["-t", "x", "ctx"]), digest);
    assert_eq!(verify(&place, &[]), (0, Vec::new()));
    Ok(())
}

fn flipped_blobs(lab: &Lab) -> Tested {
    let (place, digest) = built(lab)?;
    let mut blobs = Vec::new();
    files_below(&place.store().join("blobs/sha256"), &mut blobs);
    assert!(blobs.len() >= 5, "{blobs:?}");
    for blob in &blobs {
        flip(blob);
        let (code, damage) = verify(&place, &[]);
        assert_eq!(code, 6);
        let name = format!("sha256:{}", blob.file_name().expect("a name").to_string_lossy());
        assert!(damage.iter().any(|one| one["id"] == name.as_str()), "{name}: {damage:?}");
        let (code, damage) = verify(&place, &["--repair"]);
        assert_eq!(code, 0);
        assert!(damage.iter().all(|one| one["removed"] == true), "{damage:?}");
        assert_eq!(verify(&place, &[]), (0, Vec::new()));
        assert_eq!(lab.digest(&place, &["-t", "x", "ctx"]), digest, "{name}");
        assert_eq!(place.run(["run", "x", "cat", "/last"]).ok().out, "last\n");
    }
    Ok(())
}

fn flipped_files(lab: &Lab) -> Tested {
    let (place, digest) = built(lab)?;
    // Those that are shipped are known by what was shipped; a stage of the build is known from its
    // first verification on.
    place.run(["cache", "verify"]).ok();
    let snapshots = place.store().join("snapshots");
    let mut names = vec!["bin/busybox", "copied", "last", "data", "zeros"];
    while let Some(name) = names.pop() {
        let mut files = Vec::new();
        files_below(&snapshots, &mut files);
        let file = files.iter().find(|file| file.ends_with(format!("fs/{name}")));
        flip(file.unwrap_or_else(|| panic!("no {name} in {files:?}")));
        let (code, damage) = verify(&place, &[]);
        assert_eq!(code, 6, "{name}");
        assert!(damage.iter().any(|one| one["kind"] == "layer"), "{damage:?}");
        assert_eq!(verify(&place, &["--repair"]).0, 0);
        assert_eq!(lab.digest(&place, &["-t", "x", "ctx"]), digest, "{name}");
        assert_eq!(verify(&place, &[]), (0, Vec::new()), "{name}");
    }
    // Without an earlier verification too, where the layer was shipped.
    let (fresh, digest) = built(lab)?;
    let mut files = Vec::new();
    files_below(&fresh.store().join("snapshots"), &mut files);
    for name in ["fs/last", "fs/bin/busybox"] {
        flip(files.iter().find(|file| file.ends_with(name)).expect("the file"));
    }
    assert_eq!(verify(&fresh, &["--repair"]).1.len(), 2);
    assert_eq!(lab.digest(&fresh, &["-t", "x", "ctx"]), digest);
    Ok(())
}

fn base_layer(lab: &Lab) -> String {
    let base = Layout::open(&lab.base_dir());
    base.manifest["layers"][0]["digest"].as_str().expect("a digest").to_owned()
}

fn damaged_base(lab: &Lab) -> Tested {
    let (place, digest) = built(lab)?;
    let layer = base_layer(lab);
    // The layer goes, its blob stays and is damaged.
    place.run(["image", "rm", "x"]).ok();
    place.run(["cache", "prune", "--force", "--filter", "type=layer"]).ok();
    let blob = place.store().join("blobs/sha256").join(layer.trim_start_matches("sha256:"));
    flip(&blob);
    assert_eq!(lab.digest(&place, &["-t", "x", "ctx"]), digest);
    assert_eq!(verify(&place, &[]), (0, Vec::new()));
    Ok(())
}

/// Once it is noticed it is gone, and the same command makes it again.
fn damaged_when_used(lab: &Lab) -> Tested {
    let (place, digest) = built(lab)?;
    let registry = Registry::start(lab, &place, false)?;
    let name = format!("127.0.0.1:{}/x:1", registry.port);
    place.run(["image", "tag", "x", &name]).ok();
    let export = ["-t", "x", "-o", "type=oci,dest=out.tar", "-o", "type=image", "ctx"];
    lab.build(&place, &export).ok();
    let archive = fs::read(place.work().join("out.tar")).expect("the output");
    let told = place.run(["image", "inspect", "x"]).ok();
    let json: Value = serde_json::from_str(&told.out).expect("JSON");
    let layers = json["platforms"][0]["manifest"]["layers"].as_array().expect("layers");
    let blob = |layer: &Value| {
        let digest = layer["digest"].as_str().expect("a digest");
        place.store().join("blobs/sha256").join(digest.trim_start_matches("sha256:"))
    };
    for layer in layers {
        fs::remove_file(place.work().join("out.tar")).expect("removed");
        flip(&blob(layer));
        lab.build(&place, &export).is(6, "was damaged and is removed");
        assert!(!place.work().join("out.tar").exists() && !blob(layer).exists());
        lab.build(&place, &export).ok();
        assert!(fs::read(place.work().join("out.tar")).expect("the output") == archive);
    }
    flip(&blob(&layers[1]));
    let told = place.run(["push", &name]).is(6, "was damaged and is removed");
    assert!(told.err.contains("hint: run the command again"), "{}", told.err);
    assert_eq!(lab.digest(&place, &["-t", "x", "ctx"]), digest);
    place.run(["push", &name]).ok();
    place.run(["cache", "verify"]).ok();
    Ok(())
}

/// Manifests and configs, of the base and of the image.
fn damaged_documents(lab: &Lab) -> Tested {
    let (place, digest) = built(lab)?;
    let mut blobs = Vec::new();
    files_below(&place.store().join("blobs/sha256"), &mut blobs);
    let is_document = |blob: &&PathBuf| fs::read(blob).expect("a blob").starts_with(b"{");
    let documents: Vec<&PathBuf> = blobs.iter().filter(is_document).collect();
    assert!(documents.len() >= 3, "{documents:?}");
    for document in documents {
        flip(document);
        place.run(["image", "ls"]).ok();
        assert_eq!(lab.digest(&place, &["-t", "x", "ctx"]), digest, "{}", document.display());
        assert_eq!(verify(&place, &[]), (0, Vec::new()), "{}", document.display());
    }
    Ok(())
}

fn what_is_missing_is_found(lab: &Lab) -> Tested {
    let (place, digest) = built(lab)?;
    let snapshots = place.store().join("snapshots");
    for dir in [place.store().join("blobs/sha256"), snapshots] {
        let first = fs::read_dir(&dir).expect("it").next().expect("an entry").expect("an entry");
        match first.file_type().expect("a type").is_dir() {
            true => fs::remove_dir_all(first.path()).expect("removed"),
            false => fs::remove_file(first.path()).expect("removed"),
        }
        let (code, damage) = verify(&place, &[]);
        let what = damage[0]["what"].as_str().expect("words").to_owned();
        assert!(code == 6 && what.contains("is missing"), "{damage:?}");
        assert_eq!(verify(&place, &["--repair"]).0, 0);
        assert_eq!(lab.digest(&place, &["-t", "x", "ctx"]), digest);
        assert_eq!(verify(&place, &[]), (0, Vec::new()));
    }
    Ok(())
}

fn lost_layer(lab: &Lab) -> Tested {
    let (place, _) = built(lab)?;
    lab.build(&place, &["-t", "y", "-o", "type=oci,dest=out,tar=false", "-o", "type=image", "ctx"])
        .ok();
    let layers = Layout::open(&place.work().join("out")).manifest["layers"].clone();
    let last = layers.as_array().and_then(|all| all.last()).expect("layers")["digest"].clone();
    let hex = last.as_str().expect("a digest").trim_start_matches("sha256:").to_owned();
    fs::remove_file(place.store().join("blobs/sha256").join(hex)).expect("removed");
    let told = place.run(["cache", "verify"]);
    assert_eq!(told.code, 6);
    let names = told.out.lines().filter(|line| line.starts_with("image ")).count();
    assert_eq!(names, 2, "{}", told.out);
    assert!(told.err.contains("hint: `karman cache verify --repair`"), "{}", told.err);
    place.run(["cache", "verify", "--repair"]).ok();
    place.run(["image", "inspect", "y"]).is(7, "no image `y`");
    place.run(["cache", "verify"]).ok();
    Ok(())
}

/// Bytes in the store.
fn used(place: &Place) -> u64 {
    let told = place.run(["cache", "du", "--json"]).ok();
    let json: Value = serde_json::from_str(&told.out).expect("JSON");
    json["total"].as_u64().expect("a number")
}

fn step(place: &Place, number: u32) {
    let text = format!("FROM busybox\nRUN head -c 400000 /dev/urandom > /random-{number}\n");
    place.write("ctx/Dockerfile", text);
}

fn limits_keep_what_was_used_last(lab: &Lab) -> Tested {
    let place = lab.place()?;
    for number in 0..4 {
        step(&place, number);
        lab.build(&place, &["ctx"]).ok();
    }
    let prune = |flags: &[&str]| -> Told {
        place.run([&["cache", "prune", "--force"], flags].concat()).ok()
    };
    let before = used(&place);
    assert!(prune(&["--max-used-space", "1GB"]).out.starts_with("Removed: 0\n"));
    assert!(prune(&["--min-free-space", "1"]).out.starts_with("Removed: 0\n"), "that is free");
    assert!(
        prune(&["--reserved-space", "1GB", "--max-used-space", "1"])
            .out
            .starts_with("Removed: 0\n")
    );
    let limit = before - 500_000;
    prune(&["--max-used-space", &limit.to_string()]);
    assert!(used(&place) <= limit, "{} of {limit}", used(&place));
    let log = lab.build(&place, &["ctx"]).ok().err;
    assert!(log.contains("CACHED"), "the last build is still there: {log}");
    prune(&["--keep-storage", "0"]);
    assert_eq!(used(&place), 0);
    place.run(["cache", "prune", "--force", "--filter", "type=x"]).is(2, "unknown type `x`");
    Ok(())
}

fn a_policy_prunes_after_builds(lab: &Lab) -> Tested {
    let place = lab.place()?;
    let file = place.write("karman.toml", "[gc]\nmax-used-space = \"3MB\"\n");
    let place = place.with_env("KARMAN_CONFIG", file.display().to_string());
    for number in 0..8 {
        step(&place, number);
        lab.build(&place, &["ctx"]).ok();
    }
    let total = used(&place);
    assert!(total > 0 && total <= 4_500_000, "{total} bytes, of which the last build used some");
    let log = lab.build(&place, &["ctx"]).ok().err;
    assert!(log.contains("CACHED"), "what a build used stays: {log}");
    Ok(())
}

fn usage_is_filtered(lab: &Lab) -> Tested {
    let (place, _) = built(lab)?;
    let kinds = |filters: &[&str]| -> Vec<String> {
        let flags = filters.iter().flat_map(|f| ["--filter", f]);
        let told = place.run(["cache", "du", "--json"].into_iter().chain(flags)).ok();
        let json: Value = serde_json::from_str(&told.out).expect("JSON");
        let rows = json["records"].as_array().expect("records");
        rows.iter().map(|row| row["kind"].as_str().expect("a kind").to_owned()).collect()
    };
    let all = kinds(&[]);
    assert!(all.iter().any(|k| k == "blob") && all.iter().any(|k| k == "layer"), "{all:?}");
    assert!(kinds(&["type=blob"]).iter().all(|k| k == "blob"));
    assert!(kinds(&["until=1h"]).is_empty());
    let both = kinds(&["inuse=true"]).len() + kinds(&["inuse=false"]).len();
    assert_eq!(both, all.len());
    let base = base_layer(lab);
    assert_eq!(kinds(&[&format!("id={base}")]), ["blob"]);
    Ok(())
}

/// Without its blob the layer would be shipped in other bytes.
fn a_base_layer_goes_with_its_blob(lab: &Lab) -> Tested {
    let (place, digest) = built(lab)?;
    place.run(["image", "rm", "x"]).ok();
    let base = base_layer(lab);
    place.run(["cache", "prune", "--force", "--filter", &format!("id={base}")]).ok();
    assert_eq!(lab.digest(&place, &["-t", "x", "ctx"]), digest);
    place.run(["image", "rm", "x"]).ok();
    place.run(["cache", "prune", "--force", "--filter", "type=blob"]).ok();
    assert_eq!(lab.digest(&place, &["-t", "x", "ctx"]), digest);
    Ok(())
}
