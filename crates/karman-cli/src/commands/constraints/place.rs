//! Where a series lies, and what is read from there.
//!
//! ```text
//! DIR/SERIES.toml                    what people write
//! DIR/SERIES/upper-constraints.txt   the pins, written by `lock`
//! DIR/SERIES/requirements.json       the requirement graph, written by `lock`
//! DIR/SERIES/imported.txt            somebody else's pins, written by `import`
//! ```

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use karman_constraints::{Applied, Date, Pins, Requirements, Series, apply, parse, parse_compiled};
use karman_diag::{Diagnostic, ExitCode, SourceMap, Span};
use karman_oci::Digest;

use crate::failure::{Done, Failure, chain};
use crate::out;
use crate::setup::Context;

/// The directory that `--dir` stands for.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Dir {
    /// Directory of the constraints
    #[arg(long, value_name = "DIR", default_value = "constraints")]
    dir: PathBuf,
}

/// The series that a command is about.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct SeriesArgs {
    /// Series; its source is DIR/SERIES.toml [default: the only one in DIR]
    series: Option<String>,
    #[command(flatten)]
    dir: Dir,
}

impl SeriesArgs {
    /// Where it lies.
    pub(crate) fn place(&self, context: &Context) -> Done<Place> {
        self.dir.place(self.series.as_deref(), context)
    }
}

/// One series below a directory.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// Its name.
    pub(crate) series: String,
    dir: PathBuf,
}

/// A series as it was read.
pub(crate) struct Loaded {
    /// The series.
    pub(crate) series: Series,
    /// Its text.
    pub(crate) text: String,
    /// Where its spans point.
    pub(crate) sources: SourceMap,
    /// Warnings about it.
    pub(crate) warnings: Vec<Diagnostic>,
}

impl Dir {
    /// The series of that name, or the only one that is there.
    pub(crate) fn place(&self, series: Option<&str>, context: &Context) -> Done<Place> {
        let series = match series {
            Some(name) => name.to_owned(),
            None => self.only(context)?,
        };
        Ok(Place { series, dir: self.dir.clone() })
    }

    fn only(&self, context: &Context) -> Done<String> {
        let failed = |source| Failure::File { doing: "read", path: self.dir.clone(), source };
        let entries = std::fs::read_dir(context.env.absolute(&self.dir)).map_err(failed)?;
        let mut names = Vec::new();
        for entry in entries {
            let path = entry.map_err(failed)?.path();
            if path.extension().is_some_and(|e| e == "toml") {
                names.extend(path.file_stem().map(|s| s.to_string_lossy().into_owned()));
            }
        }
        names.sort();
        match names.as_slice() {
            [one] => Ok(one.clone()),
            [] => Err(Failure::usage(format!("`{}` holds no series", self.dir.display()))),
            _ => Err(Failure::usage_hint(
                format!("`{}` holds several series", self.dir.display()),
                format!("name one of {}", names.join(", ")),
            )),
        }
    }
}

impl Place {
    /// What people write.
    pub(crate) fn source(&self) -> PathBuf {
        self.dir.join(format!("{}.toml", self.series))
    }

    /// The pins.
    pub(crate) fn locked(&self) -> PathBuf {
        self.dir.join(&self.series).join("upper-constraints.txt")
    }

    /// The requirement graph.
    pub(crate) fn requirements(&self) -> PathBuf {
        self.dir.join(&self.series).join("requirements.json")
    }

    /// Somebody else's pins.
    pub(crate) fn imported(&self) -> PathBuf {
        self.dir.join(&self.series).join("imported.txt")
    }

    /// Reads the series; what is wrong with it is a failure.
    pub(crate) fn load(&self, context: &Context) -> Done<Loaded> {
        self.parse(read(&self.source(), context)?)
    }

    /// The series that a text is.
    pub(crate) fn parse(&self, text: String) -> Done<Loaded> {
        let mut sources = SourceMap::new();
        let file = sources.add(self.source().display().to_string(), text.as_str());
        let (series, warnings) = parse(file, &text);
        match series {
            Some(series) => Ok(Loaded { series, text, sources, warnings }),
            None => Err(Failure::diagnostics(&warnings, &sources, ExitCode::Input)),
        }
    }

