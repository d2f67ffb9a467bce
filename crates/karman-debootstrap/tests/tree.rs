//! The tree: database, slimming, steps, finishing, and that it is the same every time.

mod support;

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use karman_debootstrap::{Plan, Unpacked, configure_steps, finish, unpack};
use support::{Deb, Entry, World, deb, dir, file, hard_link, symlink, with_base};

fn packages() -> Vec<Deb> {
    with_base(vec![
        deb("base-passwd", "1").essential().control("preinst", "#!/bin/sh\n"),
        deb("libaa", "1")
            .with("Multi-Arch", "same")
            .control("triggers", "# comment\ninterest-noawait /usr/lib/aa\ninterest other\nactivate-noawait ldconfig\n")
            .data(vec![
                dir("./usr/"),
                dir("./usr/lib/"),
                file("./usr/lib/libaa.so.1", "elf"),
                hard_link("./usr/lib/libaa-copy.so.1", "./usr/lib/libaa.so.1"),
                symlink("./usr/lib/libaa.so", "libaa.so.1"),
            ]),
        deb("tool", "1")
            .with("Depends", "libaa")
            .control("conffiles", "/etc/tool.conf\nremove-on-upgrade /etc/old.conf\n")
            .control("postinst", "#!/bin/sh\n")
            .data(vec![
                dir("./etc/"),
                file("./etc/tool.conf", "a=1\n"),
                dir("./bin/"),
                Entry { mode: 0o4755, ..file("./bin/tool", "tool") },
                dir("./usr/share/doc/tool/"),
                file("./usr/share/doc/tool/copyright", "free"),
                file("./usr/share/doc/tool/README", "read me"),
                file("./usr/share/man/man1/tool.1.gz", "manual"),
            ]),
    ])
}

fn make(world: &World, query: &str, name: &str, threads: usize) -> (Plan, PathBuf, Unpacked) {
    let plan = world.plan(query).expect("plan");
    let rootfs = world.dir.path().join(name);
    std::fs::create_dir(&rootfs).expect("rootfs");
    let unpacked = unpack(&plan, &world.cache(), &world.archive, &rootfs, threads).expect("unpack");
    (plan, rootfs, unpacked)
}

