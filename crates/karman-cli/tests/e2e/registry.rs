//! Pulls from a real registry: Debian's `docker-registry` on the loopback.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use karman_testing::{Place, Skip, Tested};

use crate::Tests;
use crate::lab::{Lab, need, tool, wait_for};
use crate::layout::{self, Layout};
use crate::proxy::{Asked, Proxy};
use crate::server::free_port;

pub(crate) const TESTS: Tests = &[
    ("a_base_image_is_pulled_and_kept", a_base_image_is_pulled_and_kept),
    ("a_base_that_no_step_reads_stays_where_it_is", a_base_that_no_step_reads_stays),
    ("an_image_is_a_context", an_image_is_a_context),
    ("a_digest_pins_what_is_pulled", a_digest_pins_what_is_pulled),
    ("a_digest_may_pin_an_index", a_digest_may_pin_an_index),
    ("credentials_of_docker_config_are_used", credentials_of_docker_config_are_used),
    ("a_flipped_byte_is_refused", a_flipped_byte_is_refused),
    ("what_is_missing_is_told", what_is_missing_is_told),
];

pub(crate) const USER: &str = "e2e";
pub(crate) const PASSWORD: &str = "hunter2-e2e";
/// bcrypt of the password.
const HASH: &str = "$2y$04$abcdefghijklmnopqrstuuXAm/v4aV2F2KWvB67WkOUEbGeBgvkhq";
/// `e2e:hunter2-e2e` in base64.
const AUTH: &str = "ZTJlOmh1bnRlcjItZTJl";

/// A registry with the base image as `base:1`.
pub(crate) struct Registry {
    child: Child,
    pub(crate) port: u16,
    storage: PathBuf,
}

impl Drop for Registry {
    fn drop(&mut self) {
        // It may have ended on its own.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Registry {
    pub(crate) fn start(lab: &Lab, place: &Place, with_password: bool) -> Result<Self, Skip> {
        let skopeo = need("skopeo")?;
        let auth = if with_password { htpasswd(place) } else { String::new() };
        let registry = Self::empty(place, "", &auth)?;
        let credentials = format!("{USER}:{PASSWORD}");
        let more = if with_password { vec!["--dest-creds", &credentials] } else { Vec::new() };
        registry.push(place, &skopeo, &lab.base_dir(), &more);
        Ok(registry)
    }

    /// A registry without images. `http` is more of that section, `more` further sections.
    pub(crate) fn empty(place: &Place, http: &str, more: &str) -> Result<Self, Skip> {
        let program = need("docker-registry")?;
        let port = free_port();
        let storage = place.root().join(format!("registry-{port}"));
        fs::create_dir(&storage).expect("a directory");
        let text = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\n\
             http:\n  addr: 127.0.0.1:{port}\n{http}{more}",
            storage.display()
        );
        let config = place.root().join(format!("registry-{port}.yml"));
        fs::write(&config, text).expect("a configuration");
        let mut command = Command::new(program);
        command.arg("serve").arg(&config).env_clear().stdin(Stdio::null());
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let registry = Self { child: child.expect("the registry starts"), port, storage };
        let up = wait_for(|| TcpStream::connect(("127.0.0.1", port)).is_ok());
        assert!(up, "the registry answers");
        Ok(registry)
    }

    /// Pushes the image of a layout as `base:1`.
    fn push(&self, place: &Place, skopeo: &Path, layout: &Path, more: &[&str]) {
        let from = format!("oci:{}:latest", layout.display());
        let to = format!("docker://{}", self.image());
        let copy = ["--insecure-policy", "copy", "--all", "--dest-tls-verify=false"];
        tool(place, skopeo, &[&copy[..], more, &[&from, &to]].concat());
    }

    fn image(&self) -> String {
        format!("127.0.0.1:{}/base:1", self.port)
    }

    /// The tags of a repository.
    pub(crate) fn tags(&self, repository: &str) -> Vec<String> {
        let dir = self.storage.join("docker/registry/v2/repositories").join(repository);
        let tags = fs::read_dir(dir.join("_manifests/tags")).into_iter().flatten();
        tags.map(|tag| tag.expect("a tag").file_name().to_string_lossy().into_owned()).collect()
    }

    /// The file of a blob.
    pub(crate) fn blob(&self, digest: &str) -> PathBuf {
        let hex = digest.trim_start_matches("sha256:");
        self.storage.join("docker/registry/v2/blobs/sha256").join(&hex[..2]).join(hex).join("data")
    }
}

