//! Which findings fail an audit, and what is allowed for which reason.
//!
//! ```toml
//! # Findings by id, `*` stands for anything. Without `fail` the defaults of each finding hold.
//! fail = ["leak-*", "missing-*", "surface-setid*"]
//! # Findings that are told and do not fail; they win over `fail`.
//! note = ["leak-history"]
//!
//! [[allow]]
//! finding = "surface-setid-of-package"
//! subject = "/usr/bin/*"          # default: every subject
//! image = "nova*"                 # default: every image
//! reason = "sudo is how rootwrap gains privileges"
//! expires = "2027-01-31"          # default: never
//!
//! [[contract]]
//! image = "*keystone*"            # default: every image
//! groups = ["keystone.*"]         # entry point groups that must load
//! users = [{ name = "keystone", uid = 42424, gid = 42424, home = "/var/lib/keystone" }]
//! directories = [{ path = "/etc/keystone", mode = "0755", uid = 42424, gid = 42424 }]
//! commands = [{ name = "keystone-manage finds its plugins", run = ["keystone-manage", "doctor"] }]
//! ```

use serde::Deserialize;

use super::{CHECKS, Finding, check};
use crate::glob::matches;

/// A policy that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// It is no TOML, or not of the form.
    #[error("the policy is malformed: {0}")]
    Form(#[from] toml::de::Error),
    /// A pattern matches no finding that exists.
    #[error("no finding is called `{0}`")]
    NoFinding(String),
    /// An allowance without a reason.
    #[error("the allowance of `{0}` has no reason")]
    NoReason(String),
    /// A date that is none.
    #[error("`{0}` is not a date of the form `2026-12-31`")]
    Date(String),
    /// A mode that is none.
    #[error("`{0}` is not a mode of the form `0755`")]
    Mode(String),
    /// A command without a program.
    #[error("the command `{0}` has nothing to run")]
    NoProgram(String),
}

/// A day, as year, month and day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Day(i64, u32, u32);

impl Day {
    /// Reads `2026-12-31`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, '-');
        let mut part = |digits: usize| parts.next().filter(|p| p.len() == digits);
        let (year, month, day) = (part(4)?, part(2)?, part(2)?);
        let day = Self(year.parse().ok()?, month.parse().ok()?, day.parse().ok()?);
        ((1..=12).contains(&day.1) && (1..=31).contains(&day.2)).then_some(day)
    }

    /// The day of a time in seconds since 1970, in UTC.
    pub fn of_seconds(seconds: i64) -> Self {
        // Days to a civil date; years begin in March, so that leap days are last (Hinnant, `civil_from_days`).
        let days = seconds.div_euclid(86_400) + 719_468;
        let era = days.div_euclid(146_097);
        let of_era = days.rem_euclid(146_097);
        let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year + year / 4 - year / 100);
        let shifted = (5 * of_year + 2) / 153;
        let small = |n: i64| u32::try_from(n).unwrap_or(1);
        let day = small(of_year - (153 * shifted + 2) / 5 + 1);
        let month = small(if shifted < 10 { shifted + 3 } else { shifted - 9 });
        Self(year + era * 400 + i64::from(month <= 2), month, day)
    }
}

/// What is checked, what fails, what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    fail: Option<Vec<String>>,
    #[serde(default)]
    note: Vec<String>,
    /// What is allowed.
    #[serde(default)]
    pub allow: Vec<Allow>,
    /// What images promise.
    #[serde(default)]
    pub contract: Vec<ContractRule>,
}

/// An allowance.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allow {
    /// Pattern of ids.
    pub finding: String,
    /// Pattern of subjects.
    #[serde(default = "anything")]
    pub subject: String,
    /// Pattern of image names.
    #[serde(default = "anything")]
    pub image: String,
    /// Why.
    pub reason: String,
    /// The last day on which it holds.
    pub expires: Option<String>,
}

/// What the images of a name promise.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContractRule {
    /// Pattern of image names.
    #[serde(default = "anything")]
    pub image: String,
    /// Patterns of entry point groups that must load.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Users that must exist.
    #[serde(default)]
    pub users: Vec<UserRule>,
    /// Directories that must exist.
    #[serde(default)]
    pub directories: Vec<DirectoryRule>,
    /// Commands that must end with 0.
    #[serde(default)]
    pub commands: Vec<CommandRule>,
}

/// A command that must end with 0, started by the Python of a virtual environment in the image.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandRule {
    /// What it shows, for people.
    pub name: String,
    /// Program and arguments.
    pub run: Vec<String>,
}

/// A user that must exist.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserRule {
    /// Its name.
    pub name: String,
    /// Its number.
    pub uid: Option<u32>,
    /// The number of its first group.
    pub gid: Option<u32>,
    /// Its home directory.
    pub home: Option<String>,
    /// Its shell.
    pub shell: Option<String>,
}

/// A directory that must exist.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DirectoryRule {
    /// Where.
    pub path: String,
    /// Its mode, octal.
    pub mode: Option<String>,
    /// Its owner.
    pub uid: Option<u32>,
    /// Its group.
    pub gid: Option<u32>,
}

fn anything() -> String {
    "*".to_owned()
}

/// What becomes of a finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The audit fails.
    Fails,
    /// It is told.
    Noted,
    /// It is allowed, for this reason.
    Allowed(String),
}

