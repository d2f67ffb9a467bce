//! What a `RUN` runs, as far as it shows.

use super::shell::{Command, commands};
use crate::instruction::{CommandLine, Heredoc, Run};

/// Shells whose `-c` argument is a script.
const SHELLS: &[&str] = &["sh", "bash", "ash", "dash", "zsh"];

/// The commands of a `RUN`.
#[derive(Debug, Clone)]
pub(crate) struct Script(Vec<Command>);

impl Script {
    /// Of both forms; the bodies of heredocs are scripts too, which is what they nearly always
    /// are.
    pub(crate) fn of(run: &Run) -> Self {
        let mut all = match &run.command {
            CommandLine::Shell(line) => commands(line),
            CommandLine::Exec(words) => exec(words),
        };
        all.extend(run.heredocs.iter().map(Heredoc::text).flat_map(|body| commands(&body)));
        Self(all)
    }

    pub(super) fn commands(&self) -> impl Iterator<Item = &Command> {
        self.0.iter()
    }
}

/// The JSON form: a command, or a shell with a script.
fn exec(words: &[String]) -> Vec<Command> {
    let Some(command) = Command::of(words.to_vec()) else { return Vec::new() };
    let mut arguments = command.arguments().iter();
    let is_script = |a: &&String| a.starts_with('-') && a.ends_with('c');
    match arguments.find(is_script).and_then(|_| arguments.next()) {
        Some(script) if SHELLS.contains(&command.name()) => commands(script),
        _ => vec![command],
    }
}
