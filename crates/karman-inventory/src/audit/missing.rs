//! Libraries, symbol versions and interpreters that are not there.

use karman_oci::ImageConfig;

use super::Finding;
use super::loader::Loader;
use crate::model::{ElfFacts, ElfKind, Entry, Inventory, Origin};

/// Where `env` looks when the image says nothing.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Looks at every ELF file and every script.
pub(super) fn find(inventory: &Inventory, config: &ImageConfig) -> Vec<Finding> {
    let env = config.config.env.as_deref().unwrap_or_default();
    let variable = |name: &str| {
        let values = env.iter().filter_map(|line| line.split_once('='));
        values.filter(|(n, _)| *n == name).map(|(_, value)| value).next_back()
    };
    let loader = Loader::new(inventory, variable("LD_LIBRARY_PATH"));
    let path = variable("PATH").unwrap_or(DEFAULT_PATH);
    let mut found = Vec::new();
    for entry in &inventory.entries {
        if let Some(elf) = entry.elf.as_deref().filter(|e| e.kind != ElfKind::Relocatable) {
            let missing = Missing { inventory, loader: &loader, entry, elf };
            missing.find(&mut found);
        }
        // Modules have a first line and a mode from their author's desk; only what is in a directory of programs
        // is run.
        let is_module =
            matches!(entry.origin, Origin::Python { .. }) && !entry.path.contains("/bin/");
        let is_program = entry.mode & 0o111 != 0 && !is_module;
        if let Some(interpreter) = entry.interpreter.as_ref().filter(|_| is_program)
            && !has_interpreter(&loader, interpreter, path)
        {
            found.push(no_interpreter(inventory, entry, interpreter));
        }
    }
    found
}

struct Missing<'a> {
    inventory: &'a Inventory,
    loader: &'a Loader<'a>,
    entry: &'a Entry,
    elf: &'a ElfFacts,
}

impl Missing<'_> {
    fn find(&self, found: &mut Vec<Finding>) {
        let (entry, elf) = (self.entry, self.elf);
        if let Some(problem) = &elf.problem {
            let message = format!("it begins like an ELF file, but {problem}");
            found.push(Finding::at(self.inventory, entry, "damaged-elf", &message));
        }
        if let Some(interpreter) = &elf.interpreter
            && self.loader.entry(interpreter).is_none()
        {
            found.push(no_interpreter(self.inventory, entry, interpreter));
        }
        for library in &elf.needed {
            match self.loader.find(entry, elf, library) {
                None => found.push(self.no_library(library)),
                Some(there) => self.versions(library, there, found),
            }
        }
    }

    /// Debian's packages are complete by their dependencies; a plugin of one may need what nobody asked for.
    fn id(&self, id: &'static str) -> &'static str {
        let is_delivered = matches!(self.entry.origin, Origin::Dpkg { .. }) && !self.entry.altered;
        if is_delivered { "missing-of-package" } else { id }
    }

    fn no_library(&self, library: &str) -> Finding {
        let message = format!("it needs `{library}`, which is not in the image");
        let id = self.id("missing-library");
        let finding = Finding::at(self.inventory, self.entry, id, &message);
        let supplier = self.inventory.stages.iter().find_map(|s| s.libraries.get(library));
        match supplier {
            Some(package) => {
                finding.with_hint(format!("install the Debian package `{package}` in the image"))
            }
            None => finding,
        }
    }

    fn versions(&self, library: &str, there: &Entry, found: &mut Vec<Finding>) {
        let Some(wanted) = self.elf.needs_versions.get(library) else { return };
        let defined = there.elf.as_ref().map_or(&[][..], |e| e.defines_versions.as_slice());
        for version in wanted.iter().filter(|v| !defined.contains(v)) {
            let message = format!(
                "it needs version `{version}` of `{library}`, which `{}` lacks",
                there.path
            );
            let id = self.id("missing-version");
            found.push(Finding::at(self.inventory, self.entry, id, &message));
        }
    }
}

fn has_interpreter(loader: &Loader<'_>, interpreter: &str, path: &str) -> bool {
    let Some((env, wanted)) = interpreter.split_once(' ') else {
        return loader.entry(interpreter).is_some();
    };
    let looked_up = |dir: &str| loader.entry(&format!("{dir}/{wanted}")).is_some();
    let is_there = if wanted.contains('/') {
        loader.entry(wanted).is_some()
    } else {
        path.split(':').any(looked_up)
    };
    loader.entry(env).is_some() && is_there
}

fn no_interpreter(inventory: &Inventory, entry: &Entry, interpreter: &str) -> Finding {
    let message = format!("its interpreter `{interpreter}` is not in the image");
    let is_delivered = matches!(entry.origin, Origin::Dpkg { .. }) && !entry.altered;
    let id = if is_delivered { "missing-of-package" } else { "missing-interpreter" };
    Finding::at(inventory, entry, id, &message)
}
