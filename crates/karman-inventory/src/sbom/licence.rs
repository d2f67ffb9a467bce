//! SPDX licence expressions, where the texts of packages are ones.

/// Identifiers of the SPDX licence list that packages of the field use (<https://spdx.org/licenses/>); others are told
/// as names.
const KNOWN: &[&str] = &[
    "0BSD",
    "AFL-2.1",
    "AGPL-3.0-only",
    "AGPL-3.0-or-later",
    "Apache-2.0",
    "Artistic-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSD-4-Clause",
    "BSL-1.0",
    "CC-BY-4.0",
    "CC0-1.0",
    "EPL-2.0",
    "GPL-1.0-or-later",
    "GPL-2.0-only",
    "GPL-2.0-or-later",
    "GPL-3.0-only",
    "GPL-3.0-or-later",
    "HPND",
    "ISC",
    "LGPL-2.0-or-later",
    "LGPL-2.1-only",
    "LGPL-2.1-or-later",
    "LGPL-3.0-only",
    "LGPL-3.0-or-later",
    "MIT",
    "MIT-0",
    "MPL-1.1",
    "MPL-2.0",
    "OpenSSL",
    "PSF-2.0",
    "Python-2.0",
    "Unlicense",
    "Zlib",
    "ZPL-2.1",
];
const EXCEPTIONS: &[&str] =
    &["LLVM-exception", "GCC-exception-3.1", "OpenSSL-exception", "Classpath-exception-2.0"];

/// What Python classifiers and `License` fields call them.
const NAMES: &[(&str, &str)] = &[
    ("apache 2.0", "Apache-2.0"),
    ("apache license 2.0", "Apache-2.0"),
    ("apache license, version 2.0", "Apache-2.0"),
    ("apache software license", "Apache-2.0"),
    ("apache-2", "Apache-2.0"),
    ("asl 2.0", "Apache-2.0"),
    ("bsd 3-clause", "BSD-3-Clause"),
    ("gpl-2", "GPL-2.0-only"),
    ("gpl-2+", "GPL-2.0-or-later"),
    ("gpl-3", "GPL-3.0-only"),
    ("gpl-3+", "GPL-3.0-or-later"),
    ("isc license (iscl)", "ISC"),
    ("lgpl-2.1", "LGPL-2.1-only"),
    ("lgpl-2.1+", "LGPL-2.1-or-later"),
    ("lgpl-3+", "LGPL-3.0-or-later"),
    ("mit license", "MIT"),
    ("mozilla public license 2.0 (mpl 2.0)", "MPL-2.0"),
    ("python software foundation license", "PSF-2.0"),
    ("the unlicense (unlicense)", "Unlicense"),
];

/// The expression of a licence text, where it is one or has a well-known name.
pub(super) fn expression(text: &str) -> Option<String> {
    let lower = text.trim().to_lowercase();
    if let Some((_, id)) = NAMES.iter().find(|(name, _)| *name == lower) {
        return Some((*id).to_owned());
    }
    if let Some(id) = KNOWN.iter().find(|id| id.eq_ignore_ascii_case(text.trim())) {
        return Some((*id).to_owned());
    }
    is_expression(text).then(|| text.trim().to_owned())
}

/// Known identifiers joined by `AND`, `OR` and `WITH`, in balanced parentheses.
fn is_expression(text: &str) -> bool {
    let spaced = text.replace('(', " ( ").replace(')', " ) ");
    let mut depth = 0_i32;
    let mut wants_licence = true;
    let mut wants_exception = false;
    for word in spaced.split_whitespace() {
        match word {
            "(" if wants_licence && !wants_exception => depth += 1,
            ")" if !wants_licence && depth > 0 => depth -= 1,
            "AND" | "OR" if !wants_licence => wants_licence = true,
            "WITH" if !wants_licence => (wants_licence, wants_exception) = (true, true),
            word if wants_exception && EXCEPTIONS.contains(&word) => {
                (wants_licence, wants_exception) = (false, false);
            }
            word if wants_licence && !wants_exception && KNOWN.contains(&word) => {
                wants_licence = false;
            }
            _ => return false,
        }
    }
    depth == 0 && !wants_licence
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_known_from_prose() {
        for text in ["MIT", "(MIT OR Apache-2.0) AND ISC", "Apache-2.0 WITH LLVM-exception"] {
            assert_eq!(expression(text).as_deref(), Some(text));
        }
        assert_eq!(expression("Apache Software License").as_deref(), Some("Apache-2.0"));
        assert_eq!(expression("GPL-2+").as_deref(), Some("GPL-2.0-or-later"));
        for text in ["", "MIT OR", "(MIT", "BSD License", "MIT ISC", "MIT WITH ISC", "see file"] {
            assert_eq!(expression(text), None, "{text}");
        }
    }
}
