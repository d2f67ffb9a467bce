//! Subordinate ids: `/etc/subuid` and `/etc/subgid`.

use std::ffi::CStr;

/// Most ranges of one user that are used: the kernel takes 340 lines in a map.
const MAX_RANGES: usize = 64;

/// The calling user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Numeric id.
    pub uid: u32,
    /// Numeric group id.
    pub gid: u32,
    /// Login name, when the system knows one.
    pub name: Option<String>,
}

impl User {
    /// The user of this process.
    pub fn current() -> Self {
        let uid = rustix::process::getuid().as_raw();
        Self { uid, gid: rustix::process::getgid().as_raw(), name: login_name(uid) }
    }

    /// The name, or the number.
    pub fn display(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.uid.to_string())
    }
}

/// A range of host ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdRange {
    /// First id.
    pub start: u32,
    /// How many.
    pub count: u32,
}

/// What a user may map besides themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubIds {
    /// Ranges of `/etc/subuid`.
    pub uids: Vec<IdRange>,
    /// Ranges of `/etc/subgid`.
    pub gids: Vec<IdRange>,
}

impl SubIds {
    /// Reads both files for `user`; a missing file has no ranges.
    pub fn read(user: &User) -> Self {
        let ranges = |path: &str| {
            std::fs::read_to_string(path).map(|text| parse(&text, user)).unwrap_or_default()
        };
        Self { uids: ranges("/etc/subuid"), gids: ranges("/etc/subgid") }
    }

    /// Whether both kinds exist.
    pub fn is_complete(&self) -> bool {
        !self.uids.is_empty() && !self.gids.is_empty()
    }
}

/// Lines are `name-or-uid:start:count`; others are skipped, as the shadow tools do.
fn parse(text: &str, user: &User) -> Vec<IdRange> {
    let uid = user.uid.to_string();
    let line = |line: &str| -> Option<IdRange> {
        let mut fields = line.trim().split(':');
        let owner = fields.next()?;
        if owner != uid && user.name.as_deref() != Some(owner) {
            return None;
        }
        let range =
            IdRange { start: fields.next()?.parse().ok()?, count: fields.next()?.parse().ok()? };
        (range.count > 0 && fields.next().is_none()).then_some(range)
    };
    text.lines().filter_map(line).take(MAX_RANGES).collect()
}

/// Asks the C library, and with it whatever name services the system has.
fn login_name(uid: u32) -> Option<String> {
    let mut buffer = vec![0; 16 << 10];
    let mut found = std::ptr::null_mut();
    // SAFETY: all-zero is a valid `passwd`; all pointers are valid for the call, and the name points into `buffer`,
    // which lives until it has been copied.
    unsafe {
        let mut entry: libc::passwd = std::mem::zeroed();
        let result = libc::getpwuid_r(
            uid,
            &raw mut entry,
            buffer.as_mut_ptr(),
            buffer.len(),
            &raw mut found,
        );
        if result != 0 || found.is_null() || entry.pw_name.is_null() {
            return None;
        }
        CStr::from_ptr(entry.pw_name).to_str().ok().map(str::to_owned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_ranges_by_name_and_number() {
        let user = User { uid: 1000, gid: 1000, name: Some("ann".to_owned()) };
        let text = "root:1:2\nann:100000:65536\n1000:300000:10\nann:bad:1\nann:5:0\nannex:1:1\n";
        let expected =
            [IdRange { start: 100_000, count: 65_536 }, IdRange { start: 300_000, count: 10 }];
        assert_eq!(parse(text, &user), expected);
    }
}
