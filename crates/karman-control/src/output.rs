//! `--output` specs: `type=oci,dest=x.tar,compression=zstd`.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use crate::{Annotation, AnnotationError};

/// What an output is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum OutputKind {
    /// An OCI layout: archive, or directory with `tar=false`.
    Oci,
    /// A docker archive.
    Docker,
    /// An image in the local store.
    Image,
    /// The root filesystem as files in a directory.
    Local,
    /// The root filesystem as a tar.
    Tar,
    /// Built, not kept as an output.
    CacheOnly,
}

/// A layer compression.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum CompressionKind {
    /// gzip, the default.
    #[default]
    Gzip,
    /// gzip with a table of contents, of which single files can be fetched (stargz-snapshotter's eStargz).
    Estargz,
    /// zstd.
    Zstd,
    /// None.
    Uncompressed,
}

impl CompressionKind {
    /// The names that [`CompressionKind::parse`] reads.
    pub const NAMES: &str = "gzip, estargz, zstd or uncompressed";

    /// The levels that exist, and how that is said; `None` where there are none to choose from.
    #[must_use]
    pub fn levels(self) -> Option<(RangeInclusive<i32>, &'static str)> {
        match self {
            Self::Gzip | Self::Estargz => Some((0..=9, "want 0 to 9")),
            Self::Zstd => Some((1..=22, "want 1 to 22")),
            Self::Uncompressed => None,
        }
    }

    /// Reads BuildKit's name of a compression.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "gzip" => Some(Self::Gzip),
            "estargz" => Some(Self::Estargz),
            "zstd" => Some(Self::Zstd),
            "uncompressed" => Some(Self::Uncompressed),
            _ => None,
        }
    }

    /// BuildKit's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Estargz => "estargz",
            Self::Zstd => "zstd",
            Self::Uncompressed => "uncompressed",
        }
    }
}

/// A layer compression with its level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Compression {
    /// Which.
    pub kind: CompressionKind,
    /// How hard; `None` is the default of the kind.
    pub level: Option<i32>,
}

impl Compression {
    /// The level, where it is none of the compression's, and which ones are.
    #[must_use]
    pub fn wrong_level(self) -> Option<(i32, &'static str)> {
        let (level, (range, want)) = (self.level?, self.kind.levels()?);
        (!range.contains(&level)).then_some((level, want))
    }
}

/// How the final tree of an image becomes layers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Layering {
    /// One layer for each step that wrote something.
    #[default]
    Steps,
    /// Along packages, so that images share them.
    Packages(PackageLayers),
}

/// How layers along packages are made.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PackageLayers {
    /// The most layers of an image.
    pub budget: usize,
    /// The file with the plan; without one the images of a run are planned together.
    pub plan: Option<PathBuf>,
}

impl Default for PackageLayers {
    fn default() -> Self {
        Self { budget: DEFAULT_LAYER_BUDGET, plan: None }
    }
}

/// Layers of an image where nothing else is asked for.
pub const DEFAULT_LAYER_BUDGET: usize = 64;
/// The most layers an image may have: Docker does not mount more.
pub const MAX_LAYER_BUDGET: usize = 127;
/// The least that makes sense: some for packages, some for what the steps wrote.
const MIN_LAYER_BUDGET: usize = 4;

/// How an image goes to the registries that its names say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Push {
    /// Not at all.
    #[default]
    No,
    /// Under its names.
    Tags,
    /// Into their repositories, without moving a tag.
    Digest,
}

/// A program that takes images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Loader {
    /// `docker load`.
    Docker,
    /// `podman load`.
    Podman,
}

impl Loader {
    /// The program.
    #[must_use]
    pub fn program(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
        }
    }
}

/// An output as written, not yet bound to a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputSpec {
    /// What it is.
    pub kind: OutputKind,
    /// Where it goes; `-` is standard output.
    pub dest: Option<String>,
    /// All other attributes, checked by [`OutputSpec::bind`].
    pub attributes: BTreeMap<String, String>,
}

