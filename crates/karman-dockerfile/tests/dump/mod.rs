//! A compact text dump of the typed instructions, for expectations.

use std::fmt::Write as _;

use karman_diag::{SourceMap, Span};
use karman_dockerfile::instruction::{
    Add, ArgPair, CommandLine, Copy, Dockerfile, Files, Healthcheck, Heredoc, Instruction,
    InstructionKind, Pair, RawMount, Run, SourceWord, Stage, Word,
};

/// The tree as text; each instruction with its lines.
pub(crate) fn dump(tree: &Dockerfile, sources: &SourceMap) -> String {
    let mut out = Dump { sources, text: String::new() };
    let directives = &tree.directives;
    if let Some(syntax) = &directives.syntax {
        out.line(0, format!("syntax {:?}", syntax.value));
    }
    if directives.escape != '\\' {
        out.line(0, format!("escape {:?}", directives.escape));
    }
    if let Some(check) = &directives.check {
        out.line(0, format!("check {:?}", check.value));
    }
    for arg in &tree.global_args {
        out.instruction(0, arg);
    }
    for stage in &tree.stages {
        out.stage(stage);
    }
    out.text
}

struct Dump<'a> {
    sources: &'a SourceMap,
    text: String,
}

impl Dump<'_> {
    fn line(&mut self, depth: usize, text: String) {
        let _ = writeln!(self.text, "{:depth$}{text}", "", depth = depth * 2);
    }

    fn place(&self, span: Span) -> String {
        let lines = |offset| self.sources.get(span.file).map_or(0, |f| f.line_column(offset).line);
        let first = lines(span.start as usize);
        let last = lines((span.end as usize).saturating_sub(1).max(span.start as usize));
        if first == last { format!("{first}") } else { format!("{first}-{last}") }
    }

    fn stage(&mut self, stage: &Stage) {
        let mut text = format!("{}: FROM {}", self.place(stage.span), self.word(&stage.base));
        for (label, word) in [("as", &stage.name), ("platform", &stage.platform)] {
            if let Some(word) = word {
                let _ = write!(text, " {label}={}", self.word(word));
            }
        }
        if let Some(description) = &stage.description {
            let _ = write!(text, " # {description}");
        }
        self.line(0, text);
        for instruction in &stage.instructions {
            self.instruction(1, instruction);
        }
    }

    fn instruction(&mut self, depth: usize, instruction: &Instruction) {
        let body = self.kind(&instruction.kind);
        let place = self.place(instruction.span);
        self.line(depth, format!("{place}: {body}"));
        match &instruction.kind {
            InstructionKind::Run(run) => {
                run.heredocs.iter().for_each(|heredoc| self.heredoc(depth + 1, heredoc));
            }
            InstructionKind::Add(Add { files, .. }) | InstructionKind::Copy(Copy { files, .. }) => {
                for source in &files.sources {
                    if let SourceWord::Heredoc(heredoc) = source {
                        self.heredoc(depth + 1, heredoc);
                    }
                }
            }
            InstructionKind::Onbuild(onbuild) => match &onbuild.instruction {
                Some(inner) => self.instruction(depth + 1, inner),
                None => self.line(depth + 1, "(does not parse)".to_owned()),
            },
            _ => {}
        }
    }

    fn heredoc(&mut self, depth: usize, heredoc: &Heredoc) {
        let mut text = format!("<<{:?} lines {}", heredoc.name, self.place(heredoc.body.span));
        if heredoc.fd != 0 {
            let _ = write!(text, " fd={}", heredoc.fd);
        }
        if !heredoc.expand {
            text.push_str(" literal");
        }
        let _ = write!(text, " {:?}", heredoc.text());
        self.line(depth, text);
    }

    fn kind(&self, kind: &InstructionKind) -> String {
        match kind {
            InstructionKind::Add(add) => self.add(add),
            InstructionKind::Arg(args) => format!("ARG{}", self.args(args)),
            InstructionKind::Cmd(command) => format!("CMD {}", command_line(command)),
            InstructionKind::Copy(copy) => {
                format!(
                    "COPY{}{}",
                    self.option("from", copy.from.as_ref()),
                    self.files(&copy.files)
                )
            }
            InstructionKind::Entrypoint(command) => format!("ENTRYPOINT {}", command_line(command)),
            InstructionKind::Env(pairs) => format!("ENV{}", self.pairs(pairs)),
            InstructionKind::Expose(words) => format!("EXPOSE{}", self.words(words)),
            InstructionKind::Healthcheck(health) => format!("HEALTHCHECK {}", healthcheck(health)),
            InstructionKind::Label(pairs) => format!("LABEL{}", self.pairs(pairs)),
            InstructionKind::Maintainer(word) => format!("MAINTAINER {}", self.word(word)),
            InstructionKind::Onbuild(onbuild) => format!("ONBUILD {:?}", onbuild.expression),
            InstructionKind::Run(run) => self.run(run),
            InstructionKind::Shell(words) => format!("SHELL {words:?}"),
            InstructionKind::Stopsignal(word) => format!("STOPSIGNAL {}", self.word(word)),
            InstructionKind::User(word) => format!("USER {}", self.word(word)),
            InstructionKind::Volume(words) => format!("VOLUME{}", self.words(words)),
            InstructionKind::Workdir(word) => format!("WORKDIR {}", self.word(word)),
        }
    }

    /// A word, and what its span covers where that reads differently.
    fn word(&self, word: &Word) -> String {
        let range = word.span.start as usize..word.span.end as usize;
        let text = self.sources.get(word.span.file).and_then(|file| file.text.get(range));
        match text {
            Some(text) if text == word.value => format!("{:?}", word.value),
            text => format!("{:?}@{:?}", word.value, text.unwrap_or_default()),
        }
    }

    fn words(&self, words: &[Word]) -> String {
        words.iter().map(|word| format!(" {}", self.word(word))).collect()
    }

    fn option(&self, name: &str, word: Option<&Word>) -> String {
        word.map_or_else(String::new, |word| format!(" {name}={}", self.word(word)))
    }

    fn pairs(&self, pairs: &[Pair]) -> String {
        let one = |pair: &Pair| {
            let mark = if pair.legacy { " legacy" } else { "" };
            format!("{mark} {}={}", self.word(&pair.name), self.word(&pair.value))
        };
        pairs.iter().map(one).collect()
    }

    fn args(&self, args: &[ArgPair]) -> String {
        let one = |arg: &ArgPair| {
            let value =
                arg.value.as_ref().map_or_else(String::new, |v| format!("={}", self.word(v)));
            let about = arg.description.as_ref().map_or_else(String::new, |d| format!(" # {d}"));
            format!(" {}{value}{about}", self.word(&arg.name))
        };
        args.iter().map(one).collect()
    }

    fn add(&self, add: &Add) -> String {
        let mut text = "ADD".to_owned();
        for (name, flag) in [("keep-git-dir", add.keep_git_dir), ("unpack", add.unpack)] {
            if let Some(flag) = flag {
                let _ = write!(text, " {name}={flag}");
            }
        }
        text + &self.option("checksum", add.checksum.as_ref()) + &self.files(&add.files)
    }

    fn files(&self, files: &Files) -> String {
        let mut text = self.option("chown", files.chown.as_ref());
        text += &self.option("chmod", files.chmod.as_ref());
        for (name, flag) in [("link", files.link), ("parents", files.parents)] {
            if flag {
                let _ = write!(text, " {name}");
            }
        }
        for pattern in &files.exclude {
            text += &self.option("exclude", Some(pattern));
        }
        for source in &files.sources {
            match source {
                SourceWord::Path(word) => text += &format!(" {}", self.word(word)),
                SourceWord::Heredoc(heredoc) => text += &format!(" <<{:?}", heredoc.name),
            }
        }
        text + " -> " + &self.word(&files.dest)
    }

    fn run(&self, run: &Run) -> String {
        let mut text = "RUN".to_owned();
        for mount in &run.mounts {
            let _ = write!(text, " mount({})", mount_options(mount));
        }
        text += &self.option("network", run.network.as_ref());
        text += &self.option("security", run.security.as_ref());
        for device in &run.devices {
            text += &self.option("device", Some(device));
        }
        text + " " + &command_line(&run.command)
    }
}

fn command_line(command: &CommandLine) -> String {
    match command {
        CommandLine::Exec(words) => format!("exec {words:?}"),
        CommandLine::Shell(line) => format!("shell {line:?}"),
    }
}

fn mount_options(mount: &RawMount) -> String {
    let one = |key: &str, value: Option<&str>| match value {
        Some(value) => format!("{key}={value}"),
        None => key.to_owned(),
    };
    let options = mount.options.iter().map(|o| one(&o.key, o.value.as_deref()));
    options.collect::<Vec<_>>().join(" ")
}

fn healthcheck(health: &Healthcheck) -> String {
    let mut text = health.command.as_ref().map_or_else(|| "none".to_owned(), command_line);
    let numbers = [
        ("interval", health.interval),
        ("timeout", health.timeout),
        ("start-period", health.start_period),
        ("start-interval", health.start_interval),
        ("retries", health.retries),
    ];
    for (name, number) in numbers {
        if let Some(number) = number {
            let _ = write!(text, " {name}={number}");
        }
    }
    text
}
