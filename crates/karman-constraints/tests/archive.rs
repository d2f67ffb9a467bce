//! Archives of advisories: what is read, what is refused, and how long a large one takes.

use std::io::Write as _;
use std::time::Instant;

use karman_constraints::{
    Advisories, ArchiveError, MAX_ADVISORY_BYTES, PackageName, check, parse, parse_compiled,
};
use karman_diag::SourceMap;
use rawzip::{CompressionMethod, ZipArchiveWriter};

const SERIES: &str = "series = \"x\"\npython = [\"3.13\"]\ncutoff = \"2026-04-15\"\n\
[services.nova]\nversion = \"1\"\nrequirements = [\"nova\"]\n";

fn zip(entries: &[(&str, &[u8])], method: CompressionMethod) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut archive = ZipArchiveWriter::new(&mut bytes);
    for (name, body) in entries {
        let started = archive.new_file(name).compression_method(method).start();
        let (mut entry, config) = started.expect("an entry");
        let descriptor = if method == CompressionMethod::DEFLATE {
            let fast = flate2::Compression::fast();
            let mut writer = config.wrap(flate2::write::DeflateEncoder::new(&mut entry, fast));
            writer.write_all(body).expect("writes");
            let (encoder, descriptor) = writer.finish().expect("finishes");
            encoder.finish().expect("finishes");
            descriptor
        } else {
            let mut writer = config.wrap(&mut entry);
            writer.write_all(body).expect("writes");
            writer.finish().expect("finishes").1
        };
        entry.finish(descriptor).expect("finishes");
    }
    archive.finish().expect("finishes");
    bytes
}

fn name(text: &str) -> PackageName {
    text.parse().expect("a name")
}

fn read(zip: &[u8]) -> Result<Advisories, ArchiveError> {
    let wanted = [name("example")];
    let mut advisories = Advisories::about(&wanted);
    advisories.add_archive(zip)?;
    Ok(advisories)
}

fn record(id: &str, package: &str, fixed: &str) -> String {
    format!(
        r#"{{"id":"{id}","affected":[{{"package":{{"ecosystem":"PyPI","name":"{package}"}},"ranges":[{{"type":"ECOSYSTEM","events":[{{"introduced":"0"}},{{"fixed":"{fixed}"}}]}}]}}]}}"#
    )
}

#[test]
fn stored_and_deflated_records_are_read_and_other_files_are_not() {
    let one = record("A-1", "example", "2");
    let entries: [(&str, &[u8]); 3] =
        [("a.json", one.as_bytes()), ("README", b"{"), ("deep/../b.json", one.as_bytes())];
    for method in [CompressionMethod::STORE, CompressionMethod::DEFLATE] {
        let advisories = read(&zip(&entries, method)).expect("an archive");
        assert_eq!(advisories.records(), 2);
        // The same record twice is one.
        assert_eq!(advisories.of(&name("example")).len(), 1);
    }
}

#[test]
fn a_bomb_is_not_unpacked() {
    let zeros = vec![b' '; MAX_ADVISORY_BYTES + 1000];
    let bomb = zip(&[("a.json", zeros.as_slice())], CompressionMethod::DEFLATE);
    assert!(bomb.len() < 200_000, "{} bytes", bomb.len());
    assert!(matches!(read(&bomb), Err(ArchiveError::Advisory { .. })));
}

#[test]
fn damage_is_told() {
    let one = record("A-1", "example", "2");
    let good = zip(&[("a.json", one.as_bytes())], CompressionMethod::STORE);
    let at = good.windows(3).position(|w| w == b"A-1").expect("the record");
    let mut flipped = good.clone();
    flipped[at] = b'B';
    assert!(matches!(read(&flipped), Err(ArchiveError::Entry { .. })), "a wrong checksum");
    assert!(matches!(read(&good[..good.len() - 30]), Err(ArchiveError::Zip(_))), "a cut end");
    assert!(matches!(read(b"PK nonsense"), Err(ArchiveError::Zip(_))));
    let other = zip(&[("a.json", one.as_bytes())], CompressionMethod::ZSTD);
    assert!(matches!(read(&other), Err(ArchiveError::Method { .. })));
    let wrong = zip(&[("a.json", b"[]")], CompressionMethod::STORE);
    assert!(matches!(read(&wrong), Err(ArchiveError::Advisory { .. })));
}

#[test]
fn five_hundred_pins_against_twenty_thousand_advisories() {
    let padding = "x".repeat(2000);
    let records: Vec<(String, String)> = (0..20_000)
        .map(|n| {
            let json = record(&format!("A-{n}"), &format!("package-{}", n % 5000), "2.0");
            let details = format!("{{\"details\":\"{padding}\",{}", &json[1..]);
            (format!("A-{n}.json"), details)
        })
        .collect();
    let entries: Vec<(&str, &[u8])> =
        records.iter().map(|(name, json)| (name.as_str(), json.as_bytes())).collect();
    let zip = zip(&entries, CompressionMethod::DEFLATE);
    let pins: String = (0..500).map(|n| format!("package-{n}===1.0\n")).collect();
    let pins = parse_compiled(&pins).expect("pins");
    let file = SourceMap::new().add("x", SERIES);
    let series = parse(file, SERIES).0.expect("a series");

    let started = Instant::now();
    let mut advisories = Advisories::about(pins.iter().map(|(name, _)| name));
    advisories.add_archive(&zip).expect("an archive");
    let today = "2026-05-01".parse().expect("a day");
    let report = check(&series, &pins, None, &advisories, today);
    eprintln!("{} bytes of zip in {:?}", zip.len(), started.elapsed());
    assert_eq!((report.findings.len(), report.advisories), (2000, 20_000));
}
