//! The real binary from end to end: images are built, pulled, run and taken apart again.
//!
//! Every test has a [`Place`](karman_testing::Place) of its own: an empty environment, a home and a
//! store. The base image is made here from the host's static busybox. What a host lacks skips the
//! tests that need it, and each says why. `cases/*.case` hold one build with its expectation each;
//! `KARMAN_BLESS=1` rewrites those.
//!
//! | module | what it shows |
//! |---|---|
//! | `cases` | the `.case` files |
//! | `report` | reports on fleets |
//! | `repeat` | equal inputs give equal digests, and nothing runs twice |
//! | `traceless` | nothing borrowed stays anywhere |
//! | `crash` | interrupts, two processes in one store |
//! | `faults` | kills at random moments, three builders in one store |
//! | `full_disk` | disks that fill up |
//! | `outputs` | every output, read by other tools |
//! | `interop` | what other programs write is read |
//! | `docker` | a real docker daemon loads, pulls, saves and pushes |
//! | `registry` | pulls from a real registry |
//! | `push` | pushes to it, and accounts |
//! | `registries` | TLS, client certificates, tokens, helpers, mirrors, rules of other programs |
//! | `faulty` | pushes and pulls through a proxy that makes mistakes |
//! | `mounts` | cache mounts: shared, waited for, moved |
//! | `remote_cache` | caches of a registry, a directory, an image: a second machine starts warm |
//! | `cache_dirs` | caches in directories do not grow, and harm nobody |
//! | `fetch` | files by HTTP, git repositories |
//! | `hostile` | files and images that somebody else wrote |
//! | `git` | git contexts in every form, agents |
//! | `emulation` | programs of another architecture |
//! | `rootless` | the same as an ordinary user |
//! | `attest` | provenance and bills in the index of an image |
//! | `verify` | signatures and rebuilds |
//! | `audit` | sabotage is found, and gates stay closed |
//! | `sbom` | bills of materials |
//! | `layering` | layers along packages |
//! | `inventory` | where paths came from |
//! | `commands` | `run`, `image`, `cache` |
//! | `trust` | damage is found and made again, limits of the store |
//! | `why` | `cache why` |
//! | `resolver` | `constraints lock` in an image |

mod attest;
mod audit;
mod cache_dirs;
mod cases;
mod commands;
mod crash;
mod docker;
mod emulation;
mod faults;
mod faulty;
mod fetch;
mod flat;
mod full_disk;
mod git;
mod hostile;
mod interop;
mod inventory;
mod lab;
mod layering;
mod layout;
mod mounts;
mod outputs;
mod proxy;
mod push;
mod registries;
mod registry;
mod remote_cache;
mod repeat;
mod report;
mod resolver;
mod rootless;
mod sbom;
mod scene;
mod server;
mod shown;
mod tokens;
mod traceless;
mod tree;
mod trust;
mod verify;
mod why;

use std::process::ExitCode;

use karman_testing::{Arguments, Tested, Trial, run_trials};

use crate::lab::Lab;

/// Tests of one module by name.
type Tests = &'static [(&'static str, fn(&Lab) -> Tested)];

const MODULES: &[(&str, Tests)] = &[
    ("repeat", repeat::TESTS),
    ("report", report::TESTS),
    ("traceless", traceless::TESTS),
    ("crash", crash::TESTS),
    ("faults", faults::TESTS),
    ("full_disk", full_disk::TESTS),
    ("outputs", outputs::TESTS),
    ("interop", interop::TESTS),
    ("docker", docker::TESTS),
    ("registry", registry::TESTS),
    ("push", push::TESTS),
    ("registries", registries::TESTS),
    ("faulty", faulty::TESTS),
    ("mounts", mounts::TESTS),
    ("remote_cache", remote_cache::TESTS),
    ("cache_dirs", cache_dirs::TESTS),
    ("fetch", fetch::TESTS),
    ("git", git::TESTS),
    ("hostile", hostile::TESTS),
    ("emulation", emulation::TESTS),
    ("rootless", rootless::TESTS),
    ("inventory", inventory::TESTS),
    ("attest", attest::TESTS),
    ("verify", verify::TESTS),
    ("audit", audit::TESTS),
    ("sbom", sbom::TESTS),
    ("layering", layering::TESTS),
    ("commands", commands::TESTS),
    ("trust", trust::TESTS),
    ("resolver", resolver::TESTS),
    ("why", why::TESTS),
];
/// Builds wait for the disk as much as for cores.
const THREADS: usize = 3;

fn main() -> ExitCode {
    let lab = Lab::new();
    let mut trials = Vec::new();
    for (module, tests) in MODULES {
        for (name, test) in *tests {
            let lab = &lab;
            trials.push(Trial::new(format!("{module}::{name}"), move || test(lab)));
        }
    }
    trials.extend(cases::trials(&lab));
    let arguments = Arguments::parse(std::env::args().skip(1));
    ExitCode::from(run_trials(trials, &arguments, THREADS))
}
