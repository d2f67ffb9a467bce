//! `--chmod`: octal or symbolic.
//!
//! Symbolic modes follow `setmode(3)` of the BSDs, as BuildKit's do (dchapes/mode): `X` looks at the mode before the
//! change, a class may be copied (`go=u-w`), and no class means all of them, since builds run with umask 0. `X` may
//! follow `=` as in BuildKit's documentation (`u=rwX,go=rX`).

use karman_control::{Cause, SolveError};

/// Permissions and set-id bits, what `=` without a class clears.
const STANDARD: u32 = 0o6777;
const STICKY: u32 = 0o1000;
const SET_ID: u32 = 0o6000;
const EXECUTE: u32 = 0o111;
const OTHER: u32 = 0o007;

/// A change of permissions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ModeChange {
    Absolute(u32),
    Symbolic(Vec<Step>),
}

/// One step of a symbolic mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Set(u32),
    Clear(u32),
    /// For directories and what anybody could execute.
    SetIfExecutable(u32),
    /// Copies the permissions of the class that is so far from the right to the classes of the mask.
    Copy {
        shift: u32,
        op: u8,
        to: u32,
    },
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
        let mut steps = Vec::new();
        for group in text.split(',') {
            parse_group(group.as_bytes(), &mut steps).ok_or_else(bad)?;
        }
        Ok(Self::Symbolic(steps))
    }

    pub(super) fn apply(&self, mode: u32, is_dir: bool) -> u32 {
        let steps = match self {
            Self::Absolute(mode) => return *mode,
            Self::Symbolic(steps) => steps,
        };
        let is_executable = is_dir || mode & EXECUTE != 0;
        steps.iter().fold(mode, |mode, step| match *step {
            Step::Set(bits) => mode | bits,
            Step::Clear(bits) => mode & !bits,
            Step::SetIfExecutable(bits) if is_executable => mode | bits,
            Step::SetIfExecutable(_) => mode,
            Step::Copy { shift, op, to } => {
                let copied = (((mode >> shift) & 7) * EXECUTE) & to;
                match op {
                    b'+' => mode | copied,
                    b'-' => mode & !copied,
                    _ => (mode & !to) | copied,
                }
            }
        })
    }
}

/// Reads classes and what follows them up to the next comma; `u+x-w` is one group of two operations.
fn parse_group(text: &[u8], steps: &mut Vec<Step>) -> Option<()> {
    let class = |c: &u8| match c {
        b'u' => Some(0o4700),
        b'g' => Some(0o2070),
        b'o' => Some(OTHER),
        b'a' => Some(STANDARD),
        _ => None,
    };
    let who: u32 = text.iter().map_while(class).fold(0, |all, bits| all | bits);
    let mut rest = &text[text.iter().map_while(class).count()..];
    loop {
        let (op, after) = rest.split_first().filter(|(op, _)| b"+-=".contains(op))?;
        let length = after.iter().take_while(|c| b"rwxXstugo".contains(c)).count();
        Operation { op: *op, who, perm: 0, is_conditional: false, is_done: false }
            .read(&after[..length], steps);
        rest = &after[length..];
        if rest.is_empty() {
            return Some(());
        }
    }
}

/// `+`, `-` or `=` with what it adds, removes or sets.
struct Operation {
    op: u8,
    /// Bits of the classes; 0 for all.
    who: u32,
    perm: u32,
    /// Whether there is an `X`.
    is_conditional: bool,
    /// Whether `=` has cleared what it clears.
    is_done: bool,
}

impl Operation {
    fn read(&mut self, perms: &[u8], steps: &mut Vec<Step>) {
        for c in perms {
            let more_than_other = self.who == 0 || self.who & !OTHER != 0;
            match c {
                b'r' => self.perm |= 0o444,
                b'w' => self.perm |= 0o222,
                b'x' => self.perm |= EXECUTE,
                b'X' => self.is_conditional |= self.op != b'-',
                b's' if more_than_other => self.perm |= SET_ID,
                b't' if more_than_other => {
                    self.who |= STICKY;
                    self.perm |= STICKY;
                }
                b'u' => self.copy(6, steps),
                b'g' => self.copy(3, steps),
                b'o' => self.copy(0, steps),
                _ => {}
            }
        }
        if self.perm != 0 || (self.op == b'=' && !self.is_done) {
            self.flush(steps);
        }
        self.flush_conditional(steps);
    }

