//! What the user wants of the checks: `skip=A,B;error=true;experimental=C`.

use std::collections::BTreeSet;

use super::rules::{Level, Rule};
use crate::lower::go_bool;

/// The build argument that takes the place of the `# check=` directive.
pub const CONFIG_ARG: &str = "BUILDKIT_DOCKERFILE_CHECK";

/// BuildKit cuts the text into so many parts; the last one keeps further semicolons.
const MAX_PARTS: usize = 3;

/// The word of `experimental` for all of our own rules.
const FLEET: &str = "fleet";

/// A malformed configuration, in BuildKit's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A part is no `key=value`, or of an unknown key.
    #[error("invalid check option {0:?}")]
    Option(String),
    /// `error` is no boolean.
    #[error(
        "failed to parse check option {part:?}: strconv.ParseBool: parsing {value:?}: invalid syntax"
    )]
    NotBoolean {
        /// The part.
        part: String,
        /// Its value.
        value: String,
    },
}

/// Which rules speak, and whether warnings are errors.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    skip_all: bool,
    skip: BTreeSet<String>,
    experimental_all: bool,
    experimental: BTreeSet<String>,
    /// Whether a warning fails the build.
    pub error: bool,
}

impl Config {
    /// Reads `skip=all|RULE,…;error=BOOL;experimental=all|RULE,…`, each part optional. Names of
    /// rules that do not exist are accepted, as BuildKit does, so that files may be newer than
    /// the program.
    ///
    /// # Errors
    /// Parts that are none of these.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let text = text.trim();
        let mut config = Self::default();
        if text.is_empty() {
            return Ok(config);
        }
        for part in text.splitn(MAX_PARTS, ';') {
            let (key, value) =
                part.split_once('=').ok_or_else(|| ConfigError::Option(part.to_owned()))?;
            let value = value.trim();
            match key.trim() {
                "skip" if value == "all" => config.skip_all = true,
                "skip" => config.skip = names(value),
                "experimental" if value == "all" => config.experimental_all = true,
                "experimental" => config.experimental = names(value),
                "error" => {
                    config.error = go_bool(value).ok_or_else(|| ConfigError::NotBoolean {
                        part: part.to_owned(),
                        value: value.to_owned(),
                    })?;
                }
                other => return Err(ConfigError::Option(other.to_owned())),
            }
        }
        Ok(config)
    }

    /// Whether a rule is silenced.
    pub(super) fn skips(&self, rule: &Rule) -> bool {
        self.skip_all || self.skip.contains(rule.name)
    }

    /// Whether a rule that must be asked for is asked for. `all` means BuildKit's: a file that
    /// says it was not written with ours in mind.
    pub(super) fn asks_for(&self, rule: &Rule) -> bool {
        let by_group = match rule.level {
            Level::Standard => true,
            Level::Experimental => self.experimental_all,
            Level::Fleet | Level::OnDemand => self.experimental.contains(FLEET),
        };
        by_group || self.experimental.contains(rule.name)
    }
}

fn names(list: &str) -> BTreeSet<String> {
    list.split(',').map(|name| name.trim().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::rules;

    #[test]
    fn parts_come_in_any_order() {
        let config = Config::parse(" error = true ; skip = A , B;experimental=all").expect("fine");
        assert!(config.error && config.experimental_all && !config.skip_all);
        assert_eq!(config.skip.iter().map(String::as_str).collect::<Vec<_>>(), ["A", "B"]);
        assert_eq!(Config::parse("  "), Ok(Config::default()));
    }

    #[test]
    fn what_is_none_is_an_error() {
        for (text, want) in [
            ("all", "invalid check option \"all\""),
            ("skip=all;", "invalid check option \"\""),
            ("ignore=all", "invalid check option \"ignore\""),
            (
                "error=yes",
                "failed to parse check option \"error=yes\": strconv.ParseBool: parsing \"yes\": invalid syntax",
            ),
        ] {
            assert_eq!(Config::parse(text).map_err(|e| e.to_string()), Err(want.to_owned()));
        }
    }

    #[test]
    fn all_experimental_ones_are_buildkits() {
        let all = Config::parse("experimental=all").expect("fine");
        assert!(all.asks_for(&rules::COPY_IGNORED_FILE));
        assert!(!all.asks_for(&rules::UNPINNED_BASE));
        let ours = Config::parse("experimental=fleet").expect("fine");
        assert!(ours.asks_for(&rules::UNPINNED_BASE));
        assert!(!ours.asks_for(&rules::COPY_IGNORED_FILE));
    }
}
