//! Platforms: `os/architecture[/variant]` with containerd's normalisation.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What an image runs on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// CPU architecture in Go's words (`amd64`, `arm64`, …).
    pub architecture: String,
    /// Operating system in Go's words.
    pub os: String,
    /// OS version (Windows).
    #[serde(rename = "os.version", skip_serializing_if = "Option::is_none", default)]
    pub os_version: Option<String>,
    /// CPU variant, such as `v7`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub variant: Option<String>,
}

/// Why a text is not a platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a platform: {reason}")]
pub struct PlatformError {
    text: String,
    reason: &'static str,
}

impl Platform {
    /// A platform without a variant.
    pub fn new(os: &str, architecture: &str) -> Self {
        let (os, architecture) = (os.to_owned(), architecture.to_owned());
        Self { os, architecture, os_version: None, variant: None }.normalized()
    }

    /// The platform this binary was compiled for.
    pub fn host() -> Self {
        Self::new("linux", std::env::consts::ARCH)
    }

    /// Reads `os`, `architecture`, `os/architecture` or `os/architecture/variant`.
    ///
    /// # Errors
    /// When a part is empty, has other characters than letters, digits, `_`, `.` and `-`,
    /// or when there are more than three parts.
    pub fn parse(text: &str) -> Result<Self, PlatformError> {
        let bad = |reason| PlatformError { text: text.chars().take(100).collect(), reason };
        let parts: Vec<&str> = text.trim().split('/').collect();
        let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        if parts.iter().any(|p| p.is_empty() || !p.chars().all(fine)) {
            return Err(bad("a part is empty or has a character that is not allowed"));
        }
        let host = Self::host();
        let platform = match parts[..] {
            [one] if is_known_os(&one.to_lowercase()) => {
                Self { os: one.to_lowercase(), ..host.clone() }
            }
            [one] if is_known_architecture(one) => Self::new(&host.os, one),
            [_] => return Err(bad("neither a known operating system nor a known architecture")),
            [os, arch] => Self::new(os, arch),
            [os, arch, variant] => Self {
                os: os.to_owned(),
                architecture: arch.to_owned(),
                os_version: None,
                variant: Some(variant.to_owned()),
            },
            _ => return Err(bad("want `os/architecture[/variant]`")),
        };
        Ok(platform.normalized())
    }

    /// The same platform in containerd's canonical words (`x86_64` → `amd64`, `armhf` → `arm/v7`).
    #[must_use]
    pub fn normalized(mut self) -> Self {
        self.os = match self.os.to_lowercase().as_str() {
            "macos" => "darwin".to_owned(),
            other => other.to_owned(),
        };
        let variant = self.variant.take().map(|v| v.to_lowercase()).filter(|v| !v.is_empty());
        let arch = self.architecture.to_lowercase();
        let (arch, variant) = match (arch.as_str(), variant.as_deref()) {
            ("i386", _) => ("386", None),
            ("x86_64" | "x86-64" | "amd64", Some("v1") | None) => ("amd64", None),
            ("x86_64" | "x86-64", other) => ("amd64", other),
            ("aarch64" | "arm64", Some("8" | "v8") | None) => ("arm64", None),
            ("aarch64", other) => ("arm64", other),
            ("armhf", _) => ("arm", Some("v7")),
            ("armel", _) => ("arm", Some("v6")),
            ("arm", None | Some("7" | "v7")) => ("arm", Some("v7")),
            ("arm", Some("5")) => ("arm", Some("v5")),
            ("arm", Some("6")) => ("arm", Some("v6")),
            ("arm", Some("8")) => ("arm", Some("v8")),
            ("powerpc64le", v) => ("ppc64le", v),
            (other, v) => (other, v),
        };
        (self.architecture, self.variant) = (arch.to_owned(), variant.map(str::to_owned));
        self
    }

    /// Whether an image for `self` runs where `wanted` is asked for, and how well: lower is
    /// better, `None` is not at all. An `arm` of a higher variant runs the lower ones.
    pub fn matches(&self, wanted: &Platform) -> Option<u32> {
        let (have, want) = (self.clone().normalized(), wanted.clone().normalized());
        if have.os != want.os {
            return None;
        }
        let level = |p: &Platform| -> u32 {
            p.variant.as_deref().and_then(|v| v.trim_start_matches('v').parse().ok()).unwrap_or(0)
        };
        if have.architecture == want.architecture {
            return match level(&have).cmp(&level(&want)) {
                std::cmp::Ordering::Equal => Some(0),
                std::cmp::Ordering::Less => Some(level(&want) - level(&have)),
                std::cmp::Ordering::Greater => None,
            };
        }
        (want.architecture == "amd64" && have.architecture == "386").then_some(100)
    }
}

fn is_known_os(text: &str) -> bool {
    matches!(
        text,
        "linux"
            | "windows"
            | "darwin"
            | "macos"
            | "freebsd"
            | "netbsd"
            | "openbsd"
            | "solaris"
            | "wasip1"
    )
}

fn is_known_architecture(text: &str) -> bool {
    matches!(
        text.to_lowercase().as_str(),
        "386"
            | "i386"
            | "amd64"
            | "x86_64"
            | "x86-64"
            | "arm"
            | "armhf"
            | "armel"
            | "arm64"
            | "aarch64"
            | "ppc64"
            | "ppc64le"
            | "riscv64"
            | "s390x"
            | "mips"
            | "mipsle"
            | "mips64"
            | "mips64le"
            | "loong64"
            | "loongarch64"
            | "wasm"
    )
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_have_one_name() {
        for (text, want) in [
            ("linux/x86_64", "linux/amd64"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/armhf", "linux/arm/v7"),
            ("Linux/ARM", "linux/arm/v7"),
            ("linux/amd64/v2", "linux/amd64/v2"),
        ] {
            assert_eq!(Platform::parse(text).map(|p| p.to_string()).as_deref(), Ok(want), "{text}");
        }
        assert!(Platform::parse("linux/").is_err());
        assert!(Platform::parse("a/b/c/d").is_err());
        assert!(Platform::parse("nonsense").is_err());
    }

    #[test]
    fn a_lower_arm_variant_runs_on_a_higher_one() {
        let p = |t| Platform::parse(t).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(p("linux/arm/v6").matches(&p("linux/arm/v7")), Some(1));
        assert_eq!(p("linux/arm/v7").matches(&p("linux/arm/v6")), None);
        assert_eq!(p("linux/amd64").matches(&p("linux/arm64")), None);
    }
}