fn read(rootfs: &Path, path: &str) -> String {
    std::fs::read_to_string(rootfs.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Path → type, mode, time, content.
fn listing(root: &Path, dir: &Path, out: &mut BTreeMap<PathBuf, (u32, i64, Vec<u8>)>) {
    for entry in std::fs::read_dir(dir).expect("directory") {
        let path = entry.expect("entry").path();
        let stat = std::fs::symlink_metadata(&path).expect("stat");
        let content = if stat.is_file() { std::fs::read(&path).expect("read") } else { Vec::new() };
        out.insert(
            path.strip_prefix(root).expect("prefix").to_owned(),
            (stat.mode(), stat.mtime(), content),
        );
        if stat.is_dir() {
            listing(root, &path, out);
        }
    }
}

#[test]
fn packages_land_in_a_merged_usr() {
    let world = World::new(packages());
    let (_, rootfs, unpacked) = make(&world, "security=none&include=tool", "rootfs", 4);
    assert_eq!(std::fs::read_link(rootfs.join("bin")).expect("link"), Path::new("usr/bin"));
    let tool = std::fs::metadata(rootfs.join("usr/bin/tool")).expect("stat");
    assert_eq!((tool.mode() & 0o7777, tool.mtime()), (0o4755, 1_700_000_000));
    assert_eq!(std::fs::metadata(rootfs.join("tmp")).expect("stat").mode() & 0o7777, 0o1777);
    assert_eq!(std::fs::metadata(rootfs.join("usr/lib")).expect("stat").mtime(), 1_700_000_000);
    let copies = ["usr/lib/libaa.so.1", "usr/lib/libaa-copy.so.1"]
        .map(|path| std::fs::metadata(rootfs.join(path)).expect("stat").ino());
    assert_eq!(copies[0], copies[1]);
    assert_eq!(unpacked.epoch, support::DATE_SECONDS);
}

#[test]
fn a_slim_tree_has_no_documentation_and_tells_dpkg() {
    let world = World::new(packages());
    let (_, slim, _) = make(&world, "security=none&include=tool", "slim", 4);
    assert!(slim.join("usr/share/doc/tool/copyright").exists());
    assert!(
        !slim.join("usr/share/doc/tool/README").exists()
            && !slim.join("usr/share/man/man1").exists()
    );
    assert!(read(&slim, "etc/dpkg/dpkg.cfg.d/docker").contains("path-exclude /usr/share/man/*\n"));
    let (_, full, _) = make(&world, "security=none&include=tool&slim=false", "full", 4);
    assert!(
        full.join("usr/share/doc/tool/README").exists()
            && full.join("usr/share/man/man1/tool.1.gz").exists()
    );
    assert!(!full.join("etc/dpkg/dpkg.cfg.d/docker").exists());
}

#[test]
fn dpkg_finds_unpacked_packages() {
    let world = World::new(packages());
    let (_, rootfs, _) = make(&world, "security=none&include=tool", "rootfs", 4);
    let status = read(&rootfs, "var/lib/dpkg/status");
    assert_eq!(status.matches("Status: install ok unpacked\n").count(), 6);
    // printf 'a=1\n' | md5sum
    assert!(
        status.contains("Conffiles:\n /etc/tool.conf d5e29449b9e66d5b4bb0d6ce48fbbcb1\n"),
        "{status}"
    );
    let list = read(&rootfs, "var/lib/dpkg/info/libaa:amd64.list");
    assert_eq!(
        list,
        "/.\n/usr\n/usr/lib\n/usr/lib/libaa.so.1\n/usr/lib/libaa-copy.so.1\n/usr/lib/libaa.so\n"
    );
    assert!(read(&rootfs, "var/lib/dpkg/info/tool.list").contains("/usr/share/doc/tool/README\n"));
    assert_eq!(read(&rootfs, "var/lib/dpkg/triggers/File"), "/usr/lib/aa libaa:amd64/noawait\n");
    assert_eq!(read(&rootfs, "var/lib/dpkg/triggers/other"), "libaa:amd64\n");
    assert_eq!(read(&rootfs, "var/lib/dpkg/info/format"), "1\n");
}

#[test]
fn the_tree_does_not_depend_on_timing() {
    let world = World::new(packages());
    let (_, one, _) = make(&world, "security=none&include=tool", "one", 1);
    let (_, many, _) = make(&world, "security=none&include=tool", "many", 8);
    let (mut first, mut second) = (BTreeMap::new(), BTreeMap::new());
    listing(&one, &one, &mut first);
    listing(&many, &many, &mut second);
    assert!(first.len() > 40, "{}", first.len());
    // Directories nobody describes are dated by `finish`.
    let named = ["etc", "usr/bin", "var/lib/dpkg/status", "usr/sbin/policy-rc.d"];
    for (path, (mode, time, content)) in &first {
        let (other_mode, other_time, other_content) = &second[path];
        assert_eq!((mode, content), (other_mode, other_content), "{}", path.display());
        if named.iter().any(|name| path == Path::new(name)) {
            assert_eq!(time, other_time, "{}", path.display());
        }
    }
    assert_eq!(first.len(), second.len());
}

#[test]
fn scripts_run_before_packages_are_configured() {
    let mut debs = packages();
    debs.push(deb("helper", "1").with("Depends", "libaa").control("preinst", "#!/bin/sh\n"));
    debs.push(deb("service", "1").with("Pre-Depends", "helper").control("preinst", "#!/bin/sh\n"));
    let world = World::new(debs);
    let (plan, _, unpacked) = make(&world, "security=none&include=service,tool", "rootfs", 4);
    let steps: Vec<String> =
        configure_steps(&plan, &unpacked).iter().map(|step| step.argv.join(" ")).collect();
    assert_eq!(steps.len(), 6, "{steps:#?}");
    assert!(steps[0].contains("base-passwd.preinst install") && !steps[0].contains("helper"));
    assert_eq!(steps[1], "/usr/bin/dpkg --configure apt base-files base-passwd dpkg");
    assert!(steps[2].contains("helper.preinst install") && !steps[2].contains("service.preinst"));
    assert_eq!(steps[3], "/usr/bin/dpkg --configure helper libaa:amd64");
    assert!(steps[4].contains("service.preinst install"));
    assert_eq!(steps[5], "/usr/bin/dpkg --configure -a");
    let environment = &configure_steps(&plan, &unpacked)[0].env;
    assert!(environment.contains(&("DEBIAN_FRONTEND".to_owned(), "noninteractive".to_owned())));
}

#[test]
fn finishing_removes_traces_and_dates_everything() {
    let world = World::new(packages());
    let (plan, rootfs, unpacked) = make(&world, "security=none&include=tool", "rootfs", 4);
    let put = |path: &str, content: &str| {
        let path = rootfs.join(path);
        std::fs::create_dir_all(path.parent().expect("parent")).expect("directory");
        std::fs::write(path, content).expect("write");
    };
    let gone = [
        "var/log/dpkg.log",
        "var/log/apt/history.log",
        "var/lib/dpkg/status-old",
        "var/cache/apt/pkgcache.bin",
        "var/lib/apt/lists/partial/x",
        "etc/passwd-",
        "tmp/x/y",
        "usr/lib/python3/__pycache__/a.pyc",
        "etc/ssh/ssh_host_ed25519_key",
        "var/cache/ldconfig/aux-cache",
        "etc/resolv.conf",
    ];
    for path in gone {
        put(path, "trace");
    }
    put("etc/machine-id", "0123456789abcdef\n");
    put("etc/shadow", "root:*:99999:0:99999:7:::\nold:*:100:0:99999:7:::\n");
    std::os::unix::fs::symlink("../outside", rootfs.join("var/backups")).expect("link");
    let keyring = "usr/share/keyrings/debian-archive-keyring.gpg";
    put(keyring, "keys");

    finish(&plan, &unpacked, &rootfs).expect("finish");
    for path in gone {
        assert!(!rootfs.join(path).exists(), "{path}");
    }
    assert!(rootfs.join("tmp").exists() && rootfs.join("var/lib/apt/lists").exists());
    assert_eq!(read(&rootfs, "etc/machine-id"), "");
    assert_eq!(read(&rootfs, "etc/shadow"), "root:*:20778:0:99999:7:::\nold:*:100:0:99999:7:::\n");
    let sources = read(&rootfs, "etc/apt/sources.list.d/debian.sources");
    assert_eq!(
        sources,
        format!(
            "Types: deb\nURIs: http://deb.debian.org/debian\nSuites: stretchy\nComponents: main\nSigned-By: /{keyring}\n"
        )
    );
    assert!(read(&rootfs, "etc/apt/apt.conf.d/docker-clean").contains("APT::Update::Post-Invoke"));
    let mut all = BTreeMap::new();
    listing(&rootfs, &rootfs, &mut all);
    for (path, (_, time, _)) in all {
        assert!(time <= support::DATE_SECONDS as i64, "{}", path.display());
    }
}
