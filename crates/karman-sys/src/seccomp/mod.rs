//! Docker's default system call policy as a BPF filter.
//!
//! Default is `EPERM`; `clone3` is `ENOSYS`, because its flags lie in memory that a filter cannot read; `clone` may
//! not make namespaces; `personality` may only choose what is harmless; `socket` may not be `AF_VSOCK`.
//!
//! 32-bit programs (i386 on x86_64, ARM on aarch64) are let through unfiltered where Docker filters them too: what
//! they may do is bounded by the capabilities alone. Killing them instead, as a filter for one architecture does by
//! itself, would break every multi-arch `RUN`.

mod syscalls;

use std::collections::BTreeMap;

use libc::{
    BPF_ABS, BPF_JEQ, BPF_JGT, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, SECCOMP_RET_ALLOW,
    SECCOMP_RET_ERRNO, SYS_clone, SYS_clone3, SYS_personality, SYS_socket,
};
use rustix::io::Errno;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, sock_filter,
};

#[cfg(target_arch = "x86_64")]
const TARGET: (TargetArch, u32) = (TargetArch::x86_64, AUDIT_ARCH_I386);
#[cfg(target_arch = "aarch64")]
const TARGET: (TargetArch, u32) = (TargetArch::aarch64, AUDIT_ARCH_ARM);

/// `AUDIT_ARCH_I386` of `linux/audit.h`.
#[cfg(target_arch = "x86_64")]
const AUDIT_ARCH_I386: u32 = 0x4000_0003;
/// `AUDIT_ARCH_ARM` of `linux/audit.h`.
#[cfg(target_arch = "aarch64")]
const AUDIT_ARCH_ARM: u32 = 0x4000_0028;

/// Offsets in `struct seccomp_data`.
const NUMBER_OFFSET: u32 = 0;
const ARCH_OFFSET: u32 = 4;

/// Namespaces that `clone` may not make.
const NAMESPACE_FLAGS: i32 = libc::CLONE_NEWNS
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWCGROUP;

/// `PER_LINUX`, `PER_LINUX32`, both with `UNAME26`, and the query.
const PERSONALITIES: [u64; 5] = [0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// Installs the filter for the calling thread and what it executes. Needs `CAP_SYS_ADMIN` or `no_new_privs`, which
/// is not set here: `sudo` has to work.
pub(crate) fn install_default() -> Result<(), Errno> {
    let mut program = default_program().map_err(|_| Errno::INVAL)?;
    let length = u16::try_from(program.len()).map_err(|_| Errno::INVAL)?;
    // The two `sock_filter` types have one layout: the kernel's.
    let filter = libc::sock_fprog { len: length, filter: program.as_mut_ptr().cast() };
    // SAFETY: `filter` and the program it points to outlive the call, which copies them.
    let result = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const filter)
    };
    if result < 0 { Err(crate::mount::last_errno()) } else { Ok(()) }
}

fn default_program() -> Result<BpfProgram, seccompiler::BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for list in [syscalls::COMMON, syscalls::NATIVE, syscalls::RECENT] {
        rules.extend(list.iter().map(|number| (*number, Vec::new())));
    }
    let no_namespaces = SeccompCmpOp::MaskedEq(u64::from(NAMESPACE_FLAGS.cast_unsigned()));
    rules.insert(SYS_clone, vec![first_argument(no_namespaces, 0)?]);
    rules.insert(
        SYS_socket,
        vec![first_argument(SeccompCmpOp::Ne, u64::from(libc::AF_VSOCK.cast_unsigned()))?],
    );
    let personalities = PERSONALITIES.iter().map(|value| first_argument(SeccompCmpOp::Eq, *value));
    rules.insert(SYS_personality, personalities.collect::<Result<_, _>>()?);
    let deny = SeccompAction::Errno(libc::EPERM.cast_unsigned());
    let filter = SeccompFilter::new(rules, deny, SeccompAction::Allow, TARGET.0)?;
    let mut program = prologue();
    program.extend(BpfProgram::try_from(filter)?);
    Ok(program)
}

fn first_argument(op: SeccompCmpOp, value: u64) -> Result<SeccompRule, seccompiler::BackendError> {
    SeccompRule::new(vec![SeccompCondition::new(0, SeccompCmpArgLen::Dword, op, value)?])
}

/// What seccompiler cannot say: a second architecture, and a second `errno`. Jumps in BPF are relative, so its
/// program follows unchanged.
fn prologue() -> BpfProgram {
    let not_implemented = SECCOMP_RET_ERRNO | libc::ENOSYS.cast_unsigned();
    let clone3 = u32::try_from(SYS_clone3).unwrap_or(u32::MAX);
    vec![
        statement(BPF_LD | BPF_W | BPF_ABS, ARCH_OFFSET),
        jump(BPF_JEQ, TARGET.1, 0, 1),
        statement(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        statement(BPF_LD | BPF_W | BPF_ABS, NUMBER_OFFSET),
        jump(BPF_JEQ, clone3, 1, 0),
        // x32 calls have bit 30 set and end here as well.
        jump(BPF_JGT, syscalls::LAST_KNOWN, 0, 1),
        statement(BPF_RET | BPF_K, not_implemented),
    ]
}

fn statement(code: u32, k: u32) -> sock_filter {
    sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

fn jump(condition: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code: (BPF_JMP | condition | BPF_K) as u16, jt, jf, k }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_fits_the_kernel() {
        let length = default_program().expect("compiles").len();
        assert!(length > syscalls::COMMON.len() && length <= 4096, "{length} instructions");
    }

    #[test]
    fn dangerous_calls_are_not_listed() {
        for number in [
            libc::SYS_mount,
            libc::SYS_unshare,
            libc::SYS_setns,
            libc::SYS_bpf,
            libc::SYS_keyctl,
            SYS_clone3,
        ] {
            assert!(!syscalls::COMMON.contains(&number) && !syscalls::NATIVE.contains(&number));
        }
    }
}
