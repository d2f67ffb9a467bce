//! An eStargz layer is what stargz-snapshotter's format says: every chunk is where the table of contents has it.

mod common;

use std::io::Read;

use common::{Room, options, rich_tree, write};
use flate2::bufread::{GzDecoder, MultiGzDecoder};
use karman_control::CompressionKind;
use karman_exporter::layer::{Counts, LayerBlob, TOC_DIGEST, UNCOMPRESSED_SIZE, recompress};
use karman_exporter::tarball::TarReader;
use karman_oci::{Digest, media_type};
use serde_json::Value;

/// The size of the footer.
const FOOTER: usize = 51;

fn layer(room: &Room) -> (LayerBlob, Vec<u8>) {
    let from = room.dir("from");
    rich_tree(&from);
    let noise: Vec<u8> =
        (0..9_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    write(&from, b"noise", &noise, 0o644);
    let blob = room.layer(&from, &options(CompressionKind::Estargz, 2));
    let bytes = room.blob(&blob.descriptor.digest);
    (blob, bytes)
}

/// The member that begins at an offset.
fn member(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut out = Vec::new();
    GzDecoder::new(&bytes[at..]).read_to_end(&mut out).expect("a member");
    out
}

/// The table of contents, found through the footer as a lazy reader does.
fn toc(bytes: &[u8]) -> Vec<u8> {
    let footer = &bytes[bytes.len() - FOOTER..];
    let decoder = GzDecoder::new(footer);
    let extra = decoder.header().and_then(|h| h.extra()).expect("an extra field").to_vec();
    assert_eq!(&extra[..4], b"SG\x16\0");
    let text = std::str::from_utf8(&extra[4..]).expect("text");
    let at = text.strip_suffix("STARGZ").expect("the magic");
    let at = usize::from_str_radix(at, 16).expect("an offset");
    let archive = member(bytes, at);
    let mut tar = TarReader::new(&archive[..]);
    let entry = tar.next_entry().expect("an archive").expect("an entry");
    assert_eq!(entry.path, b"stargz.index.json");
    let mut json = Vec::new();
    tar.read_to_end(&mut json).expect("the table");
    json
}

#[test]
fn every_chunk_is_where_the_table_has_it() {
    let room = Room::new();
    let (blob, bytes) = layer(&room);
    assert_eq!(blob.descriptor.media_type, media_type::OCI_LAYER_GZIP);
    let json = toc(&bytes);
    assert_eq!(blob.descriptor.annotations[TOC_DIGEST], Digest::sha256_of(&json).to_string());
    let toc: Value = serde_json::from_slice(&json).expect("JSON");
    assert_eq!(toc["version"], 1);
    let entries = toc["entries"].as_array().expect("entries");
    let mut noise = Vec::new();
    let mut files = 0;
    for entry in entries.iter().filter(|e| e["offset"].is_u64()) {
        let at = entry["offset"].as_u64().expect("an offset") as usize;
        let chunk = member(&bytes, at);
        let rest = entry["size"].as_u64().unwrap_or(u64::MAX);
        let length = entry["chunkSize"].as_u64().unwrap_or(rest);
        let offset = entry["chunkOffset"].as_u64().unwrap_or(0);
        let length = match (entry["type"].as_str(), entry["chunkSize"].as_u64()) {
            (Some("chunk"), None) => 9_000_000 - offset,
            _ => length,
        };
        let chunk = &chunk[..length as usize];
        assert_eq!(entry["chunkDigest"], Digest::sha256_of(chunk).to_string(), "{entry}");
        if entry["name"] == "noise" {
            noise.extend_from_slice(chunk);
        }
        files += usize::from(entry["type"] == "reg");
    }
    let whole = entries.iter().find(|e| e["name"] == "noise").expect("the file");
    assert_eq!((noise.len(), files > 5), (9_000_000, true));
    assert_eq!(whole["digest"], Digest::sha256_of(&noise).to_string());
    assert_eq!(whole["size"], 9_000_000);
    let of = |name: &str| entries.iter().find(|e| e["name"] == name).expect("an entry");
    assert_eq!(of("sub/sym")["linkName"], "../plain");
    assert_eq!(of("setuid")["mode"], 0o6755);
    assert_eq!(of("plain")["modtime"], "2001-09-09T01:46:40Z");
    assert_eq!(of("sub/fifo")["type"], "fifo");
}

#[test]
fn a_plain_reader_sees_the_layer_and_no_table() {
    let room = Room::new();
    let (blob, bytes) = layer(&room);
    let mut plain = Vec::new();
    MultiGzDecoder::new(&bytes[..]).read_to_end(&mut plain).expect("gzip");
    assert_eq!(Digest::sha256_of(&plain), blob.diff_id);
    assert_eq!(blob.descriptor.annotations[UNCOMPRESSED_SIZE], plain.len().to_string());
    let mut tar = TarReader::new(&plain[..]);
    while let Some(entry) = tar.next_entry().expect("an archive") {
        assert_ne!(entry.path, b"stargz.index.json");
    }
}

#[test]
fn it_is_made_of_other_compressions_but_not_twice() {
    let room = Room::new();
    let (blob, _) = layer(&room);
    let how = options(CompressionKind::Estargz, 1);
    for kind in [CompressionKind::Zstd, CompressionKind::Gzip, CompressionKind::Uncompressed] {
        let other = room.layer(&room.dir("from"), &options(kind, 2));
        let digest = other.descriptor.digest;
        let made = recompress(&room.store, &digest, &other.diff_id, &how, &room.store);
        let direct = LayerBlob { counts: Counts::default(), ..blob.clone() };
        assert_eq!(made.expect("recompress"), direct, "{kind:?}");
    }
}