    fn copy(&mut self, shift: u32, steps: &mut Vec<Step>) {
        if self.perm != 0 {
            self.flush(steps);
        }
        self.is_done = true;
        self.flush_conditional(steps);
        let to = if self.who == 0 { 0o777 } else { self.who & 0o777 };
        steps.push(Step::Copy { shift, op: self.op, to });
    }

    fn flush(&mut self, steps: &mut Vec<Step>) {
        let all = if self.who == 0 { u32::MAX } else { self.who };
        let bits = self.perm & all;
        match self.op {
            b'+' => steps.push(Step::Set(bits)),
            b'-' => steps.push(Step::Clear(bits)),
            _ => {
                steps.push(Step::Clear(if self.who == 0 { STANDARD } else { self.who }));
                steps.push(Step::Set(bits));
            }
        }
        (self.perm, self.is_done) = (0, true);
    }

    fn flush_conditional(&mut self, steps: &mut Vec<Step>) {
        if std::mem::take(&mut self.is_conditional) {
            let all = if self.who == 0 { u32::MAX } else { self.who };
            steps.push(Step::SetIfExecutable(EXECUTE & all));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, mode: u32, is_dir: bool, want: u32) {
        let change = ModeChange::parse(text).unwrap_or_else(|e| panic!("{e}"));
        let got = change.apply(mode, is_dir);
        assert_eq!(got, want, "{text} on {mode:o} gives {got:o}, not {want:o}");
    }

    #[test]
    fn octal_is_absolute() {
        check("644", 0o4755, false, 0o644);
        check("04755", 0o644, false, 0o4755);
    }

    #[test]
    fn symbolic_modes_change_what_they_name() {
        for (text, mode, is_dir, want) in [
            ("u=rwX,go=rX", 0o600, false, 0o644),
            ("u=rwX,go=rX", 0o700, true, 0o755),
            ("u=rwX,go=rX", 0o700, false, 0o755),
            ("+x", 0o644, false, 0o755),
            ("a+x", 0o644, true, 0o755),
            ("a-w", 0o666, false, 0o444),
            ("go=", 0o777, false, 0o700),
            ("=", 0o7777, false, 0o1000),
            ("=r", 0o7777, false, 0o1444),
            ("u+x-w", 0o644, false, 0o544),
            ("ug=rw,o=r", 0o777, false, 0o664),
            ("u=rwX,go=rX", 0o600, true, 0o755),
            ("ug+s", 0o755, false, 0o6755),
            ("a-x,a+X", 0o755, false, 0o755),
            ("a-x,a+X", 0o644, false, 0o644),
            ("u+rw,g+r,o-x,o+w", 0o124, true, 0o766),
        ] {
            check(text, mode, is_dir, want);
        }
    }

    #[test]
    fn classes_can_be_copied() {
        check("g=u", 0o640, false, 0o660);
        check("go=u-w", 0o700, true, 0o755);
        check("o+g", 0o651, false, 0o655);
        check("u-o", 0o755, false, 0o255);
        check("a=u", 0o4750, false, 0o4777);
        check("go-u", 0o754, false, 0o700);
        // The second copy begins anew.
        check("u=go", 0o021, false, 0o121);
    }

    #[test]
    fn conditional_execution_looks_at_the_mode_before() {
        check("u=rw,+X", 0o700, false, 0o711);
        check("=rw,+X", 0o640, false, 0o666);
        check("=rw,+X", 0o640, true, 0o777);
        check("-X", 0o755, false, 0o755);
    }

    #[test]
    fn special_bits_need_their_class() {
        for (text, want) in [
            ("u+s", 0o4755),
            ("g+s", 0o2755),
            ("+s", 0o6755),
            ("o+s", 0o755),
            ("+t", 0o1755),
            ("o+t", 0o755),
            ("u+t", 0o1755),
        ] {
            check(text, 0o755, false, want);
        }
        check("u-s", 0o6755, false, 0o2755);
        check("u=rw", 0o4755, false, 0o655);
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "", "rwx", "u", "u=q", "99999", "u=r,,g=w", "u=r,", "z+x", "0o644", "888", ",u=r", "a",
            "u=a",
        ] {
            assert!(ModeChange::parse(text).is_err(), "{text:?}");
        }
    }
}