/// An output bound to a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    /// What it is.
    pub kind: OutputKind,
    /// File or directory; `None` is standard output for archives and nothing for images.
    pub dest: Option<PathBuf>,
    /// Whether an OCI layout is one archive (`tar=true`) or a directory.
    pub archive: bool,
    /// The program that takes a docker archive, in place of a file.
    pub load: Option<Loader>,
    /// Whether it also goes to a registry; of images only.
    pub push: Push,
    /// Whether the registry that it goes to need not be verified, nor speak TLS.
    pub insecure: bool,
    /// Names given to the image, besides the target's tags.
    pub names: Vec<String>,
    /// How layers are cut.
    pub layering: Layering,
    /// Layer compression.
    pub compression: Compression,
    /// Whether layers that exist in another compression are made again.
    pub force_compression: bool,
    /// Whether times later than the epoch are pulled back to it.
    pub rewrite_timestamp: bool,
    /// Whether manifests and configs carry OCI media types (else Docker's).
    pub oci_media_types: bool,
    /// Annotations.
    pub annotations: Vec<Annotation>,
    /// Whether every platform gets a directory of its own; `None` where there are several.
    pub platform_split: Option<bool>,
}

/// Why an output spec is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OutputSpecError {
    /// `type=` is missing.
    #[error("output `{0}` has no `type=`")]
    NoType(String),
    /// The type is unknown.
    #[error(
        "unknown output type `{0}` (want oci, docker, image, registry, local, tar or cacheonly)"
    )]
    UnknownType(String),
    /// An attribute is not `key=value`.
    #[error("output attribute `{0}` is not `key=value`")]
    NotAPair(String),
    /// An attribute is unknown.
    #[error("unknown attribute `{name}` of output type `{kind}`")]
    UnknownAttribute {
        /// The attribute.
        name: String,
        /// The output type.
        kind: String,
    },
    /// A value cannot be read.
    #[error("output attribute `{name}={value}` is not valid: {want}")]
    BadValue {
        /// The attribute.
        name: String,
        /// Its value.
        value: String,
        /// What would be right.
        want: &'static str,
    },
    /// An annotation cannot be read.
    #[error(transparent)]
    Annotation(#[from] AnnotationError),
    /// `dest=` is missing.
    #[error("output type `{0}` needs `dest=`")]
    NoDestination(&'static str),
}

impl OutputSpec {
    /// Reads a spec: `type=…,key=value,…`, or just a path (files in a directory), or `-` (a tar
    /// on standard output). Values may be quoted as in CSV.
    ///
    /// # Errors
    /// When the type is missing or unknown, or a field is not `key=value`.
    pub fn parse(text: &str) -> Result<Self, OutputSpecError> {
        if text == "-" {
            return Ok(Self::simple(OutputKind::Tar, "-"));
        }
        if !text.contains('=') {
            return Ok(Self::simple(OutputKind::Local, text));
        }
        let mut attributes = BTreeMap::new();
        for field in split_csv(text) {
            let (name, value) =
                field.split_once('=').ok_or_else(|| OutputSpecError::NotAPair(field.clone()))?;
            attributes.insert(name.trim().to_lowercase(), value.to_owned());
        }
        let kind = attributes.remove("type").ok_or_else(|| OutputSpecError::NoType(text.into()))?;
        let kind = match kind.as_str() {
            "oci" => OutputKind::Oci,
            "docker" => OutputKind::Docker,
            "image" => OutputKind::Image,
            "registry" => {
                attributes.entry("push".to_owned()).or_insert_with(|| "true".to_owned());
                OutputKind::Image
            }
            "local" => OutputKind::Local,
            "tar" => OutputKind::Tar,
            "cacheonly" => OutputKind::CacheOnly,
            _ => return Err(OutputSpecError::UnknownType(kind)),
        };
        let dest = attributes.remove("dest").filter(|dest| !dest.is_empty());
        Ok(Self { kind, dest, attributes })
    }

    fn simple(kind: OutputKind, dest: &str) -> Self {
        Self { kind, dest: Some(dest.to_owned()), attributes: BTreeMap::new() }
    }

    /// Checks the attributes and gives the export.
    ///
    /// # Errors
    /// When an attribute is unknown or its value cannot be read, or when a place is missing.
    pub fn bind(&self) -> Result<Export, OutputSpecError> {
        let dest = self.dest.as_deref().filter(|d| *d != "-").map(PathBuf::from);
        let mut export = Export {
            kind: self.kind,
            dest,
            archive: true,
            load: None,
            push: Push::No,
            insecure: false,
            names: Vec::new(),
            layering: Layering::Steps,
            compression: Compression::default(),
            force_compression: false,
            rewrite_timestamp: false,
            oci_media_types: self.kind != OutputKind::Docker,
            annotations: Vec::new(),
            platform_split: None,
        };
        for (name, value) in &self.attributes {
            self.attribute(&mut export, name, value)?;
        }
        export.layering = self.layering()?;
        if let Some((level, want)) = export.compression.wrong_level() {
            let (name, value) = ("compression-level".to_owned(), level.to_string());
            return Err(OutputSpecError::BadValue { name, value, want });
        }
        match (self.kind, self.dest.as_deref()) {
            (OutputKind::Local, None | Some("-")) => Err(OutputSpecError::NoDestination("local")),
            _ => Ok(export),
        }
    }

    fn is_image(&self) -> bool {
        matches!(self.kind, OutputKind::Oci | OutputKind::Docker | OutputKind::Image)
    }

    /// The attributes of layers along packages mean nothing without `layering=packages`.
    fn layering(&self) -> Result<Layering, OutputSpecError> {
        let get = |name: &str| self.attributes.get(name).map(String::as_str);
        let bad = |name: &str, want| {
            let value = get(name).unwrap_or_default().to_owned();
            OutputSpecError::BadValue { name: name.to_owned(), value, want }
        };
        match get("layering") {
            Some("packages") => {}
            None | Some("steps") => {
                let given = ["layer-budget", "layer-plan"].into_iter().find(|n| get(n).is_some());
                let refuse = |name| Err(bad(name, "it needs layering=packages"));
                return given.map_or(Ok(Layering::Steps), refuse);
            }
            Some(_) => return Err(bad("layering", "want steps or packages")),
        }
        let mut layers = PackageLayers::default();
        if let Some(text) = get("layer-budget") {
            let budget = text.parse().ok();
            let is_in = |n: &usize| (MIN_LAYER_BUDGET..=MAX_LAYER_BUDGET).contains(n);
            let want = "want a number from 4 to 127";
            layers.budget = budget.filter(is_in).ok_or_else(|| bad("layer-budget", want))?;
        }
        layers.plan = get("layer-plan").filter(|p| !p.is_empty()).map(PathBuf::from);
        Ok(Layering::Packages(layers))
    }

    fn attribute(&self, e: &mut Export, name: &str, value: &str) -> Result<(), OutputSpecError> {
        let bad = |want| OutputSpecError::BadValue { name: name.into(), value: value.into(), want };
        let flag = || match value {
            "true" | "1" | "" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err(bad("want true or false")),
        };
        match name {
            "tar" if matches!(self.kind, OutputKind::Oci | OutputKind::Docker) => {
                e.archive = flag()?
            }
            "layering" | "layer-budget" | "layer-plan" if self.is_image() => {}
            "load" if self.kind == OutputKind::Docker && self.dest.is_none() => {
                e.load = Some(match value {
                    "docker" => Loader::Docker,
                    "podman" => Loader::Podman,
                    _ => return Err(bad("want docker or podman")),
                });
            }
            "name" => e.names = value.split(',').map(|n| n.trim().to_owned()).collect(),
            "compression" => {
                let kind = CompressionKind::parse(value);
                e.compression.kind =
                    kind.ok_or_else(|| bad("want gzip, estargz, zstd or uncompressed"))?;
            }
            "compression-level" => {
                e.compression.level = Some(value.parse().map_err(|_| bad("want a number"))?);
            }
            "force-compression" => e.force_compression = flag()?,
            "rewrite-timestamp" => e.rewrite_timestamp = flag()?,
            "oci-mediatypes" => e.oci_media_types = flag()?,
            "push" if self.kind == OutputKind::Image => {
                e.push = if flag()? { Push::Tags } else { Push::No };
            }
            "registry.insecure" if self.kind == OutputKind::Image => e.insecure = flag()?,
            // Read after `push`, which stands before it in the alphabet.
            "push-by-digest" if self.kind == OutputKind::Image => {
                if flag()? && e.push == Push::Tags {
                    e.push = Push::Digest;
                }
            }
            // The names in the metadata have no digest, with or without.
            "name-canonical" if self.kind == OutputKind::Image => drop(flag()?),
            "platform-split" if matches!(self.kind, OutputKind::Local | OutputKind::Tar) => {
                e.platform_split = Some(flag()?);
            }
            _ => match Annotation::of_attribute(name, value) {
                Some(annotation) => e.annotations.push(annotation?),
                None => {
                    let kind = format!("{:?}", self.kind).to_lowercase();
                    return Err(OutputSpecError::UnknownAttribute { name: name.into(), kind });
                }
            },
        }
        Ok(())
    }
}

impl Export {
    /// The attributes, but for annotations, on which the bytes of an image depend; those at their
    /// defaults are left out. [`OutputSpec::bind`] reads them.
    pub fn image_attributes(&self) -> BTreeMap<String, String> {
        let kind = self.compression.kind;
        let kind = (kind != CompressionKind::default()).then(|| kind.name().to_owned());
        let set = |is_set: bool, value: &str| is_set.then(|| value.to_owned());
        let layers = match &self.layering {
            Layering::Packages(layers) => Some(layers),
            Layering::Steps => None,
        };
        let all = [
            ("compression", kind),
            ("compression-level", self.compression.level.map(|l| l.to_string())),
            ("force-compression", set(self.force_compression, "true")),
            ("rewrite-timestamp", set(self.rewrite_timestamp, "true")),
            ("oci-mediatypes", set(!self.oci_media_types, "false")),
            ("layering", set(layers.is_some(), "packages")),
            ("layer-budget", layers.map(|l| l.budget.to_string())),
        ];
        let given = all.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        given.collect()
    }
}

/// Splits at commas that are not inside double quotes; a doubled quote inside quotes is one.
fn split_csv(text: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let field = fields.last_mut().unwrap_or_else(|| unreachable!("there is always a field"));
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                field.push('"');
                chars.next();
            }
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            other => field.push(other),
        }
    }
    fields.retain(|f| !f.is_empty());
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_spec_is_read() {
        let spec = OutputSpec::parse("type=oci,dest=x.tar,compression=zstd,compression-level=9");
        let export = spec.and_then(|s| s.bind()).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(export.kind, OutputKind::Oci);
        assert_eq!(export.dest, Some(PathBuf::from("x.tar")));
        assert_eq!(export.compression.kind, CompressionKind::Zstd);
        assert_eq!(export.compression.level, Some(9));
    }

    #[test]
    fn a_level_is_one_of_its_compression() {
        let bound = |spec: &str| OutputSpec::parse(spec).and_then(|s| s.bind()).map(drop);
        for fine in [
            "gzip,compression-level=0",
            "zstd,compression-level=22",
            "uncompressed,compression-level=99",
        ] {
            assert_eq!(bound(&format!("type=oci,compression={fine}")), Ok(()));
        }
        for (wrong, want) in
            [("gzip,compression-level=10", "0 to 9"), ("zstd,compression-level=-1", "1 to 22")]
        {
            let error =
                bound(&format!("type=oci,compression={wrong}")).expect_err(wrong).to_string();
            assert!(error.contains(want) && error.contains("compression-level="), "{error}");
        }
        for nowhere in ["type=local,dest=-", "type=local,dest="] {
            assert_eq!(bound(nowhere), Err(OutputSpecError::NoDestination("local")));
        }
    }

    #[test]
    fn quotes_keep_commas_and_short_forms_work() {
        let spec = OutputSpec::parse("type=image,\"name=a,b\"").and_then(|s| s.bind());
        assert_eq!(spec.map(|e| e.names), Ok(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(OutputSpec::parse("out").map(|s| s.kind), Ok(OutputKind::Local));
        assert_eq!(OutputSpec::parse("-").map(|s| s.kind), Ok(OutputKind::Tar));
    }

    #[test]
    fn a_registry_is_an_image_that_is_pushed() {
        let push = |text: &str| {
            let export = OutputSpec::parse(text).and_then(|s| s.bind());
            export.map(|e| (e.kind, e.push)).unwrap_or_else(|e| panic!("{text}: {e}"))
        };
        assert_eq!(push("type=registry"), (OutputKind::Image, Push::Tags));
        assert_eq!(push("type=image,push=true"), (OutputKind::Image, Push::Tags));
        assert_eq!(push("type=image,push=false"), (OutputKind::Image, Push::No));
        let by_digest = "type=image,push-by-digest=true,name-canonical=true,push=true";
        assert_eq!(push(by_digest), (OutputKind::Image, Push::Digest));
        assert_eq!(push("type=image,push-by-digest=true"), (OutputKind::Image, Push::No));
        let tar = OutputSpec::parse("type=tar,push=true,dest=x").and_then(|s| s.bind());
        assert!(tar.is_err());
    }

    #[test]
    fn layers_are_cut_along_packages_on_request() {
        let layering =
            |text: &str| OutputSpec::parse(text).and_then(|s| s.bind()).map(|e| e.layering);
        assert_eq!(layering("type=oci,layering=steps"), Ok(Layering::Steps));
        let default = Layering::Packages(PackageLayers { budget: 64, plan: None });
        assert_eq!(layering("type=image,layering=packages,layer-plan="), Ok(default));
        let full = layering("type=registry,layering=packages,layer-budget=127,layer-plan=l.json");
        let plan = Some(PathBuf::from("l.json"));
        assert_eq!(full, Ok(Layering::Packages(PackageLayers { budget: 127, plan })));
    }

    #[test]
    fn what_an_image_depends_on_is_read_back() {
        let text = "type=oci,dest=x,compression=zstd,compression-level=9,force-compression=true,\
                    rewrite-timestamp=true,oci-mediatypes=false";
        let export = OutputSpec::parse(text).and_then(|s| s.bind()).expect("valid");
        let attributes = export.image_attributes();
        assert_eq!(attributes.len(), 5);
        let spec = OutputSpec { kind: OutputKind::Oci, dest: Some("x".into()), attributes };
        assert_eq!(spec.bind(), Ok(export));
        let plain = OutputSpec::parse("type=image").and_then(|s| s.bind()).expect("valid");
        assert!(plain.image_attributes().is_empty());
    }

    #[test]
    fn a_docker_archive_goes_to_a_program_or_to_a_file() {
        let load = |text: &str| OutputSpec::parse(text).and_then(|s| s.bind()).map(|e| e.load);
        assert_eq!(load("type=docker,load=podman"), Ok(Some(Loader::Podman)));
        assert_eq!(load("type=docker,dest=x.tar"), Ok(None));
        for wrong in
            ["type=docker,load=crio", "type=docker,dest=x,load=docker", "type=oci,load=docker"]
        {
            assert!(load(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn wrong_specs_are_refused() {
        for text in [
            "dest=x",
            "type=zip",
            "type=oci,x",
            "type=oci,foo=1",
            "type=oci,compression=lz4",
            "type=oci,layering=files",
            "type=oci,layering=packages,layer-budget=128",
            "type=oci,layer-plan=x",
            "type=tar,layering=packages",
        ] {
            assert!(OutputSpec::parse(text).and_then(|s| s.bind()).is_err(), "{text}");
        }
        assert!(OutputSpec::parse("type=local").and_then(|s| s.bind()).is_err());
    }
}
