//! Registries as people have them: TLS with an authority of their own, client certificates, tokens, credential helpers,
//! mirrors, `hosts.toml` and `registries.conf`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use karman_testing::{Place, Skip, Tested};

use crate::Tests;
use crate::lab::{Lab, need, tool};
use crate::proxy::{Fault, Proxy};
use crate::registry::{PASSWORD, Registry, USER, htpasswd};
use crate::server::free_port;
use crate::tokens::{IDENTITY, TokenServer};

pub(crate) const TESTS: Tests = &[
    ("an_authority_of_our_own_is_trusted_where_it_is_named", own_authority),
    ("a_registry_may_ask_who_we_are", a_registry_may_ask_who_we_are),
    ("a_host_that_need_not_be_verified", a_host_that_need_not_be_verified),
    ("an_output_or_a_cache_need_not_be_verified", an_output_or_a_cache_need_not_be_verified),
    ("tokens_are_fetched_with_a_password_an_identity_or_a_helper", tokens),
    ("mirrors_are_asked_first_and_fail_quietly", mirrors),
    ("prefixes_lead_elsewhere_and_are_blocked", prefixes),
    ("a_broken_file_of_rules_is_told", a_broken_file_of_rules_is_told),
    ("files_are_attached_and_found", files_are_attached_and_found),
];

/// A certificate authority with a certificate for this machine and one for us.
struct Authority {
    dir: PathBuf,
}

impl Authority {
    fn make(place: &Place) -> Result<Self, Skip> {
        let openssl = need("openssl")?;
        let dir = place.root().join("authority");
        fs::create_dir(&dir).expect("a directory");
        let script = "\
set -e; cd \"$0\"; openssl=$1
new='-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30'
$openssl req -x509 $new -keyout ca.key -out ca.pem -subj '/CN=karman e2e authority'
for name in server client; do
  $openssl req $new -keyout $name.key -out $name.csr -subj /CN=$name
  printf 'subjectAltName=IP:127.0.0.1,DNS:localhost\\nextendedKeyUsage=serverAuth,clientAuth\\n' > $name.ext
  $openssl x509 -req -in $name.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile $name.ext -out $name.pem
done";
        let (at, openssl) =
            (dir.to_string_lossy().into_owned(), openssl.to_string_lossy().into_owned());
        tool(place, Path::new("/bin/sh"), &["-c", script, &at, &openssl]);
        Ok(Self { dir })
    }

    fn file(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }

    /// The section of a registry that speaks TLS.
    fn section(&self, more: &str) -> String {
        let (cert, key) = (self.file("server.pem"), self.file("server.key"));
        format!("  tls:\n    certificate: {cert}\n    key: {key}\n{more}")
    }
}

/// A place with the image `x`.
fn built(lab: &Lab) -> Result<Place, Skip> {
    let place = lab.place()?;
    place.write("ctx/Dockerfile", "FROM busybox\nRUN echo there > /there\n");
    lab.build(&place, &["-t", "x", "ctx"]).ok();
    Ok(place)
}

/// Writes a file of rules below the home.
fn rule(place: &Place, name: &str, text: &str) -> PathBuf {
    let path = place.home().join(".config").join(name);
    fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
    fs::write(&path, text).expect("a file");
    path
}

/// Pushes `x` as a name, pulls it back into an empty store, and runs it.
#[track_caller]
fn there_and_back(place: &Place, name: &str, more: &[&str]) {
    place.run(["image", "tag", "x", name]).ok();
    place.run([more, &["push", name]].concat()).ok();
    place.run(["image", "rm", name]).ok();
    place.run(["image", "rm", "x"]).ok();
    place.run(["cache", "prune", "--force"]).ok();
    place.run([more, &["pull", name]].concat()).ok();
    assert_eq!(place.run(["run", name, "cat", "/there"]).ok().out, "there\n");
    place.run(["image", "tag", name, "x"]).ok();
}

