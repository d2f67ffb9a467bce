//! `karman inventory` on images that were just built, and on those that come from elsewhere.

use karman_testing::{Place, Skip, Tested};
use serde_json::Value;

use crate::Tests;
use crate::lab::Lab;

pub(crate) const TESTS: Tests = &[
    ("every_path_has_an_origin", every_path_has_an_origin),
    ("stages_tell_where_copies_came_from", stages_tell_where_copies_came_from),
    ("a_layout_is_told_by_its_history", a_layout_is_told_by_its_history),
    ("it_is_made_once_and_survives_pruning", it_is_made_once_and_survives_pruning),
];

const DOCKERFILE: &str = "\
FROM busybox AS build
RUN mkdir -p /var/lib/dpkg/info /out/sub \\
 && printf 'Package: libdemo-dev\\nStatus: install ok installed\\nVersion: 1\\n' > /var/lib/dpkg/status \\
 && printf '/out/sub/packaged\\n' > /var/lib/dpkg/info/libdemo-dev.list \\
 && echo p > /out/sub/packaged && echo m > /out/made
FROM busybox
COPY from-context /etc/from-context
RUN echo made > /made && chmod 4755 /made
COPY --from=build /out /copied
";

fn place(lab: &Lab) -> Result<Place, Skip> {
    let place = lab.place()?;
    place.write("ctx/Dockerfile", DOCKERFILE);
    place.write("ctx/from-context", "c");
    lab.build(&place, &["-t", "demo", "ctx"]).ok();
    Ok(place)
}

fn inventory(place: &Place, args: &[&str]) -> Value {
    let told = place.run([&["inventory", "--format", "json"], args].concat()).ok();
    serde_json::from_str(&told.out).expect("JSON")
}

fn entry<'v>(inventory: &'v Value, path: &str) -> &'v Value {
    let entries = inventory["entries"].as_array().expect("entries");
    entries.iter().find(|e| e["path"] == path).unwrap_or_else(|| panic!("no {path}"))
}

fn every_path_has_an_origin(lab: &Lab) -> Tested {
    let place = place(lab)?;
    let told = place.run(["inventory", "demo"]).ok();
    assert!(told.err.contains(" 0 without an origin"), "{}", told.err);
    let line = |path: &str| {
        let end = format!(" {path}\t");
        told.out
            .lines()
            .find(|l| l.contains(&end))
            .unwrap_or_else(|| panic!("{path}: {}", told.out))
    };
    assert!(line("/bin/busybox").ends_with("\tbase"), "{}", line("/bin/busybox"));
    assert!(line("/made").starts_with("-4755         0:0          5 /made"), "{}", line("/made"));
    assert!(line("/made").contains("\tRUN echo made > /made"), "{}", line("/made"));
    let copied = line("/etc/from-context");
    assert!(copied.ends_with("\tCOPY from context"), "{copied}");
    Ok(())
}

fn stages_tell_where_copies_came_from(lab: &Lab) -> Tested {
    let place = place(lab)?;
    let inventory = inventory(&place, &["demo"]);
    let packaged = entry(&inventory, "/copied/sub/packaged");
    assert_eq!(packaged["origin"]["from"], "build");
    let upstream = &packaged["upstream"][0];
    assert_eq!(upstream["path"], "/out/sub/packaged");
    assert_eq!(upstream["origin"]["package"], "libdemo-dev");
    assert_eq!(entry(&inventory, "/copied/made")["upstream"][0]["origin"]["kind"], "run");
    let stage = &inventory["stages"][0];
    assert_eq!(
        (&stage["name"], &stage["packages"][0]["name"]),
        (&"build".into(), &"libdemo-dev".into())
    );
    Ok(())
}

fn a_layout_is_told_by_its_history(lab: &Lab) -> Tested {
    let place = place(lab)?;
    lab.build(&place, &["-o", "type=oci,dest=out.tar", "ctx"]).ok();
    let other = lab.place()?;
    let layout = place.work().join("out.tar");
    let told = other.run(["inventory", &format!("oci-layout://{}", layout.display())]).ok();
    assert!(told.out.contains("/copied/made\tCOPY\n"), "{}", told.out);
    assert!(told.err.contains(" 0 without an origin"), "{}", told.err);
    let path = layout.to_string_lossy();
    assert_eq!(other.run(["inventory", &path]).ok().out, told.out);
    other.run(["inventory", "none"]).is(7, "no image `none`");
    Ok(())
}

fn it_is_made_once_and_survives_pruning(lab: &Lab) -> Tested {
    let place = place(lab)?;
    let first = inventory(&place, &["demo"]);
    place.run(["cache", "prune", "--all", "--force"]).ok();
    let again = inventory(&place, &["demo"]);
    assert_eq!(first, again, "the stages are gone, and what they told is kept");
    assert_eq!(again["stages"][0]["name"], "build");
    Ok(())
}
