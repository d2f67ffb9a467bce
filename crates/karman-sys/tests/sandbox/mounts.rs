//! What a container sees of the filesystem, and what it leaves there.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use karman_sys::identity::Identity;
use karman_sys::overlay::{OverlayError, OverlayMount};
use karman_sys::sandbox::{
    ExitStatus, Mount, MountKind, Rootfs, Sandbox, Spec, StartError, Streams,
};

use crate::lab::{Lab, data, fails, names, run, shell};
use crate::{Outcome, Test};

pub(crate) const TESTS: [(&str, Test); 12] = [
    ("writes_land_in_upper", writes_land_in_upper),
    ("mount_stubs_leave_no_trace", mount_stubs_leave_no_trace),
    ("stubs_do_not_undo_the_commands_changes", stubs_do_not_undo_the_commands_changes),
    ("hundred_and_fifty_lowers", hundred_and_fifty_lowers),
    ("secrets_are_seen_but_not_stored", secrets_are_seen_but_not_stored),
    ("mounts_nest_and_select", mounts_nest_and_select),
    ("links_in_the_image_stay_inside", links_in_the_image_stay_inside),
    ("devices_work", devices_work),
    ("readonly_root", readonly_root),
    ("directory_as_root", directory_as_root),
    ("unmapped_upper_is_an_error", unmapped_upper_is_an_error),
    ("start_is_quick", start_is_quick),
];

fn writes_land_in_upper(lab: &Lab) -> Outcome {
    let (spec, upper) = shell(lab, "umask; echo hello > /home/file; rm /etc/plain");
    assert_eq!(run(&spec), (ExitStatus::Code(0), "0022\n".to_owned()));
    assert_eq!(std::fs::read_to_string(upper.join("home/file")).expect("reads"), "hello\n");
    assert_eq!(std::fs::symlink_metadata(upper.join("etc/plain")).expect("a whiteout").rdev(), 0);
    Outcome::Passed
}

fn mount_stubs_leave_no_trace(lab: &Lab) -> Outcome {
    let (mut spec, upper) = shell(lab, "cat /etc/hosts /run/secrets/key; test -d /home/deep/er");
    spec.mounts = vec![
        data("/run/secrets/key", "key\n"),
        data("/etc/hosts", "hosts\n"),
        Mount {
            dest: "/home/deep/er".to_owned(),
            kind: MountKind::Tmpfs { size: None, mode: 0o755, readonly: false },
        },
    ];
    let before = std::fs::metadata(&upper).expect("stats").modified().expect("a time");
    assert_eq!(run(&spec), (ExitStatus::Code(0), "hosts\nkey\n".to_owned()));
    assert_eq!(names(&upper), Vec::<String>::new());
    assert_eq!(std::fs::metadata(&upper).expect("stats").modified().expect("a time"), before);
    Outcome::Passed
}

fn stubs_do_not_undo_the_commands_changes(lab: &Lab) -> Outcome {
    let (mut spec, upper) = shell(lab, "touch /etc/new /run/secrets/mine; chmod 700 /home");
    spec.mounts =
        vec![data("/etc/hosts", "x"), data("/run/secrets/key", "x"), data("/home/stub", "x")];
    assert_eq!(run(&spec).0, ExitStatus::Code(0));
    assert_eq!(names(&upper), ["etc", "home", "run"]);
    assert_eq!(names(&upper.join("etc")), ["new"]);
    assert_eq!(names(&upper.join("run/secrets")), ["mine"]);
    assert_eq!(names(&upper.join("home")), Vec::<String>::new());
    let home = std::fs::metadata(upper.join("home")).expect("stats");
    assert_eq!(home.mode() & 0o777, 0o700);
    assert_eq!(home.mtime(), std::fs::metadata(lab.base().join("home")).expect("stats").mtime());
    Outcome::Passed
}