fn own_authority(lab: &Lab) -> Tested {
    let place = built(lab)?;
    let authority = Authority::make(&place)?;
    let registry = Registry::empty(&place, &authority.section(""), &htpasswd(&place))?;
    let host = format!("localhost:{}", registry.port);
    // This machine is spoken to without TLS unless a rule says otherwise.
    let rules = format!("containerd/certs.d/{host}/hosts.toml");
    rule(&place, &rules, &format!("server = \"https://{host}\"\n"));
    let name = format!("{host}/own:1");
    place.run(["image", "tag", "x", &name]).ok();
    let told = place.run(["push", &name]).is(4, "certificate");
    assert!(told.err.contains("hint: "), "{}", told.err);
    rule(
        &place,
        &rules,
        &format!("server = \"https://{host}\"\nca = \"{}\"\n", authority.file("ca.pem")),
    );
    place.run(["push", &name]).is(4, "denied");
    let login = ["login", "-u", USER, "--password-stdin", &host];
    place.run_with_input(login, "wrong").is(4, "");
    place.run_with_input(login, PASSWORD).ok();
    there_and_back(&place, &name, &[]);
    // The same by a bundle for everything, and by a certificate beside nothing.
    rule(&place, &rules, &format!("server = \"https://{host}\"\n"));
    let bundled = place.with_env("SSL_CERT_FILE", authority.file("ca.pem"));
    there_and_back(&bundled, &format!("{host}/bundle:1"), &[]);
    bundled.run(["logout", &host]).ok();
    bundled.run(["push", &name]).is(4, "denied");
    Ok(())
}

fn a_registry_may_ask_who_we_are(lab: &Lab) -> Tested {
    let place = built(lab)?;
    let authority = Authority::make(&place)?;
    let asks = format!("    clientcas:\n      - {}\n", authority.file("ca.pem"));
    let registry = Registry::empty(&place, &authority.section(&asks), "")?;
    let host = format!("localhost:{}", registry.port);
    let rules = format!("containerd/certs.d/{host}/hosts.toml");
    let server = format!("server = \"https://{host}\"\nca = \"{}\"\n", authority.file("ca.pem"));
    let name = format!("{host}/client:1");
    place.run(["image", "tag", "x", &name]).ok();
    rule(&place, &rules, &server);
    place.run(["push", &name]).is(4, "no trusted TLS connection");
    let pair = format!(
        "client = [[\"{}\", \"{}\"]]\n",
        authority.file("client.pem"),
        authority.file("client.key")
    );
    rule(&place, &rules, &format!("{server}{pair}"));
    there_and_back(&place, &name, &[]);
    let other = format!(
        "client = [[\"{}\", \"{}\"]]\n",
        authority.file("client.pem"),
        authority.file("server.key")
    );
    rule(&place, &rules, &format!("{server}{other}"));
    place.run(["push", &name]).is(3, "do not belong together");
    // docker's and podman's way, for a host that a rule of podman's names.
    fs::remove_file(place.home().join(".config").join(&rules)).expect("removed");
    for (from, to) in [("ca.pem", "ca.crt"), ("client.pem", "us.cert"), ("client.key", "us.key")] {
        let text = fs::read_to_string(authority.dir.join(from)).expect("a file");
        rule(&place, &format!("containers/certs.d/{host}/{to}"), &text);
    }
    let dir = place.root().join("hosts");
    fs::create_dir_all(dir.join(&host)).expect("a directory");
    fs::write(dir.join(&host).join("hosts.toml"), format!("server = \"https://{host}\"\n"))
        .expect("a file");
    let certs = place.home().join(".config/containers/certs.d").display().to_string();
    let more = ["--hosts-dir", &dir.display().to_string(), "--hosts-dir", &certs];
    there_and_back(&place, &format!("{host}/certs:1"), &more);
    Ok(())
}

