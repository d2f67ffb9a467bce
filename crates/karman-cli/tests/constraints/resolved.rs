//! `lock` and `fix` with a real uv against an index of ours.

use std::path::Path;

use karman_testing::{Place, Told};

use crate::lab::{
    CRYPTOGRAPHY, Release, Server, file, index, openstack_s_own_file, place, text, uv,
};
use crate::offline::SERIES;

/// A small world in which cryptography cannot be raised alone: what asks for it must move as well.
const RELEASES: &[Release] = &[
    ("keystone", "29.1.0", "2026-09-03", &["cryptography>=2.7", "pysaml2>=5.0.0"]),
    ("glance", "31.0.0", "2026-04-01", &["cryptography>=2.7,<44"]),
    ("heat", "25.0.0", "2026-04-01", &["oldlib>=1"]),
    ("oldlib", "1.0", "2020-01-01", &["cryptography<44"]),
    ("pysaml2", "7.4.2", "2023-05-01", &["cryptography>=3.1", "pyopenssl"]),
    ("pysaml2", "7.5.4", "2024-10-01", &["cryptography>=3.1", "pyopenssl<24.3.0"]),
    ("pyopenssl", "24.2.1", "2024-07-20", &["cryptography>=41.0.5,<44"]),
    ("pyopenssl", "24.3.0", "2024-11-27", &["cryptography>=41.0.5,<45"]),
    ("cryptography", "43.0.3", "2024-10-18", &["typing-extensions>=4 ; python_version < '3.13'"]),
    ("cryptography", "44.0.1", "2025-02-11", &["typing-extensions>=4 ; python_version < '3.13'"]),
    ("cryptography", "45.0.0", "2025-05-17", &[]),
    ("typing-extensions", "4.12.2", "2024-06-07", &[]),
];

struct World {
    place: Place,
    uv: String,
    _index: Server,
}

impl World {
    fn new(test: &str, series: &str) -> Option<Self> {
        let uv = uv(test)?.display().to_string();
        let index = index(RELEASES);
        let place = place()
            .with_env("UV_DEFAULT_INDEX", index.url("/simple"))
            .with_env("UV_PYTHON_DOWNLOADS", "never");
        file(&place, "constraints/2026.1.toml", series);
        file(&place, "osv/a.json", CRYPTOGRAPHY);
        Some(Self { place, uv, _index: index })
    }

    fn run(&self, words: &[&str]) -> Told {
        self.place.run(["constraints"].iter().chain(words).chain(&["--uv", self.uv.as_str()]))
    }

    fn read(&self, name: &str) -> String {
        text(&self.place, &format!("constraints/{name}"))
    }
}

#[test]
fn a_lock_writes_pins_and_the_requirement_graph_and_is_stable() {
    let Some(world) = World::new("a_lock_writes_pins", SERIES) else { return };
    let told = world.run(&["lock"]);
    assert_eq!(told.code, 0, "{}{}", told.out, told.err);
    let pins = world.read("2026.1/upper-constraints.txt");
    let lines: Vec<&str> = pins.lines().filter(|l| !l.starts_with('#')).collect();
    assert_eq!(
        lines,
        ["cryptography===43.0.3", "keystone===29.1.0", "pyopenssl===24.2.1", "pysaml2===7.5.4"]
    );
    let graph = world.read("2026.1/requirements.json");
    assert!(
        graph.contains(
            "\"pyopenssl\": {\"version\": \"24.2.1\", \"requires\": [\"cryptography>=41.0.5,<44\"]}"
        ),
        "{graph}"
    );
    let told = world.run(&["lock", "--check"]);
    assert_eq!(told.code, 0, "{}{}", told.out, told.err);
    file(&world.place, "constraints/2026.1/requirements.json", "{}");
    assert_eq!(world.run(&["lock", "--check"]).code, 1);
}

