//! The same as an ordinary user: a throw-away one, whose account exists in a mount namespace only.

use karman_testing::{Skip, Tested, Who};

use crate::Tests;
use crate::cases;
use crate::lab::{Lab, find, need, need_root};

pub(crate) const TESTS: Tests = &[
    ("cases_hold_for_an_ordinary_user", cases_hold_for_an_ordinary_user),
    ("digests_are_those_of_root", digests_are_those_of_root),
    ("images_run", images_run),
    ("what_others_may_write_only_is_told_first", what_others_may_write_only),
    ("without_subordinate_ids_the_reason_is_told", without_subordinate_ids_the_reason_is_told),
];

/// Cases that touch owners, modes, mounts, users and errors.
const CASES: [&str; 12] = [
    "archive-of-a-stage",
    "copy-chown-chmod",
    "copy-from-stage",
    "copy-link",
    "error-run-exit-code",
    "heredoc-copy",
    "heredoc-run",
    "mount-bind",
    "mount-cache-shared-by-steps",
    "mount-secret",
    "user-and-workdir",
    "whiteouts",
];

/// What it takes to become another user in a namespace.
fn needs() -> Result<(), Skip> {
    need_root()?;
    for program in ["unshare", "setpriv", "mount"] {
        need(program)?;
    }
    Ok(())
}

fn needs_ranges() -> Result<(), Skip> {
    needs()?;
    find("newuidmap").map(drop).ok_or_else(|| Skip::because("`newuidmap` is not installed"))
}

fn cases_hold_for_an_ordinary_user(lab: &Lab) -> Tested {
    needs_ranges()?;
    for case in CASES {
        cases::run_as(lab, case, Who::User)?;
    }
    Ok(())
}

const DOCKERFILE: &str = "\
FROM busybox
RUN echo a > /a && chown 1000:1000 /a && mkdir -m 700 /d && chown 3:4 /d && ln /a /d/hard
COPY --from=busybox --chown=app /etc/passwd /owned
USER app
RUN id > /tmp/id
";

fn digests_are_those_of_root(lab: &Lab) -> Tested {
    needs_ranges()?;
    let (root, user) = (lab.place()?, lab.place_of(Who::User)?);
    for place in [&root, &user] {
        place.write("ctx/Dockerfile", DOCKERFILE);
    }
    assert_eq!(lab.digest(&user, &["ctx"]), lab.digest(&root, &["ctx"]));
    Ok(())
}

fn images_run(lab: &Lab) -> Tested {
    needs_ranges()?;
    let place = lab.place_of(Who::User)?;
    place.write("ctx/Dockerfile", DOCKERFILE);
    lab.build(&place, &["-t", "x", "ctx"]).ok();
    let told = place.run(["run", "--rm", "x", "sh", "-c", "id -u; cat /tmp/id; exit 3"]);
    assert_eq!((told.code, told.out.lines().next()), (3, Some("1000")), "{}{}", told.out, told.err);
    assert!(told.out.contains("groups=1000(app),3000(ops)"), "{}", told.out);
    place.run(["image", "ls"]).ok();
    place.run(["cache", "prune", "--all", "--force"]).ok();
    lab.build(&place, &["-t", "x", "ctx"]).ok();
    Ok(())
}

fn what_others_may_write_only(lab: &Lab) -> Tested {
    needs_ranges()?;
    let place = lab.place_of(Who::User)?;
    place.write("ctx/Dockerfile", "FROM busybox\nRUN true\n");
    for args in [
        ["-o", "type=local,dest=/usr/nobody/dir"],
        ["-o", "type=local,dest=/usr"],
        ["-o", "type=tar,dest=/usr/nobody.tar"],
        ["-o", "type=oci,tar=false,dest=/usr/nobody"],
    ] {
        let told = lab.build(&place, &[&args[..], &["ctx"]].concat()).is(3, "Permission denied");
        assert!(!told.err.contains("load build definition"), "before the build: {}", told.err);
    }
    Ok(())
}

fn without_subordinate_ids_the_reason_is_told(lab: &Lab) -> Tested {
    needs()?;
    let place = lab.place_of(Who::UserWithoutRanges)?;
    place.write("ctx/Dockerfile", "FROM busybox\nRUN true\n");
    let told = lab.build(&place, &["ctx"]).is(5, "/etc/subuid");
    assert!(told.err.contains("hint: "), "{}", told.err);
    assert!(told.err.contains("karman doctor"), "{}", told.err);
    Ok(())
}
