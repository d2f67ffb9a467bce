//! Every output, read by other tools where they are installed.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use karman_testing::{Place, Skip, Tested};
use serde_json::Value;

use crate::Tests;
use crate::lab::{Lab, need, need_root, tool, tool_tells};
use crate::layout::Layout;
use crate::tree::{Times, Tree};

pub(crate) const TESTS: Tests = &[
    ("an_oci_archive_and_a_layout_hold_the_same_image", same_image),
    ("a_layout_unpacks_with_umoci", a_layout_unpacks_with_umoci),
    ("archives_are_read_by_skopeo", archives_are_read_by_skopeo),
    ("podman_loads_and_runs", podman_loads_and_runs),
    ("a_tar_and_a_directory_hold_the_same_files", tar_and_directory),
    ("a_tar_goes_to_standard_output", tar_on_stdout),
    ("compressions", compressions),
    ("several_outputs_of_one_build", several_outputs),
    ("an_image_is_stored_once", an_image_is_stored_once),
    ("an_estargz_image_is_read_by_other_tools", an_estargz_image_is_read_by_other_tools),
    ("images_are_loaded_into_other_stores", images_are_loaded_into_other_stores),
    ("podman_takes_what_is_loaded", podman_takes_what_is_loaded),
    ("a_new_directory_appears_whole", a_new_directory_appears_whole),
    ("destinations_that_cannot_be_are_told_first", destinations_that_cannot_be),
];

