//! Three builders share a store; one of them is killed at a random moment, again and again.
//!
//! `KARMAN_FAULTS=200` sets the number of kills (the default is small), `KARMAN_FAULT_SEED` the moments. The seed is
//! printed when something goes wrong. What is killed, by turns that the seed decides: a build of several stages with and
//! without cache and with an archive as output, a push, a pull, and a prune. Each time the other two build meanwhile and
//! must not notice; what was killed is done again and succeeds; all images equal those of an undisturbed store by digest;
//! and `cache verify` finds nothing wrong.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use karman_testing::{Place, Tested, Told};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::Tests;
use crate::crash::{STEPS, tree};
use crate::lab::{Lab, wait_for};
use crate::registry::Registry;

pub(crate) const TESTS: Tests =
    &[("a_store_of_three_builders_survives_kills", a_store_of_three_builders_survives_kills)];

/// Kills in the everyday suite.
const KILLS: u64 = 10;

/// What is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Cold,
    Warm,
    Archive,
    Push,
    Pull,
    Prune,
}

const VICTIMS: [Victim; 6] =
    [Victim::Cold, Victim::Archive, Victim::Push, Victim::Pull, Victim::Prune, Victim::Warm];

/// Builders, what they must get, and where images go.
struct Yard<'a> {
    lab: &'a Lab,
    places: [Place; 3],
    digests: [String; 3],
    archives: [Vec<u8>; 3],
    registry: Option<Registry>,
    /// How long each victim takes when nobody disturbs it.
    times: Vec<Duration>,
}

/// Numbers that depend on the seed alone (xorshift).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).expect("small")
    }

    /// From 0 to 1.
    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}: `{text}`")))
}

/// What builder `of` builds: stages that all share, and a step of its own.
fn arrange(place: &Place, of: usize) {
    tree(place);
    place.write("ctx/Dockerfile", format!("{STEPS}RUN echo {of} > /builder\n"));
}

impl<'a> Yard<'a> {
    fn new(lab: &'a Lab) -> Result<Self, karman_testing::Skip> {
        let quiet = lab.place()?;
        let output = ["-t", "x", "-o", "type=oci,dest=out.tar", "-o", "type=image"];
        let (mut digests, mut archives) = (Vec::new(), Vec::new());
        for of in 0..3 {
            arrange(&quiet, of);
            digests.push(lab.digest(&quiet, &[&output[..], &["ctx"]].concat()));
            archives.push(fs::read(quiet.work().join("out.tar")).expect("the output"));
        }
        let first = lab.place()?;
        // Without a registry there is nothing to push to, and the rest is worth doing.
        let registry = Registry::start(lab, &first, false).ok();
        let store = first.store().display().to_string();
        let places = [first, lab.place()?, lab.place()?];
        let places = places.map(|place| place.with_env("KARMAN_ROOT", store.clone()));
        (0..3).for_each(|of| arrange(&places[of], of));
        let digests = digests.try_into().expect("three");
        let archives = archives.try_into().expect("three");
        let mut yard = Self { lab, places, digests, archives, registry, times: Vec::new() };
        for victim in VICTIMS {
            yard.prepare(victim);
            let begun = Instant::now();
            if let Some(args) = yard.args(victim, 0, 0) {
                yard.places[0].run(args).ok();
            }
            yard.times.push(begun.elapsed());
        }
        Ok(yard)
    }

    fn image(&self, name: &str) -> String {
        let port = self.registry.as_ref().map_or(1, |registry| registry.port);
        format!("127.0.0.1:{port}/{name}:1")
    }

    /// The command; `None` where it cannot be run here. A push goes to a repository of its own each time.
    fn args(&self, victim: Victim, of: usize, round: u64) -> Option<Vec<String>> {
        let own = |args: &[&str]| args.iter().map(|a| (*a).to_owned()).collect();
        let name = self.image("x");
        let remote = self.registry.is_some();
        match victim {
            Victim::Cold => Some(self.lab.build_args(&["--no-cache", "-t", &name, "ctx"])),
            Victim::Warm => Some(self.lab.build_args(&["-t", &name, "ctx"])),
            Victim::Archive => {
                let output = ["-o", "type=oci,dest=out.tar", "-o", "type=image", "-t", "x"];
                Some(self.lab.build_args(&[&output[..], &["--no-cache", "ctx"]].concat()))
            }
            Victim::Push => remote.then(|| {
                let output =
                    format!("type=image,name={},push=true", self.image(&format!("r{round}-{of}")));
                self.lab.build_args(&["-o", &output, "ctx"])
            }),
            Victim::Pull => remote.then(|| own(&["pull", &self.image("r0-0")])),
            Victim::Prune => Some(own(&["cache", "prune", "--all", "--force"])),
        }
    }

