//! `--cache-from` and `--cache-to`: where a build's cache comes from and goes to, in BuildKit's words.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use karman_diag::nearest;
use karman_oci::{Digest, Reference};

use crate::{Compression, CompressionKind};

/// The tag of a cache in a directory where none is named, as in BuildKit.
const DEFAULT_TAG: &str = "latest";
/// The types there are.
const TYPES: [&str; 3] = ["registry", "local", "inline"];
/// BuildKit's types that need a service of somebody.
const SERVICES: [&str; 3] = ["gha", "s3", "azblob"];

/// Where a cache is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum CachePlace {
    /// Under a reference of a registry.
    Registry(Reference),
    /// In an OCI layout directory.
    Local {
        /// The directory.
        dir: PathBuf,
        /// The name in its index.
        tag: String,
    },
    /// In the images that are exported, for their own layers only.
    Inline,
}

/// A cache to read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CacheImport {
    /// Where it is; never inline: that is read as the registry's image it is in.
    pub place: CachePlace,
    /// The manifest in a directory, where it is pinned.
    pub digest: Option<Digest>,
    /// Whether its registry need not be verified, nor speak TLS.
    pub insecure: bool,
}

/// A cache to write.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CacheExport {
    /// Where it goes.
    pub place: CachePlace,
    /// Whether all steps are written (`mode=max`), not only those whose layers are in the image.
    pub all_steps: bool,
    /// Whether it looks like an image (else like an index), which more registries accept.
    pub image_manifest: bool,
    /// Whether the manifest carries OCI media types (else Docker's).
    pub oci_media_types: bool,
    /// Layer compression.
    pub compression: Compression,
    /// Whether layers that exist in another compression are made again.
    pub force_compression: bool,
    /// Whether its registry need not be verified, nor speak TLS.
    pub insecure: bool,
    /// Whether a failure to write it is only a warning.
    pub ignore_error: bool,
    /// Whether what the index of a directory needs no more is removed; of directories only.
    pub prune: bool,
}

/// Why a cache spec is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CacheSpecError {
    /// The type is unknown.
    #[error("unknown cache type `{0}` (want registry, local or inline)")]
    UnknownType(String),
    /// The type needs a service that is not spoken to.
    #[error("cache type `{0}` is not supported (want registry, local or inline)")]
    Service(String),
    /// Only images can be read for their inline cache.
    #[error("cache type `inline` is written only; read it with `type=registry,ref=IMAGE`")]
    InlineImport,
    /// An attribute is missing.
    #[error("cache type `{kind}` needs `{name}=`")]
    Missing {
        /// The type.
        kind: String,
        /// The attribute.
        name: &'static str,
    },
    /// An attribute is unknown.
    #[error("unknown attribute `{name}` of cache type `{kind}`{}", meant(near.as_deref()))]
    UnknownAttribute {
        /// The attribute.
        name: String,
        /// The type.
        kind: String,
        /// The nearest right one.
        near: Option<String>,
    },
    /// A value cannot be read.
    #[error("cache attribute `{name}={value}` is not valid: {want}")]
    BadValue {
        /// The attribute.
        name: &'static str,
        /// Its value.
        value: String,
        /// What would be right.
        want: String,
    },
    /// An index can only be in OCI's or Docker's list form, an image only in OCI's.
    #[error(
        "invalid configuration for cache exporter: `image-manifest=true` needs `oci-mediatypes=true`"
    )]
    DockerImage,
}

fn meant(word: Option<&str>) -> String {
    word.map_or(String::new(), |word| format!("; did you mean `{word}`?"))
}

impl CacheSpecError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Service(kind) if kind == "gha" => Some(
                "use `type=local` with a directory that the workflow saves and restores \
                 (actions/cache), or `type=registry` with ghcr.io",
            ),
            Self::Service(_) => {
                Some("use `type=registry`, or `type=local` with a directory that is synchronised")
            }
            Self::UnknownType(_) => {
                Some("as in `type=registry,ref=registry.example.org/app:cache`")
            }
            _ => None,
        }
    }
}

