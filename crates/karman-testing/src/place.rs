//! A hermetic place for a program: an empty environment, a home, a store and a working directory
//! that nobody else uses.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// Where programs of the host are looked for.
const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The throw-away user; in no range that distributions give to people or services.
const USER: u32 = 54_321;
const USER_NAME: &str = "karmantest";
/// Becomes the user in a mount namespace where the account files are `$0/…`; the rest is the command.
const AS_USER: &str = "for f in passwd subuid subgid; do mount --bind \"$0/$f\" \"/etc/$f\" || exit 99; done; \
exec setpriv --reuid 54321 --regid 54321 --clear-groups -- \"$@\"";

/// Who runs the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// Whoever runs the tests.
    Caller,
    /// A throw-away user with ranges of subordinate ids; needs root.
    User,
    /// A throw-away user without subordinate ids; needs root.
    UserWithoutRanges,
}

/// A place for one test.
pub struct Place {
    dir: TempDir,
    program: PathBuf,
    who: Who,
    env: BTreeMap<String, String>,
}

impl Place {
    /// A place where `program` is run by the caller.
    pub fn new(program: &Path) -> Self {
        Self::of(program, Who::Caller)
    }

    /// A place where `program` is run by `who`.
    ///
    /// # Panics
    /// When the directories cannot be made.
    pub fn of(program: &Path, who: Who) -> Self {
        let dir = tempfile::Builder::new().prefix("karman-e2e-").tempdir().expect("a directory");
        let root = dir.path().to_owned();
        fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).expect("chmod");
        let mut place = Self { dir, program: program.to_owned(), who, env: BTreeMap::new() };
        for name in ["home", "work", "tmp"] {
            fs::create_dir(root.join(name)).expect("a directory");
            place.give(&root.join(name));
        }
        if who == Who::Caller {
            return place;
        }
        // The build directory may be where an ordinary user cannot look.
        let copy = root.join("program");
        if fs::hard_link(program, &copy).is_err() {
            fs::copy(program, &copy).expect("a copy of the program");
        }
        place.program = copy;
        let accounts = root.join("accounts");
        fs::create_dir(&accounts).expect("a directory");
        let passwd = fs::read_to_string("/etc/passwd").expect("the host's accounts");
        let line = format!("{USER_NAME}:x:{USER}:{USER}::/:/bin/sh\n");
        fs::write(accounts.join("passwd"), passwd + &line).expect("accounts");
        let ranges =
            if who == Who::User { format!("{USER}:200000:65536\n") } else { String::new() };
        for name in ["subuid", "subgid"] {
            fs::write(accounts.join(name), &ranges).expect("ranges");
        }
        place
    }

    /// Sets a variable for every command.
    #[must_use]
    pub fn with_env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.insert(name.to_owned(), value.into());
        self
    }

    /// The directory of everything.
    pub fn root(&self) -> &Path {
        self.dir.path()
    }

    /// The home.
    pub fn home(&self) -> PathBuf {
        self.root().join("home")
    }

    /// The store's directory; the program makes it.
    pub fn store(&self) -> PathBuf {
        self.home().join("store")
    }

    /// The working directory.
    pub fn work(&self) -> PathBuf {
        self.root().join("work")
    }

    /// Writes a file below the working directory.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.work().join(name);
        let parent = path.parent().expect("a parent");
        fs::create_dir_all(parent).expect("directories");
        let mut above = parent.to_owned();
        while above.starts_with(self.work()) {
            self.give(&above);
            above.pop();
        }
        fs::write(&path, content).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        self.give(&path);
        path
    }

    /// Gives a file to whoever runs the program.
    pub fn give(&self, path: &Path) {
        if self.who != Who::Caller {
            chown(path, Some(USER), Some(USER)).expect("chown");
        }
    }

    /// The program with arguments, in the working directory, with nothing of the caller's environment.
    pub fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = if self.who == Who::Caller {
            Command::new(&self.program)
        } else {
            let mut command = Command::new("unshare");
            command.args(["--mount", "--propagation", "private", "--", "/bin/sh", "-c", AS_USER]);
            command.arg(self.root().join("accounts")).arg(&self.program);
            command
        };
        command
            .args(args)
            .env_clear()
            .env("PATH", SEARCH_PATH)
            .env("HOME", self.home())
            .env("TMPDIR", self.root().join("tmp"))
            .env("KARMAN_ROOT", self.store())
            .envs(&self.env)
            .current_dir(self.work())
            .stdin(Stdio::null());
        command
    }

    /// Runs the program to its end.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Told {
        Told::of(&self.command(args).output().expect("the program starts"))
    }

    /// Runs the program to its end with a text on standard input.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn run_with_input<S: AsRef<OsStr>>(
        &self,
        args: impl IntoIterator<Item = S>,
        input: &str,
    ) -> Told {
        let mut command = self.command(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        // A program that ends without reading breaks the pipe: its answer tells why.
        let _ = child.stdin.take().map(|mut pipe| pipe.write_all(input.as_bytes()));
        Told::of(&child.wait_with_output().expect("the program ends"))
    }
}

/// What a program left behind.
#[derive(Debug, Clone)]
pub struct Told {
    /// The exit code; -1 after a signal.
    pub code: i32,
    /// Standard output.
    pub bytes: Vec<u8>,
    /// Standard output as text.
    pub out: String,
    /// Standard error as text.
    pub err: String,
}

impl Told {
    /// What a finished process told.
    pub fn of(output: &Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            bytes: output.stdout.clone(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Asserts success.
    ///
    /// # Panics
    /// When it failed; shows what it said.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{}\n{}", self.out, self.err);
        self
    }

    /// Asserts an exit code and words on standard error.
    ///
    /// # Panics
    /// When either differs; shows what it said.
    #[track_caller]
    pub fn is(self, code: i32, words: &str) -> Self {
        assert_eq!(self.code, code, "{}\n{}", self.out, self.err);
        assert!(self.err.contains(words), "`{words}` is not in: {}", self.err);
        self
    }
}
