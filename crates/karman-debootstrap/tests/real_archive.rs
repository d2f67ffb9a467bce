//! The whole way against a real archive: needs the network, and root for configuring.
//!
//! `KARMAN_TEST_DEBIAN_MIRROR` names a mirror of `http://deb.debian.org` (with `debian` and
//! `debian-security` below it); `KARMAN_TEST_UBUNTU_MIRROR` one of `http://archive.ubuntu.com/ubuntu`.
//! `KARMAN_TEST_DEBOOTSTRAP_DIR` keeps cache and trees for looking at.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Instant, SystemTime};

use karman_debootstrap::{
    Cache, Distribution, Environment, Keyring, Mirrors, Plan, Source, configure_steps, finish,
    unpack,
};
use karman_net::{Client, Config};

struct Setup {
    dir: PathBuf,
    _temporary: Option<tempfile::TempDir>,
    mirrors: Mirrors,
    client: Client,
    cache: Cache,
}

fn setup(test: &str, variable: &str, mirrors: fn(&str) -> Mirrors) -> Option<Setup> {
    let Ok(mirror) = std::env::var(variable) else {
        eprintln!("SKIP {test}: {variable} is not set");
        return None;
    };
    let kept = std::env::var_os("KARMAN_TEST_DEBOOTSTRAP_DIR").map(PathBuf::from);
    let temporary = kept.is_none().then(|| tempfile::tempdir().expect("temporary directory"));
    let dir = kept.unwrap_or_else(|| temporary.as_ref().expect("directory").path().to_owned());
    Some(Setup {
        cache: Cache::open(dir.join("cache")).expect("cache"),
        client: Client::new(Config::default()).expect("client"),
        mirrors: mirrors(&mirror),
        dir,
        _temporary: temporary,
    })
}

fn debian(mirror: &str) -> Mirrors {
    Mirrors::new()
        .with("http://deb.debian.org/debian", &format!("{mirror}/debian"))
        .with("http://deb.debian.org/debian-security", &format!("{mirror}/debian-security"))
}

fn ubuntu(mirror: &str) -> Mirrors {
    Mirrors::new()
        .with("http://archive.ubuntu.com/ubuntu", mirror)
        .with("http://security.ubuntu.com/ubuntu", mirror)
}

impl Setup {
    fn plan(&self, text: &str, arch: &str) -> Plan {
        let started = Instant::now();
        let source = Source::parse(text).expect(text);
        let keyring = Keyring::bundled(source.distribution).expect("keyring");
        let now =
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("clock").as_secs();
        let env = Environment {
            fetch: &self.client,
            keyring: &keyring,
            mirrors: &self.mirrors,
            cache: &self.cache,
            now,
        };
        let plan = Plan::make(&source, arch, &env).expect("plan");
        let kib: u64 = plan.packages.iter().map(|package| package.installed_size).sum();
        eprintln!(
            "{text} {arch}: {} packages, {} bytes to download, {kib} KiB installed, planned in {:?}",
            plan.packages.len(),
            plan.download_size(),
            started.elapsed()
        );
        plan
    }

    /// Makes a tree and returns where it is.
    fn make(&self, plan: &Plan, name: &str) -> PathBuf {
        let rootfs = self.dir.join(name);
        std::fs::create_dir(&rootfs).expect("rootfs");
        let started = Instant::now();
        let unpacked = unpack(plan, &self.cache, &self.client, &rootfs, 16).expect("unpack");
        let at_unpack = started.elapsed();
        for step in configure_steps(plan, &unpacked) {
            run(&rootfs, &step);
        }
        let at_configure = started.elapsed();
        finish(plan, &unpacked, &rootfs).expect("finish");
        eprintln!(
            "{name}: unpacked {at_unpack:?}, configured {at_configure:?}, finished {:?}",
            started.elapsed()
        );
        rootfs
    }
}

/// A poor man's sandbox; the product has a better one.
fn run(rootfs: &Path, step: &karman_debootstrap::Step) {
    let script = "mount -t tmpfs none \"$0/dev\" && mknod -m 666 \"$0/dev/null\" c 1 3 && mkdir -p \"$0/proc\" \
        && mount -t proc proc \"$0/proc\" && mount -t tmpfs none \"$0/tmp\" && exec chroot \"$0\" \"$@\"";
    let output = Command::new("unshare")
        .args(["-m", "--propagation", "private", "/bin/sh", "-c", script])
        .arg(rootfs)
        .arg("/usr/bin/env")
        .arg("-i")
        .args(step.env.iter().map(|(name, value)| format!("{name}={value}")))
        .args(&step.argv)
        .output()
        .expect("unshare");
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}: {}\n{out}\n{err}", step.description, output.status);
    if !err.trim().is_empty() {
        eprintln!("{}: {}", step.description, err.trim());
    }
}