    /// Gives a victim something to do.
    fn prepare(&self, victim: Victim) {
        if matches!(victim, Victim::Pull | Victim::Prune) {
            let place = &self.places[0];
            for image in place.run(["image", "ls", "--format", "json"]).ok().out.split('"') {
                if image.starts_with("sha256:") {
                    place.run(["image", "rm", image]);
                }
            }
            if victim == Victim::Pull {
                place.run(["cache", "prune", "--all", "--force"]).ok();
            }
        }
    }

    /// One kill and everything that must hold after it.
    fn round(&self, round: u64, random: &mut Random) {
        let victim = VICTIMS[random.below(VICTIMS.len())];
        let of = random.below(3);
        let at = VICTIMS.iter().position(|v| *v == victim).expect("one of them");
        // Sometimes just after the end.
        let moment = self.times[at].mul_f64(random.share() * 1.1);
        let Some(args) = self.args(victim, of, round) else { return };
        let what = format!("kill {round}: {victim:?} of builder {of} after {moment:?}");
        self.prepare(victim);
        let _ = fs::remove_file(self.places[of].work().join("out.tar"));
        let others: Vec<(usize, Child)> = (0..3)
            .filter(|other| *other != of)
            .map(|other| {
                let name = format!("other-{other}");
                let cold = if random.below(2) == 0 { vec!["--no-cache"] } else { Vec::new() };
                let args =
                    [&["-t", &name, "--metadata-file", "meta"][..], &cold, &["ctx"]].concat();
                (other, spawn(&self.places[other], self.lab.build_args(&args)))
            })
            .collect();
        let mut child = spawn(&self.places[of], args.clone());
        std::thread::sleep(moment);
        let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a process id");
        // It may have ended already, and its id is not used again before it is waited for.
        let _ = kill_process_group(group, Signal::KILL);
        child.wait().expect("it ends");
        let written = fs::read(self.places[of].work().join("out.tar"));
        assert!(
            written.is_err() || written.is_ok_and(|w| w == self.archives[of]),
            "{what}: half an output"
        );
        for (other, child) in others {
            let told = Told::of(&child.wait_with_output().expect("it ends"));
            assert_eq!(told.code, 0, "{what}: builder {other}: {}", told.err);
            let meta =
                fs::read_to_string(self.places[other].work().join("meta")).expect("metadata");
            assert!(meta.contains(&self.digests[other]), "{what}: builder {other}: {meta}");
        }
        let again = self.places[of].run(&args);
        assert_eq!(again.code, 0, "{what}: again: {}", again.err);
        let next = self.lab.digest(&self.places[of], &["-t", "x", "ctx"]);
        assert_eq!(next, self.digests[of], "{what}: the next build");
        let verified = self.places[of].run(["cache", "verify"]);
        assert_eq!(verified.code, 0, "{what}: {}{}", verified.out, verified.err);
    }
}

fn spawn(place: &Place, args: Vec<String>) -> Child {
    let mut command = place.command(args);
    command.stdout(Stdio::null()).stderr(Stdio::piped()).process_group(0);
    command.spawn().expect("the program starts")
}

fn a_store_of_three_builders_survives_kills(lab: &Lab) -> Tested {
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_nanos();
    let seed =
        number("KARMAN_FAULT_SEED").unwrap_or(u64::try_from(clock % 1_000_000).expect("small"));
    let kills = number("KARMAN_FAULTS").unwrap_or(KILLS);
    let yard = Yard::new(lab)?;
    // A seed of zero would stay zero.
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        for round in 1..=kills {
            yard.round(round, &mut random);
            if kills > KILLS && round % 10 == 0 {
                eprintln!("{round} of {kills} kills (seed {seed})");
            }
        }
    }));
    if let Err(panic) = told {
        eprintln!("KARMAN_FAULT_SEED={seed}");
        std::panic::resume_unwind(panic);
    }
    // Whoever opens the store sweeps it; orphans of the last kill may need a moment to end.
    let place = &yard.places[0];
    let tmp = place.store().join("tmp");
    let swept = wait_for(|| {
        place.run(["image", "ls"]).ok();
        fs::read_dir(&tmp).expect("tmp").count() == 0
    });
    let left: Vec<_> = fs::read_dir(&tmp).expect("tmp").flatten().collect();
    assert!(swept, "left in tmp: {left:?}");
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    assert!(!mounts.contains(&*place.store().to_string_lossy()), "mounts are left");
    Ok(())
}
