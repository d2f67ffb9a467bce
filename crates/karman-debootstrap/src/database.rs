//! dpkg's database for packages that are unpacked and not yet configured.
//!
//! ```text
//! var/lib/dpkg/status            a stanza per package: `install ok unpacked`
//! var/lib/dpkg/info/format       1
//! var/lib/dpkg/info/NAME.list    every path of the package; NAME has `:arch` for `Multi-Arch: same`
//! var/lib/dpkg/info/NAME.*       the files of the control archive
//! var/lib/dpkg/triggers/File     PATH NAME[/noawait]
//! var/lib/dpkg/triggers/TRIGGER  NAME[/noawait]
//! ```
//!
//! Configuration files are unpacked under their own names with their digests in `status`, as if dpkg
//! had just installed them: with nothing on the disk before, its `.dpkg-new` dance has no other outcome.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::deb::Control;
use crate::plan::Package;
use crate::tree::{Tree, TreeError};

/// Where the database is.
const ADMIN: &str = "var/lib/dpkg";

/// Collects what concerns several packages; the rest is written at once.
#[derive(Default)]
pub(crate) struct Database {
    stanzas: BTreeMap<String, String>,
    file_triggers: String,
    triggers: BTreeMap<String, String>,
    /// Packages with a `preinst`.
    pub(crate) preinst: BTreeSet<String>,
}

impl Database {
    /// Adds an unpacked package and writes its `info` files.
    pub(crate) fn add(
        &mut self,
        tree: &mut Tree,
        package: &Package,
        control: &Control,
        list: &[u8],
        conffiles: &BTreeMap<String, String>,
        mtime: u64,
    ) -> Result<(), TreeError> {
        let name = package.database_name();
        tree.write(&format!("{ADMIN}/info/{name}.list"), list, 0o644, mtime)?;
        for (file, (mode, content)) in &control.files {
            tree.write(&format!("{ADMIN}/info/{name}.{file}"), content, *mode, mtime)?;
        }
        if control.files.contains_key("preinst") {
            self.preinst.insert(package.name.clone());
        }
        if let Some((_, text)) = control.files.get("triggers") {
            self.add_triggers(&name, &String::from_utf8_lossy(text));
        }
        let mut stanza = format!("{}\nStatus: install ok unpacked\n", control.stanza);
        if !conffiles.is_empty() {
            stanza.push_str("Conffiles:\n");
            for (path, digest) in conffiles {
                let _ = writeln!(stanza, " {path} {digest}");
            }
        }
        self.stanzas.insert(package.name.clone(), stanza);
        Ok(())
    }

    /// deb-triggers(5). Activations are not recorded: everything is unpacked before the first `postinst`
    /// runs, so each package finds all files when it is configured.
    fn add_triggers(&mut self, name: &str, text: &str) {
        for line in text.lines() {
            let mut words = line.split('#').next().unwrap_or("").split_ascii_whitespace();
            let (Some(directive), Some(trigger)) = (words.next(), words.next()) else { continue };
            let wait = match directive {
                "interest" | "interest-await" => "",
                "interest-noawait" => "/noawait",
                _ => continue,
            };
            if trigger.starts_with('/') {
                let _ = writeln!(self.file_triggers, "{trigger} {name}{wait}");
            } else if trigger
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-+._:".contains(&byte))
                && !trigger.starts_with('.')
            {
                let _ =
                    writeln!(self.triggers.entry(trigger.to_owned()).or_default(), "{name}{wait}");
            }
        }
    }

    /// Writes the common files.
    pub(crate) fn finish(&self, tree: &mut Tree, mtime: u64) -> Result<(), TreeError> {
        let stanzas: Vec<&str> = self.stanzas.values().map(String::as_str).collect();
        tree.write(&format!("{ADMIN}/status"), stanzas.join("\n").as_bytes(), 0o644, mtime)?;
        tree.write(&format!("{ADMIN}/info/format"), b"1\n", 0o644, mtime)?;
        for empty in ["available", "diversions", "statoverride"] {
            tree.write(&format!("{ADMIN}/{empty}"), b"", 0o644, mtime)?;
        }
        if !self.file_triggers.is_empty() {
            tree.write(
                &format!("{ADMIN}/triggers/File"),
                self.file_triggers.as_bytes(),
                0o644,
                mtime,
            )?;
        }
        for (trigger, interested) in &self.triggers {
            tree.write(
                &format!("{ADMIN}/triggers/{trigger}"),
                interested.as_bytes(),
                0o644,
                mtime,
            )?;
        }
        Ok(())
    }
}

/// The paths of `conffiles`, without those that are to be removed.
pub(crate) fn conffiles(control: &Control) -> BTreeSet<String> {
    let text = control.files.get("conffiles").map_or(&[][..], |(_, text)| text.as_slice());
    let text = String::from_utf8_lossy(text);
    text.lines().map(str::trim).filter(|line| line.starts_with('/')).map(str::to_owned).collect()
}
