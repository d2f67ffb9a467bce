//! Outputs as text.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::Value;

/// The entries of a layout's index and of the indexes in it: platform, kind, annotations.
pub(crate) fn index(dir: &Path) -> String {
    let mut out = String::new();
    entries(dir, &json(&dir.join("index.json")), "", &mut out);
    out
}

fn entries(dir: &Path, index: &Value, indent: &str, out: &mut String) {
    for entry in index["manifests"].as_array().expect("entries") {
        let media = entry["mediaType"].as_str().expect("a type");
        let kind = media.rsplit('/').next().unwrap_or(media);
        let _ = writeln!(out, "{indent}{}{kind}{}", platform(entry), annotations(entry));
        let digest = entry["digest"].as_str().expect("a digest");
        let document = json(&dir.join("blobs/sha256").join(digest.trim_start_matches("sha256:")));
        if !annotations(&document).is_empty() {
            let _ = writeln!(out, "{indent}  annotations{}", annotations(&document));
        }
        if document["manifests"].is_array() {
            entries(dir, &document, &format!("{indent}  "), out);
        }
    }
}

fn platform(entry: &Value) -> String {
    let part = |key: &str| entry["platform"][key].as_str();
    let Some(architecture) = part("architecture") else { return String::new() };
    let os = part("os").unwrap_or_default();
    let variant = part("variant").map(|v| format!("/{v}")).unwrap_or_default();
    format!("{os}/{architecture}{variant} ")
}

fn annotations(document: &Value) -> String {
    let Some(all) = document["annotations"].as_object() else { return String::new() };
    let pairs: Vec<String> =
        all.iter().map(|(k, v)| format!(" {k}={}", v.as_str().unwrap_or_default())).collect();
    pairs.concat()
}

fn json(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).expect("JSON")
}

/// The files below a directory: kind, mode, path, content.
pub(crate) fn directory(dir: &Path) -> String {
    let mut out = String::new();
    below(dir, "", &mut out);
    out
}

fn below(dir: &Path, prefix: &str, out: &mut String) {
    let entries = fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    let mut entries: Vec<_> = entries.map(|e| e.expect("an entry")).collect();
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
        let meta = entry.path().symlink_metadata().expect("metadata");
        let mode = meta.permissions().mode() & 0o7777;
        if meta.is_dir() {
            let _ = writeln!(out, "d {mode:04o} {path}");
            below(&entry.path(), &format!("{path}/"), out);
        } else if meta.is_symlink() {
            let target = fs::read_link(entry.path()).expect("a link");
            let _ = writeln!(out, "l {mode:04o} {path} -> {}", target.display());
        } else {
            let data = fs::read(entry.path()).expect("a file");
            let text = String::from_utf8_lossy(&data);
            let _ = writeln!(out, "f {mode:04o} {path} {text:?}");
        }
    }
}