#[test]
fn two_pythons_get_markers_where_they_differ() {
    let series = SERIES.replace("[\"3.13\"]", "[\"3.12\", \"3.13\"]");
    let Some(world) = World::new("two_pythons", &series) else { return };
    let told = world.run(&["lock"]);
    assert_eq!(told.code, 0, "{}{}", told.out, told.err);
    let pins = world.read("2026.1/upper-constraints.txt");
    assert!(pins.contains("\ncryptography===43.0.3\n"), "{pins}");
    let told = world.run(&["lock", "--check"]);
    assert_eq!(told.code, 0, "{}{}", told.out, told.err);
    let told = world.place.run(["constraints", "why", "typing-extensions"]);
    assert!(
        told.out.contains("cryptography 43.0.3 asks for typing-extensions>=4 (Python 3.12)"),
        "{}",
        told.out
    );
}

#[test]
fn fix_raises_to_the_smallest_version_and_says_what_moves_with_it() {
    let Some(world) = World::new("fix_raises", SERIES) else { return };
    assert_eq!(world.run(&["lock"]).code, 0);
    let before = world.read("2026.1.toml");
    let dry = world.run(&["fix", "--advisories", "osv", "--dry-run"]);
    assert_eq!(dry.code, 0, "{}{}", dry.out, dry.err);
    let checked = world.run(&["fix", "--advisories", "osv", "--check"]);
    assert_eq!((checked.code, &checked.out), (1, &dry.out), "{}", checked.err);
    assert_eq!(world.read("2026.1.toml"), before, "a dry run writes nothing");
    let told = world.run(&["fix", "--advisories", "osv"]);
    assert_eq!(told.code, 0, "{}{}", told.out, told.err);
    assert_eq!(told.out, dry.out);
    let moved = "\
~ cryptography 43.0.3 -> 44.0.1
    CVE-2024-12797: Vulnerable OpenSSL included in cryptography wheels
~ pyopenssl 24.2.1 -> 24.3.0
    forced: pyopenssl 24.2.1 requires cryptography>=41.0.5,<44
~ pysaml2 7.5.4 -> 7.4.2
    forced: pysaml2 7.5.4 requires pyopenssl<24.3.0
";
    assert!(told.out.starts_with(moved), "{}", told.out);
    assert!(
        told.out.contains("+version = \"==44.0.1\"\n+advisories = [\"CVE-2024-12797\"]\n"),
        "{}",
        told.out
    );
    assert!(told.err.contains("resolved for every image: keystone"), "{}", told.err);
    // What was written is what a lock says, and nothing is left to fix.
    let told = world.run(&["lock", "--check"]);
    assert_eq!(told.code, 0, "{}{}", told.out, told.err);
    let told = world.run(&["fix", "--advisories", "osv"]);
    assert_eq!((told.code, told.err.as_str()), (0, "nothing to fix\n"));
}

#[test]
fn fix_refuses_what_a_service_forbids_and_names_its_requirement() {
    let series =
        format!("{SERIES}[services.glance]\nversion = \"31.0.0\"\nrequirements = [\"glance\"]\n");
    let Some(world) = World::new("fix_refuses_a_service", &series) else { return };
    assert_eq!(world.run(&["lock"]).code, 0);
    let told = world.run(&["fix", "--advisories", "osv"]);
    assert_eq!(told.code, 1, "{}{}", told.out, told.err);
    assert!(
        told.err
            .contains("  glance 31.0.0 requires cryptography>=2.7,<44 (constraints/2026.1.toml:9)"),
        "{}",
        told.err
    );
    assert_eq!(world.read("2026.1.toml"), series);
}

#[test]
fn fix_refuses_what_no_version_of_a_library_allows() {
    let series =
        format!("{SERIES}[services.heat]\nversion = \"25.0.0\"\nrequirements = [\"heat\"]\n");
    let Some(world) = World::new("fix_refuses_a_library", &series) else { return };
    assert_eq!(world.run(&["lock"]).code, 0);
    let told = world.run(&["fix", "--advisories", "osv"]);
    assert_eq!(told.code, 1, "{}{}", told.out, told.err);
    assert!(told.err.contains("  oldlib 1.0 requires cryptography<44\n"), "{}", told.err);
    assert!(told.err.contains("oldlib"), "uv's words: {}", told.err);
    assert_eq!(world.read("2026.1.toml"), series);
}

