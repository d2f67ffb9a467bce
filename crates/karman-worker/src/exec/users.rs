//! `user[:group]` against a root filesystem's `/etc/passwd` and `/etc/group`, as runc does it.

/// The most that is read of `/etc/passwd` and `/etc/group` of an untrusted image.
pub(crate) const MAX_DATABASE: u64 = 8 << 20;
/// Supplementary groups beyond this are cut (Linux `NGROUPS_MAX` is 65536).
const MAX_GROUPS: usize = 65_536;

/// Who a command runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
    pub(crate) home: String,
}

/// Why a user cannot be found.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UserError {
    #[error("unable to find user {0}: no matching entries in passwd file")]
    NoUser(String),
    #[error("unable to find group {0}: no matching entries in group file")]
    NoGroup(String),
}

struct PasswdEntry<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

struct GroupEntry<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

/// Looks up `user[:group]`; empty is root. Numbers need no entry.
pub(crate) fn resolve(user: &str, passwd: &str, group: &str) -> Result<Identity, UserError> {
    let (user, wanted_group) = match user.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|g| !g.is_empty())),
        None => (user, None),
    };
    let user = if user.is_empty() { "0" } else { user };
    let number = user.parse::<u32>().ok();
    let entry = passwd_entries(passwd)
        .find(|e| e.name == user)
        .or_else(|| passwd_entries(passwd).find(|e| Some(e.uid) == number));
    let (name, uid, own_gid, home) = match (&entry, number) {
        (Some(e), _) => (e.name, e.uid, e.gid, e.home),
        (None, Some(uid)) => ("", uid, 0, "/"),
        (None, None) => return Err(UserError::NoUser(user.to_owned())),
    };
    let gid = match wanted_group {
        Some(wanted) => find_group(wanted, group)?,
        None => own_gid,
    };
    let mut groups = vec![gid];
    if wanted_group.is_none() && !name.is_empty() {
        let member = group_entries(group).filter(|g| g.members.split(',').any(|m| m == name));
        groups.extend(member.map(|g| g.gid).take(MAX_GROUPS));
        groups.sort_unstable();
        groups.dedup();
    }
    let home = if home.is_empty() { "/" } else { home };
    Ok(Identity { uid, gid, groups, home: home.to_owned() })
}

/// User and group id of the user with that name.
pub(crate) fn ids_of(name: &str, passwd: &str) -> Option<(u32, u32)> {
    passwd_entries(passwd).find(|e| e.name == name).map(|e| (e.uid, e.gid))
}

/// The id of the group with that name.
pub(crate) fn gid_of(name: &str, group: &str) -> Option<u32> {
    group_entries(group).find(|g| g.name == name).map(|g| g.gid)
}

/// The number of a group by name or number.
pub(crate) fn find_group(wanted: &str, group: &str) -> Result<u32, UserError> {
    let by_name = group_entries(group).find(|g| g.name == wanted).map(|g| g.gid);
    by_name.or_else(|| wanted.parse().ok()).ok_or_else(|| UserError::NoGroup(wanted.to_owned()))
}

fn passwd_entries(text: &str) -> impl Iterator<Item = PasswdEntry<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let name = fields.next()?;
        let _password = fields.next()?;
        let (uid, gid) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        let _gecos = fields.next();
        Some(PasswdEntry { name, uid, gid, home: fields.next().unwrap_or("") })
    })
}

fn group_entries(text: &str) -> impl Iterator<Item = GroupEntry<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let name = fields.next()?;
        let _password = fields.next()?;
        let gid = fields.next()?.parse().ok()?;
        Some(GroupEntry { name, gid, members: fields.next().unwrap_or("") })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n";
    const GROUP: &str = "root:x:0:\nstaff:x:50:app\napp:x:1000:\nops:x:3000:app,root\n";

    #[test]
    fn a_name_brings_its_groups_and_home() {
        let app = resolve("app", PASSWD, GROUP).expect("app exists");
        assert_eq!((app.uid, app.gid, app.home.as_str()), (1000, 1000, "/home/app"));
        assert_eq!(app.groups, [50, 1000, 3000]);
    }

    #[test]
    fn an_explicit_group_is_the_only_one() {
        let app = resolve("app:staff", PASSWD, GROUP).expect("both exist");
        assert_eq!((app.gid, app.groups), (50, vec![50]));
    }

    #[test]
    fn numbers_need_no_entry_and_names_do() {
        let n = resolve("4242", PASSWD, GROUP).expect("a number");
        assert_eq!((n.uid, n.gid, n.home.as_str()), (4242, 0, "/"));
        assert_eq!(resolve("1000:7", PASSWD, GROUP).map(|i| i.gid), Ok(7));
        assert_eq!(resolve("nobody", PASSWD, GROUP), Err(UserError::NoUser("nobody".into())));
        assert_eq!(resolve("app:x", PASSWD, GROUP), Err(UserError::NoGroup("x".into())));
        assert_eq!(resolve("", "", "").map(|i| (i.uid, i.home)), Ok((0, "/".into())));
    }
}