/// The section of a registry that knows [`USER`].
pub(crate) fn htpasswd(place: &Place) -> String {
    let file = place.root().join("htpasswd");
    fs::write(&file, format!("{USER}:{HASH}\n")).expect("passwords");
    format!("auth:\n  htpasswd:\n    realm: e2e\n    path: {}\n", file.display())
}

fn from(place: &Place, image: &str) {
    place
        .write("ctx/Dockerfile", format!("FROM {image}\nRUN test -x /bin/busybox && echo works\n"));
}

fn a_base_image_is_pulled_and_kept(lab: &Lab) -> Tested {
    let place = lab.place()?;
    let registry = Registry::start(lab, &place, false)?;
    from(&place, &registry.image());
    let pulled = lab.digest(&place, &["ctx"]);
    // The same files from the layout give the same layers.
    place.write("local/Dockerfile", "FROM busybox\nRUN test -x /bin/busybox && echo works\n");
    lab.build(&place, &["-o", "type=oci,dest=local-out,tar=false", "local"]).ok();
    lab.build(&place, &["-o", "type=oci,dest=pulled-out,tar=false", "ctx"]).ok();
    let layers = |name: &str| Layout::open(&place.work().join(name)).manifest["layers"].clone();
    assert_eq!(layers("local-out"), layers("pulled-out"));
    assert_eq!(lab.digest(&place, &["--no-cache", "ctx"]), pulled);
    Ok(())
}

fn a_base_that_no_step_reads_stays(lab: &Lab) -> Tested {
    let place = lab.place()?;
    let registry = Registry::start(lab, &place, false)?;
    let proxy = Proxy::start(registry.port, |_| None);
    let fetched = || {
        let is_blob = |a: &&Asked| a.method == "GET" && a.target.contains("/blobs/sha256:");
        proxy.seen().iter().filter(is_blob).count()
    };
    let name = |tag: &str| format!("127.0.0.1:{}/{tag}", proxy.port);
    let text = format!("FROM {}\nLABEL a=b\nCOPY --link own /own\n", name("base:1"));
    place.write("ctx/Dockerfile", &text);
    place.write("ctx/own", "ours\n");
    lab.build(&place, &["--push", "-t", &name("app:1"), "ctx"]).ok();
    assert_eq!(fetched(), 1, "the config alone: {:?}", proxy.seen());
    assert!(proxy.sent() < 50_000, "{} bytes", proxy.sent());
    let other = lab.place()?;
    other.run(["pull", &name("app:1")]).ok();
    assert_eq!(other.run(["run", &name("app:1"), "--", "cat", "/own"]).ok().out, "ours\n");
    // As an archive it needs the blob, and files are made of nothing of it.
    let before = fetched();
    lab.build(&place, &["-o", "type=oci,dest=out,tar=false", "ctx"]).ok();
    assert_eq!(fetched() - before, 1);
    let made = fs::read_dir(place.store().join("snapshots")).expect("snapshots").count();
    assert_eq!(made, 1, "the layer of `own`");
    let layers = Layout::open(&place.work().join("out")).layers().len();
    assert_eq!(layers, Layout::open(&lab.base_dir()).layers().len() + 1);
    // Who reads files gets them.
    lab.build(&place, &["-o", "files", "ctx"]).ok();
    assert!(place.work().join("files/etc/passwd").exists());
    assert_eq!(fetched() - before, 1);
    Ok(())
}

fn an_image_is_a_context(lab: &Lab) -> Tested {
    let place = lab.place()?;
    let registry = Registry::start(lab, &place, false)?;
    let text = "FROM scratch\nCOPY --from=other /etc/passwd /from-context\n";
    place.write("ctx/Dockerfile", text);
    let context = format!("other=docker-image://{}", registry.image());
    lab.build(&place, &["--build-context", &context, "-o", "files", "ctx"]).ok();
    let copied = fs::read_to_string(place.work().join("files/from-context")).expect("the file");
    assert!(copied.starts_with("root:x:0:0"), "{copied}");
    Ok(())
}