const DOCKERFILE: &str = "\
FROM busybox
COPY --chown=1000:1000 --chmod=640 owned /data/owned
RUN ln /data/owned /data/hard && ln -s owned /data/soft && mkdir -m 1777 /data/sticky && rm -r /opt
RUN rm /data/hard && echo second > /data/second
ENV GREETING=\"hello there\"
USER app
WORKDIR /data
LABEL org.example.a=b
CMD [\"sh\", \"-c\", \"echo $GREETING from $(id -un) in $(pwd)\"]
";

fn place(lab: &Lab) -> Result<Place, Skip> {
    let place = lab.place()?;
    place.write("ctx/Dockerfile", DOCKERFILE);
    place.write("ctx/owned", "owned\n");
    Ok(place)
}

fn same_image(lab: &Lab) -> Tested {
    let place = place(lab)?;
    let args = ["-t", "demo:1", "-o", "type=oci,dest=oci.tar", "-o", "type=oci,dest=dir,tar=false"];
    lab.build(&place, &[&args[..], &["ctx"]].concat()).ok();
    let dir = Layout::open(&place.work().join("dir"));
    assert_eq!(dir.layers().len(), 4 + 1, "the base, three steps and WORKDIR or its absence");
    let archive = place.work().join("from-archive");
    fs::create_dir(&archive).expect("a directory");
    tool(&place, &need("tar")?, &["-xf", "oci.tar", "-C", "from-archive"]);
    assert_eq!(Layout::open(&archive).digest, dir.digest);
    let config = &dir.config["config"];
    assert_eq!(config["User"], "app");
    assert_eq!(config["WorkingDir"], "/data");
    assert_eq!(config["Labels"]["org.example.a"], "b");
    Ok(())
}

fn a_layout_unpacks_with_umoci(lab: &Lab) -> Tested {
    need_root()?;
    let umoci = need("umoci")?;
    let place = place(lab)?;
    lab.build(&place, &["-t", "demo:1", "-o", "type=oci,dest=dir,tar=false", "ctx"]).ok();
    tool(&place, &umoci, &["unpack", "--image", "dir:1", "bundle"]);
    let root = place.work().join("bundle/rootfs");
    let owned = fs::symlink_metadata(root.join("data/owned")).expect("the file");
    assert_eq!((owned.uid(), owned.gid(), owned.mode() & 0o7777), (1000, 1000, 0o640));
    assert!(!root.join("data/hard").exists() && !root.join("opt").exists(), "whiteouts work");
    let sticky = fs::metadata(root.join("data/sticky")).expect("the directory");
    assert_eq!(sticky.permissions().mode() & 0o7777, 0o1777);
    Ok(())
}

fn inspect(place: &Place, skopeo: &Path, what: &str) -> Value {
    let told = tool(place, skopeo, &["--insecure-policy", "inspect", "--config", what]);
    serde_json::from_str(&told.out).expect("JSON")
}

fn archives_are_read_by_skopeo(lab: &Lab) -> Tested {
    let skopeo = need("skopeo")?;
    let place = place(lab)?;
    let outputs = ["-o", "type=oci,dest=oci.tar", "-o", "type=docker,dest=docker.tar"];
    lab.build(&place, &[&["-t", "demo:1"], &outputs[..], &["ctx"]].concat()).ok();
    for what in ["oci-archive:oci.tar", "docker-archive:docker.tar"] {
        let config = inspect(&place, &skopeo, what);
        assert_eq!(config["config"]["User"], "app", "{what}");
        assert_eq!(config["config"]["Labels"]["org.example.a"], "b", "{what}");
        // Copying reads and verifies every layer.
        let dest = format!("dir:{}", what.replace([':', '.'], "-"));
        tool(&place, &skopeo, &["--insecure-policy", "copy", what, &dest]);
    }
    Ok(())
}

fn podman_loads_and_runs(lab: &Lab) -> Tested {
    need_root()?;
    let podman = need("podman")?;
    let runtime = need("runc").or_else(|_| need("crun"))?;
    let place = place(lab)?;
    let outputs = ["-o", "type=oci,dest=oci.tar", "-o", "type=docker,dest=docker.tar"];
    lab.build(&place, &[&["-t", "localhost/demo:1"], &outputs[..], &["ctx"]].concat()).ok();
    let (root, runroot) = (place.root().join("podman"), place.root().join("podman-run"));
    let (root, runroot) = (root.to_string_lossy(), runroot.to_string_lossy());
    let runtime = runtime.to_string_lossy();
    let global = [
        "--root",
        &root,
        "--runroot",
        &runroot,
        "--storage-driver",
        "vfs",
        "--runtime",
        &runtime,
        "--cgroup-manager",
        "cgroupfs",
        "--events-backend",
        "none",
    ];
    let call = |args: &[&str]| tool_tells(&place, &podman, &[&global[..], args].concat());
    for archive in ["oci.tar", "docker.tar"] {
        let told = call(&["load", "-i", archive]);
        if told.code != 0 && told.err.contains("ermission") {
            return Err(Skip::because(format!("podman cannot store images here: {}", told.err)));
        }
        let loaded = told.ok().out;
        assert!(loaded.contains("demo:1"), "{archive}: {loaded}");
        // Limits of its own, because podman's defaults may be above what this process may have.
        let limits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000"];
        let run = [&["run", "--rm", "--network", "host"], &limits[..], &["localhost/demo:1"]];
        let told = call(&run.concat());
        if told.code == 126 || told.code == 125 {
            return Err(Skip::because(format!("podman cannot run containers here: {}", told.err)));
        }
        assert_eq!(told.ok().out, "hello there from app in /data\n", "{archive}");
        call(&["rmi", "-a", "-f"]).ok();
    }
    Ok(())
}

fn tar_and_directory(lab: &Lab) -> Tested {
    let place = place(lab)?;
    lab.build(&place, &["-o", "type=tar,dest=out.tar", "-o", "type=local,dest=files", "ctx"]).ok();
    let tar = fs::read(place.work().join("out.tar")).expect("the tar");
    let shown = Tree::read(&tar).beyond(lab.base_tree()?, Times::Hidden);
    let want = "d 0755 1000:1000 /data\nf 0640 1000:1000 /data/owned \"owned\\n\"\n\
                f 0644 0:0 /data/second \"second\\n\"\nl 0777 0:0 /data/soft -> owned\n\
                d 1777 0:0 /data/sticky\n- /opt\n";
    assert_eq!(shown, want);
    let files = place.work().join("files");
    assert_eq!(fs::read_to_string(files.join("data/second")).expect("a file"), "second\n");
    assert_eq!(fs::read_link(files.join("data/soft")).expect("a link"), Path::new("owned"));
    assert!(!files.join("data/hard").exists());
    Ok(())
}

fn tar_on_stdout(lab: &Lab) -> Tested {
    let place = place(lab)?;
    let told = lab.build(&place, &["-o", "-", "ctx"]).ok();
    assert!(Tree::read(&told.bytes).line("/data/second").is_some());
    Ok(())
}

fn compressions(lab: &Lab) -> Tested {
    let place = place(lab)?;
    for (name, suffix) in
        [("gzip", "+gzip"), ("estargz", "+gzip"), ("zstd", "+zstd"), ("uncompressed", "")]
    {
        let output =
            format!("type=oci,dest={name},tar=false,compression={name},force-compression=true");
        lab.build(&place, &["-o", &output, "ctx"]).ok();
        let layout = Layout::open(&place.work().join(name));
        let want = format!("application/vnd.oci.image.layer.v1.tar{suffix}");
        for layer in layout.manifest["layers"].as_array().expect("layers") {
            assert_eq!(layer["mediaType"], want.as_str());
            let toc = &layer["annotations"]["containerd.io/snapshot/stargz/toc.digest"];
            assert_eq!(toc.is_string(), name == "estargz", "{layer}");
        }
        if name != "zstd" {
            layout.layers();
        } else if let Ok(skopeo) = need("skopeo") {
            let copy = ["--insecure-policy", "copy", "oci:zstd", "dir:copied"];
            tool(&place, &skopeo, &copy);
        }
        // The store that made it knows it as damaged by nothing.
        place.run(["cache", "verify"]).ok();
    }
    Ok(())
}

fn several_outputs(lab: &Lab) -> Tested {
    let place = place(lab)?;
    let file = ["--iidfile", "id", "--metadata-file", "meta", "-t", "demo:1", "-t", "demo:2"];
    let outputs = ["-o", "type=image", "-o", "type=oci,dest=dir,tar=false", "-o", "files"];
    lab.build(&place, &[&file[..], &outputs, &["ctx"]].concat()).ok();
    let layout = Layout::open(&place.work().join("dir"));
    let id = fs::read_to_string(place.work().join("id")).expect("the id");
    assert_eq!(layout.manifest["config"]["digest"], id.trim());
    let meta = fs::read_to_string(place.work().join("meta")).expect("metadata");
    let meta: Value = serde_json::from_str(&meta).expect("JSON");
    assert_eq!(meta["containerimage.digest"], layout.digest.as_str());
    assert_eq!(meta["containerimage.config.digest"], id.trim());
    assert!(place.work().join("files/data/owned").exists());
    for name in ["demo:1", "demo:2"] {
        let told = place.run(["image", "inspect", name]).ok();
        assert!(told.out.contains(&layout.digest), "{}", told.out);
    }
    Ok(())
}

fn an_image_is_stored_once(lab: &Lab) -> Tested {
    let place = place(lab)?;
    lab.build(&place, &["-t", "a", "ctx"]).ok();
    let count = || fs::read_dir(place.store().join("blobs/sha256")).expect("blobs").count();
    let before = count();
    lab.build(&place, &["-t", "b", "ctx"]).ok();
    assert_eq!(count(), before, "the same blobs");
    let told = place.run(["run", "b"]).ok();
    assert_eq!(told.out, "hello there from app in /data\n");
    Ok(())
}

fn an_estargz_image_is_read_by_other_tools(lab: &Lab) -> Tested {
    let place = place(lab)?;
    let output = "type=oci,dest=dir,tar=false,compression=estargz,compression-level=9";
    lab.build(&place, &["-t", "demo:1", "-o", output, "-o", "type=tar,dest=plain.tar", "ctx"]).ok();
    let skopeo = need("skopeo")?;
    // skopeo compares the diff ids, which cover the table of contents.
    let copy = ["--insecure-policy", "copy", "--dest-decompress", "oci:dir:1", "dir:copied"];
    tool(&place, &skopeo, &copy);
    if let (Ok(umoci), Ok(())) = (need("umoci"), need_root()) {
        tool(&place, &umoci, &["unpack", "--image", "dir:1", "bundle"]);
        let root = place.work().join("bundle/rootfs");
        assert!(root.join("data/owned").exists() && !root.join("stargz.index.json").exists());
    }
    // Another store reads it too, and ships its layers as they came.
    let other = lab.place()?;
    let text = "FROM demo\nRUN test -f /data/second && test ! -e /stargz.index.json\n";
    other.write("on/Dockerfile", text);
    let context = format!("demo=oci-layout://{}:1", place.work().join("dir").display());
    let args = ["--build-context", context.as_str(), "-o", "type=oci,dest=again,tar=false", "on"];
    lab.build(&other, &args).ok();
    let (first, second) =
        (Layout::open(&place.work().join("dir")), Layout::open(&other.work().join("again")));
    let digests = |layout: &Layout| -> Vec<Value> {
        let layers = layout.manifest["layers"].as_array().expect("layers");
        layers.iter().map(|layer| layer["digest"].clone()).collect()
    };
    assert_eq!(digests(&second)[..digests(&first).len()], digests(&first), "shipped as it came");
    Ok(())
}

/// A program that keeps what it is given on standard input.
fn fake(place: &Place, name: &str, text: &str) {
    let path = place.write(&format!("bin/{name}"), format!("#!/bin/sh\n{text}\n"));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("chmod");
}

fn images_are_loaded_into_other_stores(lab: &Lab) -> Tested {
    let plain = place(lab)?;
    let path = format!("{}:/usr/bin:/bin", plain.work().join("bin").display());
    let place = plain.with_env("PATH", path);
    let store = place.work().display().to_string();
    fake(&place, "docker", &format!("test \"$1\" = load && cat > {store}/docker.tar"));
    fake(&place, "podman", &format!("test \"$1\" = load && cat > {store}/podman.tar"));
    let outputs = ["-o", "type=docker,load=podman", "-o", "type=docker,dest=file.tar"];
    let args = [&["--load=docker", "-t", "demo:1"], &outputs[..], &["ctx"]].concat();
    let log = lab.build(&place, &args).ok().err;
    assert!(log.contains("loading into docker") && log.contains("loading into podman"), "{log}");
    let read = |name: &str| fs::read(place.work().join(name)).expect("an archive");
    assert_eq!(read("docker.tar"), read("file.tar"));
    assert_eq!(read("podman.tar"), read("file.tar"));
    assert!(!place.run(["image", "ls"]).ok().out.contains("demo"), "not in the own store");
    fake(&place, "podman", "echo no room >&2; exit 125");
    let told = lab.build(&place, &["--load=podman", "-t", "demo:1", "ctx"]);
    assert!(told.code != 0 && told.err.contains("`podman load` failed: no room"), "{}", told.err);
    // A directory without programs.
    let place = place.with_env("PATH", lab.base_dir().display().to_string());
    let told = lab
        .build(&place, &["--load=docker", "-t", "demo:1", "ctx"])
        .is(5, "`docker` is not installed");
    assert!(told.err.contains("hint: "), "{}", told.err);
    Ok(())
}

fn podman_takes_what_is_loaded(lab: &Lab) -> Tested {
    need_root()?;
    let podman = need("podman")?;
    let plain = place(lab)?;
    let conf = format!(
        "[storage]\ndriver = \"vfs\"\ngraphroot = \"{root}/graph\"\nrunroot = \"{root}/run\"\n",
        root = plain.root().display()
    );
    let file = plain.write("storage.conf", conf).display().to_string();
    let place = plain
        .with_env("CONTAINERS_STORAGE_CONF", file.as_str())
        .with_env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin");
    let told = lab.build(&place, &["--load=podman", "-t", "localhost/demo:7", "ctx"]);
    if told.code != 0 && told.err.contains("ermission") {
        return Err(Skip::because("podman cannot work here"));
    }
    told.ok();
    let mut command = std::process::Command::new(&podman);
    command.args(["images", "--noheading", "--format", "{{.Repository}}:{{.Tag}}"]).env_clear();
    command.env("CONTAINERS_STORAGE_CONF", &file).env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin");
    let out = command.env("HOME", place.home()).output().expect("podman runs");
    let names = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(names.contains("localhost/demo:7"), "{names}{}", String::from_utf8_lossy(&out.stderr));
    Ok(())
}

fn a_new_directory_appears_whole(lab: &Lab) -> Tested {
    let place = place(lab)?;
    // Two platforms with one file each, and no directories of their own: the second is refused before anything is written.
    place.write("two/Dockerfile", "FROM scratch\nARG TARGETARCH\nCOPY $TARGETARCH /name\n");
    place.write("two/amd64", "a");
    place.write("two/arm64", "b");
    let output = "type=local,dest=new/dir,platform-split=false";
    let args = ["--platform=linux/amd64,linux/arm64", "-o", output, "two"];
    let told = lab.build(&place, &args);
    assert!(told.code != 0 && told.err.contains("cannot overwrite"), "{}", told.err);
    assert!(!place.work().join("new").exists());
    lab.build(&place, &["-o", "new/dir", "ctx"]).ok();
    let left: Vec<_> = fs::read_dir(place.work().join("new")).expect("it").flatten().collect();
    assert_eq!(left.len(), 1, "no temporary name stays");
    // An existing directory keeps its other files.
    place.write("new/dir/mine", "mine");
    lab.build(&place, &["-o", "new/dir", "ctx"]).ok();
    assert!(
        place.work().join("new/dir/mine").exists()
            && place.work().join("new/dir/data/owned").exists()
    );
    Ok(())
}

fn destinations_that_cannot_be(lab: &Lab) -> Tested {
    let place = place(lab)?;
    fs::create_dir(place.work().join("taken")).expect("a directory");
    place.write("file", "");
    std::os::unix::fs::symlink("nowhere", place.work().join("lost")).expect("a link");
    let wrong = [
        (["-o", "type=oci,dest=none/a.tar"], 3, "none/a.tar`: No such file"),
        (["-o", "type=tar,dest=taken"], 3, "taken`: is a directory"),
        (["--metadata-file", "none/meta.json"], 3, "none/meta.json`: No such file"),
        (["--iidfile", "none/id"], 3, "none/id`: No such file"),
        (["-o", "type=tar,dest=file/a.tar"], 3, "file/a.tar`: Not a directory"),
        (["-o", "type=local,dest=file"], 3, "file`: not a directory"),
        (["-o", "type=local,dest=file/dir"], 3, "file/dir`: Not a directory"),
        (["-o", "type=local,dest=lost"], 3, "lost`: No such file"),
        (["-o", "type=oci,tar=false,dest=file"], 3, "file`: not a directory"),
    ];
    for (args, code, words) in wrong {
        let told = lab.build(&place, &[&args[..], &["ctx"]].concat()).is(code, words);
        assert!(!told.err.contains("load build definition"), "before the build: {}", told.err);
    }
    // What is missing above a directory is made.
    let deep =
        ["-o", "type=oci,tar=false,dest=a/b/layout", "--cache-to", "type=local,dest=c/d/cache"];
    lab.build(&place, &[&deep[..], &["ctx"]].concat()).ok();
    assert!(place.work().join("a/b/layout/index.json").exists());
    assert!(place.work().join("c/d/cache/index.json").exists());
    let soft = "type=local,dest=file,ignore-error=true";
    lab.build(&place, &["--cache-to", soft, "ctx"]).ok();
    let twice = ["-o", "type=oci,dest=a.tar", "-o", "type=docker,dest=./a.tar", "ctx"];
    lab.build(&place, &twice).is(2, "two outputs of `default` go to the same file");
    assert!(!place.work().join("a.tar").exists());
    lab.build(&place, &["-o", "type=tar,dest=/dev/null", "-o", "type=oci,dest=/dev/null", "ctx"])
        .ok();
    let file = "group \"default\" { targets = [\"a\", \"b\"] }\n\
                target \"a\" { context = \"ctx\" }\ntarget \"b\" { context = \"ctx\" }\n";
    place.write("docker-bake.hcl", file);
    let output = "*.output=type=oci,dest=both.tar";
    place.run(["bake", "--set", output]).is(2, "two outputs of `a` and `b` go to the same file");
    Ok(())
}