fn a_host_that_need_not_be_verified(lab: &Lab) -> Tested {
    let place = built(lab)?;
    let authority = Authority::make(&place)?;
    let registry = Registry::empty(&place, &authority.section(""), "")?;
    let plain = Registry::empty(&place, "", "")?;
    let host = format!("localhost:{}", registry.port);
    let rules = format!("containerd/certs.d/{host}/hosts.toml");
    let file = rule(&place, &rules, &format!("server = \"https://{host}\"\nskip_verify = true\n"));
    there_and_back(&place, &format!("{host}/skipped:1"), &[]);
    fs::remove_file(file).expect("removed");
    // podman's `insecure`: TLS that is not verified, and none where there is none. The names are not this
    // machine's, so that nothing else makes them plain.
    let text = format!(
        "[[registry]]\nprefix = \"tls.example\"\nlocation = \"127.0.0.1.nip.invalid\"\n\
         [[registry]]\nprefix = \"plain.example\"\nlocation = \"localhost:{}\"\ninsecure = true\n",
        plain.port
    );
    rule(&place, "containers/registries.conf", &text);
    there_and_back(&place, "plain.example/x:1", &[]);
    Ok(())
}

fn an_output_or_a_cache_need_not_be_verified(lab: &Lab) -> Tested {
    let place = built(lab)?;
    let authority = Authority::make(&place)?;
    let secret = Registry::empty(&place, &authority.section(""), "")?;
    let plain = Registry::empty(&place, "", "")?;
    for registry in [&secret, &plain] {
        let name = |tag: &str| format!("localhost:{}/app:{tag}", registry.port);
        let (image, cache) = (name("1"), name("cache"));
        let open = "registry.insecure=true";
        let to = format!("--cache-to=type=registry,ref={cache},mode=max,{open}");
        let push = ["-t", &image, "-o", &format!("type=registry,{open}"), &to, "ctx"];
        lab.build(&place, &push).ok();
        assert_eq!(registry.tags("app").len(), 2);
        let other = lab.place()?;
        other.write("ctx/Dockerfile", "FROM busybox\nRUN echo there > /there\n");
        let from = format!("--cache-from=type=registry,ref={cache},{open}");
        let log = lab.build(&other, &[&from, "ctx"]).ok().err;
        assert!(log.contains("CACHED"), "{log}");
    }
    // Who does not say so is not spoken to so: this machine is taken to have no TLS.
    let name = format!("localhost:{}/other:1", secret.port);
    lab.build(&place, &["-t", &name, "-o", "type=registry,registry.insecure=false", "ctx"])
        .is(4, "");
    let cache = format!("--cache-from=type=registry,ref=localhost:{}/app:cache", secret.port);
    let other = lab.place()?;
    other.write("ctx/Dockerfile", "FROM busybox\nRUN echo there > /there\n");
    let log = lab.build(&other, &[&cache, "ctx"]).ok().err;
    assert!(log.contains("is not used: ") && !log.contains("CACHED"), "{log}");
    Ok(())
}

