//! The words of `ADD` and `COPY`: owners, modes, URLs.

use karman_llb::{Owner, Principal};

use super::git_ref::percent_decode;

/// The largest mode in octal digits.
const MAX_MODE: u32 = 0o7777;

/// The name of a downloaded file whose URL has none.
const UNNAMED: &str = "__unnamed__";

/// `USER[:GROUP]` by number or name; `root` is 0 even where there is no `/etc/passwd`, and so is nothing before or after
/// the colon. A number beyond 31 bits is a name, as in BuildKit.
pub(super) fn owner(text: &str) -> Owner {
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    let principal = |name: &str| match name.parse::<i32>().map(u32::try_from) {
        Ok(Ok(number)) => Principal::Id(number),
        _ if matches!(name, "root" | "") => Principal::Id(0),
        _ => Principal::Name(name.to_owned()),
    };
    Owner { user: Some(principal(user)), group: group.map(principal) }
}

/// Whether a source is downloaded, or cloned.
pub(super) fn is_http(path: &str) -> bool {
    path.starts_with("http://") || path.starts_with("https://")
}

/// The last part of a URL's path, percent-decoded.
pub(super) fn url_file_name(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let path = rest.split_once('/').map_or("", |(_, path)| path);
    let decoded = percent_decode(path);
    let name = decoded.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    if matches!(name, "" | "." | "..") { UNNAMED.to_owned() } else { name.to_owned() }
}

/// Octal digits up to 07777, or symbolic clauses such as `u=rwX,go-w`.
pub(super) fn check_mode(mode: &str) -> Result<(), String> {
    let bad = || {
        format!(
            "invalid chmod parameter: '{mode}'. it should be octal string and between 0 and 07777"
        )
    };
    if mode.starts_with(|c: char| c.is_ascii_digit()) {
        let octal = u32::from_str_radix(mode, 8).ok().filter(|m| *m <= MAX_MODE);
        return octal.map(|_| ()).ok_or_else(bad);
    }
    mode.split(',').all(is_mode_clause).then_some(()).ok_or_else(bad)
}

fn is_mode_clause(clause: &str) -> bool {
    let rest = clause.trim_start_matches(['u', 'g', 'o', 'a']);
    let mut changes = rest.split_inclusive(['+', '-', '=']).peekable();
    let Some(first) = changes.next() else { return false };
    if !matches!(first, "+" | "-" | "=") {
        return false;
    }
    let rest = &rest[1..];
    let is_permission = |c: char| matches!(c, 'r' | 'w' | 'x' | 'X' | 's' | 't' | 'u' | 'g' | 'o');
    rest.chars().all(|c| is_permission(c) || matches!(c, '+' | '-' | '='))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_octal_or_symbolic() {
        for good in ["0644", "755", "7777", "u=rwX,go=rX", "+x", "a-w", "u+s", "g=u", "o="] {
            assert_eq!(check_mode(good), Ok(()), "{good}");
        }
        for bad in ["8", "10000", "0o755", "rwx", "u", "z+x", "u+q", "", "u+x,,g+x"] {
            assert!(check_mode(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn urls_name_their_files() {
        for (url, want) in [
            ("https://h/a/b.tar.gz?x=1#y", "b.tar.gz"),
            ("https://h/a%20b", "a b"),
            ("https://h", "__unnamed__"),
            ("https://h/", "__unnamed__"),
            ("https://h/a/", "a"),
        ] {
            assert_eq!(url_file_name(url), want, "{url}");
        }
    }

    #[test]
    fn owners_are_numbers_or_names() {
        let id = Principal::Id;
        let name = |n: &str| Principal::Name(n.to_owned());
        assert_eq!(owner("5"), Owner { user: Some(id(5)), group: None });
        assert_eq!(owner("root:app"), Owner { user: Some(id(0)), group: Some(name("app")) });
        assert_eq!(owner(":7"), Owner { user: Some(id(0)), group: Some(id(7)) });
        assert_eq!(owner("app:"), Owner { user: Some(name("app")), group: Some(id(0)) });
        assert_eq!(owner("4294967294").user, Some(name("4294967294")));
    }
}
