//! `bake --list targets` and `bake --list variables`.

use karman_diag::Diagnostic;

use crate::config::{Config, unique};
use crate::eval::Locals;
use crate::file::BakeFile;
use crate::request::Request;
use crate::scope::Scope;
use crate::value::{Value, json_string};

/// Columns are as wide as the next multiple of this, as buildx's tabs make them.
const TAB: usize = 8;
/// Shown instead of the value of a sensitive variable.
const HIDDEN: &str = "********";

/// A target or group people may build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedTarget {
    /// Its name.
    pub name: String,
    /// Its description; that of a group names its members.
    pub description: String,
    /// Whether it is a group.
    pub group: bool,
}

/// A variable people may set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedVariable {
    /// Its name.
    pub name: String,
    /// Its declared type; empty without one.
    pub ty: String,
    /// Its value in this request as text, lists and maps as JSON; `None` is null.
    pub value: Option<String>,
    /// Its description.
    pub description: String,
}

/// Targets and groups by name; those that start with `_` are private and left out.
///
/// # Errors
/// Whatever keeps the files from being evaluated.
pub fn list_targets(
    bake: &BakeFile,
    request: &Request,
) -> Result<Vec<ListedTarget>, Vec<Diagnostic>> {
    let config = Config::of(bake, request)?;
    let mut all: Vec<ListedTarget> = config
        .targets
        .into_iter()
        .map(|t| ListedTarget {
            name: t.name,
            description: t.target.description.unwrap_or_default(),
            group: false,
        })
        .collect();
    for group in config.groups {
        let mut members: Vec<String> = group.targets.into_iter().map(|(n, _)| n).collect();
        members.sort();
        let members = members.join(", ");
        let description = match (group.description.is_empty(), members.is_empty()) {
            (true, _) => members,
            (false, true) => group.description,
            (false, false) => format!("{} ({members})", group.description),
        };
        all.push(ListedTarget { name: group.name, description, group: true });
    }
    all.retain(|t| !t.name.starts_with('_'));
    all.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(all)
}

/// Variables by name with their values in this request.
///
/// # Errors
/// Whatever keeps a variable from being evaluated.
pub fn list_variables(
    bake: &BakeFile,
    request: &Request,
) -> Result<Vec<ListedVariable>, Vec<Diagnostic>> {
    let scope = Scope::new(bake, request);
    let mut problems = Vec::new();
    let mut all: Vec<ListedVariable> = Vec::new();
    for var in &bake.variables {
        let found = scope
            .global(&var.name, var.span, &Locals::default())
            .and_then(|value| Ok((value, scope.variable_type(var)?)));
        match found {
            Ok((value, ty)) => {
                all.retain(|v| v.name != var.name);
                all.push(ListedVariable {
                    name: var.name.clone(),
                    ty: ty.map(|t| t.to_string()).unwrap_or_default(),
                    value: shown(&value, var.sensitive),
                    description: var.description.clone(),
                });
            }
            Err(d) => problems.push(d),
        }
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    unique(&mut problems);
    if problems.is_empty() { Ok(all) } else { Err(problems) }
}

fn shown(value: &Value, sensitive: bool) -> Option<String> {
    match value {
        Value::Null => None,
        _ if sensitive => Some(HIDDEN.to_owned()),
        value => Some(value.to_text().unwrap_or_else(|| value.to_json())),
    }
}

/// Targets as the table of buildx.
pub fn targets_table(targets: &[ListedTarget]) -> String {
    let mut rows = vec![vec!["TARGET".to_owned(), "DESCRIPTION".to_owned()]];
    rows.extend(targets.iter().map(|t| vec![t.name.clone(), t.description.clone()]));
    table(&rows)
}

/// Variables as the table of buildx.
pub fn variables_table(variables: &[ListedVariable]) -> String {
    let mut rows = vec![["VARIABLE", "TYPE", "VALUE", "DESCRIPTION"].map(str::to_owned).to_vec()];
    rows.extend(variables.iter().map(|v| {
        let value = v.value.clone().unwrap_or_else(|| "<null>".to_owned());
        vec![v.name.clone(), v.ty.clone(), value, v.description.clone()]
    }));
    table(&rows)
}

/// Cells separated by as many tabs as align them at [`TAB`].
fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let length = |cell: &String| cell.chars().count();
    let width = |column: usize| {
        let widest = rows.iter().filter_map(|r| r.get(column)).map(length).max().unwrap_or(0);
        (widest + 1).div_ceil(TAB) * TAB
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            out.push_str(cell);
            if column + 1 < row.len() {
                let tabs = (widths[column] - length(cell)).div_ceil(TAB);
                out.push_str(&"\t".repeat(tabs));
            }
        }
        out.push('\n');
    }
    out
}

/// Targets as the JSON of buildx.
pub fn targets_json(targets: &[ListedTarget]) -> String {
    json(targets.iter().map(|t| {
        let mut fields = vec![("name", quoted(&t.name))];
        if !t.description.is_empty() {
            fields.push(("description", quoted(&t.description)));
        }
        if t.group {
            fields.push(("group", "true".to_owned()));
        }
        fields
    }))
}

/// Variables as the JSON of buildx.
pub fn variables_json(variables: &[ListedVariable]) -> String {
    json(variables.iter().map(|v| {
        let mut fields = vec![("name", quoted(&v.name))];
        let texts = [
            ("type", Some(&v.ty)),
            ("description", Some(&v.description)),
            ("value", v.value.as_ref()),
        ];
        for (key, text) in texts {
            if let Some(text) = text.filter(|t| key == "value" || !t.is_empty()) {
                fields.push((key, quoted(text)));
            }
        }
        fields
    }))
}

fn quoted(text: &str) -> String {
    let mut out = String::new();
    json_string(&mut out, text);
    out
}

fn json<'a>(items: impl Iterator<Item = Vec<(&'a str, String)>>) -> String {
    let all: Vec<String> = items
        .map(|fields| {
            let lines: Vec<String> =
                fields.iter().map(|(k, v)| format!("    {}: {v}", quoted(k))).collect();
            format!("  {{\n{}\n  }}", lines.join(",\n"))
        })
        .collect();
    match all.is_empty() {
        true => "[]\n".to_owned(),
        false => format!("[\n{}\n]\n", all.join(",\n")),
    }
}
