//! A real docker daemon: what it loads and pulls of ours, and what of its own we read.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use karman_testing::{Place, Skip, Tested, Told, Who};
use serde_json::Value;

use crate::Tests;
use crate::interop::{self, NAME, loads};
use crate::lab::{Lab, need, need_root, tool, tool_tells, wait_for};
use crate::layout::Layout;
use crate::registry::Registry;

pub(crate) const TESTS: Tests = &[
    ("docker_loads_every_archive_that_it_can", docker_loads_every_archive),
    ("images_are_loaded_where_the_docker_client_is_told", images_are_loaded_where_told),
    ("an_ordinary_user_loads_into_docker", an_ordinary_user_loads),
    ("what_docker_saves_is_loaded", what_docker_saves),
    ("docker_pulls_what_is_pushed_and_pushes_what_is_pulled", docker_pulls_and_pushes),
];

/// The first version whose daemon unpacks zstd.
const READS_ZSTD: u32 = 23;
/// The user of [`Who::User`].
const USER: u32 = 54_321;
/// What a daemon leaves in places that it does not take as flags, and its mounts, end with its namespaces. `$0` takes the place
/// of `/etc/docker`, the rest is the command.
const ALONE: &str = "mkdir -p /etc/docker \"$0\" && mount --bind \"$0\" /etc/docker && mount -t tmpfs run /run && exec \"$@\"";

/// A daemon with a store of its own.
struct Docker<'a> {
    place: &'a Place,
    client: PathBuf,
    child: Child,
}