fn hundred_and_fifty_lowers(lab: &Lab) -> Outcome {
    let (mut spec, _) = shell(lab, "ls /layers | grep -c .; cat /layers/149 /top");
    let Rootfs::Overlay(overlay) = &mut spec.rootfs else { unreachable!() };
    for number in 0..150 {
        // Longer than the 255 bytes that `fsconfig` takes.
        let layer = lab
            .directory
            .path()
            .join("l".repeat(200))
            .join("x".repeat(60))
            .join(number.to_string());
        std::fs::create_dir_all(layer.join("layers")).expect("makes");
        std::fs::write(layer.join("layers").join(number.to_string()), format!("{number}\n"))
            .expect("writes");
        std::fs::write(layer.join("top"), format!("{number}\n")).expect("writes");
        overlay.lowers.insert(0, layer);
    }
    assert_eq!(run(&spec), (ExitStatus::Code(0), "150\n149\n149\n".to_owned()));
    let mut merged = overlay_of(&spec);
    (merged.upper, merged.work) = (None, None);
    let place = tempfile::tempdir_in(lab.directory.path()).expect("a directory");
    let guard = merged.mount().expect("mounts").attach(place.path()).expect("attaches");
    assert_eq!(names(&place.path().join("layers")).len(), 150);
    assert!(std::fs::write(place.path().join("x"), "x").is_err());
    drop(guard);
    assert!(names(place.path()).is_empty());
    Outcome::Passed
}

fn overlay_of(spec: &Spec) -> OverlayMount {
    match &spec.rootfs {
        Rootfs::Overlay(overlay) => overlay.clone(),
        Rootfs::Directory { .. } => OverlayMount::default(),
    }
}

fn secrets_are_seen_but_not_stored(lab: &Lab) -> Outcome {
    let (mut spec, upper) =
        shell(lab, "cat /run/secrets/s; ls -ln /run/secrets/s; (echo x > /run/secrets/s) 2>&1");
    spec.mounts = vec![data("/run/secrets/s", "hush\n")];
    let (_, output) = run(&spec);
    assert!(output.starts_with("hush\n-r--------    1 0        0                5"), "{output}");
    assert!(output.contains("Read-only"), "{output}");
    assert!(names(&upper).is_empty());
    Outcome::Passed
}

fn mounts_nest_and_select(lab: &Lab) -> Outcome {
    let source = lab.directory.path().join("source");
    std::fs::create_dir_all(source.join("a/b")).expect("makes");
    std::fs::write(source.join("a/b/f"), "bound\n").expect("writes");
    let (mut spec, upper) =
        shell(lab, "cat /m/inner/f /m/top /part/b/f; touch /m/inner/x 2>&1; ls /m");
    let bind = |selector: &str| MountKind::Bind {
        source: source.clone(),
        selector: Some(selector.to_owned()),
        readonly: true,
    };
    let overlay =
        OverlayMount { lowers: vec![source.clone(), lab.base()], ..OverlayMount::default() };
    spec.mounts = vec![
        Mount { dest: "/m/inner".to_owned(), kind: bind("/a/b") },
        data("/m/top", "top\n"),
        Mount {
            dest: "/m".to_owned(),
            kind: MountKind::Tmpfs { size: Some(1 << 20), mode: 0o755, readonly: false },
        },
        Mount {
            dest: "/part".to_owned(),
            kind: MountKind::Overlay { overlay, selector: Some("../a".to_owned()), readonly: true },
        },
    ];
    let (_, output) = run(&spec);
    assert!(output.starts_with("bound\ntop\nbound\n") && output.contains("Read-only"), "{output}");
    assert!(output.contains("inner\ntop\n"), "{output}");
    assert!(names(&upper).is_empty());
    let (mut spec, _) = lab.spec(&["true"]);
    spec.mounts = vec![Mount { dest: "/m".to_owned(), kind: bind("nothing") }];
    let error = fails(&spec);
    assert!(
        matches!(&error, StartError::Source { selector: Some(selector), .. } if selector == "nothing"),
        "{error:?}"
    );
    Outcome::Passed
}

fn links_in_the_image_stay_inside(lab: &Lab) -> Outcome {
    let (mut spec, upper) = shell(lab, "cat /etc/resolv.conf");
    std::fs::create_dir(upper.join("etc")).expect("makes");
    std::os::unix::fs::symlink("../../../run/x/stub.conf", upper.join("etc/resolv.conf"))
        .expect("links");
    spec.mounts = vec![data("/etc/resolv.conf", "nameserver\n")];
    assert_eq!(run(&spec), (ExitStatus::Code(0), "nameserver\n".to_owned()));
    assert_eq!(names(&upper), ["etc"]);
    assert!(!Path::new("/run/x/stub.conf").exists());
    Outcome::Passed
}

