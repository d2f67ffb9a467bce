//! `--chmod`: octal or symbolic.

use karman_control::{Cause, SolveError};

/// A change of permissions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ModeChange {
    Absolute(u32),
    Symbolic(Vec<Clause>),
}

/// One `[ugoa]*[+-=][rwxXst]*` of a symbolic mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Clause {
    /// The permission bits of the classes named: any of 0o700, 0o070, 0o007.
    who: u32,
    op: char,
    /// `r`, `w`, `x` as an octal digit.
    bits: u32,
    /// `X`: execute for directories and for what anybody may execute.
    conditional_execute: bool,
    setid: bool,
    sticky: bool,
}

impl ModeChange {
    pub(super) fn parse(text: &str) -> Result<Self, SolveError> {
        let bad = || {
            let message = format!("invalid chmod parameter: `{text}`");
            SolveError::new(Cause::Input, message)
                .with_hint("want an octal number such as `0644` or a mode such as `u=rwX,go=rX`")
        };
        if text.starts_with(|c: char| c.is_ascii_digit()) {
            let mode =
                u32::from_str_radix(text, 8).ok().filter(|m| *m <= 0o7777).ok_or_else(bad)?;
            return Ok(Self::Absolute(mode));
        }
        let clauses: Option<Vec<Vec<Clause>>> = text.split(',').map(parse_group).collect();
        Ok(Self::Symbolic(clauses.ok_or_else(bad)?.concat()))
    }

    pub(super) fn apply(&self, mode: u32, is_dir: bool) -> u32 {
        match self {
            Self::Absolute(mode) => *mode,
            Self::Symbolic(clauses) => clauses.iter().fold(mode, |m, c| c.apply(m, is_dir)),
        }
    }
}

/// `u+x-w` is one group of two clauses.
fn parse_group(text: &str) -> Option<Vec<Clause>> {
    let who_end = text.find(|c| !matches!(c, 'u' | 'g' | 'o' | 'a'))?;
    let mut who = text[..who_end].chars().fold(0, |w, c| {
        w | match c {
            'u' => 0o700,
            'g' => 0o070,
            'o' => 0o007,
            _ => 0o777,
        }
    });
    if who == 0 {
        who = 0o777;
    }
    let mut clauses: Vec<Clause> = Vec::new();
    for c in text[who_end..].chars() {
        if matches!(c, '+' | '-' | '=') {
            let empty = (0, false, false, false);
            let (bits, conditional_execute, setid, sticky) = empty;
            clauses.push(Clause { who, op: c, bits, conditional_execute, setid, sticky });
            continue;
        }
        let clause = clauses.last_mut()?;
        match c {
            'r' => clause.bits |= 4,
            'w' => clause.bits |= 2,
            'x' => clause.bits |= 1,
            'X' => clause.conditional_execute = true,
            's' => clause.setid = true,
            't' => clause.sticky = true,
            _ => return None,
        }
    }
    Some(clauses).filter(|c| !c.is_empty())
}

impl Clause {
    fn apply(self, mode: u32, is_dir: bool) -> u32 {
        let mut bits = self.bits;
        if self.conditional_execute && (is_dir || mode & 0o111 != 0) {
            bits |= 1;
        }
        let mut change = (bits << 6 | bits << 3 | bits) & self.who;
        if self.setid {
            change |= self.set_id();
        }
        if self.sticky {
            change |= 0o1000;
        }
        match self.op {
            '+' => mode | change,
            '-' => mode & !change,
            _ => (mode & !self.who & !self.set_id()) | change,
        }
    }

    /// The set-id bits of the classes named.
    fn set_id(self) -> u32 {
        let uid = if self.who & 0o700 != 0 { 0o4000 } else { 0 };
        let gid = if self.who & 0o070 != 0 { 0o2000 } else { 0 };
        uid | gid
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, mode: u32, is_dir: bool, want: u32) {
        let change = ModeChange::parse(text).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(change.apply(mode, is_dir), want, "{text} on {mode:o}");
    }

    #[test]
    fn octal_is_absolute() {
        check("644", 0o4755, false, 0o644);
        check("04755", 0o644, false, 0o4755);
    }

    #[test]
    fn symbolic_modes_change_what_they_name() {
        check("u=rwX,go=rX", 0o600, false, 0o644);
        check("u=rwX,go=rX", 0o700, true, 0o755);
        check("+x", 0o644, false, 0o755);
        check("a-w", 0o666, false, 0o444);
        check("u+s", 0o755, false, 0o4755);
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "rwx", "u", "u=q", "99999", "u=r,,g=w"] {
            assert!(ModeChange::parse(text).is_err(), "{text:?}");
        }
    }
}
