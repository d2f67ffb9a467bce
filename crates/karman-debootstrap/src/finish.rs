//! Making a configured root filesystem small and the same every time.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, Mode, OFlags};
use rustix::io::Errno;

use crate::date::DAY;
use crate::plan::Plan;
use crate::settings;
use crate::tree::{Result, Tree, failed, is_directory, times};
use crate::unpack::Unpacked;

/// Files of accounts are small.
const MAX_SHADOW: u64 = 4 << 20;
/// Directories deeper than this are refused.
const MAX_DEPTH: usize = 128;
/// Traces of the configuration, removed where they exist.
const TRACES: [&str; 21] = [
    "etc/.pwd.lock",
    "etc/group-",
    "etc/gshadow-",
    "etc/hostname",
    "etc/passwd-",
    "etc/resolv.conf",
    "etc/shadow-",
    "etc/subgid-",
    "etc/subuid-",
    "etc/apt/sources.list",
    "var/cache/debconf/config.dat-old",
    "var/cache/debconf/passwords.dat-old",
    "var/cache/debconf/templates.dat-old",
    "var/cache/ldconfig/aux-cache",
    "var/lib/dbus/machine-id",
    "var/lib/dpkg/available-old",
    "var/lib/dpkg/diversions-old",
    "var/lib/dpkg/statoverride-old",
    "var/lib/dpkg/status-old",
    "var/lib/systemd/random-seed",
    "var/lib/urandom/random-seed",
];
/// Directories whose content goes; they stay.
const EMPTIED: [&str; 6] =
    ["run", "tmp", "var/tmp", "var/lib/apt/lists", "var/log/apt", "var/lib/dpkg/updates"];
/// Directories of which only names with this beginning and this end go. Host keys are secrets, and every
/// container of an image would share them.
const SWEPT: [(&str, &str, &str); 5] = [
    ("etc/ssh", "ssh_host_", ""),
    ("var/cache/apt", "", ".bin"),
    ("var/cache/apt/archives", "", ".deb"),
    ("var/log", "", ".log"),
    ("var/backups", "", ".0"),
];

/// Removes the traces of configuring, writes apt's configuration and source list, and sets every time
/// after `unpacked.epoch` back to it. The root filesystem is complete afterwards.
pub fn finish(plan: &Plan, unpacked: &Unpacked, rootfs: &Path) -> Result<()> {
    let mut tree = Tree::open(rootfs)?;
    let (epoch, date) = (unpacked.epoch, plan.date());
    for path in TRACES {
        tree.remove(path)?;
    }
    for path in EMPTIED {
        sweep(&mut tree, path, &|_| true)?;
    }
    for (path, start, end) in SWEPT {
        sweep(&mut tree, path, &|name| {
            name.starts_with(start.as_bytes()) && name.ends_with(end.as_bytes())
        })?;
    }
    if tree.exists("etc/machine-id")? {
        tree.rewrite("etc/machine-id", b"")?;
    }
    date_passwords(&mut tree, date)?;
    if plan.has("apt") {
        write_apt(&mut tree, plan)?;
    }
    let root = tree.open_dir(b"")?;
    settle(root.as_fd(), &mut Vec::new(), epoch)
}

fn write_apt(tree: &mut Tree, plan: &Plan) -> Result<()> {
    for (path, content) in settings::apt_config() {
        tree.write(path, content.as_bytes(), 0o644, plan.date())?;
    }
    let mut keyring = None;
    for &path in settings::keyrings(plan.distribution()) {
        if keyring.is_none() && tree.exists(path)? {
            keyring = Some(path);
        }
    }
    let text = settings::sources(plan, keyring);
    tree.write(settings::sources_path(plan.distribution()), text.as_bytes(), 0o644, plan.date())
}