impl Drop for Docker<'_> {
    fn drop(&mut self) {
        // The first process of a pid namespace: everything in it goes too.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl<'a> Docker<'a> {
    /// Starts a daemon without networks in namespaces of its own, which end with this process.
    fn start(place: &'a Place) -> Result<Self, Skip> {
        need_root()?;
        let (client, daemon) = (need("docker")?, need("dockerd")?);
        let dir = place.root().join("docker");
        fs::create_dir(&dir).expect("a directory");
        let path = |name: &str| dir.join(name).display().to_string();
        let log = fs::File::create(dir.join("log")).expect("a log");
        let mut command = Command::new(need("setpriv")?);
        command.args(["--pdeathsig", "KILL", "unshare", "--mount", "--propagation", "private"]);
        command.args(["--pid", "--fork", "--kill-child", "--mount-proc", "/bin/sh", "-c", ALONE]);
        command.arg(path("etc")).arg(daemon);
        command.args(["--bridge=none", "--iptables=false", "--ip6tables=false"]);
        command.args(["--storage-driver=vfs", "--group=root", "--data-root", &path("data")]);
        command.args(["--exec-root", &path("exec"), "--pidfile", &path("pid")]);
        command.args(["--host", &format!("unix://{}", path("socket"))]).env_clear();
        command.env("PATH", "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        let err = log.try_clone().expect("a log");
        let child = command.stdin(Stdio::null()).stdout(log).stderr(err).spawn();
        let mut docker = Self { place, client, child: child.expect("setpriv starts") };
        let mut ended = false;
        wait_for(|| {
            ended = docker.child.try_wait().expect("a state").is_some();
            ended || docker.tells(&["version"]).code == 0
        });
        if ended || docker.tells(&["version"]).code != 0 {
            let log = fs::read_to_string(dir.join("log")).unwrap_or_default();
            let last = log.lines().last().unwrap_or_default();
            return Err(Skip::because(format!("no docker daemon starts here: {last}")));
        }
        Ok(docker)
    }

    fn socket(&self) -> PathBuf {
        self.place.root().join("docker/socket")
    }

    fn host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    fn tells(&self, args: &[&str]) -> Told {
        tool_tells(self.place, &self.client, &[&["--host", &self.host()], args].concat())
    }

    #[track_caller]
    fn run(&self, args: &[&str]) -> String {
        self.tells(args).ok().out
    }

    /// The first number of the daemon's version.
    fn version(&self) -> u32 {
        let told = self.run(&["version", "--format", "{{.Server.Version}}"]);
        told.split('.').next().and_then(|major| major.parse().ok()).expect("a version")
    }

    /// The images that have a name.
    fn names(&self) -> String {
        self.run(&["images", "--format", "{{.Repository}}:{{.Tag}}"]).trim().to_owned()
    }

    /// Asserts that the daemon has [`NAME`] as it is in a layout, with its files, and removes it.
    #[track_caller]
    fn has_and_loses(&self, layout: &Layout, name: &str) {
        let told = self.run(&["inspect", "--type", "image", name]);
        let told: Value = serde_json::from_str(&told).expect("JSON");
        let image = &told[0];
        // A store of containerd's names images by their manifests.
        let ids = [&layout.manifest["config"]["digest"], &Value::from(layout.digest.as_str())];
        assert!(ids.contains(&&image["Id"]), "{} is none of {ids:?}", image["Id"]);
        assert_eq!(image["RootFS"]["Layers"], layout.config["rootfs"]["diff_ids"]);
        assert!(image["RepoTags"].as_array().is_some_and(|tags| tags.contains(&name.into())));
        for part in ["Env", "Cmd"] {
            assert_eq!(image["Config"][part], layout.config["config"][part], "{part}");
        }
        let container = self.run(&["create", name]);
        let out = self.place.work().join("copied");
        let from = format!("{}:/data/file", container.trim());
        self.run(&["cp", &from, &out.display().to_string()]);
        assert_eq!(fs::read_to_string(&out).expect("the file"), "one\n");
        fs::remove_file(&out).expect("removed");
        self.run(&["rm", container.trim()]);
        self.run(&["rmi", name]);
    }
}

fn docker_loads_every_archive(lab: &Lab) -> Tested {
    let place = interop::place(lab)?;
    let docker = Docker::start(&place)?;
    for compression in ["gzip", "estargz", "uncompressed", "zstd"] {
        let more = format!("compression={compression},force-compression=true");
        let outputs = [
            format!("type=oci,dest={compression},tar=false,{more}"),
            format!("type=oci,dest={compression}-oci.tar,{more}"),
            format!("type=docker,dest={compression}-docker.tar,{more}"),
        ];
        let flags: Vec<&str> = outputs.iter().flat_map(|output| ["-o", output.as_str()]).collect();
        lab.build(&place, &[&["-t", NAME][..], &flags, &["ctx"]].concat()).ok();
        let layout = Layout::open(&place.work().join(compression));
        let archive = |kind: &str| {
            place.work().join(format!("{compression}-{kind}.tar")).display().to_string()
        };
        let loaded = docker.tells(&["load", "--input", &archive("docker")]);
        if compression == "zstd" && docker.version() < READS_ZSTD {
            assert_ne!(loaded.code, 0, "{}", loaded.out);
            // Our own way there says what to do about it.
            let place = Place::new(Lab::program()).with_env("DOCKER_HOST", docker.host());
            place.write("ctx/Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
            let output = "type=docker,load=docker,compression=zstd";
            let told = place.run(["build", "-t", NAME, "-o", output, "ctx"]);
            assert!(told.is(5, "`docker load` failed").err.contains("hint: docker before version"));
            continue;
        }
        assert_eq!(loaded.ok().out, format!("Loaded image: {NAME}\n"));
        docker.has_and_loses(&layout, NAME);
        // Only daemons that keep images in containerd know layouts: others ask for a `manifest.json`.
        let loaded = docker.tells(&["load", "--input", &archive("oci")]);
        match loaded.code {
            0 => docker.has_and_loses(&layout, NAME),
            _ => assert!(loaded.err.contains("no such file or directory"), "{}", loaded.err),
        }
    }
    lab.build(&place, &["-o", "type=tar,dest=files.tar", "ctx"]).ok();
    docker.run(&["import", &place.work().join("files.tar").display().to_string(), "imported:1"]);
    assert_eq!(docker.names(), "imported:1");
    Ok(())
}

fn images_are_loaded_where_told(lab: &Lab) -> Tested {
    let place = interop::place(lab)?;
    let docker = Docker::start(&place)?;
    let layout = Layout::open(&place.work().join("layout"));
    let (host, home) = (docker.host(), place.home().display().to_string());
    let build = |more: &[(&str, &str)], args: &[&str]| {
        let mut command = place.command(lab.build_args(&[args, &["-t", NAME, "ctx"]].concat()));
        command.envs(more.iter().copied());
        Told::of(&command.output().expect("the program starts"))
    };
    build(&[("DOCKER_HOST", &host)], &["--load=docker"]).ok();
    docker.has_and_loses(&layout, NAME);
    build(&[("DOCKER_HOST", &host)], &["-o", "type=docker,load=docker"]).ok();
    docker.has_and_loses(&layout, NAME);
    // The context that a variable or the configuration of the client names.
    let endpoint = format!("host={host}");
    tool(&place, &docker.client, &["context", "create", "other", "--docker", &endpoint]);
    build(&[("DOCKER_CONTEXT", "other")], &["--load=docker"]).ok();
    docker.has_and_loses(&layout, NAME);
    tool(&place, &docker.client, &["context", "use", "other"]);
    build(&[], &["--load=docker"]).ok();
    docker.has_and_loses(&layout, NAME);
    let config = format!("{home}/.docker");
    let told = build(&[("HOME", "/nowhere"), ("DOCKER_CONFIG", &config)], &["--load=docker"]);
    told.ok();
    docker.has_and_loses(&layout, NAME);
    assert_eq!(docker.names(), "");
    // A daemon that is not there.
    let gone = format!("unix://{}", place.root().join("none").display());
    build(&[("DOCKER_HOST", &gone)], &["--load=docker"]).is(5, &gone);
    Ok(())
}

fn an_ordinary_user_loads(lab: &Lab) -> Tested {
    need_root()?;
    let place = lab.place_of(Who::User)?;
    let docker = Docker::start(&place)?;
    // Through their group, as people are let in.
    chown(docker.socket(), Some(0), Some(USER)).expect("chown");
    fs::set_permissions(docker.socket(), fs::Permissions::from_mode(0o660)).expect("chmod");
    place.write("ctx/Dockerfile", interop::DOCKERFILE);
    lab.build(&place, &["-t", NAME, "-o", "type=oci,dest=layout,tar=false", "ctx"]).ok();
    let mut command = place.command(lab.build_args(&["--load=docker", "-t", NAME, "ctx"]));
    command.env("DOCKER_HOST", docker.host());
    Told::of(&command.output().expect("the program starts")).ok();
    docker.has_and_loses(&Layout::open(&place.work().join("layout")), NAME);
    Ok(())
}

fn what_docker_saves(lab: &Lab) -> Tested {
    let place = interop::place(lab)?;
    let docker = Docker::start(&place)?;
    let path = |name: &str| place.work().join(name).display().to_string();
    docker.run(&["load", "--input", &path("docker.tar")]);
    docker.run(&["save", "--output", &path("saved.tar"), NAME]);
    loads(lab, &place, "saved.tar", NAME)?;
    // Several in one archive: another name of the same, and another image.
    docker.run(&["tag", NAME, "demo.example/same:1"]);
    let container = docker.run(&["create", NAME]);
    docker.run(&["commit", "--change", "ENV GREETING=other", container.trim(), "other:2"]);
    let names = [NAME, "demo.example/same:1", "other:2"];
    docker.run(&[&["save", "--output", &path("three.tar")][..], &names].concat());
    let to = lab.place()?;
    let told = to.run(["load", "--input", &path("three.tar")]).ok();
    let mut lines: Vec<&str> = told.out.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, names.map(|name| format!("Loaded image: {name}")));
    assert_eq!(to.run(["run", "other:2", "--", "sh", "-c", "echo $GREETING"]).ok().out, "other\n");
    // By its id it has no name.
    let id = docker.run(&["images", "--quiet", "other:2"]);
    docker.run(&["save", "--output", &path("nameless.tar"), id.trim()]);
    let told = to.run(["load", "-q", "--tag", "given:1", "--input", &path("nameless.tar")]).ok();
    assert_eq!(told.out, "given:1\n");
    Ok(())
}

fn docker_pulls_and_pushes(lab: &Lab) -> Tested {
    let place = interop::place(lab)?;
    let registry = Registry::empty(&place, "", "")?;
    let docker = Docker::start(&place)?;
    let name = |tag: &str| format!("127.0.0.1:{}/demo:{tag}", registry.port);
    for compression in ["gzip", "estargz", "uncompressed", "zstd"] {
        if compression == "zstd" && docker.version() < READS_ZSTD {
            continue;
        }
        for types in ["oci-mediatypes=true", "oci-mediatypes=false"] {
            let more = format!("compression={compression},force-compression=true,{types}");
            let tag = name(&format!("{compression}-{}", types.len()));
            let outputs =
                [format!("type=registry,{more}"), format!("type=oci,dest=out,tar=false,{more}")];
            let flags: Vec<&str> = outputs.iter().flat_map(|o| ["-o", o.as_str()]).collect();
            lab.build(&place, &[&["-t", tag.as_str()][..], &flags, &["ctx"]].concat()).ok();
            docker.run(&["pull", "--quiet", &tag]);
            docker.has_and_loses(&Layout::open(&place.work().join("out")), &tag);
            fs::remove_dir_all(place.work().join("out")).expect("removed");
        }
    }
    // With an index and attestations around it.
    let tag = name("index");
    lab.build(&place, &["-t", &tag, "--push", "--provenance=mode=max", "--sbom", "ctx"]).ok();
    docker.run(&["pull", "--quiet", &tag]);
    // What docker makes of it is a base again.
    let container = docker.run(&["create", &tag]);
    let pushed = name("pushed");
    docker.run(&["commit", "--change", "ENV GREETING=other", container.trim(), &pushed]);
    docker.run(&["push", &pushed]);
    let to = lab.place()?;
    to.write(
        "ctx/Dockerfile",
        format!("FROM {pushed}\nRUN test \"$(cat /data/soft) $GREETING\" = 'one other'\n"),
    );
    to.run(["build", "ctx"]).ok();
    Ok(())
}
