//! `--chmod`: octal or symbolic.
//!
//! Symbolic modes mean what `chmod(1)` says, without a umask: no class is all classes. Two points
//! are BSD's, whose rules BuildKit takes: `X` looks at the mode of the source, and `s` and `t` have no
//! effect for `o` alone.

use karman_control::{Cause, SolveError};

/// Read, write and execute of user, group and others.
const USER: u32 = 0o700;
const GROUP: u32 = 0o070;
const OTHER: u32 = 0o007;
const ALL: u32 = USER | GROUP | OTHER;

/// Execute for anybody.
const EXECUTE: u32 = 0o111;

/// A change of permissions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ModeChange {
    Absolute(u32),
    Symbolic(Vec<Clause>),
}

/// One `[ugoa]*[+-=][rwxXstugo]*` of a symbolic mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Clause {
    /// The permission bits of the classes named.
    who: u32,
    op: char,
    /// `r`, `w`, `x` as an octal digit.
    bits: u32,
    /// `u`, `g`, `o`: the permission bits of the classes whose permissions are taken.
    copied: u32,
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
        let may_execute = is_dir || mode & EXECUTE != 0;
        match self {
            Self::Absolute(mode) => *mode,
            Self::Symbolic(clauses) => clauses.iter().fold(mode, |m, c| c.apply(m, may_execute)),
        }
    }
}

/// The permission bits of a class letter.
fn class(letter: char) -> Option<u32> {
    match letter {
        'u' => Some(USER),
        'g' => Some(GROUP),
        'o' => Some(OTHER),
        _ => None,
    }
}

/// `u+x-w` is one group of two clauses.
fn parse_group(text: &str) -> Option<Vec<Clause>> {
    let who_end = text.find(|c| !matches!(c, 'u' | 'g' | 'o' | 'a'))?;
    let named = text[..who_end].chars().fold(0, |who, c| who | class(c).unwrap_or(ALL));
    let who = if named == 0 { ALL } else { named };
    let mut clauses: Vec<Clause> = Vec::new();
    for c in text[who_end..].chars() {
        if matches!(c, '+' | '-' | '=') {
            clauses.push(Clause {
                who,
                op: c,
                bits: 0,
                copied: 0,
                conditional_execute: false,
                setid: false,
                sticky: false,
            });
            continue;
        }
        let clause = clauses.last_mut()?;
        match c {
            'r' => clause.bits |= 4,
            'w' => clause.bits |= 2,
            'x' => clause.bits |= 1,
            'X' => clause.conditional_execute = true,
            's' => clause.setid = true,
            't' => clause.sticky = who != OTHER,
            c => clause.copied |= class(c)?,
        }
    }
    Some(clauses).filter(|c| !c.is_empty())
}

impl Clause {
    fn apply(self, mode: u32, may_execute: bool) -> u32 {
        let mut bits = self.bits;
        if self.conditional_execute && may_execute {
            bits |= 1;
        }
        for (class, shift) in [(USER, 6), (GROUP, 3), (OTHER, 0)] {
            if self.copied & class != 0 {
                bits |= mode >> shift & 7;
            }
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
            // Permissions of another class are taken without touching the set-id bits.
            _ if self.copied != 0 => (mode & !self.who) | change,
            _ => (mode & !self.who & !self.set_id()) | change,
        }
    }

    /// The set-id bits of the classes named.
    fn set_id(self) -> u32 {
        let uid = if self.who & USER != 0 { 0o4000 } else { 0 };
        let gid = if self.who & GROUP != 0 { 0o2000 } else { 0 };
        uid | gid
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, mode: u32, is_dir: bool, want: u32) {
        let change = ModeChange::parse(text).unwrap_or_else(|e| panic!("{e}"));
        let found = change.apply(mode, is_dir);
        assert_eq!(found, want, "{text} on {mode:o}: {found:o}");
    }

    #[test]
    fn octal_is_absolute() {
        check("644", 0o4755, false, 0o644);
        check("04755", 0o644, false, 0o4755);
        check("0", 0o644, true, 0);
    }

    #[test]
    fn symbolic_modes_change_what_they_name() {
        for (text, mode, is_dir, want) in [
            ("u=rwX,go=rX", 0o600, false, 0o644),
            ("u=rwX,go=rX", 0o700, true, 0o755),
            ("u=rwX,go=rX", 0o755, false, 0o755),
            ("u=rwX,go=rX", 0o600, true, 0o755),
            ("+x", 0o644, false, 0o755),
            ("a-w", 0o666, false, 0o444),
            ("u+s", 0o755, false, 0o4755),
            ("ug+s", 0o755, false, 0o6755),
            ("u=rx", 0o4755, false, 0o555),
            ("=", 0o755, false, 0),
            ("go=", 0o755, false, 0o700),
            ("u+x-w", 0o644, false, 0o544),
            ("a-x,a+X", 0o755, false, 0o755),
            ("a-x,a+X", 0o644, false, 0o644),
            ("u+rw,g+r,o-x,o+w", 0o124, true, 0o766),
        ] {
            check(text, mode, is_dir, want);
        }
    }

    #[test]
    fn permissions_are_taken_from_other_classes() {
        check("g=u", 0o700, false, 0o770);
        check("go=u-w", 0o750, false, 0o755);
        check("o+g", 0o751, false, 0o755);
        check("go-u", 0o754, false, 0o700);
        check("u=go", 0o021, false, 0o321);
    }

    #[test]
    fn the_sticky_bit_is_no_matter_of_others() {
        check("+t", 0o777, true, 0o1777);
        check("o+t", 0o777, true, 0o777);
        check("o+s", 0o777, true, 0o777);
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "rwx", "u", "u=q", "99999", "u=r,,g=w", "u=r,", ",u=r", "a", "u=a"] {
            assert!(ModeChange::parse(text).is_err(), "{text:?}");
        }
    }
}
