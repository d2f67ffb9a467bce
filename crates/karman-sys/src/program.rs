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
        let input = std::mem::take(&mut self.input);
        self.output_fed(move |pipe| pipe.write_all(&input)).map(|(output, _)| output)
    }

    /// Runs it to its end while `feed` writes its standard input; gives also what `feed` said. A program that
    /// does not read to the end closes the pipe, which `feed` sees as an error.
    ///
    /// # Errors
    /// When it cannot be started. A failure of the program itself is in the output.
    pub fn output_fed<T: Send>(
        mut self,
        feed: impl FnOnce(&mut dyn Write) -> T + Send,
    ) -> io::Result<(Output, Option<T>)> {
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn()?;
        let (stdin, stdout, stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (stdout, stderr, fed) = std::thread::scope(|scope| {
            let feeder = scope.spawn(move || stdin.map(|mut pipe| feed(&mut pipe)));
            let errors = scope.spawn(move || read_all(stderr));
            let out = read_all(stdout);
            (out, errors.join().unwrap_or_default(), feeder.join().ok().flatten())
        });
        let success = child.wait()?.success();
        Ok((Output { success, stdout, stderr }, fed))
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

    #[test]
    fn a_program_that_does_not_read_does_not_block() {
        let program = Program::new("/bin/sh").args(["-c", "exec <&-; exit 4"]);
        let chunk = vec![0_u8; 1 << 20];
        let (out, fed) = program.output_fed(|pipe| pipe.write_all(&chunk)).expect("sh runs");
        assert!(!out.success && fed.is_some_and(|fed| fed.is_err()));
    }
}
