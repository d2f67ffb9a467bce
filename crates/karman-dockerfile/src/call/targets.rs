//! `--call=targets`.

use karman_diag::SourceFile;
use serde_json::{Map, Value, json};

use super::place::{data, location};
use super::table::table;
use super::{Answer, pretty};
use crate::instruction::{Dockerfile, Stage};

/// The stages of a Dockerfile; the last one is the default.
pub fn targets(tree: &Dockerfile, file: &SourceFile) -> Answer {
    let last = tree.stages.len().saturating_sub(1);
    let mut rows = vec![vec!["TARGET".to_owned(), "DESCRIPTION".to_owned()]];
    let mut list = Vec::new();
    for (at, stage) in tree.stages.iter().enumerate() {
        let is_default = at == last;
        rows.push(vec![shown(stage, is_default), stage.description.clone().unwrap_or_default()]);
        list.push(entry(stage, is_default, file));
    }
    let json = json!({ "targets": list, "sources": [data(file)] });
    Answer { text: table(&rows, 1), json: pretty(&json) }
}

fn shown(stage: &Stage, is_default: bool) -> String {
    match (&stage.name, is_default) {
        (Some(name), true) => format!("{} (default)", name.value),
        (Some(name), false) => name.value.clone(),
        (None, true) => "(default)".to_owned(),
        (None, false) => String::new(),
    }
}

fn entry(stage: &Stage, is_default: bool, file: &SourceFile) -> Value {
    let mut out = Map::new();
    let mut put = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            out.insert(key.to_owned(), value);
        }
    };
    put("name", stage.name.as_ref().map(|n| n.value.as_str().into()));
    put("default", is_default.then_some(Value::Bool(true)));
    put("description", stage.description.as_deref().map(Value::from));
    put("base", Some(stage.base.value.as_str().into()));
    put("platform", stage.platform.as_ref().map(|p| p.value.as_str().into()));
    out.insert("location".to_owned(), location(Some(stage.span), file));
    Value::Object(out)
}
