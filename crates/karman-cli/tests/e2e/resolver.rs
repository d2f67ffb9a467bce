//! `karman constraints` with a resolver in an image: the image is built from the bake file, sees its
//! inputs, and what it says is kept apart from what it answers. The uv in it is a script of ours.

use karman_testing::{Place, Skip, Tested};

use crate::Tests;
use crate::lab::Lab;

pub(crate) const TESTS: Tests = &[
    ("a_lock_runs_in_the_image", a_lock_runs_in_the_image),
    ("a_refusal_is_told_without_what_was_tried", a_refusal_is_told_without_what_was_tried),
];

const SERIES: &str = "series = \"2026.1\"\npython = [\"3.13\"]\ncutoff = \"2026-04-15\"\n\
    [services.keystone]\nversion = \"29.1.0\"\nrequirements = [\"keystone\"]\n";
/// Answers only where it is called as uv is, with the inputs beside it and a place for its cache.
const UV: &str = "#!/bin/sh
echo \"DEBUG $0 $1 $2\" >&2
grep -q '^keystone==29.1.0$' requirements.in || exit 3
mkdir -p \"$UV_CACHE_DIR/x\" || exit 4
if [ -e /refuse ]; then
  echo 'DEBUG trying' >&2
  echo 'error: keystone and the moon do not fit' >&2
  exit 1
fi
echo 'DEBUG Adding transitive dependency for keystone==29.1.0: pbr>=2' >&2
echo 'keystone==29.1.0  # via -r requirements.in'
echo 'pbr==7.0.3  # via keystone'
";

fn place(lab: &Lab, more: &str) -> Result<Place, Skip> {
    let place = lab.place()?;
    place.write("constraints/2026.1.toml", SERIES);
    place.write("resolver/uv", UV);
    place.write(
        "resolver/Dockerfile",
        format!("FROM busybox\nCOPY --chmod=755 uv /usr/bin/uv\n{more}"),
    );
    let bake = format!(
        "target \"constraints-resolver\" {{\n  context = \"resolver\"\n  contexts = {{ busybox = \"{}\" }}\n}}\n",
        lab.base()
    );
    place.write("docker-bake.hcl", bake);
    Ok(place)
}

fn a_lock_runs_in_the_image(lab: &Lab) -> Tested {
    let place = place(lab, "")?;
    let told = place.run(["constraints", "lock"]).ok();
    assert!(told.out.contains("+ keystone 29.1.0\n+ pbr 7.0.3\n"), "{}", told.out);
    let read = |name: &str| {
        let path = place.work().join("constraints/2026.1").join(name);
        std::fs::read_to_string(path).expect("a file")
    };
    assert!(read("upper-constraints.txt").ends_with("\nkeystone===29.1.0\npbr===7.0.3\n"));
    assert!(read("requirements.json").contains("\"requires\": [\"pbr>=2\"]"));
    place.run(["constraints", "lock", "--check"]).ok();
    // Nothing of the resolver's files stays in the store.
    let left: Vec<_> = std::fs::read_dir(place.store())
        .expect("the store")
        .flatten()
        .filter(|e| e.file_name().to_string_lossy().starts_with("lock-"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    Ok(())
}

fn a_refusal_is_told_without_what_was_tried(lab: &Lab) -> Tested {
    let place = place(lab, "RUN touch /refuse\n")?;
    let told = place.run(["constraints", "lock"]);
    let told = told.is(1, "ERROR: nothing resolves for Python 3.13\nerror: keystone and the moon");
    assert!(!told.err.contains("DEBUG trying"), "{}", told.err);
    Ok(())
}
