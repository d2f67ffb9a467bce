//! Changes to the text of a series that leave everything else as people wrote it.

use toml_edit::{Array, ArrayOfTables, DocumentMut, InlineTable, Item, Table, Value, value};

use crate::{Date, PackageName, Specifiers};

/// A bound to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewOverride {
    /// The distribution.
    pub package: PackageName,
    /// The bound, such as `==44.0.1`.
    pub version: String,
    /// What it mends; not empty.
    pub advisories: Vec<String>,
    /// What could happen, on one line.
    pub reason: String,
    /// When to look again.
    pub expires: Option<Date>,
}

/// Why a text cannot be changed.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// Not TOML.
    #[error("the series is not TOML")]
    Toml(#[source] toml_edit::TomlError),
    /// `overrides` is neither `[[overrides]]` nor a list of tables.
    #[error("`overrides` is not a list of tables")]
    NotTables,
}

/// Writes `[[overrides]]` into the text of a series. An override of the same distribution that forbids
/// the new version is changed where it stands: its bound is replaced, its advisories and its reason
/// are added to. Otherwise a table is added behind the last override.
///
/// # Errors
/// When the text is no series.
pub fn write_override(text: &str, new: &NewOverride) -> Result<String, EditError> {
    let mut document: DocumentMut = text.parse().map_err(EditError::Toml)?;
    let item = document.entry("overrides").or_insert(Item::ArrayOfTables(ArrayOfTables::new()));
    match item {
        Item::ArrayOfTables(tables) => {
            let old = tables.iter_mut().find(|t| forbids(|k| t.get(k)?.as_str(), new));
            match old {
                Some(table) => change(table, new),
                None => tables.push(table(new)),
            }
        }
        Item::Value(Value::Array(list)) => {
            let inline = list.iter_mut().filter_map(Value::as_inline_table_mut);
            let mut old: Vec<&mut InlineTable> =
                inline.filter(|t| forbids(|k| t.get(k)?.as_str(), new)).collect();
            match old.first_mut() {
                Some(table) => change(*table, new),
                None => list.push(table(new).into_inline_table()),
            }
        }
        _ => return Err(EditError::NotTables),
    }
    Ok(document.to_string())
}

/// Says in the text of a series which file its pins start from.
///
/// # Errors
/// When the text is no series.
pub fn write_imported(text: &str, from: &str, sha256: &str) -> Result<String, EditError> {
    let mut document: DocumentMut = text.parse().map_err(EditError::Toml)?;
    let mut table = InlineTable::new();
    table.insert("from", from.into());
    table.insert("sha256", sha256.into());
    match document.get_mut("imported").and_then(Item::as_table_like_mut) {
        Some(old) => {
            old.insert("from", value(from));
            old.insert("sha256", value(sha256));
        }
        None => {
            document.insert("imported", value(table));
        }
    }
    Ok(document.to_string())
}

/// Whether a table is about the same distribution and has no place for the new version.
fn forbids<'a>(get: impl Fn(&str) -> Option<&'a str>, new: &NewOverride) -> bool {
    let same = get("package").and_then(|p| p.parse::<PackageName>().ok());
    let Some(bound) = get("version").and_then(|v| v.parse::<Specifiers>().ok()) else {
        return false;
    };
    let version = new.version.trim_start_matches(['=', '>', '<', '~']);
    same.as_ref() == Some(&new.package) && !bound.contains(version)
}

fn table(new: &NewOverride) -> Table {
    let mut table = Table::new();
    table.insert("package", value(new.package.as_str()));
    table.insert("version", value(&new.version));
    table.insert("advisories", value(new.advisories.iter().collect::<Array>()));
    table.insert("reason", value(&new.reason));
    if let Some(day) = new.expires {
        table.insert("expires", value(day.to_string()));
    }
    table
}

fn change(table: &mut dyn toml_edit::TableLike, new: &NewOverride) {
    put(table, "version", &new.version);
    let known = table.get("advisories").and_then(Item::as_array);
    let known: Vec<String> =
        known.into_iter().flatten().filter_map(|v| v.as_str().map(str::to_owned)).collect();
    if let Some(list) = table.get_mut("advisories").and_then(Item::as_array_mut) {
        new.advisories.iter().filter(|id| !known.contains(id)).for_each(|id| list.push(id));
    }
    let reason = table.get("reason").and_then(Item::as_str).unwrap_or_default();
    if !reason.contains(&new.reason) {
        let both = format!("{}; {}", reason.trim_end_matches('.'), new.reason);
        put(table, "reason", &both);
    }
    if let Some(day) = new.expires {
        put(table, "expires", &day.to_string());
    }
    // A cut-off of its own is for a range; an exact version needs none, and a later one neither.
    if new.version.starts_with("==") {
        table.remove("cutoff");
    }
}

/// Replaces a value and keeps the comment behind it.
fn put(table: &mut dyn toml_edit::TableLike, key: &str, text: &str) {
    let decor = table.get(key).and_then(Item::as_value).map(|v| v.decor().clone());
    let mut new = Value::from(text);
    if let Some(decor) = decor {
        *new.decor_mut() = decor;
    }
    table.insert(key, Item::Value(new));
}
