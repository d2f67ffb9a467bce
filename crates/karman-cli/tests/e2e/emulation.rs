//! Programs of another architecture, where the kernel has a handler for them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use karman_testing::{Skip, Tested};

use crate::Tests;
use crate::lab::Lab;

pub(crate) const TESTS: Tests = &[
    ("a_foreign_program_runs_where_there_is_a_handler", foreign_program),
    ("a_foreign_stage_serves_another_platform", foreign_stage),
];

/// The exit code of [`program`].
const CODE: u8 = 7;
/// `EM_AARCH64` and `EM_X86_64`.
const ARM64: u8 = 183;
const AMD64: u8 = 62;
/// Where the program is loaded.
const ADDRESS: u64 = 0x40_0000;

/// The other of the two architectures, its ELF machine, and code that ends with [`CODE`].
fn other() -> (&'static str, u8, Vec<u8>) {
    match std::env::consts::ARCH {
        // mov edi, 7; mov eax, 60; syscall
        "aarch64" => ("amd64", AMD64, vec![0xbf, CODE, 0, 0, 0, 0xb8, 60, 0, 0, 0, 0x0f, 0x05]),
        // mov x0, #7; mov x8, #93; svc #0
        _ => {
            let words = [0xd280_0000 | u32::from(CODE) << 5, 0xd280_0ba8, 0xd400_0001_u32];
            ("arm64", ARM64, words.iter().flat_map(|w| w.to_le_bytes()).collect())
        }
    }
}

/// A static program of another architecture that only ends with [`CODE`].
fn program(machine: u8, code: &[u8]) -> Vec<u8> {
    let (header, segment) = (64_u64, 56_u64);
    let size = header + segment + code.len() as u64;
    let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    file.extend([2, 0, machine, 0, 1, 0, 0, 0]);
    for number in [ADDRESS + header + segment, header, 0] {
        file.extend(number.to_le_bytes());
    }
    file.extend([0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 64, 0, 0, 0, 0, 0]);
    file.extend([1, 0, 0, 0, 5, 0, 0, 0]);
    for number in [0, ADDRESS, ADDRESS, size, size, 0x1000] {
        file.extend(number.to_le_bytes());
    }
    file.extend(code);
    file
}

/// A place with the program in its context; skips where this host cannot run it.
fn prepared(lab: &Lab) -> Result<(karman_testing::Place, &'static str), Skip> {
    let place = lab.place()?;
    let (architecture, machine, code) = other();
    let file = place.write("ctx/program", program(machine, &code));
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("chmod");
    match Command::new(&file).status().ok().and_then(|s| s.code()) {
        Some(code) if code == i32::from(CODE) => Ok((place, architecture)),
        _ => {
            let why = format!("no handler for {architecture} (package qemu-user-static)");
            Err(Skip::because(why))
        }
    }
}

fn foreign_program(lab: &Lab) -> Tested {
    let (place, architecture) = prepared(lab)?;
    place.write("ctx/Dockerfile", "FROM scratch\nCOPY program /program\nRUN [\"/program\"]\n");
    let platform = format!("--platform=linux/{architecture}");
    let want = format!("did not complete successfully: exit code: {CODE}");
    lab.build(&place, &[&platform, "ctx"]).is(1, &want);
    Ok(())
}

fn foreign_stage(lab: &Lab) -> Tested {
    let (place, architecture) = prepared(lab)?;
    let dockerfile = format!(
        "FROM --platform=linux/{architecture} busybox AS tools\n\
         COPY program /program\n\
         RUN /program; echo $? > /code\n\
         FROM scratch\n\
         COPY --from=tools /code /code\n"
    );
    place.write("ctx/Dockerfile", dockerfile);
    lab.build(&place, &["-o", "out", "ctx"]).ok();
    let code = fs::read_to_string(place.work().join("out/code")).expect("the file");
    assert_eq!(code, format!("{CODE}\n"));
    Ok(())
}
