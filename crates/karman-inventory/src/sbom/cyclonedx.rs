//! CycloneDX 1.6 (ECMA-424, <https://cyclonedx.org/docs/1.6/json/>).

use serde_json::{Value, json};

use super::{
    Component, EPOCH, Kind, Subject, amount, components, dependencies, licence, policies, purl,
    uuid,
};
use crate::model::Policy;

/// The bill as CycloneDX.
pub fn cyclonedx(subject: &Subject<'_>) -> Value {
    let all = components(subject);
    let image = purl::image(subject.name, &subject.digest.to_string());
    let mut graph: Vec<Value> = dependencies(&all)
        .into_iter()
        .map(|(key, on)| json!({ "ref": key, "dependsOn": on }))
        .collect();
    let roots: Vec<String> = all.iter().filter(|c| c.stage.is_none()).map(Component::key).collect();
    graph.insert(0, json!({ "ref": image, "dependsOn": roots }));
    let mut properties = vec![
        property("karman:platform", &subject.inventory.platform),
        property("karman:hashes", "sha256 over the lines `DIGEST PATH` of a component's files"),
    ];
    properties.extend(policies(&all).iter().map(policy));
    json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": format!("urn:uuid:{}", uuid(&subject.digest)),
        "version": 1,
        "metadata": {
            "timestamp": subject.created.unwrap_or(EPOCH),
            "tools": { "components": [
                { "type": "application", "name": "karman", "version": subject.version },
            ] },
            "component": {
                "type": "container",
                "bom-ref": image,
                "name": subject.name,
                "version": subject.digest.to_string(),
                "purl": image,
                "properties": properties,
            },
        },
        "components": all.iter().map(component).collect::<Vec<_>>(),
        "dependencies": graph,
    })
}

fn property(name: &str, value: &str) -> Value {
    json!({ "name": name, "value": value })
}

/// What a policy of the build did, such as `karman:policy:slim:tests`: `12 files, 3456 bytes`.
fn policy(policy: &Policy) -> Value {
    property(&format!("karman:policy:{}", policy.name), &amount(policy))
}

fn component(component: &Component<'_>) -> Value {
    let mut value = json!({
        "type": "library",
        "bom-ref": component.key(),
        "name": component.name,
        "version": component.version,
        "purl": component.purl,
    });
    if let Some(supplier) = component.supplier {
        value["supplier"] = json!({ "name": supplier });
    }
    if let Some(digest) = component.digest {
        value["hashes"] = json!([{ "alg": "SHA-256", "content": digest.hex() }]);
    }
    let licences = licences(component);
    if !licences.is_empty() {
        value["licenses"] = Value::Array(licences);
    }
    let mut properties = Vec::new();
    if let Some(source) = &component.source {
        properties.push(property("karman:source-package", source));
    }
    if let Some(stage) = component.stage {
        // In the stage, not in the image: what was copied out of it may hold parts of it.
        value["scope"] = json!("excluded");
        properties.push(property("karman:stage", stage));
    }
    properties.extend(component.policies.iter().map(policy));
    if !properties.is_empty() {
        value["properties"] = Value::Array(properties);
    }
    value
}

/// One expression, or names: the schema has no mixture of both.
fn licences(component: &Component<'_>) -> Vec<Value> {
    let expressions: Option<Vec<String>> =
        component.licences.iter().map(|l| licence::expression(l)).collect();
    match expressions {
        Some(one) if component.kind == Kind::Python && one.len() == 1 => {
            vec![json!({ "expression": one[0] })]
        }
        _ => component.licences.iter().map(|name| json!({ "license": { "name": name } })).collect(),
    }
}
