//! Build checks: what is doubtful in a Dockerfile that works.
//!
//! Names, conditions and messages are BuildKit's (`frontend/dockerfile/linter`), so that
//! `# check=` lines and scripts written for it mean the same here; a few checks of our own follow
//! them. Every rule is a line of [`RULES`] and a page `docs/checks/NAME.md`, whose examples are
//! its tests.
//!
//! A rule speaks where it knows enough: some while the text is read, most while a stage is
//! lowered, because they need the variables, the shell or the base of that moment. So a stage that
//! a build does not reach is not checked by that build; `--check` lowers all stages.
//!
//! | file | content |
//! |---|---|
//! | `rules` | the rules as data |
//! | `config` | `# check=` and `BUILDKIT_DOCKERFILE_CHECK` |
//! | `sink` | what was found, less what the configuration silences |
//! | `syntax` | rules about one statement, found by the parser |
//! | `stages` | stage names, casing of instructions |
//! | `from` | `FROM`: arguments, platforms |
//! | `variables` | unset variables and what was meant |
//! | `secrets` | names that look like secrets |
//! | `ports` | `EXPOSE` |
//! | `ignored` | sources that `.dockerignore` excludes |
//! | `fleet` | our own rules |

mod config;
pub(crate) mod fleet;
pub(crate) mod from;
pub(crate) mod ignored;
pub(crate) mod ports;
pub(crate) mod rules;
pub(crate) mod secrets;
mod sink;
pub(crate) mod stages;
pub(crate) mod syntax;
pub(crate) mod variables;

use std::collections::BTreeMap;

use karman_diag::Diagnostic;

pub use config::{CONFIG_ARG, Config, ConfigError};
pub use rules::{Level, RULES, Rule, rule};
pub(crate) use sink::Checks;
pub use sink::VIOLATION;

use crate::instruction::Dockerfile;

/// What the parser found in a Dockerfile, less what its `# check=` lines or the build argument
/// silence: all there is to say of a file that is not lowered because it has errors.
///
/// # Errors
/// Where the configuration is malformed.
pub fn of_syntax(
    tree: &Dockerfile,
    build_args: &BTreeMap<String, String>,
) -> Result<Vec<Diagnostic>, Diagnostic> {
    let checks = Checks::new(tree, build_args)?;
    checks.add_syntax(tree);
    Ok(checks.take().0)
}
