//! What must be run inside the root filesystem to configure the unpacked packages.
//!
//! dpkg runs `preinst` before it unpacks a package; here everything is unpacked first and the scripts
//! run afterwards, which is what lets one `dpkg --configure -a` do the rest. In the base set of Debian
//! and Ubuntu the scripts care about upgrades, make `/etc/passwd` (base-passwd) or register diversions
//! (base-files), and all of that works in this order. Packages on top of the base may expect what they
//! pre-depend on to be configured, so for those the order of dpkg is kept.

use std::collections::{BTreeMap, BTreeSet};

use crate::plan::{Package, Plan};
use crate::unpack::Unpacked;

/// `PATH` while configuring and in the image.
pub const IMAGE_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The command of the image.
pub const IMAGE_CMD: [&str; 1] = ["bash"];
/// Scripts run by one shell: the kernel bounds the length of an argument.
const SCRIPTS_PER_STEP: usize = 300;

/// A process to run with the root filesystem as `/`, as root, without network.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Step {
    /// The program (an absolute path) and its arguments.
    pub argv: Vec<String>,
    /// The whole environment.
    pub env: Vec<(String, String)>,
    /// For people.
    pub description: String,
}

/// The steps, in order; a non-zero exit status of any of them is a failure.
///
/// They need `/proc` and a writable `/dev/null`, and a writable `/tmp`.
pub fn configure_steps(plan: &Plan, unpacked: &Unpacked) -> Vec<Step> {
    let mut scheduler = Scheduler::new(plan, unpacked);
    let base: Vec<&Package> = plan.packages.iter().filter(|package| package.base).collect();
    for package in scripts_first(&base) {
        scheduler.preinst(package);
    }
    let included: Vec<&Package> = plan.packages.iter().filter(|package| !package.base).collect();
    if included.iter().any(|package| unpacked.preinst.contains(&package.name)) {
        scheduler.configure(base.iter().copied());
        for package in included {
            scheduler.prepare(package, &mut BTreeSet::new());
        }
    }
    scheduler.actions.push(Action::ConfigureAll);
    steps(&scheduler.actions, unpacked.epoch)
}

/// base-passwd makes users that others refer to; base-files makes diversions.
fn scripts_first<'a>(base: &[&'a Package]) -> Vec<&'a Package> {
    let rank = |package: &Package| match package.name.as_str() {
        "base-passwd" => 0,
        "base-files" => 1,
        "dpkg" => 2,
        "debconf" => 3,
        _ => 4,
    };
    let mut out = base.to_vec();
    out.sort_by_key(|package| (rank(package), package.name.as_str()));
    out
}

enum Action {
    Preinst { name: String, database_name: String, arch: String },
    Configure(Vec<String>),
    ConfigureAll,
}

struct Scheduler<'a> {
    by_name: BTreeMap<&'a str, &'a Package>,
    scripts: &'a BTreeSet<String>,
    prepared: BTreeSet<&'a str>,
    configured: BTreeSet<&'a str>,
    actions: Vec<Action>,
}

impl<'a> Scheduler<'a> {
    fn new(plan: &'a Plan, unpacked: &'a Unpacked) -> Self {
        Self {
            by_name: plan.packages.iter().map(|package| (package.name.as_str(), package)).collect(),
            scripts: &unpacked.preinst,
            prepared: BTreeSet::new(),
            configured: BTreeSet::new(),
            actions: Vec::new(),
        }
    }

    /// Runs the `preinst` of a package that is not in the base after configuring its pre-dependencies.
    fn prepare(&mut self, package: &'a Package, active: &mut BTreeSet<&'a str>) {
        if self.prepared.contains(package.name.as_str()) || !active.insert(&package.name) {
            return;
        }
        if self.scripts.contains(&package.name) {
            let needed = self.closure(&package.pre_depends);
            for &other in &needed {
                self.prepare(other, active);
            }
            self.configure(needed.into_iter());
        }
        active.remove(package.name.as_str());
        self.preinst(package);
    }

    fn preinst(&mut self, package: &'a Package) {
        if self.prepared.insert(&package.name) && self.scripts.contains(&package.name) {
            self.actions.push(Action::Preinst {
                name: package.name.clone(),
                database_name: package.database_name(),
                arch: package.arch.clone(),
            });
        }
    }