impl Policy {
    /// Reads a policy.
    ///
    /// # Errors
    /// When it is malformed, names a finding that does not exist, or allows something without a reason.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let policy: Self = toml::from_str(text)?;
        for pattern in policy.fail.iter().flatten().chain(&policy.note) {
            known(pattern)?;
        }
        for allow in &policy.allow {
            known(&allow.finding)?;
            if allow.reason.trim().is_empty() {
                return Err(PolicyError::NoReason(allow.finding.clone()));
            }
            if let Some(day) = allow.expires.as_deref().filter(|d| Day::parse(d).is_none()) {
                return Err(PolicyError::Date(day.to_owned()));
            }
        }
        for mode in
            policy.contract.iter().flat_map(|c| &c.directories).filter_map(|d| d.mode.as_ref())
        {
            if u32::from_str_radix(mode, 8).is_err() {
                return Err(PolicyError::Mode(mode.clone()));
            }
        }
        let mut commands = policy.contract.iter().flat_map(|c| &c.commands);
        if let Some(command) = commands.find(|c| c.run.is_empty()) {
            return Err(PolicyError::NoProgram(command.name.clone()));
        }
        Ok(policy)
    }

    /// What becomes of a finding about an image.
    pub fn verdict(&self, finding: &Finding, image: &str, today: Day) -> Verdict {
        let holds = |a: &&Allow| {
            let last = a.expires.as_deref().and_then(Day::parse);
            matches(&a.finding, finding.id)
                && matches(&a.subject, &finding.subject)
                && matches(&a.image, image)
                && last.is_none_or(|last| today <= last)
        };
        if let Some(allow) = self.allow.iter().find(holds) {
            return Verdict::Allowed(allow.reason.clone());
        }
        let named = |patterns: &[String]| patterns.iter().any(|p| matches(p, finding.id));
        let fails = match &self.fail {
            Some(patterns) => named(patterns),
            None => check(finding.id).is_some_and(|c| c.fails),
        };
        if fails && !named(&self.note) { Verdict::Fails } else { Verdict::Noted }
    }

    /// The promises of an image.
    pub fn contracts<'a>(&'a self, image: &'a str) -> impl Iterator<Item = &'a ContractRule> {
        self.contract.iter().filter(move |c| matches(&c.image, image))
    }
}

fn known(pattern: &str) -> Result<(), PolicyError> {
    match CHECKS.iter().any(|c| matches(pattern, c.id)) {
        true => Ok(()),
        false => Err(PolicyError::NoFinding(pattern.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn today() -> Day {
        Day::parse("2026-11-30").expect("a date")
    }

    #[test]
    fn days_are_read_compared_and_counted() {
        assert_eq!(Day::of_seconds(0), Day(1970, 1, 1));
        assert_eq!(Day::of_seconds(951_782_400), Day(2000, 2, 29));
        assert_eq!(Day::of_seconds(-1), Day(1969, 12, 31));
        assert!(Day::parse("2026-12-01") > Day::parse("2026-11-30"));
        assert!(
            ["2026-1-1", "2026-13-01", "x", "2026-01-01-"].iter().all(|t| Day::parse(t).is_none())
        );
    }

    #[test]
    fn allowances_hold_until_their_day_and_only_for_their_subject() {
        let text = "[[allow]]\nfinding = \"leak-*\"\nsubject = \"/a/*\"\nimage = \"nova*\"\n\
                    reason = \"r\"\nexpires = \"2026-11-30\"\n";
        let policy = Policy::parse(text).expect("valid");
        let leak = |path: &str| Finding::new("leak-header", path, "m");
        let allowed = Verdict::Allowed("r".to_owned());
        assert_eq!(policy.verdict(&leak("/a/b.h"), "nova", today()), allowed);
        assert_eq!(policy.verdict(&leak("/a/b.h"), "keystone", today()), Verdict::Fails);
        assert_eq!(policy.verdict(&leak("/c.h"), "nova", today()), Verdict::Fails);
        let later = Day::parse("2026-12-01").expect("a date");
        assert_eq!(policy.verdict(&leak("/a/b.h"), "nova", later), Verdict::Fails);
    }

    #[test]
    fn fail_and_note_choose() {
        let policy =
            Policy::parse("fail = [\"surface-*\"]\nnote = [\"surface-root\"]").expect("valid");
        let verdict = |id| policy.verdict(&Finding::new(id, "x", "m"), "i", today());
        assert_eq!(verdict("surface-port"), Verdict::Fails);
        assert_eq!(verdict("surface-root"), Verdict::Noted);
        assert_eq!(verdict("leak-header"), Verdict::Noted);
    }

    #[test]
    fn mistakes_are_told() {
        let error = |text: &str| Policy::parse(text).expect_err("wrong").to_string();
        assert_eq!(error("fail = [\"leaks\"]"), "no finding is called `leaks`");
        let nothing = "[[allow]]\nfinding = \"altered\"\nreason = \" \"";
        assert_eq!(error(nothing), "the allowance of `altered` has no reason");
        assert!(error("fial = []").contains("unknown field `fial`"));
        let day = "[[allow]]\nfinding = \"altered\"\nreason = \"r\"\nexpires = \"soon\"";
        assert!(error(day).starts_with("`soon` is not a date"));
    }
}
