//! Annotations with their scopes: `[TYPE[PLATFORM][,TYPE…]:]KEY=VALUE` of `--annotation` and bake,
//! and `annotation[-TYPE][PLATFORM].KEY=VALUE` of an output (buildx `ParseAnnotations`, BuildKit
//! `exptypes/annotations.go`).

use std::collections::BTreeMap;

use karman_diag::nearest;
use karman_oci::Platform;

/// What is annotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AnnotationScope {
    /// The manifests of the platforms.
    Manifest,
    /// Their entries in the index.
    ManifestDescriptor,
    /// The index over platforms.
    Index,
    /// The index's own entry in a layout.
    IndexDescriptor,
}

impl AnnotationScope {
    const ALL: [(&'static str, Self); 4] = [
        ("manifest", Self::Manifest),
        ("manifest-descriptor", Self::ManifestDescriptor),
        ("index", Self::Index),
        ("index-descriptor", Self::IndexDescriptor),
    ];

    fn parse(name: &str) -> Result<Self, AnnotationError> {
        let known = Self::ALL.iter().find(|(n, _)| *n == name);
        known.map(|(_, scope)| *scope).ok_or_else(|| AnnotationError::UnknownScope {
            name: name.to_owned(),
            meant: nearest(name, Self::ALL.iter().map(|(n, _)| *n)).map(str::to_owned),
        })
    }

    /// Whether it exists only where there is an index.
    pub fn is_of_index(self) -> bool {
        matches!(self, Self::Index | Self::IndexDescriptor)
    }
}

/// One annotation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Annotation {
    /// What is annotated.
    pub scope: AnnotationScope,
    /// The only platform it is for; `None` is all of them.
    pub platform: Option<Platform>,
    /// The key.
    pub key: String,
    /// The value.
    pub value: String,
}

/// Why a text is no annotation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnnotationError {
    /// No `=`.
    #[error("invalid annotation {0:?}, expected key=value")]
    NoValue(String),
    /// The part before the colon is malformed.
    #[error(
        "invalid annotation type {0:?}, expected type and optional platform in square brackets"
    )]
    MalformedScope(String),
    /// A type that does not exist.
    #[error("unknown annotation type {name:?}{}", did_you_mean(meant.as_deref()))]
    UnknownScope {
        /// The word.
        name: String,
        /// The nearest right one.
        meant: Option<String>,
    },
    /// The brackets hold no platform.
    #[error("invalid platform {0:?}")]
    Platform(String),
}

fn did_you_mean(meant: Option<&str>) -> String {
    meant.map_or(String::new(), |word| format!("; did you mean `{word}`?"))
}

impl Annotation {
    /// Reads the value of `--annotation`: one annotation for each of its types.
    ///
    /// # Errors
    /// When there is no value, or a type or platform is unknown.
    pub fn parse(text: &str) -> Result<Vec<Self>, AnnotationError> {
        let (name, value) =
            text.split_once('=').ok_or_else(|| AnnotationError::NoValue(text.to_owned()))?;
        let Some((types, key)) = name.split_once(':') else {
            return Ok(vec![Self::new(AnnotationScope::Manifest, None, name, value)]);
        };
        let one = |text: &str| {
            let (scope, platform) = split(text)?;
            Ok(Self::new(AnnotationScope::parse(scope)?, platform, key, value))
        };
        types.split(',').map(one).collect()
    }

    /// Reads an attribute of an output; `None` is one that is no annotation.
    ///
    /// # Errors
    /// When a type or platform is unknown.
    pub fn of_attribute(name: &str, value: &str) -> Option<Result<Self, AnnotationError>> {
        let rest = name.strip_prefix("annotation")?;
        let malformed = || AnnotationError::MalformedScope(name.to_owned());
        let found = |scope, platform, key: &str| match key {
            "" => Err(malformed()),
            key => Ok(Self::new(scope, platform, key, value)),
        };
        if let Some(key) = rest.strip_prefix('.') {
            return Some(found(AnnotationScope::Manifest, None, key));
        }
        let typed = rest.strip_prefix('-').or_else(|| rest.starts_with('[').then_some(rest))?;
        // A platform may hold a dot (`os.version`), so the key begins after the brackets.
        let after = typed.find(']').unwrap_or(0);
        let at = typed[after..].find('.').map(|at| at + after);
        let Some(at) = at else { return Some(Err(malformed())) };
        let one = split(&typed[..at]).and_then(|(name, platform)| {
            let scope = match name {
                "" => AnnotationScope::Manifest,
                name => AnnotationScope::parse(name)?,
            };
            found(scope, platform, &typed[at + 1..])
        });
        Some(one)
    }

    fn new(scope: AnnotationScope, platform: Option<Platform>, key: &str, value: &str) -> Self {
        Self { scope, platform, key: key.to_owned(), value: value.to_owned() }
    }

