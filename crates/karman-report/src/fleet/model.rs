//! A fleet as data. JSON in this form is what `--format json` prints and `fleet diff` reads.

use karman_oci::Digest;
use serde::{Deserialize, Serialize};

use super::timeline::Timeline;

/// The version of the form.
pub const VERSION: u32 = 1;

/// Images that are looked at together.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Fleet {
    /// [`VERSION`].
    pub version: u32,
    /// The images in the order in which they were asked for.
    pub images: Vec<Image>,
    /// The build that made them, where its record was given.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub timeline: Option<Timeline>,
}

/// Everything that a report counts, together: an exbibyte, so that sums over two reports fit.
const MAX_TOTAL: u64 = 1 << 60;

impl Fleet {
    /// A fleet of these images.
    pub fn new(images: Vec<Image>, timeline: Option<Timeline>) -> Self {
        Self { version: VERSION, images, timeline }
    }

    /// Reads the JSON of a fleet.
    ///
    /// # Errors
    /// When it is no such JSON, or of a newer version.
    pub fn parse(bytes: &[u8]) -> Result<Self, FleetError> {
        #[derive(Deserialize)]
        struct Head {
            version: u32,
        }
        let head: Head = serde_json::from_slice(bytes)?;
        if head.version > VERSION {
            return Err(FleetError::Newer(head.version));
        }
        let fleet: Self = serde_json::from_slice(bytes)?;
        let total = fleet.images.iter().flat_map(Image::numbers).try_fold(0, u64::checked_add);
        match total {
            Some(total) if total <= MAX_TOTAL => Ok(fleet),
            _ => Err(FleetError::TooLarge),
        }
    }

    /// The JSON that [`Fleet::parse`] reads, with a final line break.
    pub fn json(&self) -> String {
        // Plain data with text as keys: writing it cannot fail.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }
}

/// Why a report cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// No JSON of this form.
    #[error("this is not a report in JSON (`karman report --format json` writes one)")]
    Json(#[from] serde_json::Error),
    /// Written by a newer program.
    #[error("this is a report of version {0}, and this program reads up to {VERSION}")]
    Newer(u32),
    /// Sums over it would not fit.
    #[error("this report counts more bytes than any disk has")]
    TooLarge,
}

/// One image.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Image {
    /// The name as people asked for it.
    pub name: String,
    /// The digest of its manifest.
    pub digest: String,
    /// What it runs on, such as `linux/amd64`.
    pub platform: String,
    /// Bytes of its layers as they are pulled.
    pub compressed: u64,
    /// Bytes of its files.
    pub unpacked: u64,
    /// How many files it has.
    pub files: u64,
    /// Its Debian packages, by name.
    pub packages: Vec<Unit>,
    /// Its Python distributions that belong to no Debian package, by name.
    pub distributions: Vec<Unit>,
    /// Its layers, lowest first.
    pub layers: Vec<Layer>,
    /// Where its bytes came from, the largest first.
    pub origins: Vec<OriginBytes>,
    /// What an audit found, where one was asked for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub findings: Option<Vec<Found>>,
    /// How long its programs take to start, where that was measured.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub starts: Vec<Start>,
}

impl Image {
    /// Everything that is counted of it.
    fn numbers(&self) -> impl Iterator<Item = u64> + '_ {
        let layers = self.layers.iter().map(|layer| layer.size);
        let origins = self.origins.iter().flat_map(|o| [o.bytes, o.bytecode, o.files]);
        [self.compressed, self.unpacked, self.files].into_iter().chain(layers).chain(origins)
    }
}

/// A package of some kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Unit {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// A layer as a registry has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// The digest of its compressed bytes.
    pub digest: Digest,
    /// How many those are.
    pub size: u64,
    /// What its history says of it.
    pub title: String,
}

/// The kind of an origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OriginKind {
    /// A Debian package.
    Dpkg,
    /// A Python distribution.
    Python,
    /// What `COPY` and `ADD` brought that belongs to no package.
    Copy,
    /// What commands wrote that belongs to no package.
    Run,
    /// The rest of the base.
    Base,
    /// Nothing tells.
    Unknown,
}

impl OriginKind {
    /// All of them, in the order of legends.
    pub const ALL: [Self; 6] =
        [Self::Python, Self::Dpkg, Self::Copy, Self::Run, Self::Base, Self::Unknown];

    /// Its name for people.
    pub fn label(self) -> &'static str {
        match self {
            Self::Dpkg => "Debian package",
            Self::Python => "Python distribution",
            Self::Copy => "COPY",
            Self::Run => "RUN",
            Self::Base => "base",
            Self::Unknown => "unknown",
        }
    }

    /// Its name in style sheets.
    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Dpkg => "dpkg",
            Self::Python => "python",
            Self::Copy => "copy",
            Self::Run => "run",
            Self::Base => "base",
            Self::Unknown => "unknown",
        }
    }
}

/// The bytes of one origin in an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OriginBytes {
    /// What kind.
    pub kind: OriginKind,
    /// The package, the distribution, the stage or the instruction.
    pub name: String,
    /// Its version, for packages and distributions.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub version: String,
    /// Bytes of its files.
    pub bytes: u64,
    /// How many of them are bytecode.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub bytecode: u64,
    /// How many files.
    pub files: u64,
    /// The digest of the paths, owners, modes and digests of its files.
    pub digest: Digest,
}

/// A finding of an audit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// The rule, such as `leak-compiler`.
    pub rule: String,
    /// The path or package it is about.
    pub subject: String,
    /// What is wrong.
    pub message: String,
    /// Whether it fails the policy.
    pub fails: bool,
}

/// How long a program takes to load its modules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// The console script.
    pub script: String,
    /// Milliseconds from starting the interpreter to its end.
    pub milliseconds: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands in a reference")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}
