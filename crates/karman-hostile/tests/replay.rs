//! The short run of the fuzz targets: every seed of `fuzz/corpus/` and some thousand damaged copies, the same on every
//! machine. What a fuzz run has found stays there as a seed that is named after what broke.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use karman_hostile::{ENTRIES, Entry};
use karman_testing::{Random, STACK, mutate};

/// Damaged copies for each entry.
const MUTATIONS: usize = 2000;
/// A run ends early after this long: on a busy machine it is shorter, never red.
const ENOUGH: Duration = Duration::from_secs(6);
/// Processor time for one small input. An optimised build is about ten times faster than a debug build.
const HANG: Duration = Duration::from_secs(10);

/// Processor time of this process so far.
fn spent() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let part = |n: i64| u64::try_from(n).unwrap_or(0);
    Duration::from_secs(part(time.tv_sec)) + Duration::from_nanos(part(time.tv_nsec))
}

fn seeds(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(name);
    let entries = std::fs::read_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    let mut seeds: Vec<_> = entries
        .map(|entry| entry.expect("an entry").path())
        .map(|path| (path.clone(), std::fs::read(path).expect("a seed")))
        .collect();
    seeds.sort();
    assert!(seeds.len() >= 5, "{} has too few seeds", dir.display());
    seeds
}

fn feed(entry: &Entry, bytes: &[u8], what: &dyn Fn() -> String) {
    let begun = spent();
    let fed = std::panic::catch_unwind(|| (entry.run)(bytes));
    let took = spent() - begun;
    if fed.is_err() || took > HANG {
        let shown = bytes.escape_ascii();
        panic!("{} took {took:?}, {}: {shown}", entry.name, what());
    }
}

fn replay(name: &'static str) {
    let thread = std::thread::Builder::new().stack_size(STACK).spawn(move || feed_all(name));
    if let Err(panic) = thread.expect("a thread").join() {
        std::panic::resume_unwind(panic);
    }
}

fn feed_all(name: &str) {
    let entry = ENTRIES.iter().find(|e| e.name == name).expect("an entry");
    let seeds = seeds(name);
    for (path, bytes) in &seeds {
        feed(entry, bytes, &|| path.display().to_string());
    }
    let begun = Instant::now();
    let mut random = Random::new(0x6b61_726d_616e);
    for round in 0..MUTATIONS {
        if begun.elapsed() > ENOUGH {
            eprintln!("{name}: {round} of {MUTATIONS} mutations in {ENOUGH:?}");
            return;
        }
        let (path, seed) = &seeds[random.below(seeds.len())];
        let (_, other) = &seeds[random.below(seeds.len())];
        let bytes = mutate(seed, other, &mut random);
        feed(entry, &bytes, &|| format!("mutation {round} of {}", path.display()));
    }
}

#[test]
fn dockerfiles() {
    replay("dockerfile");
}

#[test]
fn words() {
    replay("words");
}

#[test]
fn ignore_files() {
    replay("ignore");
}

#[test]
fn bake_files() {
    replay("bake");
}

#[test]
fn archives() {
    replay("archive");
}

#[test]
fn documents() {
    replay("documents");
}

#[test]
fn every_entry_has_a_fuzz_target_and_a_run() {
    let here = include_str!("replay.rs");
    let manifest = include_str!("../../../fuzz/Cargo.toml");
    for entry in ENTRIES {
        assert!(here.contains(&format!("replay(\"{}\")", entry.name)), "{}", entry.name);
        assert!(manifest.contains(&format!("name = \"{}\"", entry.name)), "{}", entry.name);
        let target = format!("../../fuzz/fuzz_targets/{}.rs", entry.name);
        assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(target).exists(), "{}", entry.name);
    }
}
