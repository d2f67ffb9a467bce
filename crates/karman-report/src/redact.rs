//! Keeping secret values out of everything that is shown.

use std::sync::Arc;

/// What stands for a secret value.
const MASK: &str = "***";
/// Shorter values are not masked: every `1` of a log would become a mask and so tell the value.
const MIN_VALUE: usize = 4;
/// Shorter lines of a longer secret (a key file, a `.netrc`) are not masked on their own.
const MIN_LINE: usize = 8;

/// Masks the secret values of a session. Cheap to clone.
///
/// A value is masked where it occurs whole, and each line of a value of several lines on its own, as
/// logs come line by line. Values of fewer than 4 bytes cannot be masked usefully and are left.
#[derive(Clone, Default)]
pub struct Redactor {
    /// Longest first, so that a value that holds another one is masked as a whole.
    needles: Arc<[Vec<u8>]>,
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Redactor({} values)", self.needles.len())
    }
}

impl Redactor {
    /// Masks these values.
    pub fn new(values: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let mut needles: Vec<Vec<u8>> = Vec::new();
        for value in values {
            let whole = value.trim_ascii();
            if whole.len() >= MIN_VALUE {
                needles.push(whole.to_vec());
            }
            if whole.contains(&b'\n') {
                let lines = whole.split(|b| *b == b'\n').map(<[u8]>::trim_ascii);
                needles.extend(lines.filter(|l| l.len() >= MIN_LINE).map(<[u8]>::to_vec));
            }
        }
        needles.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        needles.dedup();
        Self { needles: needles.into() }
    }

    /// The length of the longest value: a cut text can end in all but one byte of it.
    pub(crate) fn longest(&self) -> usize {
        self.needles.first().map_or(0, Vec::len)
    }

    /// The bytes with every value masked.
    pub fn mask_bytes(&self, text: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(text.len());
        let mut at = 0;
        for (start, end) in self.matches(text) {
            out.extend_from_slice(&text[at..start]);
            out.extend_from_slice(MASK.as_bytes());
            at = end;
        }
        out.extend_from_slice(&text[at..]);
        out
    }

    /// The text with every value masked.
    pub fn mask(&self, text: &str) -> String {
        if self.needles.is_empty() {
            return text.to_owned();
        }
        String::from_utf8_lossy(&self.mask_bytes(text.as_bytes())).into_owned()
    }

    /// The ranges to mask, in order; overlapping values make one range.
    pub(crate) fn matches(&self, text: &[u8]) -> Vec<(usize, usize)> {
        let mut found: Vec<(usize, usize)> = Vec::new();
        for needle in self.needles.iter() {
            let mut at = 0;
            while let Some(start) = find(&text[at..], needle).map(|n| n + at) {
                found.push((start, start + needle.len()));
                at = start + 1;
            }
        }
        found.sort_unstable();
        let mut merged: Vec<(usize, usize)> = Vec::new();
        for (start, end) in found {
            match merged.last_mut() {
                Some(last) if start < last.1 => last.1 = last.1.max(end),
                _ => merged.push((start, end)),
            }
        }
        merged
    }
}

fn find(text: &[u8], needle: &[u8]) -> Option<usize> {
    let first = *needle.first()?;
    let last_start = text.len().checked_sub(needle.len())?;
    let mut at = 0;
    while at <= last_start {
        at += text[at..=last_start].iter().position(|b| *b == first)?;
        if text[at..].starts_with(needle) {
            return Some(at);
        }
        at += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redactor(values: &[&str]) -> Redactor {
        Redactor::new(values.iter().map(|v| v.as_bytes().to_vec()))
    }

    #[test]
    fn values_are_masked_wherever_they_are() {
        let r = redactor(&["hunter2\n", "hunter2-long"]);
        assert_eq!(r.mask("a hunter2 b hunter2-long c"), "a *** b *** c");
        assert_eq!(r.mask("nothing"), "nothing");
    }

    #[test]
    fn overlapping_values_leave_no_rest() {
        assert_eq!(redactor(&["abcd", "cdef"]).mask("xabcdefy"), "x***y");
        assert_eq!(redactor(&["aaaa"]).mask("aaaaaa"), "***");
    }

    #[test]
    fn lines_of_a_longer_secret_are_masked_on_their_own() {
        let r = redactor(&["-----BEGIN-----\nAbCdEfGhIj\nno\n"]);
        assert_eq!(r.mask("key AbCdEfGhIj, no"), "key ***, no");
    }

    #[test]
    fn debug_tells_no_value() {
        assert_eq!(format!("{:?}", redactor(&["hunter2"])), "Redactor(1 values)");
    }
}
