//! What an image exposes: set-id files, capabilities, writable paths, ports, its user.

use karman_oci::ImageConfig;

use super::{Finding, Found};
use crate::model::{Inventory, Kind, Origin, Role};

const SET_ID: u32 = 0o6000;
const STICKY: u32 = 0o1000;
const WRITABLE_BY_ALL: u32 = 0o002;
/// Programs that Debian's packages deliver with such a mode. The package database does not record modes, so a program
/// of a package that is not named here was given its mode by somebody else.
const DELIVERED: &[&str] = &[
    "at",
    "chage",
    "chfn",
    "chrome-sandbox",
    "chsh",
    "crontab",
    "dbus-daemon-launch-helper",
    "expiry",
    "fusermount",
    "fusermount3",
    "gpasswd",
    "mount",
    "mount.cifs",
    "mount.nfs",
    "newgidmap",
    "newgrp",
    "newuidmap",
    "ntfs-3g",
    "passwd",
    "pkexec",
    "polkit-agent-helper-1",
    "pppd",
    "ssh-agent",
    "ssh-keysign",
    "su",
    "sudo",
    "umount",
    "unix_chkpwd",
    "utempter",
    "wall",
    "write",
];

/// Looks at modes, attributes and the configuration.
pub(super) fn find(inventory: &Inventory, config: &ImageConfig) -> Vec<Finding> {
    let mut found = Found::new(inventory);
    for entry in &inventory.entries {
        let is_set_id = entry.mode & SET_ID != 0 && entry.kind == Kind::File;
        if is_set_id {
            let message =
                format!("it runs as {}:{} (mode {:04o})", entry.uid, entry.gid, entry.mode);
            let listed = Role::Listed;
            let is_delivered =
                matches!(&entry.origin, Origin::Dpkg { role, .. } if *role == listed);
            let name = entry.path.rsplit('/').next().unwrap_or_default();
            let is_delivered = is_delivered && !entry.altered && DELIVERED.contains(&name);
            let id = match is_delivered {
                true => "surface-setid-of-package",
                false => "surface-setid",
            };
            found.add(entry, id, &message);
        }
        if let Some(capability) = &entry.capability {
            found.add(entry, "surface-capability", &format!("its capabilities are {capability}"));
        }
        let is_open = entry.mode & WRITABLE_BY_ALL != 0 && entry.kind != Kind::Symlink;
        let is_device = matches!(entry.kind, Kind::CharDevice | Kind::BlockDevice);
        let is_shared = entry.kind == Kind::Directory && entry.mode & STICKY != 0;
        if is_open && !is_shared && !is_device {
            found.add(entry, "surface-world-writable", &format!("its mode is {:04o}", entry.mode));
        }
    }
    let mut found = found.finish();
    for port in config.config.exposed_ports.iter().flat_map(|p| p.keys()) {
        found.push(Finding::new("surface-port", "config", format!("it declares port `{port}`")));
    }
    let user = config.config.user.split(':').next().unwrap_or_default();
    if matches!(user, "" | "0" | "root") {
        let message = "its user is root, unless whoever runs it says otherwise";
        found.push(Finding::new("surface-root", "config", message));
    }
    found
}
