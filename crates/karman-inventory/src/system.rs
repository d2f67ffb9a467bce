//! Files of every root filesystem that checks need: which system it is, where libraries are looked for, who the users
//! are.

use crate::links::clean;
use crate::model::{Kind, System, User};
use crate::survey::Access;
use crate::tree::TreeError;

const LD_SO_CONF: &str = "/etc/ld.so.conf";
const OS_RELEASE: &str = "/etc/os-release";
const PASSWD: &str = "/etc/passwd";
/// The largest of these files read.
const MAX_FILE: usize = 1 << 20;
/// Configuration files that include each other, and the patterns that name them.
const MAX_INCLUDES: usize = 256;
/// Directories that are told: every library is looked for in all of them.
const MAX_DIRECTORIES: usize = 1024;

/// The directories of `/etc/ld.so.conf` and what it includes, in order (`ldconfig(8)`).
pub(crate) fn library_path(access: &Access<'_>) -> Result<Vec<String>, TreeError> {
    let mut found: Vec<String> = Vec::new();
    let mut todo = vec![LD_SO_CONF.to_owned()];
    let mut patterns_left = MAX_INCLUDES;
    for _ in 0..MAX_INCLUDES {
        let Some(file) = todo.pop() else { break };
        let Some(text) = access.read(&file, MAX_FILE)? else { continue };
        let mut included = Vec::new();
        for line in String::from_utf8_lossy(&text).lines() {
            let line = line.split('#').next().unwrap_or_default().trim();
            match line.strip_prefix("include").filter(|rest| rest.starts_with([' ', '\t'])) {
                Some(patterns) => {
                    for pattern in patterns.split_whitespace().take(patterns_left) {
                        patterns_left -= 1;
                        included.extend(files_like(access, pattern));
                    }
                }
                None => {
                    let dirs = line.split([' ', '\t', ':', ',']).filter(|d| d.starts_with('/'));
                    found.extend(dirs.map(clean));
                }
            }
        }
        todo.extend(included.into_iter().rev());
    }
    found.truncate(MAX_DIRECTORIES);
    Ok(found)
}

/// Files whose name matches a pattern; a pattern in the directory part matches nothing.
fn files_like(access: &Access<'_>, pattern: &str) -> Vec<String> {
    let pattern =
        if pattern.starts_with('/') { pattern.to_owned() } else { format!("/etc/{pattern}") };
    let Some((dir, name)) = pattern.rsplit_once('/') else { return Vec::new() };
    let dir = access.links.follow(dir);
    let matching = access
        .children(&dir)
        .filter(|(file, node)| node.kind != Kind::Directory && crate::glob::matches(name, file));
    let mut found: Vec<String> = matching.map(|(_, node)| node.path.clone()).collect();
    found.sort();
    found
}

/// The users of `/etc/passwd`, in order.
pub(crate) fn users(access: &Access<'_>) -> Result<Vec<User>, TreeError> {
    let text = access.read(PASSWD, MAX_FILE)?.unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let user = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|n| !n.is_empty())?.to_owned();
        let (uid, gid) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
        let (home, shell) = (fields.nth(1).unwrap_or(""), fields.next().unwrap_or(""));
        Some(User { name, uid, gid, home: home.to_owned(), shell: shell.to_owned() })
    };
    Ok(text.lines().filter_map(user).collect())
}

/// Which system it is, as `os-release` says.
pub(crate) fn system(access: &Access<'_>) -> Result<Option<System>, TreeError> {
    let Some(text) = access.read(OS_RELEASE, MAX_FILE)? else { return Ok(None) };
    let text = String::from_utf8_lossy(&text);
    let field = |name: &str| {
        let values = text.lines().filter_map(|line| line.split_once('='));
        let value = values.filter(|(n, _)| *n == name).map(|(_, value)| value).next_back();
        value.unwrap_or_default().trim_matches(['"', '\'']).to_owned()
    };
    let (id, version) = (field("ID"), field("VERSION_ID"));
    Ok(Some(System { id, version, codename: field("VERSION_CODENAME") }))
}
