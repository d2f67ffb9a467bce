//! Caches in directories: what is old goes, and nobody who reads or writes meanwhile is harmed.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use karman_testing::{Place, Tested, Told};

use crate::Tests;
use crate::lab::{Lab, need, tool};
use crate::remote_cache::{STEPS, last_of, scene};

pub(crate) const TESTS: Tests = &[
    ("a_directory_keeps_what_its_index_needs", a_directory_keeps_what_its_index_needs),
    ("a_build_may_prune_what_it_reads", a_build_may_prune_what_it_reads),
    ("who_reads_a_cache_that_is_gone_builds_without", who_reads_a_cache_that_is_gone),
    ("writers_of_one_directory_wait_for_each_other", writers_wait_for_each_other),
];

fn blobs(dir: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(dir.join("blobs/sha256")).expect("blobs");
    entries.map(|e| e.expect("a blob").file_name().to_string_lossy().into_owned()).collect()
}

/// Changes a source, so that two of three steps have new results.
fn change(place: &Place, text: &str) {
    place.write("ctx/src/a", format!("{text}\n"));
}

fn a_directory_keeps_what_its_index_needs(lab: &Lab) -> Tested {
    let place = scene(lab, "one")?;
    let dir = place.work().join("cache");
    let build = |more: &str| {
        lab.build(&place, &[&format!("--cache-to=type=local,dest=cache,mode=max{more}"), "ctx"])
            .ok();
    };
    build("");
    let first = blobs(&dir);
    let mut counts = Vec::new();
    for text in ["second", "third"] {
        change(&place, text);
        build("");
        counts.push(blobs(&dir).len());
    }
    assert_eq!(counts, [first.len(), first.len()], "as many as the first time");
    // What another tag has stays, and all of it is whole.
    build(",tag=other");
    let third = blobs(&dir);
    change(&place, "fourth");
    build("");
    let both = blobs(&dir);
    assert!(both.len() > third.len(), "{both:?}");
    let second = scene(lab, "one")?;
    change(&second, "third");
    let from = format!("--cache-from=type=local,src={},tag=other", dir.display());
    let (last, steps, log) = last_of(lab, &second, &[&from]);
    assert_eq!((last.as_str(), steps), ("third\nt\none\n", vec![]), "{log}");
    // BuildKit's habit, where it is asked for.
    change(&place, "fifth");
    build(",prune=false");
    assert!(blobs(&dir).is_superset(&both) && blobs(&dir).len() > both.len());
    // The fourth goes, whoever left it; images of others in the directory stay.
    let image = lab.base_dir().display().to_string();
    tool(
        &place,
        &need("skopeo")?,
        &["--insecure-policy", "copy", &format!("oci:{image}:latest"), "oci:cache:image"],
    );
    build("");
    assert!(!blobs(&dir).is_superset(&both));
    tool(&place, &need("skopeo")?, &["--insecure-policy", "copy", "oci:cache:image", "dir:whole"]);
    Ok(())
}

fn a_build_may_prune_what_it_reads(lab: &Lab) -> Tested {
    let first = scene(lab, "one")?;
    lab.build(&first, &["--cache-to=type=local,dest=cache,mode=max", "ctx"]).ok();
    let dir = first.work().join("cache").display().to_string();
    // The directory becomes a cache of few steps; another gets all, with layers that only the old one had.
    let second = scene(lab, "one")?;
    let from = format!("--cache-from=type=local,src={dir}");
    let min = format!("--cache-to=type=local,dest={dir},mode=min");
    lab.build(&second, &[&from, &min, "--cache-to=type=local,dest=zzz,mode=max", "ctx"]).ok();
    let all = second.work().join("zzz").display().to_string();
    let third = scene(lab, "one")?;
    change(&third, "changed");
    let (_, steps, log) = last_of(lab, &third, &[&format!("--cache-from=type=local,src={dir}")]);
    assert_eq!(steps, STEPS, "{log}");
    let fourth = scene(lab, "one")?;
    change(&fourth, "changed");
    let (_, steps, log) = last_of(lab, &fourth, &[&format!("--cache-from=type=local,src={all}")]);
    assert_eq!(steps, ["ran-compile", "ran-last"], "{log}");
    Ok(())
}

