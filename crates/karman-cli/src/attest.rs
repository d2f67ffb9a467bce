//! `--provenance` and `--sbom` of `build` and `bake`, as buildx reads them.

use karman_control::ProvenanceMode;

use crate::env::Environment;
use crate::failure::{Done, Failure};

/// The variable that says how much of the provenance `--metadata-file` has.
const METADATA: &str = "BUILDX_METADATA_PROVENANCE";

/// Flags.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct AttestArgs {
    /// Attest how images were made, in their index: mode=min or mode=max; shorthand for
    /// --attest=type=provenance
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "SPEC")]
    provenance: Option<String>,
    /// Attest what is in images, as SPDX in their index; shorthand for --attest=type=sbom
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "SPEC")]
    sbom: Option<String>,
}

impl AttestArgs {
    /// The flags as values of `--attest`.
    pub(crate) fn specs(&self) -> Vec<String> {
        let kinds = [("provenance", &self.provenance), ("sbom", &self.sbom)];
        let given = kinds.into_iter().filter_map(|(kind, text)| Some((kind, text.as_deref()?)));
        given.filter(|(_, text)| !text.is_empty()).map(|(kind, text)| spec(kind, text)).collect()
    }
}

/// `true`, `false` or attributes.
fn spec(kind: &str, text: &str) -> String {
    match text.to_lowercase().as_str() {
        "true" | "1" | "t" => format!("type={kind}"),
        "false" | "0" | "f" => format!("type={kind},disabled=true"),
        _ => format!("type={kind},{text}"),
    }
}

/// How much of the provenance `--metadata-file` has; `None` is nothing.
pub(crate) fn metadata_mode(env: &Environment) -> Done<Option<ProvenanceMode>> {
    match env.get(METADATA).unwrap_or_default() {
        "" | "min" | "true" | "1" => Ok(Some(ProvenanceMode::Min)),
        "max" => Ok(Some(ProvenanceMode::Max)),
        "disabled" | "false" | "0" => Ok(None),
        other => Err(Failure::usage_hint(
            format!("{METADATA} is `{other}`"),
            "want `min`, `max` or `disabled`",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_flags_are_attestations() {
        let specs = |provenance: Option<&str>, sbom: Option<&str>| {
            let text = |t: Option<&str>| t.map(str::to_owned);
            AttestArgs { provenance: text(provenance), sbom: text(sbom) }.specs()
        };
        assert_eq!(specs(Some("true"), None), ["type=provenance"]);
        assert_eq!(specs(Some("mode=max"), None), ["type=provenance,mode=max"]);
        let off = ["type=provenance,disabled=true", "type=sbom,disabled=true"];
        assert_eq!(specs(Some("False"), Some("0")), off);
        assert!(specs(None, Some("")).is_empty());
    }
}