    /// The pins that were locked, or else those that were imported, under the bounds of the series.
    pub(crate) fn pins(&self, loaded: &Loaded, context: &Context) -> Done<Pins> {
        let path = self.locked();
        if context.env.absolute(&path).exists() {
            return pins(&path, &read(&path, context)?);
        }
        if let Some(applied) = self.held(loaded, context)? {
            out::note(&format!(
                "WARNING: `{}` does not exist; the imported pins stand for it\nhint: `karman constraints lock {}` shows that the fleet resolves under them\n",
                path.display(),
                self.series
            ));
            return Ok(applied.pins);
        }
        Err(Failure::Rendered {
            text: format!(
                "ERROR: `{}` does not exist\nhint: `karman constraints lock {}` writes it\n",
                path.display(),
                self.series
            ),
            exit: ExitCode::Input,
        })
    }

    /// The requirement graph, where one was recorded. One that is older than the pins is used all
    /// the same, and said to be.
    pub(crate) fn graph(&self, pins: &Pins, context: &Context) -> Done<Option<Requirements>> {
        let path = self.requirements();
        let full = context.env.absolute(&path);
        if !full.exists() {
            return Ok(None);
        }
        let graph = Requirements::parse(&read(&path, context)?).map_err(|e| Failure::Rendered {
            text: format!(
                "ERROR: {}: {}\nhint: `karman constraints lock {}` writes it anew\n",
                path.display(),
                chain(&e),
                self.series
            ),
            exit: ExitCode::Input,
        })?;
        let stale = graph.pythons.values().flatten().find(|(name, node)| {
            !pins.get(name).is_empty() && !pins.get(name).iter().any(|p| p.version == node.version)
        });
        if let Some((name, node)) = stale {
            out::note(&format!(
                "WARNING: {} was recorded for other pins: it has {name} {}\n",
                path.display(),
                node.version
            ));
        }
        Ok(Some(graph))
    }

    /// The imported pins under the bounds of `loaded`, where the series starts from such.
    pub(crate) fn held(&self, loaded: &Loaded, context: &Context) -> Done<Option<Applied>> {
        let Some(imported) = &loaded.series.imported else { return Ok(None) };
        let path = self.imported();
        let text = read(&path, context)?;
        let found = Digest::sha256_of(text.as_bytes()).hex();
        if found != imported.sha256 {
            let message = format!("`{}` has SHA-256 {found}, not this one", path.display());
            let hint = format!(
                "it is a copy and not edited by hand; `karman constraints import {} …` fetches it anew",
                self.series
            );
            let wrong = Diagnostic::error(message, imported.span).with_hint(hint);
            return Err(loaded.failure(&[wrong]));
        }
        let pins = pins(&path, &text)?;
        apply(&loaded.series, &pins).map(Some).map_err(|found| loaded.failure(&found))
    }
}

impl Loaded {
    /// A failure of the series itself.
    pub(crate) fn failure(&self, found: &[Diagnostic]) -> Failure {
        Failure::diagnostics(found, &self.sources, ExitCode::Input)
    }

    /// Tells diagnostics that are no failure.
    pub(crate) fn tell(&self, found: &[Diagnostic]) {
        found.iter().for_each(|d| out::note(&karman_diag::render(d, &self.sources)));
    }

    /// `file:line` of a place in the series.
    pub(crate) fn at(&self, span: Span) -> String {
        let place = self.sources.locate(span);
        place.map_or(String::new(), |(name, at)| format!("{name}:{}", at.line))
    }
}

/// Reads a file of the caller.
pub(crate) fn read(path: &Path, context: &Context) -> Done<String> {
    let full = context.env.absolute(path);
    std::fs::read_to_string(&full).map_err(|source| Failure::File {
        doing: "read",
        path: path.to_owned(),
        source,
    })
}

/// The pins of a text; `path` is named where it holds something else.
pub(crate) fn pins(path: &Path, text: &str) -> Done<Pins> {
    parse_compiled(text).map_err(|e| Failure::Rendered {
        text: format!("ERROR: {}: {e}\n", path.display()),
        exit: ExitCode::Input,
    })
}

/// The day that `--today` names, or that of the clock.
pub(crate) fn today(named: Option<Date>) -> Done<Date> {
    if let Some(day) = named {
        return Ok(day);
    }
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let seconds = since.map_err(|e| Failure::host("read the clock", e))?.as_secs();
    Date::of_unix_seconds(seconds).ok_or_else(|| {
        Failure::usage("the clock is after the year 9999: name a day with `--today`")
    })
}
