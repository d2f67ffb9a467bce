//! What is attested of images: `--attest`, `--provenance`, `--sbom`.

use std::collections::BTreeMap;

/// How much a provenance tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProvenanceMode {
    /// What the image was made of.
    #[default]
    Min,
    /// Also build arguments, labels, ids of secrets, every step, and the Dockerfiles.
    Max,
}

/// A provenance that is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProvenanceSpec {
    /// How much it tells.
    pub mode: ProvenanceMode,
    /// A URI that names who builds; empty is Karman itself.
    pub builder_id: String,
    /// Whether the caller promises that the build gives the same bytes each time.
    pub reproducible: bool,
}

/// What is attested of the images of a target.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Attestations {
    /// How they were made.
    pub provenance: Option<ProvenanceSpec>,
    /// What is in them.
    pub sbom: bool,
}

/// An attestation that cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AttestError {
    /// The type is unknown.
    #[error("unknown attestation type `{0}` (want provenance or sbom)")]
    UnknownType(String),
    /// An attribute is unknown.
    #[error("unknown attribute `{name}` of attestation type `{kind}`")]
    UnknownAttribute {
        /// The attribute.
        name: String,
        /// The type.
        kind: String,
    },
    /// A value cannot be read.
    #[error("attestation attribute `{name}={value}` is not valid: {want}")]
    BadValue {
        /// The attribute.
        name: String,
        /// Its value.
        value: String,
        /// What would be right.
        want: &'static str,
    },
}

impl Attestations {
    /// Whether nothing is attested.
    pub fn is_empty(&self) -> bool {
        self.provenance.is_none() && !self.sbom
    }

    /// Takes one entry of `attest`; a later entry of a kind replaces an earlier one.
    ///
    /// # Errors
    /// When the type or an attribute is unknown, or a value cannot be read.
    pub fn add(
        &mut self,
        kind: &str,
        disabled: bool,
        attributes: &BTreeMap<String, String>,
    ) -> Result<(), AttestError> {
        match kind {
            "provenance" => {
                let spec = provenance(attributes)?;
                self.provenance = (!disabled).then_some(spec);
            }
            "sbom" => {
                sbom(attributes)?;
                self.sbom = !disabled;
            }
            other => return Err(AttestError::UnknownType(other.to_owned())),
        }
        Ok(())
    }
}

fn provenance(attributes: &BTreeMap<String, String>) -> Result<ProvenanceSpec, AttestError> {
    let mut spec = ProvenanceSpec::default();
    for (name, value) in attributes {
        let bad = |want| AttestError::BadValue { name: name.clone(), value: value.clone(), want };
        match name.as_str() {
            "mode" => {
                spec.mode = match value.as_str() {
                    "min" => ProvenanceMode::Min,
                    // An older word of BuildKit.
                    "max" | "full" => ProvenanceMode::Max,
                    _ => return Err(bad("want min or max")),
                }
            }
            "builder-id" => spec.builder_id.clone_from(value),
            "reproducible" => {
                spec.reproducible = match value.as_str() {
                    "true" | "1" | "" => true,
                    "false" | "0" => false,
                    _ => return Err(bad("want true or false")),
                }
            }
            "version" if value == "v1" => {}
            "version" => return Err(bad("want v1: SLSA provenance of version 1 is written")),
            // Whether a provenance that nobody asked for goes only into images that have room for it.
            "inline-only" => {}
            _ => return Err(unknown(name, "provenance")),
        }
    }
    Ok(spec)
}

fn sbom(attributes: &BTreeMap<String, String>) -> Result<(), AttestError> {
    match attributes.iter().next() {
        None => Ok(()),
        Some((name, value)) if name == "generator" => Err(AttestError::BadValue {
            name: name.clone(),
            value: value.clone(),
            want: "bills of materials are made by Karman itself; leave it out",
        }),
        Some((name, _)) => Err(unknown(name, "sbom")),
    }
}

fn unknown(name: &str, kind: &str) -> AttestError {
    AttestError::UnknownAttribute { name: name.to_owned(), kind: kind.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Type, whether it is disabled, attributes.
    type Entry<'a> = (&'a str, bool, &'a [(&'a str, &'a str)]);

    fn added(entries: &[Entry<'_>]) -> Result<Attestations, AttestError> {
        let mut all = Attestations::default();
        for (kind, disabled, attributes) in entries {
            let pairs = attributes.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
            all.add(kind, *disabled, &pairs.collect())?;
        }
        Ok(all)
    }

    #[test]
    fn the_last_entry_of_a_kind_holds() {
        let max = &[("mode", "max")][..];
        let all = added(&[("provenance", false, max), ("sbom", false, &[])]).expect("valid");
        let mode = all.provenance.clone().map(|p| p.mode);
        assert_eq!((mode, all.sbom), (Some(ProvenanceMode::Max), true));
        let none = added(&[("provenance", false, max), ("provenance", true, &[])]).expect("valid");
        assert!(none.is_empty());
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let wrong: [(&str, &[(&str, &str)]); 6] = [
            ("vex", &[]),
            ("provenance", &[("mode", "middle")]),
            ("provenance", &[("version", "v0.2")]),
            ("provenance", &[("moed", "max")]),
            ("sbom", &[("generator", "example.org/scanner")]),
            ("sbom", &[("mode", "max")]),
        ];
        for (kind, attributes) in wrong {
            assert!(added(&[(kind, false, attributes)]).is_err(), "{kind} {attributes:?}");
        }
    }
}
