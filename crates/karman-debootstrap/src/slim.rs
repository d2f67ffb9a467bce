//! What a slim root filesystem leaves out, and the dpkg configuration that says the same.
//!
//! The lists are those of Debian's official slim images (debuerreotype's `slimify`); the rules for
//! patterns are dpkg's (`path-exclude` in dpkg(1)): `*` also matches slashes, the last matching pattern
//! decides, and directories stay where a later inclusion may lie below them.

const EXCLUDES: [&str; 8] = [
    "/usr/share/doc/*",
    "/usr/share/info/*",
    "/usr/share/linda/*",
    "/usr/share/lintian/overrides/*",
    "/usr/share/locale/*",
    "/usr/share/man/*",
    "/usr/share/gnome/help/*/*",
    "/usr/share/groff/*",
];
const INCLUDES: [&str; 3] =
    ["/usr/share/doc/*/copyright", "/usr/share/locale/locale.alias", "/usr/share/gnome/help/*/C/*"];

/// Decides which paths are unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filter {
    /// All of them.
    Everything,
    /// Without documentation, manuals and translations.
    Slim,
}

impl Filter {
    /// Whether `path` (relative, as in [`crate::tree`]) is left out. `keeps_way` is whether the entry is
    /// a directory or a symbolic link, which may be on the way to something included.
    pub(crate) fn skips(self, path: &[u8], keeps_way: bool) -> bool {
        if self == Self::Everything || !path.starts_with(b"usr/share/") {
            return false;
        }
        let path = [b"/", path].concat();
        let any =
            |patterns: &[&str]| patterns.iter().any(|pattern| matches(pattern.as_bytes(), &path));
        if !any(&EXCLUDES) || any(&INCLUDES) {
            return false;
        }
        !(keeps_way && INCLUDES.iter().any(|pattern| leads_to(&path, pattern)))
    }

    /// The same as a file for `/etc/dpkg/dpkg.cfg.d`, so that later installations obey.
    pub(crate) fn dpkg_config(self) -> Option<String> {
        if self == Self::Everything {
            return None;
        }
        let mut text = String::from(
            "# Written by karman: this root filesystem is slim. Remove this file and reinstall packages\n\
             # to get documentation, manuals and translations.\n",
        );
        for pattern in EXCLUDES {
            text.push_str(&format!("path-exclude {pattern}\n"));
        }
        for pattern in INCLUDES {
            text.push_str(&format!("path-include {pattern}\n"));
        }
        Some(text)
    }
}

/// dpkg's rule: what the pattern has before its first wildcard is where the path begins.
fn leads_to(path: &[u8], pattern: &str) -> bool {
    let fixed =
        pattern.split(['*', '?', '[', '\\']).next().unwrap_or("").trim_end_matches('/').as_bytes();
    path.starts_with(fixed)
}

/// fnmatch(3) without flags, for patterns whose only wildcard is `*`.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p, t));
            p += 1;
        } else if pattern.get(p) == Some(&text[t]) {
            p += 1;
            t += 1;
        } else if let Some((at, from)) = star {
            star = Some((at, from + 1));
            p = at + 1;
            t = from + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|&byte| byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documentation_goes_and_copyright_stays() {
        let skips = |path: &str| Filter::Slim.skips(path.as_bytes(), false);
        assert!(skips("usr/share/doc/bash/README.gz"));
        assert!(skips("usr/share/man/man1/ls.1.gz"));
        assert!(skips("usr/share/locale/de/LC_MESSAGES/x.mo"));
        assert!(!skips("usr/share/doc/bash/copyright"));
        assert!(!skips("usr/share/locale/locale.alias"));
        assert!(!skips("usr/share/perl5/x.pm"));
        assert!(!Filter::Everything.skips(b"usr/share/man/man1/ls.1.gz", false));
    }

    #[test]
    fn directories_on_the_way_to_inclusions_stay() {
        let skips = |path: &str| Filter::Slim.skips(path.as_bytes(), true);
        assert!(!skips("usr/share/doc/bash"));
        assert!(skips("usr/share/locale/de") && skips("usr/share/man/man1"));
        assert!(!skips("usr/share/man"));
    }
}