fn devices_work(lab: &Lab) -> Outcome {
    let script = "echo x > /dev/null; head -c 2 /dev/zero | wc -c; ls /dev; echo > /dev/shm/x; test -c /dev/pts/ptmx; echo $?";
    let (status, output) = run(&shell(lab, script).0);
    assert!(status.success(), "{output}");
    for name in [
        "null", "zero", "full", "random", "urandom", "ptmx", "pts", "shm", "mqueue", "fd", "stdin",
        "stdout", "stderr",
    ] {
        assert!(output.lines().any(|line| line == name), "{name} in {output}");
    }
    assert!(output.starts_with("2\n") && output.ends_with("0\n"), "{output}");
    Outcome::Passed
}

fn readonly_root(lab: &Lab) -> Outcome {
    let (mut spec, upper) =
        shell(lab, "touch /x 2>&1; touch /home/x 2>&1; touch /tmp/ok && echo fine");
    spec.readonly_root = true;
    spec.mounts = vec![Mount {
        dest: "/tmp".to_owned(),
        kind: MountKind::Tmpfs { size: None, mode: 0o1777, readonly: false },
    }];
    let (_, output) = run(&spec);
    assert_eq!(output.matches("Read-only file system").count(), 2, "{output}");
    assert!(output.ends_with("fine\n"));
    assert!(names(&upper).is_empty());
    Outcome::Passed
}

fn directory_as_root(lab: &Lab) -> Outcome {
    let (mut spec, upper) = shell(lab, "echo x > /made; cat /etc/hosts");
    std::fs::create_dir(upper.join("bin")).expect("makes");
    for name in ["busybox", "sh", "cat"] {
        std::fs::hard_link(lab.base().join("bin").join(name), upper.join("bin").join(name))
            .expect("links");
    }
    spec.rootfs = Rootfs::Directory { path: upper.clone(), readonly: false };
    spec.mounts = vec![data("/etc/hosts", "hosts\n")];
    assert_eq!(run(&spec), (ExitStatus::Code(0), "hosts\n".to_owned()));
    assert_eq!(names(&upper), ["bin", "made"]);
    Outcome::Passed
}

fn unmapped_upper_is_an_error(lab: &Lab) -> Outcome {
    if lab.identity == Identity::Root {
        return Outcome::Skipped("every id is mapped".to_owned());
    }
    // Belongs to the host's root, which is not mapped here.
    let (spec, _) = lab.spec(&["true"]);
    let overlay = OverlayMount {
        upper: Some(PathBuf::from("/usr/share")),
        volatile: false,
        ..overlay_of(&spec)
    };
    let error = overlay.mount().expect_err("nothing can be written there");
    assert!(matches!(error, OverlayError::SilentlyReadOnly { .. }), "{error:?}");
    Outcome::Passed
}

fn start_is_quick(lab: &Lab) -> Outcome {
    // As in nearly every image; making them costs two to five milliseconds more on a busy ext4.
    let mount_points = lab.directory.path().join("mount-points");
    for name in ["proc", "dev", "sys"] {
        std::fs::create_dir_all(mount_points.join(name)).expect("makes");
    }
    let mut times = Vec::new();
    for _ in 0..30 {
        let (mut spec, _) = lab.spec(&["true"]);
        let Rootfs::Overlay(overlay) = &mut spec.rootfs else { unreachable!() };
        overlay.lowers.push(mount_points.clone());
        let start = Instant::now();
        let mut running = Sandbox::spawn(&spec, Streams::piped()).expect("starts");
        assert!(running.wait().expect("ends").success());
        times.push(start.elapsed());
    }
    times.sort();
    println!(
        "start and wait of /bin/true: min {:?}, median {:?}",
        times[0],
        times[times.len() / 2]
    );
    // Generous: the machine may be busy. The number above is for people.
    assert!(times[0] < Duration::from_millis(100));
    Outcome::Passed
}
