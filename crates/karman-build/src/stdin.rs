//! Standard input as a context: an archive of files, or a Dockerfile alone.

use std::path::PathBuf;

use karman_exporter::unpack::{DirSink, Limits, Ownership, extract_archive, is_archive};
use karman_sys::fs::Dir;

use crate::error::{Problem, Step, with_causes};
use crate::plan::Planner;

/// The directory in the scratch directory that an archive is unpacked into.
const UNPACKED: &str = "stdin-context";
/// The directory in the scratch directory that stays empty.
const EMPTY: &str = "empty-context";

/// What standard input is as a context.
#[derive(Debug, Clone)]
pub(crate) enum StdinContext {
    /// An archive, unpacked here.
    Archive(PathBuf),
    /// A Dockerfile.
    Dockerfile,
}

impl<'a> Planner<'a> {
    /// The bytes of standard input.
    pub(crate) fn stdin_bytes(&self) -> Step<&'a [u8]> {
        match self.facts.stdin.as_deref() {
            Some([]) => Err(Problem::input_hint(
                "standard input is empty",
                "pipe a Dockerfile or a tar of the context into the command",
            )),
            Some(bytes) => Ok(bytes),
            None => Err(Problem::usage("standard input is asked for but was not read")),
        }
    }

    /// Standard input as a context; unpacked once.
    pub(crate) fn stdin_context(&mut self) -> Step<StdinContext> {
        if let Some(known) = &self.stdin {
            return Ok(known.clone());
        }
        let bytes = self.stdin_bytes()?;
        let context = if is_archive(bytes) {
            StdinContext::Archive(self.unpack_stdin(bytes)?)
        } else {
            StdinContext::Dockerfile
        };
        Ok(self.stdin.insert(context).clone())
    }

    /// A directory without files: the context of a Dockerfile on standard input, as in buildx.
    pub(crate) fn empty_directory(&self) -> Step<PathBuf> {
        let path = self.facts.scratch.join(EMPTY);
        fs_err::create_dir_all(&path)
            .map_err(|e| Problem::input(format!("make an empty context: {e}")))?;
        Ok(path)
    }

    fn unpack_stdin(&self, bytes: &[u8]) -> Step<PathBuf> {
        let path = self.facts.scratch.join(UNPACKED);
        let failed = |e: &dyn std::error::Error| {
            Problem::input(format!("unpack the context from standard input: {}", with_causes(e)))
        };
        fs_err::create_dir_all(&path).map_err(|e| failed(&e))?;
        let root = Dir::open(&path).map_err(|e| failed(&e))?;
        let mut sink = DirSink::new(&root, Ownership::Process);
        extract_archive(bytes, &mut sink, Limits::default()).map_err(|e| failed(&e))?;
        sink.finish().map_err(|e| failed(&e))?;
        Ok(path)
    }
}
