//! SPDX 2.3 (<https://spdx.github.io/spdx-spec/v2.3/>).

use serde_json::{Value, json};

use super::{
    Component, EPOCH, Kind, Subject, amount, components, dependencies, licence, policies, purl,
    uuid,
};
use crate::model::Policy;

const NONE: &str = "NOASSERTION";
const IMAGE: &str = "SPDXRef-Image";
const DOCUMENT: &str = "SPDXRef-DOCUMENT";

/// The bill as SPDX.
pub fn spdx(subject: &Subject<'_>) -> Value {
    let all = components(subject);
    let told = |policies: &[Policy]| annotation(subject, policies);
    let mut packages = vec![with(image(subject), told(&policies(&all)))];
    packages.extend(all.iter().map(|c| with(package(c), told(c.policies))));
    let mut relations = vec![relation(DOCUMENT, "DESCRIBES", IMAGE)];
    for component in &all {
        let id = id_of(&component.key());
        relations.push(match component.stage {
            None => relation(IMAGE, "CONTAINS", &id),
            Some(_) => relation(&id, "BUILD_DEPENDENCY_OF", IMAGE),
        });
    }
    for (key, on) in dependencies(&all) {
        let from = id_of(&key);
        relations.extend(on.iter().map(|to| relation(&from, "DEPENDS_ON", &id_of(to))));
    }
    let created = subject.created.unwrap_or(EPOCH);
    json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": DOCUMENT,
        "name": subject.name,
        "documentNamespace": format!("https://spdx.org/spdxdocs/karman-{}", uuid(&subject.digest)),
        "creationInfo": {
            "created": whole_seconds(created),
            "creators": [tool(subject)],
        },
        "packages": packages,
        "relationships": relations,
    })
}

fn tool(subject: &Subject<'_>) -> String {
    format!("Tool: karman-{}", subject.version)
}

/// What policies of the build did (clause 12: annotations are comments of who made the document).
fn annotation(subject: &Subject<'_>, policies: &[Policy]) -> Option<Value> {
    let lines: Vec<String> =
        policies.iter().map(|p| format!("{}: {}", p.name, amount(p))).collect();
    let comment = format!("policies of the build: {}", lines.join("; "));
    (!lines.is_empty()).then(|| {
        json!({
            "annotationDate": whole_seconds(subject.created.unwrap_or(EPOCH)),
            "annotationType": "OTHER",
            "annotator": tool(subject),
            "comment": comment,
        })
    })
}

/// A package with its annotation.
fn with(mut package: Value, annotation: Option<Value>) -> Value {
    if let Some(annotation) = annotation {
        package["annotations"] = json!([annotation]);
    }
    package
}

fn image(subject: &Subject<'_>) -> Value {
    let digest = subject.digest.to_string();
    json!({
        "SPDXID": IMAGE,
        "name": subject.name,
        "versionInfo": digest,
        "downloadLocation": NONE,
        "filesAnalyzed": false,
        "licenseConcluded": NONE,
        "licenseDeclared": NONE,
        "copyrightText": NONE,
        "primaryPackagePurpose": "CONTAINER",
        "checksums": [{ "algorithm": "SHA256", "checksumValue": subject.digest.hex() }],
        "externalRefs": [reference(&purl::image(subject.name, &digest))],
        "comment": "The checksum of each contained package is sha256 over the lines `DIGEST PATH` of its files.",
    })
}

fn package(component: &Component<'_>) -> Value {
    let mut value = json!({
        "SPDXID": id_of(&component.key()),
        "name": component.name,
        "versionInfo": component.version,
        "downloadLocation": NONE,
        "filesAnalyzed": false,
        "licenseConcluded": NONE,
        "licenseDeclared": declared(component).unwrap_or_else(|| NONE.to_owned()),
        "copyrightText": NONE,
        "primaryPackagePurpose": "LIBRARY",
        "externalRefs": [reference(&component.purl)],
    });
    if let Some(supplier) = component.supplier {
        value["supplier"] = json!(format!("Organization: {}", one_line(supplier)));
    }
    if !component.licences.is_empty() {
        value["licenseComments"] = json!(component.licences.join(", "));
    }
    if let Some(digest) = component.digest {
        value["checksums"] = json!([{ "algorithm": "SHA256", "checksumValue": digest.hex() }]);
    }
    let stage = component.stage.map(|s| format!("installed in stage `{s}`, not in the image"));
    let source = component.source.as_ref().map(|s| format!("built from source package {s}"));
    let info: Vec<String> = stage.into_iter().chain(source).collect();
    if !info.is_empty() {
        value["sourceInfo"] = json!(info.join("; "));
    }
    value
}

/// The declared licence, where all texts are expressions.
fn declared(component: &Component<'_>) -> Option<String> {
    let expressions: Vec<String> =
        component.licences.iter().map(|l| licence::expression(l)).collect::<Option<_>>()?;
    let compound = |e: &String| match e.contains(' ') && expressions.len() > 1 {
        true => format!("({e})"),
        false => e.clone(),
    };
    let joined = expressions.iter().map(compound).collect::<Vec<_>>().join(" AND ");
    Some(joined).filter(|j| !j.is_empty() && (component.kind == Kind::Python || !j.contains("OR")))
}

fn reference(purl: &str) -> Value {
    json!({
        "referenceCategory": "PACKAGE-MANAGER",
        "referenceType": "purl",
        "referenceLocator": purl,
    })
}

fn relation(from: &str, kind: &str, to: &str) -> Value {
    json!({ "spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to })
}

/// An identifier has letters, digits, dots and hyphens only; other characters become their numbers, so that different
/// keys stay different.
fn id_of(key: &str) -> String {
    let key = key.strip_prefix("pkg:").unwrap_or(key);
    let mut out = "SPDXRef-".to_owned();
    for c in key.chars() {
        match c {
            'A'..='Z' | 'a'..='z' | '0'..='9' | '.' => out.push(c),
            '-' => out.push_str("--"),
            '/' => out.push('-'),
            other => out.push_str(&format!("-{:x}-", u32::from(other))),
        }
    }
    out
}

/// `created` of SPDX has no fractions and ends with `Z`.
fn whole_seconds(time: &str) -> String {
    match time.split_once('.') {
        Some((seconds, _)) => format!("{seconds}Z"),
        None => time.to_owned(),
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