    fn configure(&mut self, packages: impl Iterator<Item = &'a Package>) {
        let new: Vec<&Package> =
            packages.filter(|package| self.configured.insert(&package.name)).collect();
        if !new.is_empty() {
            self.actions
                .push(Action::Configure(new.into_iter().map(Package::database_name).collect()));
        }
    }

    /// Packages without which `names` cannot be configured, themselves included and what is configured left out.
    fn closure(&self, names: &'a [String]) -> Vec<&'a Package> {
        let mut todo: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut seen: BTreeSet<&str> = BTreeSet::new();
        while let Some(name) = todo.pop() {
            let Some(package) = self.by_name.get(name).filter(|_| !self.configured.contains(name))
            else {
                continue;
            };
            if seen.insert(&package.name) {
                todo.extend(package.pre_depends.iter().chain(&package.depends).map(String::as_str));
            }
        }
        seen.into_iter().filter_map(|name| self.by_name.get(name).copied()).collect()
    }
}

fn steps(actions: &[Action], epoch: u64) -> Vec<Step> {
    let mut out = Vec::new();
    let mut scripts: Vec<String> = Vec::new();
    let dpkg = |arguments: &[String], description: &str| Step {
        argv: [&["/usr/bin/dpkg".to_owned()], arguments].concat(),
        env: environment(epoch),
        description: description.to_owned(),
    };
    for action in actions {
        if let Action::Preinst { name, database_name, arch } = action {
            scripts.push(script(name, database_name, arch));
            if scripts.len() >= SCRIPTS_PER_STEP {
                out.push(run_scripts(&std::mem::take(&mut scripts), epoch));
            }
            continue;
        }
        if !scripts.is_empty() {
            out.push(run_scripts(&std::mem::take(&mut scripts), epoch));
        }
        out.push(match action {
            Action::Configure(names) => dpkg(
                &[&["--configure".to_owned()], names.as_slice()].concat(),
                "configure packages others pre-depend on",
            ),
            _ => dpkg(&["--configure".to_owned(), "-a".to_owned()], "configure all packages"),
        });
    }
    out
}

/// Names have been checked against policy, so they need no quoting.
fn script(name: &str, database_name: &str, arch: &str) -> String {
    format!(
        "DPKG_MAINTSCRIPT_PACKAGE={name} DPKG_MAINTSCRIPT_ARCH={arch} \
         /var/lib/dpkg/info/{database_name}.preinst install || {{ echo 'preinst of {name} failed' >&2; exit 1; }}\n"
    )
}

fn run_scripts(scripts: &[String], epoch: u64) -> Step {
    let mut text = String::from(
        "set -e\nexport DPKG_MAINTSCRIPT_NAME=preinst DPKG_MAINTSCRIPT_PACKAGE_REFCOUNT=1 DPKG_ROOT= \
         DPKG_ADMINDIR=/var/lib/dpkg\nDPKG_RUNNING_VERSION=$(dpkg-query -W -f '${Version}' dpkg)\n\
         export DPKG_RUNNING_VERSION\n",
    );
    text.extend(scripts.iter().map(String::as_str));
    // Older suites leave this to base-passwd's postinst, after others have looked for users.
    text.push_str("for file in passwd group; do\n");
    text.push_str("  [ -e /etc/$file ] || [ ! -e /usr/share/base-passwd/$file.master ] || ");
    text.push_str("cp /usr/share/base-passwd/$file.master /etc/$file\ndone\n");
    Step {
        argv: vec!["/bin/sh".to_owned(), "-c".to_owned(), text],
        env: environment(epoch),
        description: "prepare packages".to_owned(),
    }
}

fn environment(epoch: u64) -> Vec<(String, String)> {
    let date = epoch.to_string();
    let pairs = [
        ("PATH", IMAGE_PATH),
        ("HOME", "/root"),
        ("TERM", "dumb"),
        ("LC_ALL", "C.UTF-8"),
        ("DEBIAN_FRONTEND", "noninteractive"),
        ("DEBCONF_NONINTERACTIVE_SEEN", "true"),
        ("DEBCONF_NOWARNINGS", "yes"),
        // The order of Perl's hashes and the dates tools write: both would differ between runs.
        ("PERL_HASH_SEED", "0"),
        ("PYTHONDONTWRITEBYTECODE", "1"),
        ("SOURCE_DATE_EPOCH", date.as_str()),
    ];
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}
