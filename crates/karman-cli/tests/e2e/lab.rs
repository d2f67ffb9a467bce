//! What the tests share: the program, the base image, and what the host has.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use karman_testing::{Place, Skip, Tested, Told, Who};
use tempfile::TempDir;

use crate::layout;
use crate::tree::Tree;

const SEARCH: [&str; 4] = ["/usr/bin", "/bin", "/usr/sbin", "/usr/local/bin"];
/// The longest wait for something another process does.
const PATIENCE: Duration = Duration::from_secs(20);

/// Shared by all tests of a run.
pub(crate) struct Lab {
    dir: TempDir,
    base: OnceLock<Result<Tree, String>>,
    multi: OnceLock<()>,
}

impl Lab {
    pub(crate) fn new() -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        let dir =
            tempfile::Builder::new().prefix("karman-e2e-lab-").tempdir().expect("a directory");
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755))
            .expect("chmod");
        Self { dir, base: OnceLock::new(), multi: OnceLock::new() }
    }

    /// The program under test.
    pub(crate) fn program() -> &'static Path {
        Path::new(env!("CARGO_BIN_EXE_karman"))
    }

    /// A place where builds work and the base image is there.
    pub(crate) fn place(&self) -> Result<Place, Skip> {
        self.place_of(Who::Caller)
    }

    /// The same for somebody else.
    pub(crate) fn place_of(&self, who: Who) -> Result<Place, Skip> {
        self.base_tree()?;
        Ok(Place::of(Self::program(), who))
    }

    /// The files of the base image.
    pub(crate) fn base_tree(&self) -> Result<&Tree, Skip> {
        let made = self.base.get_or_init(|| {
            let told = Place::new(Self::program()).run(["doctor", "--json"]);
            if told.code != 0 {
                return Err("`karman doctor` says that builds cannot work here".to_owned());
            }
            let busybox = find("busybox").ok_or("no busybox (package busybox-static)")?;
            let tar = layout::busybox_layer(&busybox)?;
            layout::write_image(&self.base_dir(), std::slice::from_ref(&tar));
            Ok(Tree::read(&tar))
        });
        made.as_ref().map_err(|reason| Skip::because(reason.clone()))
    }

    /// The directory of the base image's layout.
    pub(crate) fn base_dir(&self) -> PathBuf {
        self.dir.path().join("base")
    }

    /// The source of the base image.
    pub(crate) fn base(&self) -> String {
        format!("oci-layout://{}", self.base_dir().display())
    }

    /// The source of an index of three platforms.
    pub(crate) fn multi(&self) -> String {
        let dir = self.dir.path().join("multi");
        self.multi.get_or_init(|| layout::write_multi(&dir));
        format!("oci-layout://{}", dir.display())
    }

    /// A text without the name of the lab's directory.
    pub(crate) fn masked(&self, text: &str) -> String {
        text.replace(&*self.dir.path().to_string_lossy(), "[LAB]")
    }

    /// The arguments of a build whose base image `busybox` is ours.
    pub(crate) fn build_args(&self, args: &[&str]) -> Vec<String> {
        let context = format!("busybox={}", self.base());
        let all = ["build", "--progress=plain", "--build-context", &context];
        all.iter().chain(args).map(|a| (*a).to_owned()).collect()
    }

    /// Runs a build.
    pub(crate) fn build(&self, place: &Place, args: &[&str]) -> Told {
        place.run(self.build_args(args))
    }

    /// Builds `context` as `tag` and gives the image's digest.
    #[track_caller]
    pub(crate) fn digest(&self, place: &Place, args: &[&str]) -> String {
        let file = place.work().join("metadata.json");
        let file = file.to_string_lossy();
        self.build(place, &[args, &["--metadata-file", &file]].concat()).ok();
        let text = std::fs::read_to_string(&*file).expect("metadata");
        let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        json["containerimage.digest"].as_str().expect("a digest").to_owned()
    }
}

/// A program of the host.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    SEARCH.iter().map(|dir| Path::new(dir).join(name)).find(|path| path.exists())
}

/// A program of the host, without which the test is skipped.
pub(crate) fn need(name: &str) -> Result<PathBuf, Skip> {
    find(name).ok_or_else(|| Skip::because(format!("`{name}` is not installed")))
}

/// Runs a check that is written in Python, where the library that knows the format is installed: in the
/// Python of `KARMAN_TEST_PYTHON`, or the host's.
pub(crate) fn read_by_python(place: &Place, module: &str, package: &str, check: &str) -> Tested {
    let python = match std::env::var_os("KARMAN_TEST_PYTHON") {
        Some(named) => PathBuf::from(named),
        None => need("python3")?,
    };
    if tool_tells(place, &python, &["-c", &format!("import {module}")]).code != 0 {
        return Err(Skip::because(format!("the Python package `{package}` is not installed")));
    }
    tool(place, &python, &["-c", check]);
    Ok(())
}

/// Skips unless root.
pub(crate) fn need_root() -> Result<(), Skip> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    Err(Skip::because("needs root"))
}

/// Runs a program of the host that must succeed, in the work directory of a place.
#[track_caller]
pub(crate) fn tool(place: &Place, program: &Path, args: &[&str]) -> Told {
    let told = tool_tells(place, program, args);
    assert_eq!(told.code, 0, "{} {args:?}: {}{}", program.display(), told.out, told.err);
    told
}

/// Runs a program of the host.
#[track_caller]
pub(crate) fn tool_tells(place: &Place, program: &Path, args: &[&str]) -> Told {
    let mut command = Command::new(program);
    command
        .args(args)
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("HOME", place.home())
        .env("TMPDIR", place.root().join("tmp"))
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .current_dir(place.work());
    Told::of(&command.output().unwrap_or_else(|e| panic!("{}: {e}", program.display())))
}

/// Waits until something is so.
pub(crate) fn wait_for(mut so: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        if so() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    so()
}

/// The processes on this host with that word among their arguments.
pub(crate) fn processes_with(word: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("/proc").flatten() {
        let Ok(line) = std::fs::read(entry.path().join("cmdline")) else { continue };
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(word) {
            found.push(format!("{} {line}", entry.file_name().to_string_lossy()));
        }
    }
    found
}
