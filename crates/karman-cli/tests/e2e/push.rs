//! `push`, `pull`, `login` and `logout` against a real registry: Debian's `docker-registry` on the
//! loopback.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use karman_testing::{Place, Tested};
use serde_json::Value;

use crate::Tests;
use crate::lab::{Lab, need, tool};
use crate::registry::{PASSWORD, Registry, USER};

pub(crate) const TESTS: Tests = &[
    ("a_fleet_is_pushed_with_each_blob_once", a_fleet_is_pushed_with_each_blob_once),
    ("what_was_pushed_is_pulled_by_another_store", what_was_pushed_is_pulled_by_another_store),
    ("a_build_pushes_what_it_made", a_build_pushes_what_it_made),
    ("a_bake_that_fails_pushes_nothing", a_bake_that_fails_pushes_nothing),
    ("a_push_by_digest_moves_no_tag", a_push_by_digest_moves_no_tag),
    ("an_image_that_is_not_there_is_not_pushed", an_image_that_is_not_there_is_not_pushed),
    ("an_account_is_checked_kept_and_forgotten", an_account_is_checked_kept_and_forgotten),
];

/// Two images that share the base and a layer of their own size each.
fn two_images(lab: &Lab, place: &Place, registry: &Registry) -> [String; 2] {
    ["one", "two"].map(|name| {
        let text = format!("FROM busybox\nRUN echo shared > /shared\nRUN echo {name} > /own\n");
        place.write(&format!("{name}/Dockerfile"), text);
        let tag = format!("127.0.0.1:{}/fleet/{name}:1", registry.port);
        lab.build(place, &["-t", &tag, name]).ok();
        tag
    })
}

/// What skopeo sees in the registry.
fn inspect(place: &Place, image: &str, more: &[&str]) -> Value {
    let skopeo = need("skopeo").unwrap_or_else(|_| unreachable!("the registry needed it"));
    let name = format!("docker://{image}");
    let all = [&["inspect", "--tls-verify=false"], more, &[name.as_str()]].concat();
    serde_json::from_str(&tool(place, &skopeo, &all).out).expect("JSON")
}

fn digest_of(place: &Place, name: &str) -> String {
    let told = place.run(["image", "inspect", name]).ok();
    let json: Value = serde_json::from_str(&told.out).expect("JSON");
    json["descriptor"]["digest"].as_str().expect("a digest").to_owned()
}

fn a_fleet_is_pushed_with_each_blob_once(lab: &Lab) -> Tested {
    let place = lab.place()?;
    let registry = Registry::start(lab, &place, false)?;
    let [one, two] = two_images(lab, &place, &registry);
    let told = place.run(["push", &one, &two]).ok();
    // Base, shared layer and two of their own; four configs and layers of the base are not four more.
    assert!(told.err.contains(" mounted"), "{}", told.err);
    let mounted = told.err.split(" mounted").next().and_then(|t| t.rsplit(' ').next());
    assert_eq!(mounted, Some("2"), "the base and the shared layer: {}", told.err);
    for name in [&one, &two] {
        let digest = digest_of(&place, name);
        assert!(told.out.contains(&format!("{name}@{digest}")), "{}", told.out);
        assert_eq!(inspect(&place, name, &[])["Digest"], digest.as_str());
    }
    let again = place.run(["push", &one, &two]).ok();
    assert!(again.err.contains("0 blobs uploaded (0B), 0 mounted"), "{}", again.err);
    Ok(())
}

fn what_was_pushed_is_pulled_by_another_store(lab: &Lab) -> Tested {
    let place = lab.place()?;
    let registry = Registry::start(lab, &place, false)?;
    let [one, _] = two_images(lab, &place, &registry);
    place.run(["push", "--quiet", &one]).ok();
    let other = lab.place()?;
    let told = other.run(["pull", &one]).ok();
    let digest = digest_of(&place, &one);
    assert_eq!(told.out, format!("127.0.0.1:{}/fleet/one@{digest}\n", registry.port));
    assert!(told.err.contains("downloaded"), "{}", told.err);
    assert_eq!(digest_of(&other, &one), digest);
    assert!(other.run(["pull", &one]).ok().err.contains("up to date"));
    assert_eq!(other.run(["run", &one, "--", "cat", "/own"]).ok().out, "one\n");
    let none = format!("127.0.0.1:{}/fleet/none:1", registry.port);
    let told = other.run(["pull", &none]);
    assert!(told.code != 0 && told.err.contains("fleet/none:1"), "{}", told.err);
    Ok(())
}

