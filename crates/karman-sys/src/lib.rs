//! The kernel: namespaces, mounts, overlay, fd-relative paths, capabilities, seccomp, re-exec. The only unsafe code.
//!
//! Entry points: [`reexec::dispatch`] is the first statement of every `main` that uses this crate, then
//! [`identity::enter`] decides once who we are (real root, or root of a user namespace), and
//! [`sandbox::Sandbox::spawn`] runs one command in a container. Nothing here decides policy.

pub mod fs;
pub mod identity;
pub mod limits;
pub mod lock;
mod mount;
pub mod os_error;
pub mod overlay;
pub mod program;
pub mod reexec;
pub mod relay;
pub mod sandbox;
mod seccomp;
pub mod signals;
pub mod term;

pub use os_error::OsError;
