//! A disk that fills up: a clear error with exit code 6, nothing half-written, and success once there is space.

use std::fs;
use std::process::{Command, Stdio};

use karman_testing::{Place, Skip, Tested, Told};

use crate::Tests;
use crate::lab::{Lab, need, need_root};
use crate::registry::Registry;

pub(crate) const TESTS: Tests = &[
    ("a_step_a_copy_and_a_layer_that_do_not_fit", a_step_a_copy_and_a_layer_that_do_not_fit),
    ("an_output_that_does_not_fit", an_output_that_does_not_fit),
    ("a_pull_that_does_not_fit", a_pull_that_does_not_fit),
    ("not_a_byte_is_left", not_a_byte_is_left),
];

/// Mounts small file systems for the store and for outputs, in a mount namespace of its own. `$0` is the program; the rest
/// of the arguments are those of a build.
const MOUNT: &str = "\
mkdir \"$KARMAN_ROOT\" small && mount -t tmpfs -o size=64m tmpfs \"$KARMAN_ROOT\" || exit 99
mount -t tmpfs -o size=4m tmpfs small || exit 99
left() { echo \"$1 $2, $(ls \"$KARMAN_ROOT/tmp\" | wc -l) left\"; }
karman=$0
";

/// Runs a script where the store is a disk of 64 MiB.
fn on_small_disk(lab: &Lab, place: &Place, script: &str) -> Result<Told, Skip> {
    need_root()?;
    let unshare = need("unshare")?;
    let mut command = Command::new(unshare);
    let script = format!("{MOUNT}{script}");
    command.args(["--mount", "--propagation", "private", "--", "/bin/sh", "-c", &script]);
    command.arg(Lab::program()).args(lab.build_args(&["-t", "x"])).env_clear();
    for (name, value) in place.command([""; 0]).get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    command.current_dir(place.work()).stdin(Stdio::null());
    let told = Told::of(&command.output().expect("unshare starts"));
    if told.code == 99 {
        return Err(Skip::because(format!("no tmpfs can be mounted: {}", told.err)));
    }
    Ok(told)
}

/// Bytes that no compression makes smaller.
pub(crate) fn noise(size: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

fn a_step_a_copy_and_a_layer_that_do_not_fit(lab: &Lab) -> Tested {
    let place = lab.place()?;
    place.write("run/Dockerfile", "FROM busybox\nRUN dd if=/dev/zero of=/big bs=1M count=100\n");
    place.write("copy/Dockerfile", "FROM busybox\nCOPY big /\n");
    place.write("copy/big", noise(65 << 20));
    // The files fit, but not together with the layer that is made of them.
    place.write("layer/Dockerfile", "FROM busybox\nCOPY big /\n");
    place.write("layer/big", noise(36 << 20));
    place.write("fits/Dockerfile", "FROM busybox\nCOPY big /\nRUN wc -c /big > /size\n");
    place.write("fits/big", noise(8 << 20));
    let quiet = lab.place()?;
    fs::create_dir(quiet.work().join("fits")).expect("a directory");
    for name in ["fits/Dockerfile", "fits/big"] {
        fs::hard_link(place.work().join(name), quiet.work().join(name)).expect("a link");
    }
    let expected = lab.digest(&quiet, &["fits"]);
    let script = "\
for what in run copy layer; do \"$karman\" \"$@\" $what; left $what $?; \"$karman\" cache verify; left verify $?; done
\"$karman\" cache prune --force > /dev/null; left prune $?
\"$karman\" \"$@\" --metadata-file meta fits; left fits $?
\"$karman\" run x cat /size; \"$karman\" cache verify; left verify $?";
    let told = on_small_disk(lab, &place, script)?;
    let want = "run 1, 0 left\nverify 0, 0 left\ncopy 6, 0 left\nverify 0, 0 left\nlayer 6, 0 left\n\
                verify 0, 0 left\nprune 0, 0 left\nfits 0, 0 left\n8388608 /big\nverify 0, 0 left\n";
    assert_eq!(told.out, want, "{}", told.err);
    assert!(told.err.matches("No space left on device").count() >= 3, "{}", told.err);
    assert!(told.err.matches("hint: make space on the file system").count() >= 2, "{}", told.err);
    let meta = fs::read_to_string(place.work().join("meta")).expect("metadata");
    assert!(meta.contains(&expected), "{meta}");
    Ok(())
}

fn an_output_that_does_not_fit(lab: &Lab) -> Tested {
    let place = lab.place()?;
    place.write("ctx/Dockerfile", "FROM busybox\nCOPY big /\n");
    place.write("ctx/big", noise(8 << 20));
    let script = "\
for output in type=oci,dest=small/out.tar type=docker,dest=small/out.tar type=tar,dest=small/out.tar \\
  type=oci,tar=false,dest=small/out type=local,dest=small/files; do
  \"$karman\" \"$@\" -o $output ctx; left $output $?
  find small -type f | wc -l; rm -rf small/*
done
\"$karman\" \"$@\" -o type=oci,dest=out.tar ctx; left fits $?";
    let told = on_small_disk(lab, &place, script)?;
    let lines: Vec<&str> = told.out.lines().collect();
    for (at, pair) in lines[..10].chunks(2).enumerate() {
        assert!(pair[0].ends_with(" 6, 0 left"), "{at}: {pair:?}\n{}", told.err);
        let directory = pair[0].contains("local") || pair[0].contains("tar=false");
        assert!(directory || pair[1] == "0", "something is left: {pair:?}");
    }
    assert_eq!(lines[10], "fits 0, 0 left", "{}", told.err);
    assert!(place.work().join("out.tar").exists());
    Ok(())
}

fn a_pull_that_does_not_fit(lab: &Lab) -> Tested {
    let place = lab.place()?;
    let registry = Registry::start(lab, &place, false)?;
    let big = lab.place()?;
    big.write("ctx/Dockerfile", "FROM busybox\nCOPY big /\n");
    big.write("ctx/big", noise(65 << 20));
    let name = format!("127.0.0.1:{}/big:1", registry.port);
    let output = format!("type=image,name={name},push=true,compression=uncompressed");
    lab.build(&big, &["-o", &output, "ctx"]).ok();
    place.write("from/Dockerfile", format!("FROM {name}\n"));
    let script = format!(
        "\"$karman\" pull {name}; left pull $?\n\"$karman\" \"$@\" from; left from $?\n\
         \"$karman\" pull 127.0.0.1:{}/base:1 > /dev/null; left small $?\n\"$karman\" cache verify; left verify $?",
        registry.port
    );
    let told = on_small_disk(lab, &place, &script)?;
    let want = "pull 6, 0 left\nfrom 6, 0 left\nsmall 0, 0 left\nverify 0, 0 left\n";
    assert_eq!(told.out, want, "{}", told.err);
    assert!(told.err.contains("No space left on device"), "{}", told.err);
    Ok(())
}

/// Not even the index can be written.
fn not_a_byte_is_left(lab: &Lab) -> Tested {
    let place = lab.place()?;
    place.write("one/Dockerfile", "FROM busybox\nRUN echo one > /one\n");
    place.write("two/Dockerfile", "FROM busybox\nRUN echo one > /one\nRUN echo two > /two\n");
    let script = "\
\"$karman\" \"$@\" one; left one $?
dd if=/dev/zero of=\"$KARMAN_ROOT/filler\" bs=4k 2> /dev/null
\"$karman\" \"$@\" two; left two $?
\"$karman\" image tag x y; left tag $?
rm \"$KARMAN_ROOT/filler\"
\"$karman\" cache verify; left verify $?
\"$karman\" \"$@\" two; left two $?
\"$karman\" run x cat /one /two; \"$karman\" cache verify; left verify $?";
    let told = on_small_disk(lab, &place, script)?;
    let want = "one 0, 0 left\ntwo 6, 0 left\ntag 6, 0 left\nverify 0, 0 left\ntwo 0, 0 left\none\ntwo\n\
                verify 0, 0 left\n";
    assert_eq!(told.out, want, "{}", told.err);
    Ok(())
}
