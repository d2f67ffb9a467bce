//! What uv is given: requirements, constraints, arguments.

use std::collections::BTreeMap;

use crate::series::{Override, Series, Service};
use crate::{PackageName, PythonVersion};

const REQUIREMENTS: &str = "requirements.in";
const CONSTRAINTS: &str = "constraints.txt";
const OVERRIDES: &str = "overrides.txt";

/// The inputs of one resolution of the whole fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolverInputs {
    /// Every requirement of every service; the services' distributions pinned exactly.
    pub requirements: String,
    /// Caps, and overrides that are not forced.
    pub constraints: String,
    /// Forced overrides (uv's `--overrides`: they replace what packages ask for), where there are any.
    /// Whoever installs under the constraints must hand this to uv too (`UV_OVERRIDE`): without it
    /// the package that asks for something else refuses the pin.
    pub overrides: Option<String>,
    /// `--exclude-newer` and the exemptions from it.
    pub uv_args: Vec<String>,
    /// The Pythons to resolve for.
    pub pythons: Vec<PythonVersion>,
}

/// A file that must lie in the directory the commands run in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockFile {
    /// Its name: one component, fit for a shell without quotes.
    pub name: &'static str,
    /// What it holds.
    pub contents: String,
}

/// One resolution: writes `name==version` lines to stdout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockCommand {
    /// The Python it is for.
    pub python: PythonVersion,
    /// Program and arguments.
    pub argv: Vec<String>,
}

/// What to run where uv is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockScript {
    /// The files.
    pub files: Vec<LockFile>,
    /// One command for each Python.
    pub commands: Vec<LockCommand>,
}

impl Series {
    /// The inputs of the resolver. Deterministic.
    pub fn resolver_inputs(&self) -> ResolverInputs {
        let line =
            |o: &Override| format!("{}{}  # {}\n", o.package, o.version, o.advisories.join(", "));
        let caps = self.caps.iter().map(|c| format!("{}{}  # cap\n", c.package, c.version));
        let floors = self.overrides.iter().filter(|o| !o.force).map(line);
        let forced: String = self.overrides.iter().filter(|o| o.force).map(line).collect();
        ResolverInputs {
            requirements: self.requirements(),
            constraints: caps.chain(floors).collect(),
            overrides: Some(forced).filter(|text| !text.is_empty()),
            uv_args: self.cutoff_args(),
            pythons: self.pythons.clone(),
        }
    }

    /// Files and commands that resolve the fleet. Every command prints one resolution to stdout, for
    /// [`parse_compiled`](crate::parse_compiled).
    pub fn lock_script(&self) -> LockScript {
        let inputs = self.resolver_inputs();
        let commands = inputs
            .pythons
            .iter()
            .map(|&python| LockCommand { python, argv: compile_argv(&inputs, python) })
            .collect();
        let mut files = vec![
            LockFile { name: REQUIREMENTS, contents: inputs.requirements },
            LockFile { name: CONSTRAINTS, contents: inputs.constraints },
        ];
        files.extend(inputs.overrides.map(|contents| LockFile { name: OVERRIDES, contents }));
        LockScript { files, commands }
    }

    fn requirements(&self) -> String {
        let mut out = String::from("# every virtual environment\n");
        for requirement in &self.base {
            out += &(requirement.line() + "\n");
        }
        for service in &self.services {
            out += &format!("# {} {}\n", service.name, service.version);
            for requirement in &service.requirements {
                out += &(service.line_of(requirement) + "\n");
            }
        }
        out
    }

    fn cutoff_args(&self) -> Vec<String> {
        let mut exempt: BTreeMap<&PackageName, String> = BTreeMap::new();
        for bound in &self.overrides {
            // `false` lifts the cut-off (uv's PackageExcludeNewer::Disabled). A range that is exempt
            // without a date would give another answer every week.
            if bound.version.is_exact() {
                exempt.insert(&bound.package, "false".to_owned());
            } else if let Some(date) = bound.cutoff {
                exempt.insert(&bound.package, date.last_second());
            }
        }
        for service in &self.services {
            exempt.insert(&service.distribution, "false".to_owned());
        }
        let mut args = vec!["--exclude-newer".to_owned(), self.cutoff.last_second()];
        for (package, until) in exempt {
            args.push("--exclude-newer-package".to_owned());
            args.push(format!("{package}={until}"));
        }
        args
    }
}

impl Service {
    fn line_of(&self, requirement: &crate::Requirement) -> String {
        if requirement.name == self.distribution {
            return requirement.line_with(&format!("=={}", self.version));
        }
        requirement.line()
    }
}

fn compile_argv(inputs: &ResolverInputs, python: PythonVersion) -> Vec<String> {
    let mut argv: Vec<String> = [
        "uv",
        "pip",
        "compile",
        "--quiet",
        // The answer depends on the series alone, not on a uv.toml of the machine.
        "--no-config",
        "--no-header",
        "--no-annotate",
        "--strip-extras",
        "--constraints",
        CONSTRAINTS,
        // What builds an sdist is bound as well: its setuptools must still have pkg_resources.
        "--build-constraints",
        CONSTRAINTS,
    ]
    .map(str::to_owned)
    .into();
    if inputs.overrides.is_some() {
        argv.extend(["--overrides".to_owned(), OVERRIDES.to_owned()]);
    }
    argv.extend(["--python-version".to_owned(), python.to_string()]);
    argv.extend(inputs.uv_args.iter().cloned());
    argv.push(REQUIREMENTS.to_owned());
    argv
}
