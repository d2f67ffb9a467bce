//! Paragraphs of `status` (`deb822(5)`).

use std::collections::BTreeMap;

use super::{lines, md5_of_hex};
use crate::model::Package;

/// Package, path and md5 of the conffiles that a status names.
pub(super) type Conffiles = Vec<(String, String, [u8; 16])>;

/// Reads all paragraphs; packages that are installed, perhaps not yet configured, go to `found`.
pub(super) fn read(text: &[u8], found: &mut BTreeMap<String, Package>) -> Conffiles {
    let mut conffiles = Vec::new();
    let mut paragraph = Paragraph::default();
    for line in text.split(|b| *b == b'\n') {
        let line = String::from_utf8_lossy(line);
        if line.trim().is_empty() {
            std::mem::take(&mut paragraph).finish(found, &mut conffiles);
        } else if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = paragraph.fields.last_mut() {
                value.push('\n');
                value.push_str(line.trim());
            }
        } else if let Some((name, value)) = line.split_once(':') {
            paragraph.fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    paragraph.finish(found, &mut conffiles);
    conffiles
}

#[derive(Default)]
struct Paragraph {
    fields: Vec<(String, String)>,
}

impl Paragraph {
    fn get(&self, name: &str) -> &str {
        self.fields.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value)
    }

    fn finish(self, found: &mut BTreeMap<String, Package>, conffiles: &mut Conffiles) {
        let name = self.get("package").to_owned();
        if name.is_empty() {
            return;
        }
        for line in lines(self.get("conffiles").as_bytes()) {
            let mut words = line.split_whitespace();
            if let (Some(path), Some(md5)) = (words.next(), words.next())
                && let Some(md5) = md5_of_hex(md5)
            {
                conffiles.push((name.clone(), path.to_owned(), md5));
            }
        }
        // The third word: not-installed and config-files have no files; a status.d has no field.
        let state = self.get("status").split_whitespace().nth(2).unwrap_or("installed");
        if matches!(state, "not-installed" | "config-files") {
            return;
        }
        let version = self.get("version").to_owned();
        let (source, source_version) = match self.get("source").split_once(' ') {
            Some((source, version)) => {
                (source.to_owned(), version.trim_matches(['(', ')', ' ']).to_owned())
            }
            None if self.get("source").is_empty() => (name.clone(), version.clone()),
            None => (self.get("source").to_owned(), version.clone()),
        };
        let mut depends = relation_names(self.get("pre-depends"));
        depends.extend(relation_names(self.get("depends")));
        depends.sort();
        depends.dedup();
        let package = Package {
            version,
            architecture: self.get("architecture").to_owned(),
            source,
            source_version,
            section: self.get("section").to_owned(),
            maintainer: self.get("maintainer").to_owned(),
            licences: Vec::new(),
            depends,
            name,
        };
        // Of several architectures the first in the file is told; their files are claimed all the same.
        found.entry(package.name.clone()).or_insert(package);
    }
}

/// The names in a relation field such as `libc6 (>= 2.34), a | b:any`.
fn relation_names(field: &str) -> Vec<String> {
    let name = |one: &str| {
        let name = one.trim().split([' ', '(', ':', '[', '<', '\n']).next().unwrap_or_default();
        name.to_owned()
    };
    field.split([',', '|']).map(name).filter(|n| !n.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_give_packages_and_conffiles() {
        let text = "Package: a\nStatus: install ok installed\nSource: src (1:2-3)\nVersion: 1:2-3+b1\n\
                    Depends: libc6 (>= 2.34), x | y:any\nPre-Depends: p\nConffiles:\n \
                    /etc/a 0123456789abcdef0123456789abcdef\n /etc/b newconffile\n\n\
                    Package: gone\nStatus: deinstall ok config-files\n\nPackage: b\nVersion: 1\n";
        let mut found = BTreeMap::new();
        let conffiles = read(text.as_bytes(), &mut found);
        assert_eq!(found.keys().collect::<Vec<_>>(), ["a", "b"]);
        let a = &found["a"];
        assert_eq!((a.source.as_str(), a.source_version.as_str()), ("src", "1:2-3"));
        assert_eq!(a.depends, ["libc6", "p", "x", "y"]);
        assert_eq!(found["b"].source, "b");
        assert_eq!(conffiles.len(), 1);
        assert_eq!((conffiles[0].1.as_str(), conffiles[0].2[0]), ("/etc/a", 1));
    }
}
