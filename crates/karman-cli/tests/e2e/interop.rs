//! What skopeo, podman, buildah and umoci write is read here, and what is written here is read by them.
//! (`outputs` has more of the second, `docker` what concerns docker.)

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use karman_testing::{Place, Skip, Tested, Told};

use crate::Tests;
use crate::lab::{Lab, need, need_root, tool, tool_tells};
use crate::layout::Layout;

pub(crate) const TESTS: Tests = &[
    ("what_skopeo_writes_is_loaded_and_built_on", what_skopeo_writes),
    ("what_podman_saves_is_loaded", what_podman_saves),
    ("what_buildah_pushes_is_built_on", what_buildah_pushes),
    ("what_umoci_changes_is_built_on", what_umoci_changes),
    ("compressed_archives_and_streams_are_loaded", compressed_archives_and_streams),
    ("every_output_is_read_by_others", every_output_is_read_by_others),
    ("what_is_no_image_is_told", what_is_no_image_is_told),
    ("what_cannot_be_loaded_is_named_as_it_was_given", what_cannot_be_loaded),
];

/// The image of these tests, and its name.
pub(crate) const DOCKERFILE: &str = "\
FROM busybox
RUN mkdir /data && echo one > /data/file && ln /data/file /data/hard
RUN rm /data/hard && ln -s file /data/soft
ENV GREETING=hello
CMD [\"cat\", \"/data/soft\"]
";
pub(crate) const NAME: &str = "demo.example/demo:1";

/// A place with the image in an OCI archive, an OCI layout and a docker archive.
pub(crate) fn place(lab: &Lab) -> Result<Place, Skip> {
    let place = lab.place()?;
    place.write("ctx/Dockerfile", DOCKERFILE);
    let outputs =
        ["type=oci,dest=oci.tar", "type=oci,dest=layout,tar=false", "type=docker,dest=docker.tar"];
    let flags = outputs.iter().flat_map(|output| ["-o", output]);
    let args: Vec<&str> =
        ["-t", "demo.example/demo:1"].into_iter().chain(flags).chain(["ctx"]).collect();
    lab.build(&place, &args).ok();
    Ok(place)
}

fn diff_ids(place: &Place, name: &str) -> serde_json::Value {
    let told = place.run(["image", "inspect", name]).ok();
    let json: serde_json::Value = serde_json::from_str(&told.out).expect("JSON");
    json["platforms"][0]["config"]["rootfs"]["diff_ids"].clone()
}

/// Loads an archive or a directory into an empty store; it must hold the image, whatever its name.
#[track_caller]
pub(crate) fn loads(lab: &Lab, from: &Place, what: &str, name: &str) -> Result<(), Skip> {
    let to = lab.place()?;
    let path = from.work().join(what).display().to_string();
    let told = to.run(["load", "-q", "--tag", name, "--input", &path]).ok();
    assert_eq!(told.out, format!("{name}\n"), "{what}");
    assert_eq!(to.run(["run", name]).ok().out, "one\n", "{what}");
    let layout = Layout::open(&from.work().join("layout"));
    assert_eq!(diff_ids(&to, name), layout.config["rootfs"]["diff_ids"], "{what}");
    to.run(["cache", "verify"]).ok();
    // The same as a base, without loading it.
    to.write(
        "ctx/Dockerfile",
        "FROM loaded\nRUN test \"$(cat /data/soft) $GREETING\" = 'one hello'\n",
    );
    let context = format!("loaded=oci-layout://{path}");
    lab.build(&to, &["--build-context", &context, "ctx"]).ok();
    Ok(())
}

fn what_skopeo_writes(lab: &Lab) -> Tested {
    let skopeo = need("skopeo")?;
    let place = place(lab)?;
    let kinds = [
        ("docker-archive:", "old.tar", ":demo.example/demo:1", "demo.example/demo:1"),
        ("oci-archive:", "new.tar", ":demo.example/demo:1", "named:1"),
        ("oci:", "directory", ":1", "named:1"),
        ("dir:", "flat", "", "named:1"),
    ];
    for (kind, dest, tag, name) in kinds {
        let to = format!("{kind}{dest}{tag}");
        tool(&place, &skopeo, &["--insecure-policy", "copy", "oci:layout:1", &to]);
        loads(lab, &place, dest, name)?;
    }
    // An index with all its platforms.
    let multi = lab.multi().replace("oci-layout://", "oci:");
    tool(&place, &skopeo, &["--insecure-policy", "copy", "--all", &multi, "dir:several"]);
    let told = place.run(["load", "-q", "--tag", "several", "--input", "several"]).ok();
    assert_eq!(told.out, "several:latest\n");
    let told = place.run(["image", "inspect", "several"]).ok();
    assert!(told.out.contains("linux/arm64"), "{}", told.out);
    Ok(())
}

/// Flags that keep podman and buildah to a place.
fn kept(place: &Place) -> Vec<String> {
    let path = |name: &str| place.root().join(name).display().to_string();
    ["--root", &path("containers"), "--runroot", &path("containers-run"), "--storage-driver", "vfs"]
        .map(str::to_owned)
        .to_vec()
}

/// Runs a program of that family; what it cannot do in this place skips the test.
fn contained(place: &Place, program: &Path, args: &[&str]) -> Result<String, Skip> {
    let kept = kept(place);
    let all: Vec<&str> = kept.iter().map(String::as_str).chain(args.iter().copied()).collect();
    let told = tool_tells(place, program, &all);
    if told.code != 0 && told.err.contains("ermission") {
        return Err(Skip::because(format!("{} cannot work here: {}", program.display(), told.err)));
    }
    Ok(told.ok().out)
}

fn what_podman_saves(lab: &Lab) -> Tested {
    need_root()?;
    let podman = need("podman")?;
    let place = place(lab)?;
    for archive in ["oci.tar", "docker.tar"] {
        contained(&place, &podman, &["load", "-q", "-i", archive])?;
        for (format, dest) in [
            ("docker-archive", "saved.tar"),
            ("oci-archive", "saved-oci.tar"),
            ("oci-dir", "saved-dir"),
        ] {
            contained(
                &place,
                &podman,
                &["save", "-q", "--format", format, "-o", dest, "demo.example/demo:1"],
            )?;
            loads(lab, &place, dest, "demo.example/demo:1")
                .or_else(|_| loads(lab, &place, dest, "x:1"))?;
            let _ = (
                fs::remove_file(place.work().join(dest)),
                fs::remove_dir_all(place.work().join(dest)),
            );
        }
        contained(&place, &podman, &["rmi", "-a", "-f"])?;
    }
    Ok(())
}

fn what_buildah_pushes(lab: &Lab) -> Tested {
    need_root()?;
    let buildah = need("buildah")?;
    let place = place(lab)?;
    contained(&place, &buildah, &["pull", "-q", "oci-archive:oci.tar"])?;
    for (kind, dest, name) in [
        ("oci:", "pushed", "named:1"),
        ("oci-archive:", "pushed.tar", "named:1"),
        ("docker-archive:", "pushed-docker.tar", NAME),
        ("dir:", "pushed-flat", "named:1"),
    ] {
        let tag = if kind.starts_with("docker") { ":demo.example/demo:1" } else { "" };
        contained(&place, &buildah, &["push", "-q", NAME, &format!("{kind}{dest}{tag}")])?;
        loads(lab, &place, dest, name)?;
    }
    // A container that buildah changed, in both forms of its manifest.
    let container = contained(&place, &buildah, &["from", NAME])?;
    contained(&place, &buildah, &["config", "--env", "GREETING=other", container.trim()])?;
    for format in ["oci", "docker"] {
        let dest = format!("oci-archive:changed-{format}.tar:1");
        contained(&place, &buildah, &["commit", "-q", "-f", format, container.trim(), &dest])?;
        let from = format!("changed=oci-layout://changed-{format}.tar:1");
        place.write("next/Dockerfile", "FROM changed\nRUN test \"$GREETING\" = other\n");
        lab.build(&place, &["--build-context", &from, "next"]).ok();
    }
    Ok(())
}

fn what_umoci_changes(lab: &Lab) -> Tested {
    let umoci = need("umoci")?;
    let place = place(lab)?;
    place.write("added", "by umoci\n");
    let umoci_takes = ["insert", "--image", "layout:1", "--tag", "2", "added", "/added"];
    tool(&place, &umoci, &umoci_takes);
    tool(&place, &umoci, &["config", "--image", "layout:2", "--config.env", "GREETING=other"]);
    place.write(
        "ctx/Dockerfile",
        "FROM changed\nRUN test \"$(cat /added) $GREETING\" = 'by umoci other'\n",
    );
    lab.build(&place, &["--build-context", "changed=oci-layout://layout:2", "ctx"]).ok();
    if need_root().is_err() {
        return Ok(());
    }
    // A layer that umoci made of an unpacked image: a file is new, one gone, one another.
    tool(&place, &umoci, &["unpack", "--image", "layout:2", "bundle"]);
    let root = place.work().join("bundle/rootfs");
    fs::write(root.join("data/file"), "two\n").expect("written");
    fs::write(root.join("data/new"), "new\n").expect("written");
    fs::remove_file(root.join("added")).expect("removed");
    tool(&place, &umoci, &["repack", "--image", "layout:3", "bundle"]);
    place.write(
        "ctx/Dockerfile",
        "FROM changed\nRUN test \"$(cat /data/soft /data/new)\" = \"$(printf 'two\\nnew')\" && test ! -e /added\n",
    );
    lab.build(&place, &["--build-context", "changed=oci-layout://layout:3", "ctx"]).ok();
    Ok(())
}

fn compressed_archives_and_streams(lab: &Lab) -> Tested {
    let place = place(lab)?;
    let sh = Path::new("/bin/sh");
    for (program, name) in
        [("gzip", "oci.tar.gz"), ("zstd", "oci.tar.zst"), ("xz", "docker.tar.xz")]
    {
        let program = need(program)?;
        let plain = name.rsplit_once('.').expect("an ending").0;
        tool(&place, sh, &["-c", "$0 < $1 > $2", &program.to_string_lossy(), plain, name]);
        let to = lab.place()?;
        let path = place.work().join(name).display().to_string();
        let told = to.run(["load", "-i", &path]).ok();
        assert_eq!(told.out, "Loaded image: demo.example/demo:1\n");
        assert_eq!(to.run(["run", "demo.example/demo:1"]).ok().out, "one\n");
        let mut command = to.command(["load"]);
        command.stdin(fs::File::open(&path).expect("the archive"));
        karman_testing::Told::of(&command.output().expect("it ends")).ok();
        assert_eq!(fs::read_dir(to.store().join("tmp")).expect("tmp").count(), 0);
    }
    Ok(())
}

/// Every image format in every compression by skopeo, podman and, where it knows the compression, umoci; a tar as a root
/// filesystem by podman.
fn every_output_is_read_by_others(lab: &Lab) -> Tested {
    need_root()?;
    let (skopeo, podman, umoci) = (need("skopeo")?, need("podman")?, need("umoci")?);
    let place = place(lab)?;
    for compression in ["gzip", "estargz", "zstd", "uncompressed"] {
        let more = format!("compression={compression},force-compression=true");
        let outputs = [
            format!("type=oci,dest={compression}.tar,{more}"),
            format!("type=docker,dest={compression}-docker.tar,{more}"),
            format!("type=oci,dest={compression},tar=false,{more}"),
        ];
        let flags: Vec<&str> = outputs.iter().flat_map(|output| ["-o", output.as_str()]).collect();
        lab.build(&place, &[&["-t", "demo.example/demo:1"][..], &flags, &["ctx"]].concat()).ok();
        let (oci, docker, dir) = (
            format!("oci-archive:{compression}.tar"),
            format!("docker-archive:{compression}-docker.tar"),
            format!("oci:{compression}:1"),
        );
        for from in [&oci, &docker, &dir] {
            let to = format!("dir:{}", from.replace([':', '.'], "-"));
            tool(&place, &skopeo, &["--insecure-policy", "copy", from, &to]);
            contained(&place, &podman, &["pull", "-q", from])?;
            contained(&place, &podman, &["rmi", "-a", "-f"])?;
        }
        if compression != "zstd" {
            tool(
                &place,
                &umoci,
                &[
                    "unpack",
                    "--image",
                    &format!("{compression}:1"),
                    &format!("{compression}-files"),
                ],
            );
        }
    }
    lab.build(&place, &["-o", "type=tar,dest=files.tar", "ctx"]).ok();
    contained(&place, &podman, &["import", "-q", "files.tar", "imported"])?;
    let several =
        ["--platform", "linux/amd64,linux/arm64", "-o", "type=oci,dest=several.tar", "several"];
    place.write("several/Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
    lab.build(&place, &several).ok();
    tool(
        &place,
        &skopeo,
        &["--insecure-policy", "copy", "--all", "oci-archive:several.tar", "dir:several-all"],
    );
    assert!(place.work().join("several-all/manifest.json").exists());
    Ok(())
}

fn what_is_no_image_is_told(lab: &Lab) -> Tested {
    let place = place(lab)?;
    place.write("empty.tar", [0; 1024]);
    place.write("words.tar", "no archive at all".repeat(100));
    place.run(["load", "-i", "empty.tar"]).is(3, "neither an OCI layout nor a docker archive");
    place.run(["load", "-i", "words.tar"]).is(3, "words.tar`: it is no archive");
    place.run(["load", "-i", "none.tar"]).is(3, "none.tar");
    // A layer that is not what the archive says.
    let layer = Layout::open(&place.work().join("layout")).manifest["layers"][1]["digest"].clone();
    let hex = layer.as_str().expect("a digest").trim_start_matches("sha256:").to_owned();
    let file = place.work().join("layout/blobs/sha256").join(&hex);
    let mut bytes = fs::read(&file).expect("a layer");
    bytes[20] ^= 1;
    fs::remove_file(&file).expect("removed");
    fs::write(&file, bytes).expect("written");
    let to = lab.place()?;
    let path = place.work().join("layout").display().to_string();
    to.run(["load", "-i", &path]).is(3, &hex);
    assert_eq!(to.run(["image", "ls", "-q"]).ok().out, "");
    Ok(())
}

/// The same bytes as a file and as a stream: the file is named, or the stream, and nothing of the store.
fn what_cannot_be_loaded(lab: &Lab) -> Tested {
    let place = place(lab)?;
    let whole = fs::read(place.work().join("oci.tar")).expect("an archive");
    place.write("oci2.tar", &whole);
    tool(&place, &need("gzip")?, &["oci2.tar"]);
    let zipped = fs::read(place.work().join("oci2.tar.gz")).expect("an archive");
    place.write("hello", "hello");
    place.write("wrong/index.json", "{}");
    place.write("none/index.json", "{\"schemaVersion\":2,\"manifests\":[]}");
    let tar = |dir: &str, out: &str| {
        tool(&place, Path::new("/bin/sh"), &["-c", &format!("tar -cf {out} -C {dir} .")])
    };
    tar("wrong", "wrong.tar");
    tar("none", "none.tar");
    tool(&place, &need("gzip")?, &["hello", "wrong.tar"]);
    let read = |name: &str| fs::read(place.work().join(name)).expect("a file");
    let kinds = "hint: an image is an OCI layout";
    let again = "write or copy it again";
    let cases: [(&str, Vec<u8>, &str, &str); 8] = [
        ("empty", Vec::new(), "it is empty", kinds),
        ("short", b"words".to_vec(), "it is no archive", kinds),
        ("words", b"no archive at all".repeat(100), "it is no archive", kinds),
        ("words.gz", read("hello.gz"), "it is no archive", kinds),
        ("cut.tar", whole[..whole.len() / 2].to_vec(), "it is cut short", again),
        ("cut.tar.gz", zipped[..zipped.len() / 2].to_vec(), "in the middle", again),
        ("wrong.tar.gz", read("wrong.tar.gz"), "its `index.json` is malformed: missing", ""),
        ("none.tar", read("none.tar"), "there is no image in it", ""),
    ];
    let to = lab.place()?;
    let refused = |from: &str, words: &str, hint: &str| {
        let told = to.run(["load", "-i", &place.work().join(from).display().to_string()]);
        let told = told.is(3, &format!("{from}`: {words}"));
        assert!(told.err.contains(hint), "{from}: {}", told.err);
    };
    for (name, bytes, words, hint) in &cases {
        place.write(name, bytes);
        let mut command = to.command(["load"]);
        command.stdin(fs::File::open(place.work().join(name)).expect("a file"));
        let told = Told::of(&command.output().expect("karman runs"));
        let told = told.is(3, "failed to load standard input: ");
        assert!(told.err.contains(words) && told.err.contains(hint), "{name}: {}", told.err);
        assert!(!told.err.contains(&to.store().display().to_string()), "{name}: {}", told.err);
        match name.ends_with("cut.tar.gz") {
            true => refused(name, "it ends, or is broken, in the middle", hint),
            false => refused(name, words, hint),
        }
    }
    refused("ctx", "it is neither an OCI layout nor a docker archive", kinds);
    refused("nowhere", "No such file", "");
    let base = Layout::open(&place.work().join("layout")).manifest["layers"][0]["digest"].clone();
    let base = base.as_str().expect("a digest").replace(':', "/");
    fs::remove_file(place.work().join("layout/blobs").join(&base)).expect("removed");
    refused("layout", "blob `sha256:", again);
    assert_eq!(to.run(["image", "ls", "-q"]).ok().out, "");
    for room in ["tmp", "blobs/sha256"] {
        let left = fs::read_dir(to.store().join(room)).expect("a directory").count();
        assert_eq!(left, 0, "in `{room}` of the store");
    }
    // A pipe may have a name, too.
    let mut command = to.command(["load", "-q", "-t", "piped", "-i", "/dev/stdin"]);
    let mut child = command.stdin(Stdio::piped()).spawn().expect("karman starts");
    child.stdin.take().expect("a pipe").write_all(&whole).expect("written");
    assert!(child.wait().expect("it ends").success());
    Ok(())
}