fn who_reads_a_cache_that_is_gone(lab: &Lab) -> Tested {
    let first = scene(lab, "one")?;
    let dir = first.work().join("cache");
    let build = || lab.build(&first, &["--cache-to=type=local,dest=cache,mode=max", "ctx"]).ok();
    build();
    let index = fs::read(dir.join("index.json")).expect("the index");
    let before = blobs(&dir);
    change(&first, "second");
    build();
    let gone: Vec<String> = before.difference(&blobs(&dir)).cloned().collect();
    assert!(!gone.is_empty());
    // Somebody read the index before it was replaced: the cache's manifest is gone.
    let new = fs::read(dir.join("index.json")).expect("the index");
    fs::write(dir.join("index.json"), index).expect("the index");
    let from = format!("--cache-from=type=local,src={}", dir.display());
    let second = scene(lab, "one")?;
    let (last, steps, log) = last_of(lab, &second, &[&from]);
    assert_eq!((last.as_str(), steps), ("source\nt\none\n", STEPS.to_vec()), "{log}");
    assert!(log.contains("is not used: "), "{log}");
    // And somebody read the manifest too: layers are gone.
    fs::write(dir.join("index.json"), new).expect("the index");
    let (keep, third) = (first.work().join("keep"), scene(lab, "one")?);
    change(&third, "second");
    tool(&first, Path::new("/bin/cp"), &["-a", "cache", "keep"]);
    for blob in fs::read_dir(keep.join("blobs/sha256")).expect("blobs").flatten() {
        let bytes = fs::read(blob.path()).expect("a blob");
        if !bytes.starts_with(b"{") {
            fs::remove_file(blob.path()).expect("removed");
        }
    }
    let from = format!("--cache-from=type=local,src={}", keep.display());
    let to = format!("--cache-to=type=local,dest={},mode=max", keep.display());
    // Also where the directory is written again with what it was thought to have.
    let log = lab.build(&third, &[&from, &to, "-o", "type=cacheonly", "ctx"]).ok().err;
    assert!(log.contains("is no longer used: layers of it cannot be had"), "{log}");
    let fourth = scene(lab, "one")?;
    change(&fourth, "second");
    let (last, steps, log) = last_of(lab, &fourth, &[&from]);
    assert_eq!((last.as_str(), steps), ("second\nt\none\n", vec![]), "{log}");
    Ok(())
}

fn writers_wait_for_each_other(lab: &Lab) -> Tested {
    let places = [scene(lab, "one")?, scene(lab, "one")?, scene(lab, "one")?];
    let dir = places[0].root().join("shared").display().to_string();
    for round in ["first", "second"] {
        std::thread::scope(|scope| {
            let writers: Vec<_> = places
                .iter()
                .enumerate()
                .map(|(at, place)| {
                    change(place, &format!("{round} {at}"));
                    let to = format!("--cache-to=type=local,dest={dir},tag=t{at},mode=max");
                    let mut command = place.command(lab.build_args(&[&to, "ctx"]));
                    scope.spawn(move || Told::of(&command.output().expect("it ends")))
                })
                .collect();
            for writer in writers {
                writer.join().expect("a thread").ok();
            }
        });
    }
    for at in 0..places.len() {
        let reader = scene(lab, "one")?;
        change(&reader, &format!("second {at}"));
        let from = format!("--cache-from=type=local,src={dir},tag=t{at}");
        let (last, steps, log) = last_of(lab, &reader, &[&from]);
        assert_eq!((last, steps), (format!("second {at}\nt\none\n"), vec![]), "{log}");
    }
    Ok(())
}
