//! `semvercmp(version, constraint)`, after the Go library that buildx uses (Masterminds/semver).
//!
//! A constraint is comparisons joined by commas or spaces, of which all must hold, and alternatives joined by `||`.
//! Operators: `=`, `!=`, `>`, `<`, `>=`, `<=`, `~` (or `~>`), `^`; `1.2 - 1.4` is a range; parts may be left out or be
//! `x`. A version with a pre-release only satisfies comparisons that name one.

use std::cmp::Ordering;

use super::{Args, Fault, Out, fault};
use crate::value::Value;

/// A version; build metadata is of no account.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Version {
    parts: [u64; 3],
    pre: Vec<String>,
}

/// How many parts of a version are written out as numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Written {
    Nothing,
    Major,
    Minor,
    All,
}

#[derive(Debug, Clone)]
struct Comparison {
    operator: String,
    version: Version,
    written: Written,
}

pub(super) fn semvercmp(a: Args) -> Out {
    let (version, constraint) = (a.text(0)?, a.text(1)?);
    let Some((version, Written::Major | Written::Minor | Written::All)) = read(&version, false)
    else {
        return fault(format!("`{version}` is not a version"));
    };
    let mut holds = false;
    for alternative in constraint.split("||") {
        let all = comparisons(alternative)
            .ok_or_else(|| Fault(format!("`{constraint}` is not a constraint of versions")))?;
        holds |= all.iter().all(|c| c.holds(&version));
    }
    Ok(Value::Bool(holds))
}

/// A version at the whole of the text; `wild` allows `x` and `*` for parts.
fn read(text: &str, wild: bool) -> Option<(Version, Written)> {
    let text = text.strip_prefix('v').unwrap_or(text);
    let text = text.split_once('+').map_or(text, |(text, _)| text);
    let (numbers, pre) = match text.split_once('-') {
        Some((numbers, pre)) => (numbers, Some(pre)),
        None => (text, None),
    };
    let mut version = Version::default();
    let mut written = Written::Nothing;
    let fields: Vec<&str> = numbers.split('.').collect();
    if fields.len() > 3 {
        return None;
    }
    let mut open = false;
    for (at, field) in fields.iter().enumerate() {
        if wild && matches!(*field, "x" | "X" | "*") {
            open = true;
            continue;
        }
        if field.is_empty() || !field.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        if !open {
            version.parts[at] = field.parse().ok()?;
            written = [Written::Major, Written::Minor, Written::All][at];
        }
    }
    if let Some(pre) = pre {
        let valid =
            |p: &str| !p.is_empty() && p.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        version.pre = pre.split('.').map(str::to_owned).collect();
        if !version.pre.iter().all(|p| valid(p)) {
            return None;
        }
    }
    Some((version, written))
}

/// The comparisons of one alternative.
fn comparisons(text: &str) -> Option<Vec<Comparison>> {
    let words: Vec<&str> = text.split([',', ' ', '\t']).filter(|word| !word.is_empty()).collect();
    let mut out: Vec<Comparison> = Vec::new();
    let mut at = 0;
    while at < words.len() {
        let word = words[at];
        let end = word.find(|c: char| !"=!<>~^".contains(c)).unwrap_or(word.len());
        let (operator, mut rest) = word.split_at(end);
        at += 1;
        if rest.is_empty() {
            // The operator stands apart from its version.
            rest = words.get(at)?;
            at += 1;
        }
        let known =
            ["", "=", "!=", ">", "<", ">=", "=>", "<=", "=<", "~", "~>", "^"].contains(&operator);
        let (version, written) = read(rest, true)?;
        if !known {
            return None;
        }
        if operator.is_empty() && words.get(at) == Some(&"-") {
            let (upper, upper_written) = read(words.get(at + 1)?, true)?;
            at += 2;
            out.push(Comparison { operator: ">=".to_owned(), version, written });
            let operator = "<=".to_owned();
            out.push(Comparison { operator, version: upper, written: upper_written });
            continue;
        }
        out.push(Comparison { operator: operator.to_owned(), version, written });
    }
    (!out.is_empty()).then_some(out)
}

impl Comparison {
    fn holds(&self, v: &Version) -> bool {
        let con = &self.version;
        if !v.pre.is_empty() && con.pre.is_empty() {
            return false;
        }
        let whole = self.written == Written::All;
        let order = v.order(con);
        match self.operator.as_str() {
            "" | "=" if whole => order == Ordering::Equal,
            "" | "=" | "~" | "~>" => self.tilde(v),
            "!=" if whole => order != Ordering::Equal,
            "!=" => !self.same_written(v),
            ">" if whole => order == Ordering::Greater,
            ">" => order == Ordering::Greater && !self.same_written(v),
            "<" => order == Ordering::Less,
            ">=" | "=>" => order != Ordering::Less,
            "<=" | "=<" => order != Ordering::Greater || (!whole && self.same_written(v)),
            _ => self.caret(v),
        }
    }