/// The attributes of a spec, taken one by one.
struct Fields<'a> {
    kind: &'a str,
    left: BTreeMap<String, String>,
    asked: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    fn new(kind: &'a str, attributes: &BTreeMap<String, String>) -> Result<Self, CacheSpecError> {
        if SERVICES.contains(&kind) {
            return Err(CacheSpecError::Service(kind.to_owned()));
        }
        if !TYPES.contains(&kind) {
            return Err(CacheSpecError::UnknownType(kind.to_owned()));
        }
        Ok(Self { kind, left: attributes.clone(), asked: Vec::new() })
    }

    fn take(&mut self, name: &'static str) -> Option<String> {
        self.asked.push(name);
        self.left.remove(name).filter(|value| !value.is_empty())
    }

    fn need(&mut self, name: &'static str) -> Result<String, CacheSpecError> {
        let kind = self.kind.to_owned();
        self.take(name).ok_or(CacheSpecError::Missing { kind, name })
    }

    fn flag(&mut self, name: &'static str, default: bool) -> Result<bool, CacheSpecError> {
        match self.take(name).as_deref() {
            None => Ok(default),
            Some("true" | "1") => Ok(true),
            Some("false" | "0") => Ok(false),
            Some(value) => Err(bad(name, value, "want true or false")),
        }
    }

    fn reference(&mut self) -> Result<Reference, CacheSpecError> {
        let text = self.need("ref")?;
        Reference::parse(&text).map_err(|e| bad("ref", &text, e.to_string()))
    }

    fn insecure(&mut self, place: &CachePlace) -> Result<bool, CacheSpecError> {
        match place {
            CachePlace::Registry(_) => self.flag("registry.insecure", false),
            _ => Ok(false),
        }
    }

    fn compression(&mut self) -> Result<Compression, CacheSpecError> {
        let mut compression = Compression::default();
        if let Some(name) = self.take("compression") {
            let kind = CompressionKind::parse(&name);
            let want = format!("want {}", CompressionKind::NAMES);
            compression.kind = kind.ok_or_else(|| bad("compression", &name, want))?;
        }
        if let Some(level) = self.take("compression-level") {
            let number =
                level.parse().map_err(|_| bad("compression-level", &level, "want a number"));
            compression.level = Some(number?);
        }
        if let Some((level, want)) = compression.wrong_level() {
            return Err(bad("compression-level", &level.to_string(), want));
        }
        Ok(compression)
    }

    /// Refuses what nobody asked for.
    fn end(self) -> Result<(), CacheSpecError> {
        let Some(name) = self.left.into_keys().next() else { return Ok(()) };
        let near = nearest(&name, self.asked.iter().copied()).map(str::to_owned);
        Err(CacheSpecError::UnknownAttribute { name, kind: self.kind.to_owned(), near })
    }
}

fn bad(name: &'static str, value: &str, want: impl Into<String>) -> CacheSpecError {
    CacheSpecError::BadValue { name, value: value.to_owned(), want: want.into() }
}

impl CacheImport {
    /// Reads the type and the attributes of a `cache-from` entry.
    ///
    /// # Errors
    /// When the type or an attribute is unknown, missing, or cannot be read.
    pub fn new(kind: &str, attributes: &BTreeMap<String, String>) -> Result<Self, CacheSpecError> {
        let mut fields = Fields::new(kind, attributes)?;
        let mut digest = None;
        let place = match kind {
            "registry" => CachePlace::Registry(fields.reference()?),
            "local" => {
                let dir = fields.need("src")?.into();
                let tag = fields.take("tag").unwrap_or_else(|| DEFAULT_TAG.to_owned());
                if let Some(text) = fields.take("digest") {
                    let read = text.parse().map_err(|_| bad("digest", &text, "want sha256:…"));
                    digest = Some(read?);
                }
                CachePlace::Local { dir, tag }
            }
            _ => return Err(CacheSpecError::InlineImport),
        };
        let insecure = fields.insecure(&place)?;
        fields.end()?;
        Ok(Self { place, digest, insecure })
    }

    /// The same with a relative directory below `cwd`.
    #[must_use]
    pub fn below(self, cwd: &Path) -> Self {
        Self { place: self.place.below(cwd), ..self }
    }
}

