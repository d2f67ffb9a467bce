//! A root filesystem made of busybox, and ways to run commands in it.

use std::io::Read;
use std::path::{Path, PathBuf};

use karman_sys::identity::Identity;
use karman_sys::overlay::OverlayMount;
use karman_sys::sandbox::{
    ExitStatus, Mount, MountKind, Rootfs, Sandbox, SandboxError, Spec, StartError, Streams,
};

const BUSYBOX: [&str; 2] = ["/bin/busybox", "/usr/bin/busybox"];

/// A place with a root filesystem made of busybox.
pub(crate) struct Lab {
    pub(crate) identity: Identity,
    pub(crate) busybox: Option<PathBuf>,
    pub(crate) directory: tempfile::TempDir,
}

impl Lab {
    pub(crate) fn new(identity: Identity) -> Self {
        let directory =
            tempfile::Builder::new().prefix("karman-lab").tempdir().expect("a directory");
        let busybox = BUSYBOX.iter().map(PathBuf::from).find(|path| path.exists());
        let lab = Self { identity, busybox, directory };
        if let Some(busybox) = &lab.busybox {
            let root = lab.base();
            for name in ["bin", "etc", "home"] {
                std::fs::create_dir_all(root.join(name)).expect("makes");
            }
            std::fs::copy(busybox, root.join("bin/busybox")).expect("copies");
            for applet in [
                "sh", "true", "cat", "ls", "mount", "unshare", "sleep", "id", "ip", "touch",
                "chmod", "rm", "grep", "test", "head", "wc", "env", "kill",
            ] {
                std::os::unix::fs::symlink("busybox", root.join("bin").join(applet))
                    .expect("links");
            }
            std::fs::write(root.join("etc/plain"), "not a program\n").expect("writes");
        }
        lab
    }

    pub(crate) fn base(&self) -> PathBuf {
        self.directory.path().join("base")
    }

    /// A fresh upper directory and the specification that runs `args` on it.
    pub(crate) fn spec(&self, args: &[&str]) -> (Spec, PathBuf) {
        let run = tempfile::Builder::new()
            .prefix("run")
            .tempdir_in(self.directory.path())
            .expect("a directory")
            .keep();
        let (upper, work) = (run.join("upper"), run.join("work"));
        std::fs::create_dir(&upper).expect("makes");
        std::fs::create_dir(&work).expect("makes");
        let overlay = OverlayMount {
            lowers: vec![self.base()],
            upper: Some(upper.clone()),
            work: Some(work),
            volatile: true,
        };
        let mut spec =
            Spec::new(Rootfs::Overlay(overlay), args.iter().map(|a| (*a).to_owned()).collect());
        spec.env = vec![("PATH".to_owned(), "/bin".to_owned())];
        (spec, upper)
    }
}

pub(crate) fn run(spec: &Spec) -> (ExitStatus, String) {
    let mut running =
        Sandbox::spawn(spec, Streams::piped()).unwrap_or_else(|error| panic!("{error}: {error:?}"));
    let mut output = String::new();
    let mut errors = running.take_stderr().expect("piped");
    running.take_stdout().expect("piped").read_to_string(&mut output).expect("reads");
    errors.read_to_string(&mut output).expect("reads");
    (running.wait().expect("reports"), output)
}

pub(crate) fn shell(lab: &Lab, script: &str) -> (Spec, PathBuf) {
    lab.spec(&["sh", "-c", script])
}

pub(crate) fn fails(spec: &Spec) -> StartError {
    match Sandbox::spawn(spec, Streams::piped()) {
        Err(SandboxError::Start(error)) => error,
        other => panic!("expected a start error, got {other:?}"),
    }
}

pub(crate) fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).expect("reads");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

pub(crate) fn data(dest: &str, text: &str) -> Mount {
    let kind = MountKind::FileData { bytes: text.as_bytes().to_vec(), mode: 0o400, uid: 0, gid: 0 };
    Mount { dest: dest.to_owned(), kind }
}
