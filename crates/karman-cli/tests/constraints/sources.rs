//! Where advisories come from: a directory, an archive, a record, a server that says what changed.

use std::os::unix::fs::PermissionsExt as _;

use crate::lab::{CRYPTOGRAPHY, Server, URLLIB3, constraints, file, place, zip};
use crate::offline::{PINS, SERIES};

const JSON: &str = "application/json";

fn fleet() -> karman_testing::Place {
    let place = place();
    file(&place, "constraints/2026.1.toml", SERIES);
    file(&place, "constraints/2026.1/upper-constraints.txt", PINS);
    place
}

#[test]
fn a_directory_an_archive_and_a_record_say_the_same() {
    let place = fleet();
    file(&place, "osv/2024/a.json", CRYPTOGRAPHY);
    file(&place, "osv/README.md", "not a record");
    file(&place, "all.zip", zip(&[("a.json", CRYPTOGRAPHY), ("b.txt", "not a record")]));
    let told = ["osv", "all.zip", "osv/2024/a.json"].map(|source| {
        let told = constraints(&place, &format!("check --advisories {source}"));
        assert_eq!(told.code, 1, "{}{}", told.out, told.err);
        told.out
    });
    assert!(told[0].contains("cryptography 43.0.3: CVE-2024-12797"), "{}", told[0]);
    assert!(told.iter().all(|out| *out == told[0]));
}

#[test]
fn what_is_no_advisory_is_an_error_that_names_the_file() {
    let place = fleet();
    file(&place, "osv/bad.json", "{");
    file(&place, "bad.zip", zip(&[("x.json", "{\"id\": 1}")]));
    file(&place, "cut.zip", &zip(&[("x.json", CRYPTOGRAPHY)])[..60]);
    std::fs::create_dir(place.work().join("empty")).expect("a directory");
    for (source, words) in [
        ("osv", "bad.json`: not an OSV record"),
        ("bad.zip", "failed to read `x.json`: not an OSV record"),
        ("cut.zip", "failed to read the zip archive"),
        ("empty", "holds no `.json` file"),
        ("nowhere", "failed to read"),
    ] {
        let told = constraints(&place, &format!("check --advisories {source}"));
        assert_eq!(told.code, 3, "{source}: {}{}", told.out, told.err);
        assert!(told.err.contains(words), "{source}: {}", told.err);
    }
}

#[test]
fn an_archive_is_downloaded_once_and_asked_for_with_its_tag() {
    let place = fleet();
    let server = Server::start();
    server.put("/all.zip", JSON, zip(&[("a.json", URLLIB3)]));
    let words = format!("check --advisories {}", server.url("/all.zip"));
    assert_eq!(constraints(&place, &words).code, 0);
    assert_eq!(constraints(&place, &words).code, 0);
    assert_eq!(server.requests(), ["GET /all.zip 200", "HEAD /all.zip 304"]);
    // What a build would find there is not opened to others by this.
    let mode = std::fs::metadata(place.store()).expect("the store").permissions().mode();
    assert_eq!(mode & 0o777, 0o700);

    server.put("/all.zip", JSON, zip(&[("a.json", URLLIB3), ("b.json", CRYPTOGRAPHY)]));
    assert_eq!(constraints(&place, &words).code, 1);
    assert_eq!(server.requests()[2..], ["HEAD /all.zip 200", "GET /all.zip 200"]);

    server.remove("/all.zip");
    let told = constraints(&place, &words);
    assert_eq!(told.code, 1, "{}", told.err);
    assert!(told.err.contains("WARNING: ") && told.err.contains("the copy of"), "{}", told.err);
}

#[test]
fn a_server_that_has_none_is_a_failed_fetch() {
    let place = fleet();
    let server = Server::start();
    let told = constraints(&place, &format!("check --advisories {}", server.url("/all.zip")));
    assert_eq!(told.code, 4, "{}{}", told.out, told.err);
    assert!(told.err.contains("hint: without a network"), "{}", told.err);
}
