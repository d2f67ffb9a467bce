//! How bad: CVSS vectors, and the word of a database where there is no vector.

use std::fmt;
use std::str::FromStr;

use cvss::Cvss;

/// A longer vector is a mistake or an attack.
const MAX_VECTOR_BYTES: usize = 512;

/// The qualitative scale of CVSS (v3.1, 5). [`Level::Unknown`] is above all others: what nobody rated
/// must not slip through a threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// A score of 0.
    None,
    /// Up to 3.9.
    Low,
    /// Up to 6.9.
    Medium,
    /// Up to 8.9.
    High,
    /// Up to 10.
    Critical,
    /// Nobody rated it.
    Unknown,
}

/// A level, with the score in tenths where a vector gave one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Severity {
    /// The level.
    pub level: Level,
    /// The score in tenths: 74 is 7.4.
    pub tenths: Option<u16>,
}

impl Severity {
    /// Nobody rated it.
    pub const UNKNOWN: Self = Self { level: Level::Unknown, tenths: None };

    /// The severity of a CVSS vector of version 3 or 4; `None` where it is none.
    pub fn of_vector(vector: &str) -> Option<Self> {
        if vector.len() > MAX_VECTOR_BYTES {
            return None;
        }
        let cvss = Cvss::from_str(vector.trim()).ok()?;
        // Scores have one decimal; they are kept as integers so that they compare and print exactly.
        let scaled = (cvss.score() * 10.0).round();
        let tenths = (0..=100u16).find(|n| f64::from(*n) >= scaled)?;
        Some(Self { level: level_of(tenths), tenths: Some(tenths) })
    }

    /// The severity of a word, as GitHub's database has it.
    pub fn of_word(word: &str) -> Option<Self> {
        let level = match word.trim().to_ascii_lowercase().as_str() {
            "none" => Level::None,
            "low" => Level::Low,
            "moderate" | "medium" => Level::Medium,
            "high" => Level::High,
            "critical" => Level::Critical,
            _ => return None,
        };
        Some(Self { level, tenths: None })
    }

    /// The worse of two; what is rated wins against what is not.
    #[must_use]
    pub fn or_worse(self, other: Self) -> Self {
        let key = |s: Self| (s.level != Level::Unknown, s.level, s.tenths);
        if key(other) > key(self) { other } else { self }
    }
}

fn level_of(tenths: u16) -> Level {
    match tenths {
        0 => Level::None,
        1..=39 => Level::Low,
        40..=69 => Level::Medium,
        70..=89 => Level::High,
        _ => Level::Critical,
    }
}

impl Level {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.tenths {
            Some(n) => write!(f, "{} {}.{}", self.level, n / 10, n % 10),
            None if self.level == Level::Unknown => f.write_str("severity unknown"),
            None => write!(f, "{}", self.level),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_have_the_scores_that_the_specification_gives() {
        for (vector, shown) in [
            ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H", "critical 9.8"),
            ("CVSS:3.1/AV:N/AC:H/PR:N/UI:N/S:U/C:H/I:H/A:N", "high 7.4"),
            ("CVSS:3.0/AV:N/AC:L/PR:N/UI:R/S:C/C:L/I:L/A:N", "medium 6.1"),
            ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:N", "none 0.0"),
            ("CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:H/SI:H/SA:H", "critical 10.0"),
            ("CVSS:4.0/AV:N/AC:L/AT:P/PR:N/UI:N/VC:N/VI:N/VA:H/SC:N/SI:N/SA:N", "high 8.2"),
        ] {
            let severity = Severity::of_vector(vector);
            assert_eq!(severity.map(|s| s.to_string()).as_deref(), Some(shown), "{vector}");
        }
        assert_eq!(Severity::of_vector("AV:N/AC:L"), None);
        assert_eq!(Severity::of_vector(&format!("CVSS:3.1/{}", "A:N/".repeat(200))), None);
    }

    #[test]
    fn what_is_rated_wins_and_the_worse_of_two_counts() {
        let [low, high] = ["low", "HIGH"].map(|w| Severity::of_word(w).expect("a word"));
        assert_eq!(low.or_worse(high), high);
        assert_eq!(high.or_worse(low), high);
        assert_eq!(Severity::UNKNOWN.or_worse(low), low);
        assert_eq!(low.or_worse(Severity::UNKNOWN), low);
        assert!(Level::Unknown > Level::Critical);
    }
}