    /// The annotations of one scope for a platform; those for the platform alone win.
    pub fn select<'a>(
        all: impl IntoIterator<Item = &'a Self> + Clone,
        scope: AnnotationScope,
        platform: Option<&Platform>,
    ) -> BTreeMap<String, String> {
        let of = |own: bool| {
            all.clone().into_iter().filter(move |a| {
                a.scope == scope
                    && match (&a.platform, platform) {
                        (None, _) => !own,
                        (Some(wanted), Some(platform)) => own && wanted == platform,
                        (Some(_), None) => false,
                    }
            })
        };
        let pairs = of(false).chain(of(true));
        pairs.map(|a| (a.key.clone(), a.value.clone())).collect()
    }
}

/// `TYPE[PLATFORM]` in its two parts.
fn split(text: &str) -> Result<(&str, Option<Platform>), AnnotationError> {
    let Some((name, rest)) = text.split_once('[') else {
        let fine = |c: char| c.is_ascii_lowercase() || c == '-';
        return match text.chars().all(fine) {
            true => Ok((text, None)),
            false => Err(AnnotationError::MalformedScope(text.to_owned())),
        };
    };
    let platform =
        rest.strip_suffix(']').ok_or_else(|| AnnotationError::MalformedScope(text.to_owned()))?;
    let parsed =
        Platform::parse(platform).map_err(|_| AnnotationError::Platform(platform.to_owned()))?;
    Ok((name, Some(parsed)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(found: &[Annotation]) -> Vec<String> {
        let one = |a: &Annotation| {
            let platform = a.platform.as_ref().map(|p| format!("[{p}]")).unwrap_or_default();
            format!("{:?}{platform} {}={}", a.scope, a.key, a.value)
        };
        found.iter().map(one).collect()
    }

    #[test]
    fn flags_name_types_and_platforms() {
        for (text, want) in [
            ("k=v", &["Manifest k=v"][..]),
            ("k=", &["Manifest k="]),
            ("index:k=a=b", &["Index k=a=b"]),
            ("manifest,index:k=v", &["Manifest k=v", "Index k=v"]),
            ("manifest[linux/arm64]:k=v", &["Manifest[linux/arm64] k=v"]),
            (
                "manifest-descriptor[linux/arm/v7],index-descriptor:k=v",
                &["ManifestDescriptor[linux/arm/v7] k=v", "IndexDescriptor k=v"],
            ),
        ] {
            let found = Annotation::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(shown(&found), want, "{text}");
        }
    }

    #[test]
    fn wrong_flags_are_explained() {
        for (text, want) in [
            ("k", "invalid annotation \"k\", expected key=value"),
            ("indx:k=v", "unknown annotation type \"indx\"; did you mean `index`?"),
            (
                "Index!:k=v",
                "invalid annotation type \"Index!\", expected type and optional platform in \
                 square brackets",
            ),
            ("manifest[nowhere]:k=v", "invalid platform \"nowhere\""),
        ] {
            let error = Annotation::parse(text).expect_err(text);
            assert_eq!(error.to_string(), want, "{text}");
        }
    }

    #[test]
    fn attributes_of_outputs_are_annotations_too() {
        for (name, want) in [
            ("annotation.a.b", Some("Manifest a.b=v")),
            ("annotation-index.a", Some("Index a=v")),
            ("annotation[linux/arm64].a", Some("Manifest[linux/arm64] a=v")),
            (
                "annotation-manifest-descriptor[linux/amd64].a",
                Some("ManifestDescriptor[linux/amd64] a=v"),
            ),
            ("annotationx", None),
            ("name", None),
        ] {
            let found = Annotation::of_attribute(name, "v");
            let found = found.map(|a| shown(&[a.unwrap_or_else(|e| panic!("{name}: {e}"))]));
            assert_eq!(found.as_deref(), want.map(|w| vec![w.to_owned()]).as_deref(), "{name}");
        }
        for wrong in ["annotation.", "annotation-index", "annotation-foo.a"] {
            assert!(Annotation::of_attribute(wrong, "v").is_some_and(|a| a.is_err()), "{wrong}");
        }
    }

    #[test]
    fn the_annotation_of_a_platform_wins() {
        let all: Vec<Annotation> = ["manifest[linux/arm64]:k=arm", "k=all", "l=1"]
            .iter()
            .flat_map(|t| Annotation::parse(t).unwrap_or_else(|e| panic!("{e}")))
            .collect();
        let (arm, amd) = (Platform::new("linux", "arm64"), Platform::new("linux", "amd64"));
        let select = |platform| Annotation::select(&all, AnnotationScope::Manifest, platform);
        assert_eq!(select(Some(&arm))["k"], "arm");
        assert_eq!(select(Some(&amd))["k"], "all");
        assert_eq!(select(None)["l"], "1");
    }
}
