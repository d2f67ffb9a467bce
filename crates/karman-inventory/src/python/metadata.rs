//! Core metadata (`METADATA`, `PKG-INFO`) and `entry_points.txt`.

use crate::model::{Distribution, EntryPoint};

/// A longer `License` field is the text of the licence, not its name.
const MAX_LICENCE: usize = 100;

/// Reads the header of core metadata.
pub(super) fn parse(text: &[u8]) -> Distribution {
    let mut found = Distribution::default();
    let (mut field, mut classifiers) = (None, Vec::new());
    for line in String::from_utf8_lossy(text).lines() {
        if line.is_empty() {
            break;
        }
        if line.starts_with([' ', '\t']) {
            continue;
        }
        let Some((name, value)) = line.split_once(':') else { continue };
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "name" => value.clone_into(&mut found.name),
            "version" => value.clone_into(&mut found.version),
            "license-expression" => found.licence = Some(value.to_owned()),
            "license" if value.len() <= MAX_LICENCE && !is_nothing(value) => {
                field = Some(value.to_owned());
            }
            "classifier" => classifiers.extend(licence_of_classifier(value)),
            "requires-dist" => found.requires.push(value.to_owned()),
            _ => {}
        }
    }
    if found.licence.is_none() {
        found.licence = match classifiers.is_empty() {
            true => field,
            false => Some(classifiers.join(" AND ")),
        };
    }
    found
}

fn is_nothing(value: &str) -> bool {
    value.is_empty() || value.eq_ignore_ascii_case("unknown")
}

/// `License :: OSI Approved :: MIT License` → `MIT License`.
fn licence_of_classifier(value: &str) -> Option<String> {
    let licence = value.strip_prefix("License ::")?.rsplit("::").next()?.trim();
    (licence != "OSI Approved").then(|| licence.to_owned())
}

/// Reads `entry_points.txt`: sections in brackets, `name = module:attribute [extras]`.
pub(super) fn entry_points(text: &[u8]) -> Vec<EntryPoint> {
    let mut group = String::new();
    let mut found = Vec::new();
    for line in String::from_utf8_lossy(text).lines() {
        let line = line.trim();
        if line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            name.trim().clone_into(&mut group);
        } else if let Some((name, target)) = line.split_once('=') {
            let target = target.split('[').next().unwrap_or_default().trim().to_owned();
            found.push(EntryPoint { group: group.clone(), name: name.trim().to_owned(), target });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_read_and_the_description_is_not() {
        let text = "Metadata-Version: 2.1\nName: Foo.Bar\nVersion: 1.0\nLicense: UNKNOWN\n\
                    Classifier: License :: OSI Approved :: MIT License\nRequires-Dist: a>=1\n\n\
                    Name: not this\n";
        let found = parse(text.as_bytes());
        assert_eq!((found.name.as_str(), found.version.as_str()), ("Foo.Bar", "1.0"));
        assert_eq!(found.licence.as_deref(), Some("MIT License"));
        assert_eq!(found.requires, ["a>=1"]);
    }

    #[test]
    fn an_expression_wins_over_everything() {
        let text = "Name: a\nLicense: BSD\nLicense-Expression: MIT OR Apache-2.0\n";
        assert_eq!(parse(text.as_bytes()).licence.as_deref(), Some("MIT OR Apache-2.0"));
        assert_eq!(parse(b"Name: a\nLicense: BSD\n").licence.as_deref(), Some("BSD"));
    }

    #[test]
    fn entry_points_keep_their_groups() {
        let text = "[console_scripts]\na = m.n:main\n; no\n[x.y]\nb=m:C [extra]\n";
        let found = entry_points(text.as_bytes());
        let texts: Vec<_> =
            found.iter().map(|e| format!("{} {} {}", e.group, e.name, e.target)).collect();
        assert_eq!(texts, ["console_scripts a m.n:main", "x.y b m:C"]);
    }
}
