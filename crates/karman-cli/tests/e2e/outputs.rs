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
    for (name, suffix) in [("gzip", "+gzip"), ("zstd", "+zstd"), ("uncompressed", "")] {
        let output =
            format!("type=oci,dest={name},tar=false,compression={name},force-compression=true");
        lab.build(&place, &["-o", &output, "ctx"]).ok();
        let layout = Layout::open(&place.work().join(name));
        let want = format!("application/vnd.oci.image.layer.v1.tar{suffix}");
        for layer in layout.manifest["layers"].as_array().expect("layers") {
            assert_eq!(layer["mediaType"], want.as_str());
        }
        if name != "zstd" {
            layout.layers();
        } else if let Ok(skopeo) = need("skopeo") {
            let copy = ["--insecure-policy", "copy", "oci:zstd", "dir:copied"];
            tool(&place, &skopeo, &copy);
        }
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