fn tokens(lab: &Lab) -> Tested {
    let place = built(lab)?;
    let server = TokenServer::start(&place)?;
    let registry = Registry::empty(&place, "", &server.section())?;
    let host = format!("127.0.0.1:{}", registry.port);
    let (one, two) = (format!("{host}/team/one:1"), format!("{host}/team/two:1"));
    place.run(["image", "tag", "x", &one]).ok();
    place.run(["image", "tag", "x", &two]).ok();
    let told = place.run(["push", &one]);
    assert_eq!(told.code, 4, "{}", told.err);
    let login = ["login", "-u", USER, "--password-stdin", &host];
    assert_eq!(place.run_with_input(login, "wrong").code, 4);
    place.run_with_input(login, PASSWORD).ok();
    let told = place.run(["push", &one, &two]).ok();
    assert!(told.err.contains("mounted") && !told.err.contains(" 0 mounted"), "{}", told.err);
    let both = server.requests().into_iter().any(|line| {
        line.contains("repository:team/two:pull,push") && line.contains("repository:team/one:pull")
    });
    assert!(both, "a mount asks for both repositories: {:?}", server.requests());
    there_and_back(&place, &one, &[]);
    // An identity token is exchanged for one that registries take.
    let accounts = place.root().join("accounts");
    fs::create_dir(&accounts).expect("a directory");
    let auths = format!(r#"{{"auths":{{"{host}":{{"identitytoken":"{IDENTITY}"}}}}}}"#);
    fs::write(accounts.join("config.json"), auths).expect("accounts");
    let place = place.with_env("DOCKER_CONFIG", accounts.display().to_string());
    there_and_back(&place, &format!("{host}/team/identity:1"), &[]);
    assert!(server.requests().iter().any(|line| line.starts_with(&format!("POST {USER}"))));
    helper(&place, &accounts, &host);
    Ok(())
}

/// The same account, out of a credential helper.
fn helper(place: &Place, accounts: &Path, host: &str) {
    let programs = place.root().join("programs");
    fs::create_dir(&programs).expect("a directory");
    let kept = place.root().join("kept");
    let script = format!(
        "#!/bin/sh\ncase $1 in\n  store) cat > {kept};;\n  get) read host; echo $host >> {kept}.asked; cat {kept};;\n  \
         erase) rm {kept};;\nesac\n",
        kept = kept.display()
    );
    let program = programs.join("docker-credential-e2e");
    fs::write(&program, script).expect("a program");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("chmod");
    fs::write(accounts.join("config.json"), r#"{"credsStore":"e2e"}"#).expect("accounts");
    let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", programs.display());
    let run = |args: &[&str], input: &str| {
        let mut command = place.command(args);
        command.env("PATH", &path);
        command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        command.stderr(std::process::Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        use std::io::Write as _;
        child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("written");
        karman_testing::Told::of(&child.wait_with_output().expect("it ends"))
    };
    run(&["login", "-u", USER, "--password-stdin", host], PASSWORD).ok();
    let file = fs::read_to_string(accounts.join("config.json")).expect("accounts");
    assert!(
        !file.contains("ZTJl") && fs::read_to_string(&kept).expect("kept").contains(PASSWORD),
        "{file}"
    );
    let name = format!("{host}/team/helped:1");
    run(&["image", "tag", "x", &name], "").ok();
    run(&["push", &name], "").ok();
    assert!(fs::read_to_string(format!("{}.asked", kept.display())).expect("asked").contains(host));
    run(&["logout", host], "").ok();
    assert!(!kept.exists());
}

fn mirrors(lab: &Lab) -> Tested {
    let place = built(lab)?;
    let (origin, mirror) = (Registry::empty(&place, "", "")?, Registry::empty(&place, "", "")?);
    let name = format!("localhost:{}/team/x:1", origin.port);
    there_and_back(&place, &name, &[]);
    let (sick, healthy) = (
        Proxy::start(mirror.port, |_| Some(Fault::DropResponse(10))),
        Proxy::start(mirror.port, |_| None),
    );
    let text = format!(
        "server = \"http://localhost:{}\"\n[host.\"http://127.0.0.1:{}\"]\n[host.\"http://127.0.0.1:{}\"]\n\
         [host.\"http://127.0.0.1:{}\"]\n",
        origin.port,
        free_port(),
        sick.port,
        healthy.port
    );
    rule(&place, &format!("containerd/certs.d/localhost_{}_/hosts.toml", origin.port), &text);
    // Nobody is at the first, the second is sick, the third has nothing: the registry itself answers.
    there_and_back(&place, &name, &[]);
    assert!(
        healthy.seen().iter().all(|asked| asked.method == "GET"),
        "nothing was pushed to a mirror"
    );
    let told = healthy
        .seen()
        .iter()
        .any(|asked| asked.target.ends_with(&format!("?ns=localhost:{}", origin.port)));
    assert!(told, "{:?}", healthy.seen());
    // What the mirror has is not asked of the registry.
    let copy = format!("127.0.0.1:{}/team/x:1", mirror.port);
    place.run(["image", "tag", "x", &copy]).ok();
    place.run(["push", &copy]).ok();
    drop(origin);
    place.run(["image", "rm", &name]).ok();
    place.run(["pull", &name]).ok();
    Ok(())
}

fn prefixes(lab: &Lab) -> Tested {
    let place = built(lab)?;
    let registry = Registry::empty(&place, "", "")?;
    let text = format!(
        "unqualified-search-registries = [\"example.com\"]\n[[registry]]\nprefix = \"r.example/team\"\n\
         location = \"127.0.0.1:{0}/moved\"\n[[registry.mirror]]\nlocation = \"127.0.0.1:{1}\"\n\
         [[registry]]\nprefix = \"*.bad.example\"\nblocked = true\n",
        registry.port,
        free_port()
    );
    let file = rule(&place, "containers/registries.conf", &text);
    there_and_back(&place, "r.example/team/x:1", &[]);
    assert_eq!(registry.tags("moved/x"), ["1"]);
    place.run(["pull", "a.bad.example/x:1"]).is(4, "is blocked by `registries.conf`");
    // Named by the flag and by podman's variable.
    let moved = place.root().join("elsewhere.conf");
    fs::rename(file, &moved).expect("moved");
    let moved = moved.display().to_string();
    place.run(["--registries-conf", "none.conf", "pull", "r.example/team/x:1"]).is(3, "none.conf");
    place.run(["--registries-conf", &moved, "pull", "r.example/team/x:1"]).ok();
    place.with_env("CONTAINERS_REGISTRIES_CONF", moved).run(["pull", "r.example/team/x:1"]).ok();
    Ok(())
}

fn a_broken_file_of_rules_is_told(lab: &Lab) -> Tested {
    let place = lab.place()?;
    let file = rule(&place, "containerd/certs.d/r.example/hosts.toml", "server = \n");
    let told = place.run(["image", "ls"]).is(3, "hosts.toml");
    assert!(told.err.contains("line 1"), "{}", told.err);
    fs::remove_file(file).expect("removed");
    rule(&place, "containers/registries.conf.d/x.conf", "[[registry]]\nlocation = 7\n");
    place.run(["image", "ls"]).is(3, "x.conf");
    Ok(())
}

fn files_are_attached_and_found(lab: &Lab) -> Tested {
    let place = built(lab)?;
    let registry = Registry::empty(&place, "", "")?;
    let name = format!("127.0.0.1:{}/team/x:1", registry.port);
    place.run(["image", "tag", "x", &name]).ok();
    place.run(["push", &name]).ok();
    place.write("bom.json", "{\"spdxVersion\": \"SPDX-2.3\"}");
    place.write("note", "a note");
    let list = |more: &[&str]| -> serde_json::Value {
        let told =
            place.run([&["image", "referrers", "--format", "json", &name], more].concat()).ok();
        serde_json::from_str(&told.out).expect("JSON")
    };
    assert_eq!(list(&[])["referrers"], serde_json::json!([]));
    let bom = [
        "image",
        "attach",
        "--artifact-type",
        "application/spdx+json",
        &name,
        "bom.json:application/spdx+json",
    ];
    let attached = place.run(bom).ok().out;
    assert_eq!(place.run(bom).ok().out, attached, "the same files give the same artifact");
    place.run(["image", "attach", "--artifact-type", "text/note", &name, "note"]).ok();
    let all = list(&[]);
    assert_eq!(all["referrers"].as_array().map(Vec::len), Some(2), "{all}");
    let digest =
        list(&["--artifact-type", "application/spdx+json"])["referrers"][0]["digest"].clone();
    assert!(
        attached.trim().ends_with(&format!("@{}", digest.as_str().expect("a digest"))),
        "{attached}"
    );
    let table = place.run(["image", "referrers", &name]).ok().out;
    assert!(table.contains("text/note") && table.contains("application/spdx+json"), "{table}");
    // What skopeo finds under the digest.
    let skopeo = need("skopeo")?;
    let raw = format!("docker://{}", attached.trim());
    let told = tool(&place, &skopeo, &["inspect", "--raw", "--tls-verify=false", &raw]);
    let manifest: serde_json::Value = serde_json::from_str(&told.out).expect("JSON");
    assert_eq!(manifest["subject"]["digest"], all["subject"]["digest"]);
    assert_eq!(manifest["layers"][0]["annotations"]["org.opencontainers.image.title"], "bom.json");
    place.run(["image", "attach", "--artifact-type", "x/y", &name, "none"]).is(3, "none");
    Ok(())
}
