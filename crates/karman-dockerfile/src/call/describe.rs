//! `--call=subrequests.describe`.

use serde_json::{Value, json};

use super::table::table;
use super::{Answer, pretty};

/// The version of every method.
const VERSION: &str = "1.0.0";

/// Before the name of a method on the wire.
const PREFIX: &str = "frontend.";

/// A method.
struct Method {
    name: &'static str,
    description: &'static str,
    /// Names and what they mean.
    options: &'static [(&'static str, &'static str)],
}

/// BuildKit's list does not name `lint` either.
const METHODS: &[Method] = &[
    Method {
        name: "outline",
        description: "List all parameters current build target supports",
        options: &[("target", "Target build stage")],
    },
    Method {
        name: "targets",
        description: "List all targets current build supports",
        options: &[],
    },
    Method {
        name: "subrequests.describe",
        description: "List available subrequest types",
        options: &[],
    },
];

/// The methods there are.
pub fn describe() -> Answer {
    let head = vec!["NAME".to_owned(), "VERSION".to_owned(), "DESCRIPTION".to_owned()];
    let row =
        |method: &Method| [method.name, VERSION, method.description].map(str::to_owned).to_vec();
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(METHODS.iter().map(row)).collect();
    let json: Vec<Value> = METHODS.iter().map(entry).collect();
    Answer { text: table(&rows, 1), json: pretty(&json.into()) }
}

fn entry(method: &Method) -> Value {
    let named =
        |(name, description): &(&str, &str)| json!({ "name": name, "description": description });
    let options: Vec<Value> = method.options.iter().map(named).collect();
    let results: Vec<Value> = [("result.json", ""), ("result.txt", "")].iter().map(named).collect();
    json!({
        "name": format!("{PREFIX}{}", method.name),
        "version": VERSION,
        "type": "rpc",
        "description": method.description,
        "opts": options,
        "inputs": Value::Null,
        "metadata": results,
        "refs": Value::Null,
    })
}