#[test]
fn imported_pins_hold_and_give_way_where_a_fix_needs_it() {
    let Some(world) = World::new("imported_pins", SERIES) else { return };
    let upper = "cryptography===43.0.3\npyOpenSSL===24.2.1\npysaml2===7.5.4\nother===1.0;python_version=='3.10'\n";
    file(&world.place, "upper.txt", upper);
    let told = world.place.run(["constraints", "import", "upper.txt"]);
    assert_eq!(told.code, 0, "{}{}", told.out, told.err);
    let told = world.run(&["lock"]);
    assert_eq!(told.code, 0, "{}{}", told.out, told.err);
    let pins = world.read("2026.1/upper-constraints.txt");
    assert!(pins.contains("\nother===1.0;python_version=='3.10'\n"), "{pins}");
    let told = world.run(&["fix", "--advisories", "osv"]);
    assert_eq!(told.code, 0, "{}{}", told.out, told.err);
    let pins = world.read("2026.1/upper-constraints.txt");
    for line in ["cryptography===44.0.1", "pyopenssl===24.3.0", "pysaml2===7.4.2"] {
        assert!(pins.lines().any(|l| l == line), "{line}: {pins}");
    }
    let series = world.read("2026.1.toml");
    assert!(series.contains("pyopenssl 24.2.1 requires cryptography>=41.0.5,<44"), "{series}");
    let told = world.run(&["lock", "--check"]);
    assert_eq!(told.code, 0, "{}{}", told.out, told.err);
}

#[test]
fn a_fleet_that_does_not_resolve_is_told_in_uv_s_words() {
    let series =
        format!("{SERIES}[[caps]]\npackage = \"pysaml2\"\nversion = \"<6\"\nreason = \"a test\"\n");
    let Some(world) = World::new("does_not_resolve", &series) else { return };
    let told = world.run(&["lock"]);
    assert_eq!(told.code, 1, "{}{}", told.out, told.err);
    assert!(told.err.starts_with("ERROR: nothing resolves for Python 3.13\n"), "{}", told.err);
    assert!(told.err.contains("pysaml2<6") && !told.err.contains("DEBUG"), "{}", told.err);
    assert!(told.err.contains("hint: the cap `pysaml2<6` stands because a test"), "{}", told.err);
    assert!(
        !Path::new(&world.place.work().join("constraints/2026.1/upper-constraints.txt")).exists()
    );
}

/// The whole way with real facts: OpenStack's own file, PyPI, the fleet of this repository.
#[test]
fn openstack_s_own_file_is_fixed_from_pypi() {
    const NAME: &str = "openstack_s_own_file_is_fixed_from_pypi";
    if std::env::var_os("KARMAN_TEST_UV").is_none() {
        eprintln!("SKIP {NAME}: KARMAN_TEST_UV is not set, so nothing is fetched from PyPI");
        return;
    }
    let (Some(uv), Some(upper)) = (uv(NAME), openstack_s_own_file(NAME)) else { return };
    let mut place = place().with_env("UV_PYTHON_DOWNLOADS", "never");
    for name in ["SSL_CERT_FILE", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "UV_DEFAULT_INDEX"] {
        if let Ok(value) = std::env::var(name) {
            place = place.with_env(name, value);
        }
    }
    let series = include_str!("../../../../constraints/2026.1.toml");
    file(&place, "constraints/2026.1.toml", series);
    file(&place, "osv/a.json", CRYPTOGRAPHY);
    let upper = upper.display().to_string();
    place.run(["constraints", "import", &upper]).ok();
    let uv = uv.display().to_string();
    place.run(["constraints", "lock", "--uv", &uv]).ok();
    let told = place.run(["constraints", "fix", "--advisories", "osv", "--uv", &uv]).ok();
    for words in [
        "~ cryptography 43.0.3 -> 44.0.1\n    CVE-2024-12797: Vulnerable OpenSSL included",
        "    forced: pyopenssl 24.2.1 requires cryptography>=41.0.5,<44\n",
        "~ pysaml2 7.5.4 -> 7.5.0\n    forced: pysaml2 7.5.4 requires pyopenssl<24.3.0\n",
    ] {
        assert!(told.out.contains(words), "{words}: {}", told.out);
    }
    assert!(
        told.err.contains("resolved for every image: barbican, cinder, designate, "),
        "{}",
        told.err
    );
    place.run(["constraints", "lock", "--check", "--uv", &uv]).ok();
}
