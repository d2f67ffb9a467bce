//! What uv is given: requirements, constraints, arguments.

use std::collections::BTreeMap;

use crate::series::{Override, Series, Service};
use crate::{PackageName, Pins, PythonVersion, Requirement, Specifiers};

const REQUIREMENTS: &str = "requirements.in";
const CONSTRAINTS: &str = "constraints.txt";
const OVERRIDES: &str = "overrides.txt";

/// The inputs of one resolution of the whole fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolverInputs {
    /// Every requirement of every service; the services' distributions pinned exactly.
    pub requirements: String,
    /// Caps, overrides that are not forced, and the pins that hold already.
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
    /// The inputs of the resolver for the whole fleet, under the pins `held`. Deterministic.
    pub fn resolver_inputs(&self, held: Option<&Pins>) -> ResolverInputs {
        self.inputs(self.requirements(), held)
    }

    fn inputs(&self, requirements: String, held: Option<&Pins>) -> ResolverInputs {
        let line =
            |o: &Override| format!("{}{}  # {}\n", o.package, o.version, o.advisories.join(", "));
        let caps = self.caps.iter().map(|c| format!("{}{}  # cap\n", c.package, c.version));
        let floors = self.overrides.iter().filter(|o| !o.force).map(line);
        let forced: String = self.overrides.iter().filter(|o| o.force).map(line).collect();
        let held_lines = held.into_iter().flat_map(Pins::iter).flat_map(|(name, pins)| {
            pins.iter().map(move |pin| {
                let marker = pin.marker.as_ref().map(|m| format!(" ; {m}")).unwrap_or_default();
                format!("{name}==={}{marker}\n", pin.version)
            })
        });
        ResolverInputs {
            requirements,
            constraints: caps.chain(floors).chain(held_lines).collect(),
            overrides: Some(forced).filter(|text| !text.is_empty()),
            uv_args: self.cutoff_args(held),
            pythons: self.pythons.clone(),
        }
    }

    /// Files and commands that resolve the fleet, under the pins `held`. Every command prints one
    /// resolution to stdout, for [`parse_compiled`](crate::parse_compiled) and
    /// [`record`](crate::record()).
    pub fn lock_script(&self, held: Option<&Pins>) -> LockScript {
        script(self.resolver_inputs(held))
    }

    /// Files and commands that resolve the image of one service alone under `pins`: what
    /// `upper-constraints.txt` is for.
    pub fn image_script(&self, service: &Service, pins: &Pins) -> LockScript {
        let mut requirements = self.base_lines();
        requirements += &service_lines(service);
        script(self.inputs(requirements, Some(pins)))
    }

    fn requirements(&self) -> String {
        self.base_lines() + &self.services.iter().map(service_lines).collect::<String>()
    }

    fn base_lines(&self) -> String {
        let mut out = String::from("# every virtual environment\n");
        for requirement in &self.base {
            out += &(requirement.line() + "\n");
        }
        out
    }

    fn cutoff_args(&self, held: Option<&Pins>) -> Vec<String> {
        let mut exempt: BTreeMap<&PackageName, String> = BTreeMap::new();
        for (package, _) in held.into_iter().flat_map(Pins::iter) {
            exempt.insert(package, "false".to_owned());
        }
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
    /// One of its requirements as it is installed: the service's own distribution at its version.
    pub fn pinned(&self, requirement: &Requirement) -> Requirement {
        let mut requirement = requirement.clone();
        if requirement.name == self.distribution {
            requirement.specifiers = Specifiers::exactly(&self.version);
        }
        requirement
    }
}

fn service_lines(service: &Service) -> String {
    let mut out = format!("# {} {}\n", service.name, service.version);
    for requirement in &service.requirements {
        out += &(service.pinned(requirement).line() + "\n");
    }
    out
}

fn script(inputs: ResolverInputs) -> LockScript {
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

fn compile_argv(inputs: &ResolverInputs, python: PythonVersion) -> Vec<String> {
    let mut argv: Vec<String> = [
        "uv",
        "pip",
        "compile",
        // What it decides by is recorded from its log; see `record`.
        "--verbose",
        "--color",
        "never",
        "--no-progress",
        // The answer depends on the series alone, not on a uv.toml of the machine.
        "--no-config",
        "--no-header",
        "--annotation-style",
        "line",
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
