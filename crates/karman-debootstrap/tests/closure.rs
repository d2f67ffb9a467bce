//! Which packages a set of roots needs.

mod support;

use support::{Deb, World, deb, shown, with_base};

fn resolved(more: Vec<Deb>, include: &str) -> Result<Vec<String>, String> {
    let world = World::new(with_base(more));
    let plan = world
        .plan(&format!("security=none&include={include}"))
        .map_err(|error| format!("{}; {}", shown(&error), error.hint().unwrap_or_default()))?;
    let base = ["apt", "base-files", "dpkg"];
    Ok(plan
        .packages
        .into_iter()
        .map(|package| package.name)
        .filter(|name| !base.contains(&name.as_str()))
        .collect())
}

#[test]
fn the_first_alternative_is_taken() {
    let debs = vec![
        deb("app", "1").with("Depends", "first | second"),
        deb("first", "1"),
        deb("second", "1"),
    ];
    assert_eq!(resolved(debs, "app").expect("plan"), ["app", "first"]);
}

#[test]
fn what_is_chosen_already_is_enough() {
    let debs = vec![
        deb("app", "1").with("Depends", "first | second"),
        deb("first", "1"),
        deb("second", "1"),
    ];
    assert_eq!(resolved(debs, "app,second").expect("plan"), ["app", "second"]);
}

#[test]
fn an_alternative_that_leads_nowhere_is_given_up() {
    let debs = vec![
        deb("app", "1").with("Depends", "first | second"),
        deb("first", "1").with("Depends", "libaa, nowhere"),
        deb("libaa", "1"),
        deb("second", "1"),
    ];
    assert_eq!(resolved(debs, "app").expect("plan"), ["app", "second"]);
}

#[test]
fn virtual_packages_are_provided_by_the_most_important() {
    let debs = vec![
        deb("app", "1").with("Depends", "awk"),
        deb("aaawk", "1").with("Provides", "awk").with("Priority", "optional"),
        deb("mawk", "1").with("Provides", "awk").with("Priority", "important"),
    ];
    assert_eq!(resolved(debs, "app").expect("plan"), ["app", "mawk"]);
}

#[test]
fn versioned_dependencies_need_versioned_provisions() {
    let debs = |provides: &str| {
        vec![
            deb("app", "1").with("Depends", "abi (>= 2)"),
            deb("impl", "9").with("Provides", provides),
        ]
    };
    assert_eq!(resolved(debs("abi (= 2.1)"), "app").expect("plan"), ["app", "impl"]);
    assert!(resolved(debs("abi (= 1.9)"), "app").is_err());
    assert!(resolved(debs("abi"), "app").is_err());
}

#[test]
fn versions_that_are_too_old_do_not_satisfy() {
    let debs =
        vec![deb("app", "1").with("Pre-Depends", "libaa (>= 2.0~rc1)"), deb("libaa", "2.0~beta3")];
    let error = resolved(debs, "app").expect_err("too old");
    assert!(error.contains("nothing satisfies `libaa (>= 2.0~rc1)`, needed by app"), "{error}");
}

#[test]
fn the_newest_of_two_versions_is_taken() {
    let world = World::new(with_base(vec![deb("app", "1:1.0"), deb("app", "2.0")]));
    let plan = world.plan("security=none&include=app").expect("plan");
    assert!(
        plan.packages.iter().any(|package| package.name == "app" && package.version == "1:1.0")
    );
}

#[test]
fn the_chain_to_a_missing_package_is_shown() {
    let debs = vec![
        deb("app", "1").with("Depends", "middle"),
        deb("middle", "1").with("Depends", "bottom:any"),
        deb("bottom", "1").with("Depends", "gone | gone-too (<< 3)"),
    ];
    let error = resolved(debs, "app").expect_err("missing");
    assert!(error.contains("`gone | gone-too (<< 3)`, needed by app → middle → bottom"), "{error}");
}

#[test]
fn a_package_nobody_has_comes_with_a_hint() {
    let error = resolved(vec![deb("python3", "3.13")], "pyhton3").expect_err("missing");
    assert!(
        error.contains("package `pyhton3` is not in the archive; did you mean `python3`?"),
        "{error}"
    );
}

#[test]
fn conflicts_are_found_in_both_directions() {
    for (who, field, whom) in [("one", "Conflicts", "two (<< 2)"), ("two", "Breaks", "one")] {
        let debs = ["one", "two"].map(|name| {
            let package = deb(name, "1");
            if name == who { package.with(field, whom) } else { package }
        });
        let debs = debs.to_vec();
        let error = resolved(debs, "one,two").expect_err("conflict");
        assert!(error.contains("conflicts with"), "{error}");
    }
    let debs = vec![deb("one", "1").with("Conflicts", "two (<< 1)"), deb("two", "1")];
    assert_eq!(resolved(debs, "one,two").expect("newer does not conflict"), ["one", "two"]);
}

#[test]
fn a_conflict_makes_the_next_alternative_the_choice() {
    let debs = vec![
        deb("app", "1").with("Depends", "first | second"),
        deb("first", "1").with("Conflicts", "mta"),
        deb("second", "1"),
        deb("mail", "1").with("Provides", "mta"),
    ];
    assert_eq!(resolved(debs, "app,mail").expect("plan"), ["app", "mail", "second"]);
}

#[test]
fn a_package_may_conflict_with_what_it_provides() {
    let debs = vec![deb("mail", "1").with("Provides", "mta").with("Conflicts", "mta")];
    assert_eq!(resolved(debs, "mail").expect("plan"), ["mail"]);
}

#[test]
fn circles_end() {
    let debs = vec![
        deb("libc", "1").with("Depends", "libgcc"),
        deb("libgcc", "1").with("Depends", "libc"),
    ];
    assert_eq!(resolved(debs, "libc").expect("plan"), ["libc", "libgcc"]);
}

#[test]
fn architectures_other_than_ours_do_not_count() {
    let debs = vec![
        deb("app", "1").with("Depends", "data"),
        deb("data", "1").with("Architecture", "all"),
        deb("data", "9").with("Architecture", "arm64"),
    ];
    assert_eq!(resolved(debs, "app").expect("plan"), ["app", "data"]);
}

#[test]
fn a_custom_set_without_dpkg_is_refused() {
    let world = World::new(with_base(vec![deb("app", "1")]));
    let error = world.plan("security=none&variant=custom&include=app").expect_err("no dpkg");
    assert!(shown(&error).contains("`dpkg` is not among"), "{}", shown(&error));
    let plan = world.plan("security=none&variant=custom&include=app,dpkg").expect("plan");
    assert_eq!(plan.packages.len(), 2);
}