impl CacheExport {
    /// Reads the type and the attributes of a `cache-to` entry.
    ///
    /// # Errors
    /// When the type or an attribute is unknown, missing, or cannot be read.
    pub fn new(kind: &str, attributes: &BTreeMap<String, String>) -> Result<Self, CacheSpecError> {
        let mut fields = Fields::new(kind, attributes)?;
        let place = match kind {
            "registry" => CachePlace::Registry(fields.reference()?),
            "local" => {
                let dir = fields.need("dest")?.into();
                let tag = fields.take("tag").unwrap_or_else(|| DEFAULT_TAG.to_owned());
                CachePlace::Local { dir, tag }
            }
            _ => CachePlace::Inline,
        };
        let all_steps = match fields.take("mode").as_deref() {
            None | Some("min") => false,
            // An image has no place for layers that are not its own, which buildx passes over too.
            Some("max") => place != CachePlace::Inline,
            Some(value) => return Err(bad("mode", value, "want min or max")),
        };
        let oci_media_types = fields.flag("oci-mediatypes", true)?;
        let image_manifest = fields.flag("image-manifest", oci_media_types)?;
        if image_manifest && !oci_media_types {
            return Err(CacheSpecError::DockerImage);
        }
        let compression = fields.compression()?;
        let force_compression = fields.flag("force-compression", false)?;
        let ignore_error = fields.flag("ignore-error", false)?;
        let insecure = fields.insecure(&place)?;
        let prune = matches!(place, CachePlace::Local { .. }) && fields.flag("prune", true)?;
        fields.end()?;
        Ok(Self {
            place,
            all_steps,
            image_manifest,
            oci_media_types,
            compression,
            force_compression,
            insecure,
            ignore_error,
            prune,
        })
    }

    /// The same with a relative directory below `cwd`.
    #[must_use]
    pub fn below(self, cwd: &Path) -> Self {
        Self { place: self.place.below(cwd), ..self }
    }
}

impl CachePlace {
    fn below(self, cwd: &Path) -> Self {
        match self {
            Self::Local { dir, tag } => Self::Local { dir: cwd.join(dir), tag },
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> BTreeMap<String, String> {
        let pairs = text.split(',').filter_map(|field| field.split_once('='));
        pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
    }

    #[test]
    fn exports_have_buildkits_defaults() {
        let export = CacheExport::new("registry", &fields("ref=r.example/a:c")).expect("valid");
        assert!(!export.all_steps && export.image_manifest && export.oci_media_types);
        assert_eq!(export.compression, Compression::default());
        let max = fields("dest=d,mode=max,compression=zstd,compression-level=9,ignore-error=true");
        let export = CacheExport::new("local", &max).expect("valid");
        assert!(export.all_steps && export.ignore_error);
        assert_eq!(export.compression.level, Some(9));
        let CachePlace::Local { dir, tag } = export.below(Path::new("/w")).place else {
            panic!("a directory")
        };
        assert_eq!((dir, tag.as_str()), (PathBuf::from("/w/d"), "latest"));
        let prunes = |text: &str| CacheExport::new("local", &fields(text)).map(|e| e.prune);
        assert_eq!((prunes("dest=d"), prunes("dest=d,prune=false")), (Ok(true), Ok(false)));
        assert!(CacheExport::new("registry", &fields("ref=a,prune=true")).is_err());
        let open = "ref=a,registry.insecure=true";
        assert!(CacheExport::new("registry", &fields(open)).is_ok_and(|e| e.insecure));
        assert!(CacheImport::new("registry", &fields(open)).is_ok_and(|i| i.insecure));
        assert!(CacheImport::new("local", &fields("src=a,registry.insecure=true")).is_err());
        let docker = CacheExport::new("registry", &fields("ref=a,oci-mediatypes=false"));
        assert!(docker.is_ok_and(|e| !e.image_manifest));
        assert!(CacheExport::new("inline", &fields("mode=max")).is_ok_and(|e| !e.all_steps));
    }

    #[test]
    fn wrong_specs_are_explained() {
        for (kind, text, want) in [
            ("gha", "", "cache type `gha` is not supported (want registry, local or inline)"),
            ("dir", "", "unknown cache type `dir` (want registry, local or inline)"),
            ("registry", "", "cache type `registry` needs `ref=`"),
            ("local", "src=x", "cache type `local` needs `dest=`"),
            (
                "local",
                "dest=x,modes=max",
                "unknown attribute `modes` of cache type `local`; did you mean `mode`?",
            ),
            (
                "local",
                "dest=x,mode=mid",
                "cache attribute `mode=mid` is not valid: want min or max",
            ),
            (
                "registry",
                "ref=a,image-manifest=true,oci-mediatypes=false",
                "invalid configuration for cache exporter: `image-manifest=true` needs \
                 `oci-mediatypes=true`",
            ),
        ] {
            let error = CacheExport::new(kind, &fields(text)).expect_err(text);
            assert_eq!(error.to_string(), want, "{kind} {text}");
        }
        assert!(CacheImport::new("inline", &fields("")).is_err());
        assert!(CacheImport::new("local", &fields("src=x,digest=y")).is_err());
        let hint = CacheExport::new("s3", &fields("")).expect_err("unsupported").hint();
        assert!(hint.is_some_and(|hint| hint.contains("type=registry")));
    }
}
