//! Licences from machine-readable `copyright` files (DEP 5, "Machine-readable debian/copyright file").

use std::collections::BTreeSet;

use super::lines;
use crate::survey::Access;
use crate::tree::TreeError;

/// The largest file looked at; those of a few packages list every file of a large source.
const MAX_FILE: usize = 4 << 20;
/// A longer text is prose, not the name of a licence.
const MAX_NAME: usize = 200;

/// The licences that a package's file names, sorted; nothing where it is prose.
pub(super) fn licences(access: &Access<'_>, package: &str) -> Result<Vec<String>, TreeError> {
    let path = format!("/usr/share/doc/{package}/copyright");
    Ok(access.read(&path, MAX_FILE)?.map_or_else(Vec::new, |text| parse(&text)))
}

fn parse(text: &[u8]) -> Vec<String> {
    let is_format = |line: &str| {
        let line = line.to_ascii_lowercase();
        line.starts_with("format:") || line.starts_with("format-specification:")
    };
    if !lines(text).take(10).any(is_format) {
        return Vec::new();
    }
    let named = lines(text).filter_map(|line| {
        let (field, value) = line.split_once(':')?;
        (field.eq_ignore_ascii_case("license")).then(|| value.trim())
    });
    let named = named.filter(|name| !name.is_empty() && name.len() <= MAX_NAME);
    named.map(str::to_owned).collect::<BTreeSet<_>>().into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_machine_readable_form_is_read() {
        let text = b"Format: https://www.debian.org/\n\nFiles: *\nLicense: GPL-2+\n text\n\nLicense: MIT\n";
        assert_eq!(parse(text), ["GPL-2+", "MIT"]);
        assert_eq!(parse(b"This is free\nLicense: none\n"), Vec::<String>::new());
    }
}
