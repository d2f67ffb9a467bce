//! The images of this repository: their bake file and their Dockerfiles are beyond doubt.

use std::path::{Path, PathBuf};

use karman_bake::{Request, Resolved, parse, resolve};
use karman_build::{Call, TargetSpec, call, from_bake};

use crate::support::{Caller, shown};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the repository")
}

/// The targets that bake files of the repository give, by the default group.
fn resolved(names: &[&str]) -> Resolved {
    let read = |name: &&str| {
        let text = fs_err::read_to_string(repository().join(name)).expect("a bake file");
        ((*name).to_owned(), text)
    };
    let files: Vec<_> = names.iter().map(read).collect();
    let (bake, problems) = parse(&files, &Request::default());
    assert!(problems.is_empty(), "{problems:?}");
    resolve(&bake, &Request::default()).unwrap_or_else(|e| panic!("{e:?}"))
}

fn specs() -> Vec<TargetSpec> {
    let resolved = resolved(&["docker-bake.hcl"]);
    let specs = resolved.order.iter().map(|name| from_bake(name, &resolved.targets[name]));
    specs.map(|spec| spec.unwrap_or_else(|e| panic!("{}", shown(&e)))).collect()
}

#[test]
fn the_catalogue_checks_without_warnings_and_advice() {
    let mut caller = Caller::new();
    caller.facts.cwd = repository();
    caller.backend = caller.backend.with_image("debootstrap://debian/trixie");
    let answers = call(&caller.backend, &specs(), Call::Check, &caller.facts, &mut caller.session);
    let answers = answers.unwrap_or_else(|e| panic!("{}", shown(&e)));
    assert!(answers.len() > 22, "all images and the bases they need");
    for answer in answers {
        let all_is_well = "Check complete, no warnings found.\n";
        assert_eq!(answer.text, all_is_well, "{}: {:?}", answer.target, answer.error);
    }
}

/// Every service of every series has an image of its name, and the other way round.
#[test]
fn every_image_with_python_is_a_service_of_every_series() {
    let resolved = resolved(&["docker-bake.hcl"]);
    let mut images: Vec<&str> = Vec::new();
    for (name, target) in &resolved.targets {
        let contexts = target.contexts.keys();
        if contexts.into_iter().any(|c| c == "openstack-venv-builder") {
            images.push(name);
        }
    }
    images.sort_unstable();
    let mut series = 0;
    for entry in fs_err::read_dir(repository().join("constraints")).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|e| e != "toml") {
            continue;
        }
        let text = fs_err::read_to_string(&path).expect("a series");
        let services = text.lines().filter_map(|l| l.strip_prefix("[services.")?.strip_suffix(']'));
        let mut services: Vec<&str> = services.collect();
        services.sort_unstable();
        assert_eq!(services, images, "{}", path.display());
        series += 1;
    }
    assert!(series > 1, "a second series shows that one variable is enough");
}

#[test]
fn a_site_changes_the_fleet_with_a_file_of_its_own() {
    let fleet = resolved(&["docker-bake.hcl"]);
    let site = resolved(&["docker-bake.hcl", "examples/site/site.hcl"]);
    let args = |of: &Resolved, target: &str, name: &str| of.targets[target].args.get(name).cloned();
    let context = |of: &Resolved, target: &str, name: &str| {
        of.targets[target].contexts.get(name).cloned().unwrap_or_default()
    };
    let text = |value: &str| Some(value.to_owned());
    assert_eq!(args(&fleet, "nova", "EXTRA_PACKAGES"), text(""));
    assert_eq!(args(&site, "nova", "EXTRA_PACKAGES"), text("iputils-ping tcpdump"));
    assert_eq!(args(&site, "nova", "EXTRA_PYTHON"), text("etcd3gw"));
    assert_eq!(args(&site, "cinder", "EXTRA_PACKAGES"), text("iputils-ping"));
    assert_eq!(args(&site, "cinder", "PROJECT"), text("cinder"));
    for (target, name) in
        [("python-base", "base"), ("openstack-runtime", "base"), ("keepalived", "base")]
    {
        assert_eq!(context(&fleet, target, name), "target:base", "{target}");
        assert_eq!(context(&site, target, name), "target:site-base", "{target}");
    }
    assert_eq!(context(&site, "site-base", "base"), "target:base");
    assert_eq!(context(&site, "nova", "patches"), "examples/site/patches");
    let tags = &site.targets["placement"].tags;
    assert_eq!(tags[0], "registry.example.org/openstack/placement:latest");
    assert_eq!(site.order.len(), fleet.order.len() + 1, "the site's base is all that is new");
}
