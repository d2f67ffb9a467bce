//! `--call=outline`.

use karman_diag::SourceFile;
use serde_json::{Map, Value};

use super::place::{data, location};
use super::table::table;
use super::{Answer, pretty};
use crate::lower::{Outline, OutlineMount};

/// What a target takes.
pub fn outline(outline: &Outline, file: &SourceFile) -> Answer {
    Answer { text: text(outline), json: pretty(&json(outline, file)) }
}

fn text(outline: &Outline) -> String {
    let mut out = String::new();
    let mut section = |rows: &[Vec<String>], gap| {
        out.push_str(&table(rows, gap));
        out.push('\n');
    };
    let cells = |row: &[&str]| row.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>();
    if outline.name.is_some() || outline.description.is_some() {
        let mut rows = vec![cells(&["TARGET:", outline.name.as_deref().unwrap_or("(default)")])];
        rows.extend(outline.description.iter().map(|text| cells(&["DESCRIPTION:", text])));
        section(&rows, 1);
    }
    if !outline.args.is_empty() {
        let mut rows = vec![cells(&["BUILD ARG", "VALUE", "DESCRIPTION"])];
        rows.extend(outline.args.iter().map(|arg| {
            cells(&[&arg.name, &arg.value, arg.description.as_deref().unwrap_or_default()])
        }));
        section(&rows, 3);
    }
    for (title, mounts) in [("SECRET", &outline.secrets), ("SSH", &outline.ssh)] {
        if !mounts.is_empty() {
            let mut rows = vec![cells(&[title, "REQUIRED"])];
            let required = |mount: &OutlineMount| if mount.required { "true" } else { "" };
            rows.extend(mounts.iter().map(|mount| cells(&[&mount.name, required(mount)])));
            section(&rows, 3);
        }
    }
    out
}

fn json(outline: &Outline, file: &SourceFile) -> Value {
    let mut out = Map::new();
    put(&mut out, "name", outline.name.as_deref());
    put(&mut out, "description", outline.description.as_deref());
    let args = outline.args.iter().map(|arg| {
        let mut entry = Map::new();
        entry.insert("name".to_owned(), arg.name.as_str().into());
        put(&mut entry, "description", arg.description.as_deref());
        put(&mut entry, "value", Some(&arg.value));
        entry.insert("location".to_owned(), location(Some(arg.span), file));
        Value::Object(entry)
    });
    put_list(&mut out, "args", args.collect());
    for (key, mounts) in [("secrets", &outline.secrets), ("ssh", &outline.ssh)] {
        let mounts = mounts.iter().map(|mount| {
            let mut entry = Map::new();
            entry.insert("name".to_owned(), mount.name.as_str().into());
            if mount.required {
                entry.insert("required".to_owned(), true.into());
            }
            entry.insert("location".to_owned(), location(Some(mount.span), file));
            Value::Object(entry)
        });
        put_list(&mut out, key, mounts.collect());
    }
    put_list(&mut out, "sources", vec![data(file).into()]);
    Value::Object(out)
}

fn put(out: &mut Map<String, Value>, key: &str, text: Option<&str>) {
    if let Some(text) = text.filter(|t| !t.is_empty()) {
        out.insert(key.to_owned(), text.into());
    }
}

fn put_list(out: &mut Map<String, Value>, key: &str, list: Vec<Value>) {
    if !list.is_empty() {
        out.insert(key.to_owned(), list.into());
    }
}
