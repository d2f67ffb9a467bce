//! Programs of the host: `git`, credential helpers. Output is bounded and the environment is
//! exactly what is handed in.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

/// The most output that is kept of one stream.
const MAX_OUTPUT: u64 = 64 << 20;

/// A program about to be run.
#[derive(Debug)]
pub struct Program {
    command: Command,
    input: Vec<u8>,
}

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Whether it exited with 0.
    pub success: bool,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
}

impl Program {
    /// A program found on the `PATH` of its environment, which begins empty.
    pub fn new(name: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(name);
        command.env_clear();
        Self { command, input: Vec::new() }
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    /// More arguments.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.command.args(args);
        self
    }

    /// One variable of its environment.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Variables of its environment.
    #[must_use]
    pub fn env_all(mut self, env: &[(OsString, OsString)]) -> Self {
        self.command.envs(env.iter().map(|(name, value)| (name, value)));
        self
    }

    /// Where it runs.
    #[must_use]
    pub fn dir(mut self, dir: &Path) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// What it reads from standard input.
    #[must_use]
    pub fn input(mut self, bytes: Vec<u8>) -> Self {
        self.input = bytes;
        self
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// When it cannot be started. A failure of the program itself is in the output.
    pub fn output(mut self) -> io::Result<Output> {
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn()?;
        let (stdin, stdout, stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let input = self.input;
        let (stdout, stderr) = std::thread::scope(|scope| {
            scope.spawn(move || {
                // A program that does not read its input closes the pipe; its exit code tells.
                let _ = stdin.map(|mut pipe| pipe.write_all(&input));
            });
            let errors = scope.spawn(move || read_all(stderr));
            let out = read_all(stdout);
            (out, errors.join().unwrap_or_default())
        });
        let success = child.wait()?.success();
        Ok(Output { success, stdout, stderr })
    }
}

/// Reads a stream to its end and keeps the first [`MAX_OUTPUT`] bytes.
fn read_all(stream: Option<impl Read>) -> Vec<u8> {
    let Some(mut stream) = stream else { return Vec::new() };
    let mut kept = Vec::new();
    // What cannot be read is missing from the output; the exit code tells.
    let _ = stream.by_ref().take(MAX_OUTPUT).read_to_end(&mut kept);
    let _ = io::copy(&mut stream, &mut io::sink());
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_sees_only_what_it_is_given() {
        let out = Program::new("/bin/sh")
            .args(["-c", "echo $A; cat; echo no >&2; exit 3"])
            .env("A", "x")
            .input(b"in".to_vec())
            .output()
            .expect("sh runs");
        assert!(!out.success);
        assert_eq!(out.stdout, b"x\nin");
        assert_eq!(out.stderr, b"no\n");
    }
}