fn a_digest_pins_what_is_pulled(lab: &Lab) -> Tested {
    let place = lab.place()?;
    let registry = Registry::start(lab, &place, false)?;
    let base = Layout::open(&lab.base_dir());
    let name = format!("127.0.0.1:{}/base", registry.port);
    from(&place, &format!("{name}@{}", base.digest));
    let pulled = lab.digest(&place, &["ctx"]);
    let none = format!("sha256:{}", "0".repeat(64));
    from(&place, &format!("{name}@{none}"));
    let told = lab.build(&place, &["ctx"]);
    assert!([4, 7].contains(&told.code), "exit {}: {}", told.code, told.err);
    assert!(told.err.contains("Dockerfile:1") && told.err.contains(&none), "{}", told.err);
    // What a digest names cannot change: without the registry the store has it, also for other steps.
    from(&place, &format!("{name}@{}", base.digest));
    drop(registry);
    assert_eq!(lab.digest(&place, &["--no-cache", "ctx"]), pulled);
    Ok(())
}

fn a_digest_may_pin_an_index(lab: &Lab) -> Tested {
    let place = lab.place()?;
    let registry = Registry::start(lab, &place, false)?;
    let dir = place.root().join("indexed");
    layout::write_image(&dir, &Layout::open(&lab.base_dir()).layers());
    let digest = layout::wrap_in_index(&dir);
    registry.push(&place, &need("skopeo")?, &dir, &[]);
    from(&place, &format!("127.0.0.1:{}/base@{digest}", registry.port));
    let pulled = lab.digest(&place, &["ctx"]);
    drop(registry);
    assert_eq!(lab.digest(&place, &["--no-cache", "ctx"]), pulled);
    Ok(())
}

fn credentials_of_docker_config_are_used(lab: &Lab) -> Tested {
    let place = lab.place()?;
    let registry = Registry::start(lab, &place, true)?;
    from(&place, &registry.image());
    let told = lab.build(&place, &["ctx"]).is(4, "Dockerfile:1");
    assert!(told.err.contains("hint: "), "{}", told.err);
    let docker = place.root().join("docker");
    fs::create_dir(&docker).expect("a directory");
    let config = |auth: &str| {
        format!(r#"{{"auths":{{"127.0.0.1:{}":{{"auth":"{auth}"}}}}}}"#, registry.port)
    };
    fs::write(docker.join("config.json"), config("ZTJlOndyb25n")).expect("a configuration");
    let place = place.with_env("DOCKER_CONFIG", docker.display().to_string());
    lab.build(&place, &["ctx"]).is(4, "Dockerfile:1");
    fs::write(docker.join("config.json"), config(AUTH)).expect("a configuration");
    let log = lab.build(&place, &["ctx"]).ok().err;
    assert!(log.contains("works") && !log.contains(PASSWORD) && !log.contains(AUTH), "{log}");
    Ok(())
}

pub(crate) fn flip(path: &Path) {
    let mut bytes = fs::read(path).expect("the blob");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    fs::write(path, bytes).expect("the blob");
}

fn a_flipped_byte_is_refused(lab: &Lab) -> Tested {
    let place = lab.place()?;
    let registry = Registry::start(lab, &place, false)?;
    let base = Layout::open(&lab.base_dir());
    from(&place, &registry.image());
    let layer = base.manifest["layers"][0]["digest"].as_str().expect("a digest");
    flip(&registry.blob(layer));
    let told = lab.build(&place, &["ctx"]).is(4, "Dockerfile:1");
    assert!(told.err.contains(layer), "the blob is named: {}", told.err);
    let kept = place.store().join("blobs/sha256").join(layer.trim_start_matches("sha256:"));
    assert!(!kept.exists(), "nothing of it is kept");
    flip(&registry.blob(layer));
    lab.build(&place, &["ctx"]).ok();
    // The manifest of another store: it is what the tag's digest says, or nothing.
    let other = lab.place()?;
    from(&other, &registry.image());
    flip(&registry.blob(&base.digest));
    lab.build(&other, &["ctx"]).is(4, "Dockerfile:1");
    Ok(())
}

fn what_is_missing_is_told(lab: &Lab) -> Tested {
    let place = lab.place()?;
    let registry = Registry::start(lab, &place, false)?;
    from(&place, &format!("127.0.0.1:{}/base:none", registry.port));
    let told = lab.build(&place, &["ctx"]);
    assert!([4, 7].contains(&told.code), "exit {}: {}", told.code, told.err);
    assert!(told.err.contains("base:none") && told.err.contains(">>> FROM"), "{}", told.err);
    let port = free_port();
    from(&place, &format!("127.0.0.1:{port}/base:1"));
    let told = lab.build(&place, &["ctx"]).is(4, ">>> FROM");
    assert!(told.err.contains(&format!("127.0.0.1:{port}")), "{}", told.err);
    Ok(())
}
