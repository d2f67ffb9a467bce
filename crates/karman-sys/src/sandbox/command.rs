//! The last steps inside the container: drop privileges and become the command.

use std::convert::Infallible;
use std::ffi::{CString, NulError};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, FileType, Gid, Mode, Uid, accessat, statat};
use rustix::io::Errno;
use rustix::process::{chdir, setsid, umask};
use rustix::thread::{set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use super::capabilities;
use super::error::StartError;
use super::spec::{Security, Spec};
use crate::OsError;

const UMASK: Mode = Mode::from_raw_mode(0o022);

/// Docker's `PATH` for images that set none.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

const FIRST_FREE_FD: i32 = 3;

/// Becomes the command of `spec`; returns only with the reason why not.
pub(super) fn execute(spec: &Spec) -> StartError {
    match become_command(spec) {
        Err(error) => error,
        Ok(never) => match never {},
    }
}

fn become_command(spec: &Spec) -> Result<Infallible, StartError> {
    let image = Image::new(spec)?;
    setsid().map_err(StartError::setup("start a session"))?;
    umask(UMASK);
    for limit in &spec.ulimits {
        let failed = |source: OsError| StartError::Ulimit { name: limit.name.clone(), source };
        crate::limits::set(&limit.name, limit.soft, limit.hard).map_err(failed)?;
    }
    drop_privileges(spec)?;
    chdir(&*spec.cwd).map_err(|errno| StartError::WorkingDirectory {
        path: spec.cwd.clone(),
        source: errno.into(),
    })?;
    let program = find_program(spec)?;
    crate::reexec::close_on_exec_from(FIRST_FREE_FD)
        .map_err(StartError::setup("close descriptors"))?;
    crate::signals::restore_defaults();
    crate::signals::unblock_all();
    Err(image.execute(&program))
}

/// Bounding set and filter first, while we still may; then the ids; then what root keeps.
fn drop_privileges(spec: &Spec) -> Result<(), StartError> {
    let sandboxed = spec.security == Security::Sandbox;
    if spec.no_new_privs {
        set_no_new_privs(true).map_err(StartError::setup("set no_new_privs"))?;
    }
    if sandboxed {
        capabilities::bound(capabilities::DEFAULT)
            .map_err(StartError::setup("limit capabilities"))?;
        // Everything called from here to `execve` is on the filter's list.
        crate::seccomp::install_default()
            .map_err(StartError::setup("install the seccomp filter"))?;
    }
    set_ids(spec).map_err(|errno| StartError::UnmappedId {
        uid: spec.uid,
        gid: spec.gid,
        source: errno.into(),
    })?;
    if sandboxed {
        capabilities::reduce(capabilities::DEFAULT)
            .map_err(StartError::setup("drop capabilities"))?;
    }
    Ok(())
}

fn set_ids(spec: &Spec) -> Result<(), Errno> {
    let groups: Vec<Gid> = spec.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    match set_thread_groups(&groups) {
        // With a single mapped id the kernel denies `setgroups`; its own group alone needs none.
        Err(Errno::PERM) if spec.groups.iter().all(|gid| *gid == spec.gid) => {}
        other => other?,
    }
    let (uid, gid) = (Uid::from_raw(spec.uid), Gid::from_raw(spec.gid));
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)
}

/// The program of `args[0]`, searched like a shell does, with the ids and root of the container.
fn find_program(spec: &Spec) -> Result<PathBuf, StartError> {
    let program = spec.args.first().map(String::as_str).unwrap_or_default();
    let failed =
        |errno: Errno| StartError::Exec { program: program.to_owned(), source: errno.into() };
    if program.contains('/') {
        check_executable(Path::new(program)).map_err(failed)?;
        return Ok(PathBuf::from(program));
    }
    let path = spec.env.iter().rev().find(|(name, _)| name == "PATH");
    let path = path.map_or(DEFAULT_PATH, |(_, value)| value.as_str());
    let mut denied = None;
    // The kernel limits the environment, and with it this loop.
    for directory in
        path.split(':').filter(|directory| !directory.is_empty() && !program.is_empty())
    {
        let candidate = Path::new(directory).join(program);
        match check_executable(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(Errno::ACCESS) => denied = Some(Errno::ACCESS),
            Err(_) => {}
        }
    }
    Err(denied.map_or_else(|| StartError::NotFound { program: program.to_owned() }, failed))
}

fn check_executable(path: &Path) -> Result<(), Errno> {
    let stat = statat(CWD, path, AtFlags::empty())?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Errno::ACCESS);
    }
    accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS)
}

/// Arguments and environment in the kernel's form.
struct Image {
    program: String,
    arguments: Vec<CString>,
    environment: Vec<CString>,
}

impl Image {
    fn new(spec: &Spec) -> Result<Self, StartError> {
        let nul = |_: NulError| StartError::InvalidSpec {
            problem: "an argument or variable contains a NUL".to_owned(),
        };
        let text = |text: &String| CString::new(text.as_bytes()).map_err(nul);
        let variable =
            |(name, value): &(String, String)| CString::new(format!("{name}={value}")).map_err(nul);
        Ok(Self {
            program: spec.args.first().cloned().unwrap_or_default(),
            arguments: spec.args.iter().map(text).collect::<Result<_, _>>()?,
            environment: spec.env.iter().map(variable).collect::<Result<_, _>>()?,
        })
    }

    fn execute(&self, path: &Path) -> StartError {
        let failed = |source: OsError| StartError::Exec { program: self.program.clone(), source };
        let Ok(path) = CString::new(path.as_os_str().as_bytes()) else {
            return failed(Errno::INVAL.into());
        };
        let pointers = |strings: &[CString]| -> Vec<*const libc::c_char> {
            strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
        };
        let (arguments, environment) = (pointers(&self.arguments), pointers(&self.environment));
        // SAFETY: both arrays end with a null pointer and point to NUL-terminated strings that outlive the call.
        unsafe { libc::execve(path.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
        failed(OsError::last())
    }
}
