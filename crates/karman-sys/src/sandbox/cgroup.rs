//! A cgroup v2 child with limits, where a parent is delegated to us.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::error::StartError;
use super::spec::CgroupLimits;

/// A cgroup for one container.
pub(super) struct Cgroup {
    path: PathBuf,
    /// `cgroup.procs`, open for the init to put itself into.
    procs: File,
}

impl Cgroup {
    /// Makes the cgroup and sets its limits.
    pub(super) fn create(limits: &CgroupLimits) -> Result<Self, StartError> {
        let path = limits.parent.join(format!("karman-{}", std::process::id()));
        std::fs::create_dir(&path).map_err(StartError::setup("make a cgroup"))?;
        let made = Self::limit(&path, limits).and_then(|()| {
            let procs = File::options().write(true).open(path.join("cgroup.procs"));
            procs.map_err(StartError::setup("open a cgroup"))
        });
        match made {
            Ok(procs) => Ok(Self { path, procs }),
            Err(error) => {
                std::fs::remove_dir(&path).ok();
                Err(error)
            }
        }
    }

    fn limit(path: &Path, limits: &CgroupLimits) -> Result<(), StartError> {
        let values = [
            ("memory.max", limits.memory_max.map(|bytes| bytes.to_string())),
            ("pids.max", limits.pids_max.map(|count| count.to_string())),
            ("cpu.max", limits.cpu_max.map(|(quota, period)| format!("{quota} {period}"))),
        ];
        for (name, value) in values {
            if let Some(value) = value {
                std::fs::write(path.join(name), value)
                    .map_err(StartError::setup(&format!("set cgroup limit `{name}`")))?;
            }
        }
        Ok(())
    }

    /// Moves the calling process into the cgroup.
    pub(super) fn join(&self) -> Result<(), StartError> {
        (&self.procs).write_all(b"0").map_err(StartError::setup("enter a cgroup"))
    }

    /// Removes the cgroup, which must be empty.
    pub(super) fn remove(self) {
        std::fs::remove_dir(&self.path).ok();
    }
}