/// A line per entry: everything but the times of access and change.
fn listing(rootfs: &Path) -> String {
    let format = "%P %y %m %U %G %T@ %s %l\n";
    let find = Command::new("find").arg(rootfs).args(["-printf", format]).output().expect("find");
    let mut lines: Vec<String> = String::from_utf8_lossy(&find.stdout)
        .lines()
        // The sizes of directories depend on the file system.
        .map(|line| {
            if line.contains(" d ") {
                line.rsplit_once(' ').map_or(line, |(rest, _)| rest).to_owned()
            } else {
                line.to_owned()
            }
        })
        .collect();
    lines.sort();
    lines.join("\n")
}

fn can_configure(test: &str) -> bool {
    let root =
        Command::new("unshare").args(["-m", "true"]).status().is_ok_and(|status| status.success());
    let uid = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n");
    if !(root && uid) {
        eprintln!("SKIP {test}: configuring needs root and mount namespaces");
    }
    root && uid
}

fn check_twice(setup: &Setup, plan: &Plan, name: &str) {
    let first = setup.make(plan, name);
    let second = setup.make(plan, &format!("{name}-again"));
    let (one, two) = (listing(&first), listing(&second));
    for (a, b) in one.lines().zip(two.lines()) {
        assert_eq!(a, b);
    }
    assert_eq!(one.lines().count(), two.lines().count());
    let same = Command::new("diff")
        .args(["-r", "--no-dereference"])
        .args([&first, &second])
        .output()
        .expect("diff");
    assert!(same.status.success(), "{}", String::from_utf8_lossy(&same.stdout));
    let bad = Command::new("chroot")
        .arg(&first)
        .args(["/usr/bin/dpkg", "--audit"])
        .output()
        .expect("dpkg");
    assert!(
        bad.status.success() && bad.stdout.is_empty(),
        "{}",
        String::from_utf8_lossy(&bad.stdout)
    );
}

#[test]
fn debian_trixie() {
    let Some(setup) = setup("debian_trixie", "KARMAN_TEST_DEBIAN_MIRROR", debian) else { return };
    let plan = setup.plan("debootstrap://debian/trixie", "amd64");
    assert_eq!(plan.distribution(), Distribution::Debian);
    assert!((70..90).contains(&plan.packages.len()), "{}", plan.packages.len());
    assert_eq!(plan.identity(), setup.plan("debootstrap://debian/trixie", "amd64").identity());
    let arm = setup.plan("debootstrap://debian/trixie", "arm64");
    assert_ne!(arm.identity(), plan.identity());
    if can_configure("debian_trixie") {
        check_twice(&setup, &plan, "trixie");
    }
}

#[test]
fn debian_trixie_with_packages() {
    let Some(setup) = setup("debian_trixie_with_packages", "KARMAN_TEST_DEBIAN_MIRROR", debian)
    else {
        return;
    };
    let plan = setup.plan(
        "debootstrap://debian/trixie?include=ca-certificates,python3,openssh-client,dbus",
        "amd64",
    );
    assert!(plan.has("python3-minimal") && plan.has("libssl3t64"));
    if can_configure("debian_trixie_with_packages") {
        check_twice(&setup, &plan, "trixie-python");
    }
}

#[test]
fn debian_bookworm() {
    let Some(setup) = setup("debian_bookworm", "KARMAN_TEST_DEBIAN_MIRROR", debian) else { return };
    let plan = setup.plan("debootstrap://debian/bookworm?slim=false", "amd64");
    if can_configure("debian_bookworm") {
        check_twice(&setup, &plan, "bookworm");
    }
}

#[test]
fn ubuntu_noble() {
    let Some(setup) = setup("ubuntu_noble", "KARMAN_TEST_UBUNTU_MIRROR", ubuntu) else { return };
    let plan = setup.plan("debootstrap://ubuntu/noble", "amd64");
    if can_configure("ubuntu_noble") {
        check_twice(&setup, &plan, "noble");
    }
}
