//! `POLICIES`: what policies of the build did to a distribution, a line `NAME FILES BYTES` each. `venv-finish` of the
//! catalogue writes it beside `RECORD`; other builds may do the same.

use crate::model::Policy;

/// A longer name is no name.
const MAX_NAME: usize = 64;

/// The policies of a list. Lines of another form are left out: the file is the image's, and nothing rests on it.
pub(super) fn parse(text: &[u8]) -> Vec<Policy> {
    String::from_utf8_lossy(text).lines().filter_map(line).collect()
}

fn line(line: &str) -> Option<Policy> {
    let mut words = line.split_ascii_whitespace();
    let name = words.next().filter(|n| is_name(n))?.to_owned();
    let files = words.next()?.parse().ok()?;
    let bytes = words.next()?.parse().ok()?;
    words.next().is_none().then_some(Policy { name, files, bytes })
}

fn is_name(name: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-:".contains(&b);
    name.len() <= MAX_NAME && name.bytes().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_another_form_are_left_out() {
        let text = "slim:tests 12 3456\nslim:docs 1\nSlim 1 2\nslim:stubs 1 2 3\nslim:stubs -1 2\n\n\
                    bytecode:unchecked-hash 7 18446744073709551615\n\u{1b}[1m 1 2\n";
        let found = parse(text.as_bytes());
        let found: Vec<_> = found.iter().map(|p| (p.name.as_str(), p.files, p.bytes)).collect();
        assert_eq!(found, [("slim:tests", 12, 3456), ("bytecode:unchecked-hash", 7, u64::MAX)]);
        assert_eq!(parse(format!("{} 1 2\n", "a".repeat(MAX_NAME + 1)).as_bytes()), []);
    }
}