    /// Whether the parts that are written are those of `v`.
    fn same_written(&self, v: &Version) -> bool {
        let count = match self.written {
            Written::Nothing => 0,
            Written::Major => 1,
            Written::Minor => 2,
            Written::All => 3,
        };
        v.parts[..count] == self.version.parts[..count]
    }

    /// The same major, and the same minor where one is written; not below.
    fn tilde(&self, v: &Version) -> bool {
        let [major, minor, patch] = self.version.parts;
        if v.order(&self.version) == Ordering::Less {
            return false;
        }
        let anything = self.written == Written::Nothing
            || (self.written == Written::All && (major, minor, patch) == (0, 0, 0));
        anything || (v.parts[0] == major && (self.written == Written::Major || v.parts[1] == minor))
    }

    /// The leftmost part that is not zero stays; not below.
    fn caret(&self, v: &Version) -> bool {
        let [major, minor, patch] = self.version.parts;
        if v.order(&self.version) == Ordering::Less {
            return false;
        }
        if self.written == Written::Nothing {
            return true;
        }
        if major > 0 || self.written == Written::Major {
            return v.parts[0] == major;
        }
        if v.parts[0] > 0 {
            return false;
        }
        if minor > 0 || self.written == Written::Minor {
            return v.parts[1] == minor;
        }
        v.parts[1] == 0 && v.parts[2] == patch
    }
}

impl Version {
    /// Precedence as semver.org defines it.
    fn order(&self, other: &Self) -> Ordering {
        self.parts.cmp(&other.parts).then_with(|| {
            match (self.pre.is_empty(), other.pre.is_empty()) {
                (true, true) => Ordering::Equal,
                (true, false) => Ordering::Greater,
                (false, true) => Ordering::Less,
                (false, false) => {
                    let each = self.pre.iter().zip(&other.pre).map(|(a, b)| identifier(a, b));
                    let first = each.into_iter().find(|o| *o != Ordering::Equal);
                    first.unwrap_or_else(|| self.pre.len().cmp(&other.pre.len()))
                }
            }
        })
    }
}

fn identifier(a: &str, b: &str) -> Ordering {
    match (a.parse::<u64>(), b.parse::<u64>()) {
        (Ok(a), Ok(b)) => a.cmp(&b),
        (Ok(_), Err(_)) => Ordering::Less,
        (Err(_), Ok(_)) => Ordering::Greater,
        (Err(_), Err(_)) => a.cmp(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(version: &str, constraint: &str) -> Option<bool> {
        let args = Args(vec![Value::text(version), Value::text(constraint)]);
        match semvercmp(args) {
            Ok(Value::Bool(yes)) => Some(yes),
            _ => None,
        }
    }

    #[test]
    fn constraints_hold_as_in_go() {
        for (version, constraint) in [
            ("1.2.3", ">= 1.0.0"),
            ("3.22", ">= 3.20"),
            ("v1.2.3", "1.2.x"),
            ("1.2.3", "1.2"),
            ("1.9.0", "^1.2.0"),
            ("0.2.9", "^0.2.3"),
            ("1.2.9", "~1.2.3"),
            ("1.9.9", "~1"),
            ("1.2.3", "*"),
            ("2.3.5", "1.2 - 2.3.5"),
            ("2.3.9", "1.2 - 2.3"),
            ("3.0.0", "< 2 || >= 3"),
            ("1.5.0", ">1.2, <2"),
            ("1.2.3-beta.2", ">= 1.2.3-beta.1"),
            ("1.2.3+meta", "=1.2.3"),
            ("1.3.0", "!=1.2"),
            ("1.3.0", ">1.2"),
        ] {
            assert_eq!(holds(version, constraint), Some(true), "{version} {constraint}");
        }
        for (version, constraint) in [
            ("2.1.0", "< 2.0.0"),
            ("2.0.0", "^1.2.0"),
            ("0.3.0", "^0.2.3"),
            ("1.3.0", "~1.2.3"),
            ("1.2.3-beta", ">= 1.0.0"),
            ("1.2.9", ">1.2"),
            ("1.2.9", "!=1.2"),
            ("1.2.2", "^1.2.3"),
        ] {
            assert_eq!(holds(version, constraint), Some(false), "{version} {constraint}");
        }
        for (version, constraint) in [
            ("not-a-version", ">= 1.0.0"),
            ("1.2.3", "not-a-constraint"),
            ("", ">= 1"),
            ("1.2.3", ""),
            ("1.2.3.4", "1"),
            ("1.2.3", ">="),
            ("1.2.3", "=>>1"),
            ("x", "1"),
        ] {
            assert_eq!(holds(version, constraint), None, "{version} {constraint}");
        }
    }
}
