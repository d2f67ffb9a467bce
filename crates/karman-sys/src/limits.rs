//! Resource limits.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::OsError;

/// The resource of Docker's `--ulimit` name.
pub fn resource(name: &str) -> Option<Resource> {
    Some(match name {
        "as" => Resource::As,
        "core" => Resource::Core,
        "cpu" => Resource::Cpu,
        "data" => Resource::Data,
        "fsize" => Resource::Fsize,
        "locks" => Resource::Locks,
        "memlock" => Resource::Memlock,
        "msgqueue" => Resource::Msgqueue,
        "nice" => Resource::Nice,
        "nofile" => Resource::Nofile,
        "nproc" => Resource::Nproc,
        "rss" => Resource::Rss,
        "rtprio" => Resource::Rtprio,
        "rttime" => Resource::Rttime,
        "sigpending" => Resource::Sigpending,
        "stack" => Resource::Stack,
        _ => return None,
    })
}

/// Sets a limit of this process by Docker's name; none is unlimited.
///
/// # Errors
/// `EINVAL` for an unknown name, or what the kernel says.
pub fn set(name: &str, soft: Option<u64>, hard: Option<u64>) -> Result<(), OsError> {
    let resource = resource(name).ok_or(rustix::io::Errno::INVAL)?;
    Ok(setrlimit(resource, Rlimit { current: soft, maximum: hard })?)
}

/// Raises the soft limit of open files to the hard limit; a builder holds many layers and blobs open.
pub fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).ok();
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_are_dockers() {
        assert!(super::resource("nofile").is_some());
        assert!(super::resource("RLIMIT_NOFILE").is_none());
    }
}
