//! The images of this repository: their bake file and their Dockerfiles are beyond doubt.

use std::path::{Path, PathBuf};

use karman_bake::{Request, parse, resolve};
use karman_build::{Call, TargetSpec, call, from_bake};

use crate::support::{Caller, shown};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the repository")
}

fn specs() -> Vec<TargetSpec> {
    let name = "docker-bake.hcl";
    let text = fs_err::read_to_string(repository().join(name)).expect("the bake file");
    let (bake, problems) = parse(&[(name.to_owned(), text)], &Request::default());
    assert!(problems.is_empty(), "{problems:?}");
    let resolved = resolve(&bake, &Request::default()).unwrap_or_else(|e| panic!("{e:?}"));
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
    assert!(answers.len() > 4, "all images that the default group needs");
    for answer in answers {
        let all_is_well = "Check complete, no warnings found.\n";
        assert_eq!(answer.text, all_is_well, "{}: {:?}", answer.target, answer.error);
    }
}