fn a_build_pushes_what_it_made(lab: &Lab) -> Tested {
    let place = lab.place()?;
    let registry = Registry::start(lab, &place, false)?;
    place.write("ctx/Dockerfile", "FROM busybox\nRUN echo pushed > /file\n");
    for (number, output) in ["--push", "--output=type=registry", "--output=type=image,push=true"]
        .into_iter()
        .enumerate()
    {
        let tag = format!("127.0.0.1:{}/built:{number}", registry.port);
        let digest = lab.digest(&place, &["-t", &tag, output, "ctx"]);
        assert_eq!(inspect(&place, &tag, &[])["Digest"], digest.as_str(), "{output}");
    }
    let told = lab.build(&place, &["--push", "ctx"]).is(2, "tag is needed when pushing");
    assert!(told.err.contains("hint: "), "{}", told.err);
    let log = lab.build(&place, &["--push=false", "-t", "local", "ctx"]).ok().err;
    assert!(!log.contains("pushing"), "{log}");
    Ok(())
}

fn a_bake_that_fails_pushes_nothing(lab: &Lab) -> Tested {
    let place = lab.place()?;
    let registry = Registry::start(lab, &place, false)?;
    let host = format!("127.0.0.1:{}", registry.port);
    let file = format!(
        "target \"good\" {{\n  dockerfile-inline = \"FROM busybox\\nRUN echo good > /good\"\n  \
         contexts = {{ busybox = \"{base}\" }}\n  tags = [\"{host}/good:1\"]\n}}\n\
         target \"bad\" {{\n  dockerfile-inline = \"FROM busybox\\nRUN exit 3\"\n  \
         contexts = {{ busybox = \"{base}\" }}\n  tags = [\"{host}/bad:1\"]\n}}\n",
        base = lab.base(),
    );
    place.write("docker-bake.hcl", file);
    let allow = "--allow=fs.read=/";
    let told = place.run(["bake", allow, "--push", "good", "bad"]);
    assert_eq!(told.code, 1, "{}", told.err);
    assert!(registry.tags("good").is_empty(), "nothing was pushed");
    place.run(["bake", allow, "--push", "good"]).ok();
    assert_eq!(registry.tags("good"), ["1"]);
    Ok(())
}

fn a_push_by_digest_moves_no_tag(lab: &Lab) -> Tested {
    let place = lab.place()?;
    let registry = Registry::start(lab, &place, false)?;
    place.write("ctx/Dockerfile", "FROM busybox\nRUN echo digest > /file\n");
    let name = format!("127.0.0.1:{}/leaf", registry.port);
    let output =
        format!("type=image,name={name},push-by-digest=true,name-canonical=true,push=true");
    let digest = lab.digest(&place, &["-o", &output, "ctx"]);
    assert!(registry.tags("leaf").is_empty());
    let seen = inspect(&place, &format!("{name}@{digest}"), &["--no-tags"]);
    assert_eq!(seen["Digest"], digest.as_str());
    Ok(())
}

fn an_image_that_is_not_there_is_not_pushed(lab: &Lab) -> Tested {
    let place = lab.place()?;
    let registry = Registry::start(lab, &place, false)?;
    let [one, _] = two_images(lab, &place, &registry);
    let none = format!("127.0.0.1:{}/fleet/oen:1", registry.port);
    let told = place.run(["push", &one, &none]);
    assert_eq!(told.code, 7, "{}", told.err);
    assert!(told.err.contains("fleet/oen:1") && told.err.contains("fleet/one:1"), "{}", told.err);
    let told = place.run(["push", &format!("{one}@{}", digest_of(&place, &one))]);
    assert_eq!(told.code, 2, "{}", told.err);
    let skopeo = need("skopeo")?;
    let name = format!("docker://{one}");
    let seen = crate::lab::tool_tells(&place, &skopeo, &["inspect", "--tls-verify=false", &name]);
    assert!(seen.code != 0, "nothing was pushed");
    Ok(())
}

fn an_account_is_checked_kept_and_forgotten(lab: &Lab) -> Tested {
    let place = lab.place()?;
    let registry = Registry::start(lab, &place, true)?;
    let docker = place.root().join("accounts");
    let place = place.with_env("DOCKER_CONFIG", docker.display().to_string());
    let host = format!("127.0.0.1:{}", registry.port);
    let [one, _] = two_images(lab, &place, &registry);
    let denied = place.run(["push", &one]);
    assert_eq!(denied.code, 4, "{}", denied.err);
    assert!(denied.err.contains("denied") && denied.err.contains("karman login"), "{}", denied.err);

    let login = |password: &str| {
        place.run_with_input(["login", "-u", USER, "--password-stdin", &host], password)
    };
    login("wrong").is(4, "refuses the user or the password");
    assert!(!docker.join("config.json").exists(), "a wrong password is not kept");
    let told = login(&format!("{PASSWORD}\n")).ok();
    assert!(told.err.contains("Login Succeeded") && !told.err.contains(PASSWORD), "{}", told.err);
    let file = docker.join("config.json");
    assert_eq!(fs::metadata(&file).expect("the file").permissions().mode() & 0o777, 0o600);
    place.run(["push", &one]).ok();
    let seen = inspect(&place, &one, &["--creds", &format!("{USER}:{PASSWORD}")]);
    assert_eq!(seen["Digest"], digest_of(&place, &one).as_str());

    place.run(["logout", &host]).ok();
    assert!(!fs::read_to_string(&file).expect("the file").contains(&host));
    Ok(())
}
