//! The configuration file, `$XDG_CONFIG_HOME/karman/config.toml`.
//!
//! ```toml
//! root = "/srv/karman"                      # the store
//! ca = "/etc/ssl/site.pem"                  # certificate authorities for requests and RUN steps
//! insecure-registries = ["registry.local:5000"]
//! parallelism = 8                           # vertices at once; 0 chooses by the number of cores
//! [debootstrap-mirrors]                     # official archive URL → mirror URL
//! "http://deb.debian.org/debian" = "http://mirror.local/debian"
//! [gc]                                      # what builds and `karman cache prune` prune the store to
//! reserved-space = "10GB"                   # never below this
//! max-used-space = "60GB"
//! min-free-space = "20GB"                   # on the file system of the store
//! ```

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use karman_diag::{Diagnostic, SourceMap, Span, nearest, render};
use karman_worker::SpaceLimits;
use serde::Deserialize;

use crate::units::parse_size;

/// A larger file is no configuration.
const MAX_BYTES: u64 = 1 << 20;
const KEYS: [&str; 9] = [
    "root",
    "ca",
    "insecure-registries",
    "parallelism",
    "debootstrap-mirrors",
    "gc",
    "reserved-space",
    "max-used-space",
    "min-free-space",
];

/// The file's content.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct FileConfig {
    /// The store's directory.
    pub(crate) root: Option<PathBuf>,
    /// The bundle of certificate authorities.
    pub(crate) ca: Option<PathBuf>,
    /// Registries spoken to without TLS.
    pub(crate) insecure_registries: Vec<String>,
    /// Vertices at once.
    pub(crate) parallelism: usize,
    /// Archive mirrors.
    pub(crate) debootstrap_mirrors: BTreeMap<String, String>,
    /// How large the store may be.
    pub(crate) gc: GcPolicy,
}

/// How large the store may be.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct GcPolicy {
    #[serde(deserialize_with = "size")]
    reserved_space: u64,
    #[serde(deserialize_with = "size")]
    max_used_space: u64,
    #[serde(deserialize_with = "size")]
    min_free_space: u64,
}

impl GcPolicy {
    /// The same for the engine.
    pub(crate) fn limits(&self) -> SpaceLimits {
        SpaceLimits {
            reserved: self.reserved_space,
            max_used: self.max_used_space,
            min_free: self.min_free_space,
        }
    }
}

fn size<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_size(&text).map_err(serde::de::Error::custom)
}

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The file cannot be read.
    #[error("failed to read configuration `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The file is too large.
    #[error("configuration `{}` is larger than {MAX_BYTES} bytes", .0.display())]
    TooLarge(PathBuf),
    /// The file says something we do not understand.
    #[error("configuration `{}` is not valid", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// The lines concerned, rendered.
        rendered: String,
    },
}

impl FileConfig {
    /// Reads a file. One that does not exist is an empty one, unless it was asked for.
    pub(crate) fn load(path: &Path, asked: bool) -> Result<Self, ConfigError> {
        let read = |source| ConfigError::Read { path: path.to_owned(), source };
        let file = match std::fs::File::open(path) {
            Err(e) if !asked && e.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            opened => opened.map_err(read)?,
        };
        let mut text = String::new();
        file.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(read)?;
        if text.len() as u64 > MAX_BYTES {
            return Err(ConfigError::TooLarge(path.to_owned()));
        }
        Self::parse(path, &text)
    }

    fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        toml::from_str(text).map_err(|error| {
            let mut sources = SourceMap::new();
            let id = sources.add(path.display().to_string(), text);
            let span = error.span().map(|s| Span::new(id, s.start, s.end));
            let message = error.message().lines().next().unwrap_or_default().to_owned();
            let mut diagnostic = Diagnostic::error(message, span);
            let unknown = error.message().strip_prefix("unknown field `");
            let unknown = unknown.and_then(|rest| rest.split('`').next());
            if let Some(near) = unknown.and_then(|u| nearest(u, KEYS)) {
                diagnostic = diagnostic.with_hint(format!("did you mean `{near}`?"));
            }
            let rendered = render(&diagnostic, &sources);
            ConfigError::Parse { path: path.to_owned(), rendered }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_read() {
        let text = "root = \"/r\"\ninsecure-registries = [\"a:5000\"]\nparallelism = 3\n[debootstrap-mirrors]\n\"http://a\" = \"http://b\"\n";
        let config = FileConfig::parse(Path::new("c"), text).expect("valid");
        assert_eq!(config.root, Some(PathBuf::from("/r")));
        assert_eq!(config.parallelism, 3);
        assert_eq!(config.debootstrap_mirrors["http://a"], "http://b");
        assert!(config.gc.limits().is_empty());
    }

    #[test]
    fn sizes_of_the_store_are_read() {
        let text = "[gc]\nmax-used-space = \"2GB\"\n";
        let config = FileConfig::parse(Path::new("c"), text).expect("valid");
        assert_eq!(config.gc.limits().max_used, 2_000_000_000);
        assert!(FileConfig::parse(Path::new("c"), "[gc]\nmax-used-space = \"much\"\n").is_err());
    }

    #[test]
    fn an_unknown_key_shows_its_line_and_the_nearest_one() {
        let error = FileConfig::parse(Path::new("c.toml"), "rot = \"/r\"\n").expect_err("unknown");
        let ConfigError::Parse { rendered, .. } = error else { panic!("{error}") };
        assert!(rendered.contains("unknown field `rot`"), "{rendered}");
        assert!(rendered.contains("c.toml:1\n   1 | >>> rot"), "{rendered}");
        assert!(rendered.contains("hint: did you mean `root`?"), "{rendered}");
    }
}