/// The third field of `shadow` is the day of the last change (shadow(5)); a day after `date` would
/// tell when the image was made.
fn date_passwords(tree: &mut Tree, date: u64) -> Result<()> {
    let Some(content) = tree.read("etc/shadow", MAX_SHADOW)? else { return Ok(()) };
    let limit = date / DAY;
    let mut out = Vec::with_capacity(content.len());
    for line in content.split_inclusive(|&byte| byte == b'\n') {
        let mut fields: Vec<&[u8]> = line.split(|&byte| byte == b':').collect();
        let day = fields.get(2).and_then(|day| std::str::from_utf8(day).ok()?.parse::<u64>().ok());
        let text = limit.to_string();
        if day.is_some_and(|day| day > limit) {
            fields[2] = text.as_bytes();
        }
        out.extend_from_slice(&fields.join(&b':'));
    }
    if out == content { Ok(()) } else { tree.rewrite("etc/shadow", &out) }
}

/// Removes what `unwanted` names in a directory, whole trees included.
fn sweep(tree: &mut Tree, path: &str, unwanted: &dyn Fn(&[u8]) -> bool) -> Result<()> {
    let Some(dir) = tree.try_open_dir(path)? else { return Ok(()) };
    for name in names(dir.as_fd(), path.as_bytes())? {
        if unwanted(&name) {
            remove_all(dir.as_fd(), &name, path.as_bytes(), 0)?;
        }
    }
    Ok(())
}

fn remove_all(parent: BorrowedFd<'_>, name: &[u8], path: &[u8], depth: usize) -> Result<()> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Err(Errno::ISDIR | Errno::PERM) if depth < MAX_DEPTH => {}
        other => return other.map_err(|source| failed("remove", path, source)),
    }
    let dir = open_child(parent, name).map_err(|source| failed("open directory", path, source))?;
    for child in names(dir.as_fd(), path)? {
        remove_all(dir.as_fd(), &child, path, depth + 1)?;
    }
    rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)
        .map_err(|source| failed("remove", path, source))
}

/// Removes Python's caches and sets times back, leaves first.
fn settle(dir: BorrowedFd<'_>, path: &mut Vec<u8>, epoch: u64) -> Result<()> {
    if path.iter().filter(|&&byte| byte == b'/').count() > MAX_DEPTH {
        return Err(failed("descend into", path, Errno::NAMETOOLONG));
    }
    for name in names(dir, path)? {
        let stat = rustix::fs::statat(dir, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|source| failed("stat", path, source))?;
        if name == b"__pycache__" && is_directory(&stat) {
            remove_all(dir, &name, path, 0)?;
            continue;
        }
        if is_directory(&stat) {
            let child =
                open_child(dir, &name).map_err(|source| failed("open directory", path, source))?;
            let length = path.len();
            path.extend_from_slice(&name);
            path.push(b'/');
            settle(child.as_fd(), path, epoch)?;
            path.truncate(length);
        } else if is_later(&stat, epoch) {
            rustix::fs::utimensat(dir, name.as_slice(), &times(epoch), AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|source| failed("set the time of", path, source))?;
        }
    }
    let stat = rustix::fs::fstat(dir).map_err(|source| failed("stat", path, source))?;
    if is_later(&stat, epoch) {
        rustix::fs::futimens(dir, &times(epoch))
            .map_err(|source| failed("set the time of", path, source))?;
    }
    Ok(())
}

fn is_later(stat: &rustix::fs::Stat, epoch: u64) -> bool {
    let epoch = epoch as i64;
    stat.st_mtime > epoch || (stat.st_mtime == epoch && stat.st_mtime_nsec > 0)
}

fn open_child(parent: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<std::os::fd::OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, OsStr::from_bytes(name), flags, Mode::empty())
}

/// Names in a directory, sorted.
fn names(dir: BorrowedFd<'_>, path: &[u8]) -> Result<Vec<Vec<u8>>> {
    let wrong = |source| failed("read directory", path, source);
    let mut out = Vec::new();
    for entry in Dir::read_from(dir).map_err(wrong)? {
        let name = entry.map_err(wrong)?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            out.push(name);
        }
    }
    out.sort();
    Ok(out)
}
