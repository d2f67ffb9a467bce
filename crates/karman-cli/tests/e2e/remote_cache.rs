//! `--cache-to` and `--cache-from`: a second store starts warm, and never wrong.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use karman_testing::{Place, Skip, Tested};
use serde_json::Value;

use crate::Tests;
use crate::lab::{Lab, need, tool};
use crate::layout::Layout;
use crate::proxy::{Asked, Fault, Proxy};
use crate::registry::{Registry, flip};

pub(crate) const TESTS: Tests = &[
    ("a_second_store_runs_only_the_changed_step", a_second_store_runs_only_the_changed_step),
    ("only_what_is_needed_is_fetched", only_what_is_needed_is_fetched),
    ("a_directory_keeps_all_steps_or_those_of_the_image", a_directory_keeps_all_steps_or_few),
    ("an_image_carries_its_own_cache", an_image_carries_its_own_cache),
    ("a_cache_that_is_rubbish_is_told_and_passed_over", rubbish_is_passed_over),
    ("a_layer_that_is_damaged_is_made_again", a_layer_that_is_damaged_is_made_again),
    ("a_warm_store_passes_its_cache_on", a_warm_store_passes_its_cache_on),
    ("a_push_fetches_nothing_that_the_registry_has", a_push_fetches_nothing_that_is_there),
    ("a_push_of_layers_that_are_gone_makes_them", a_push_of_layers_that_are_gone_makes_them),
    ("results_that_share_a_layer_fetch_it_once", results_that_share_a_layer_fetch_it_once),
    ("bake_reads_and_writes_caches", bake_reads_and_writes_caches),
    ("a_cache_that_cannot_be_written", a_cache_that_cannot_be_written),
];

/// The steps of a build that say so when they run.
pub(crate) const STEPS: [&str; 3] = ["ran-tools", "ran-compile", "ran-last"];

fn dockerfile(last: &str) -> String {
    format!(
        "FROM busybox AS build\n\
         RUN echo ran-tools && head -c 300000 /dev/urandom > /tools && echo t > /etc/tools\n\
         COPY src /src\n\
         RUN echo ran-compile && cat /src/a /etc/tools > /out && chmod 700 /out\n\
         FROM busybox\n\
         COPY --from=build /out /out\n\
         RUN echo ran-last && cat /out > /last && echo {last} >> /last\n"
    )
}

/// A place with the build; its files are as old as everywhere, or not.
pub(crate) fn scene(lab: &Lab, last: &str) -> Result<Place, Skip> {
    let place = lab.place()?;
    place.write("ctx/Dockerfile", dockerfile(last));
    place.write("ctx/src/a", "source\n");
    place.write("ctx/src/b", "more\n");
    Ok(place)
}

/// The steps that ran, by the log.
fn ran(log: &str) -> Vec<&'static str> {
    let says =
        |step: &str| log.lines().any(|l| l.starts_with('#') && l.ends_with(&format!(" {step}")));
    STEPS.into_iter().filter(|step| says(step)).collect()
}

pub(crate) fn last_of(
    lab: &Lab,
    place: &Place,
    args: &[&str],
) -> (String, Vec<&'static str>, String) {
    let log = lab.build(place, &[&["-o", "files"], args, &["ctx"]].concat()).ok().err;
    let last = fs::read_to_string(place.work().join("files/last")).expect("the file");
    (last, ran(&log), log)
}

fn a_second_store_runs_only_the_changed_step(lab: &Lab) -> Tested {
    let first = scene(lab, "one")?;
    let registry = Registry::start(lab, &first, false)?;
    let reference = format!("127.0.0.1:{}/app:cache", registry.port);
    let to = format!("--cache-to=type=registry,ref={reference},mode=max");
    let log = lab.build(&first, &[&to, "-t", "app", "ctx"]).ok().err;
    assert_eq!(ran(&log), STEPS);
    assert!(log.contains("exporting cache to registry"), "{log}");

    let second = scene(lab, "one")?;
    let from = format!("--cache-from={reference}");
    let (last, steps, log) = last_of(lab, &second, &[&from]);
    assert_eq!((last.as_str(), steps), ("source\nt\none\n", vec![]), "{log}");
    assert!(log.contains(&format!("importing cache manifest from {reference}")), "{log}");
    assert!(log.contains("CACHED"), "{log}");

    let third = scene(lab, "two")?;
    let (last, steps, log) = last_of(lab, &third, &[&from]);
    assert_eq!((last.as_str(), steps), ("source\nt\ntwo\n", vec!["ran-last"]), "{log}");
    // What was fetched is our own from now on: no cache is asked.
    let (_, steps, log) = last_of(lab, &third, &[&from]);
    assert!(steps.is_empty() && !log.contains("importing"), "{log}");
    // A changed source is no hit.
    third.write("ctx/src/a", "changed\n");
    let (last, steps, _) = last_of(lab, &third, &[&from]);
    assert_eq!((last.as_str(), steps), ("changed\nt\ntwo\n", vec!["ran-compile", "ran-last"]));
    // The image made of the cache is the one that was made without.
    let digest = |place: &Place, args: &[&str]| lab.digest(place, &[args, &["ctx"]].concat());
    assert_eq!(digest(&second, &[&from]), digest(&first, &[]));
    let zstd = ["-o", "type=oci,dest=x.tar,compression=zstd"];
    let fourth = scene(lab, "one")?;
    let other = [&zstd[..], &[&from]].concat();
    assert_eq!(digest(&fourth, &other), digest(&first, &zstd), "in another compression too");
    Ok(())
}

fn blobs(dir: &Path) -> Vec<u64> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|e| e.metadata().expect("a blob").len()).collect()
}

fn only_what_is_needed_is_fetched(lab: &Lab) -> Tested {
    let first = scene(lab, "one")?;
    let registry = Registry::start(lab, &first, false)?;
    let reference = format!("127.0.0.1:{}/app:cache", registry.port);
    let to = format!("--cache-to=type=registry,ref={reference},mode=max,image-manifest=false");
    lab.build(&first, &[&to, "ctx"]).ok();
    let second = scene(lab, "two")?;
    let from = format!("--cache-from=type=registry,ref={reference}");
    last_of(lab, &second, &[&from]);
    let has_tools = |place: &Place| {
        blobs(&place.store().join("blobs/sha256")).iter().any(|b| *b > 290_000 && *b < 310_000)
    };
    assert!(has_tools(&first) && !has_tools(&second), "the layer of the other stage stays there");
    // An image of cached steps needs blobs, but nothing is unpacked.
    let third = scene(lab, "one")?;
    lab.build(&third, &[&from, "-t", "app", "ctx"]).ok();
    assert_eq!(blobs(&third.store().join("snapshots")).len(), 0, "no layer is unpacked");
    assert_eq!(third.run(["run", "app", "--", "cat", "/last"]).ok().out, "source\nt\none\n");
    Ok(())
}

fn a_directory_keeps_all_steps_or_few(lab: &Lab) -> Tested {
    let first = scene(lab, "one")?;
    lab.build(&first, &["--cache-to=type=local,dest=min", "ctx"]).ok();
    let max = "--cache-to=type=local,dest=max,mode=max,compression=zstd,tag=all";
    lab.build(&first, &[max, "ctx"]).ok();
    let dir = |name: &str| first.work().join(name).display().to_string();
    let (min, max) = (dir("min"), dir("max"));
    let second = scene(lab, "two")?;
    let (_, steps, log) =
        last_of(lab, &second, &[&format!("--cache-from=type=local,src={max},tag=all")]);
    assert_eq!(steps, ["ran-last"], "{log}");
    let third = scene(lab, "one")?;
    third.write("ctx/src/a", "changed\n");
    let (_, steps, log) = last_of(lab, &third, &[&format!("--cache-from=type=local,src={min}")]);
    assert_eq!(steps, STEPS, "steps of other stages are not in a cache of mode min: {log}");
    let fourth = scene(lab, "two")?;
    let (_, steps, _) = last_of(lab, &fourth, &[&format!("--cache-from=type=local,src={min}")]);
    assert_eq!(steps, ["ran-last"]);
    // A second write of the same adds nothing, another tag stands beside.
    let before = blobs(&first.work().join("max/blobs/sha256")).len();
    lab.build(&first, &["--cache-to=type=local,dest=max,mode=max,compression=zstd,tag=b", "ctx"])
        .ok();
    assert_eq!(blobs(&first.work().join("max/blobs/sha256")).len(), before);
    let index = fs::read_to_string(first.work().join("max/index.json")).expect("an index");
    let index: Value = serde_json::from_str(&index).expect("JSON");
    assert_eq!(index["manifests"].as_array().map(Vec::len), Some(2));
    Ok(())
}

fn an_image_carries_its_own_cache(lab: &Lab) -> Tested {
    let first = scene(lab, "one")?;
    let registry = Registry::start(lab, &first, false)?;
    let tag = format!("127.0.0.1:{}/app:1", registry.port);
    lab.build(&first, &["--cache-to=type=inline", "-t", &tag, "--push", "ctx"]).ok();
    let second = scene(lab, "two")?;
    let (last, steps, log) = last_of(lab, &second, &[&format!("--cache-from={tag}")]);
    assert_eq!((last.as_str(), steps), ("source\nt\ntwo\n", vec!["ran-last"]), "{log}");
    // Without it an image is no cache, which is told.
    lab.build(&first, &["-t", &tag, "--push", "ctx"]).ok();
    let third = scene(lab, "two")?;
    let (_, steps, log) = last_of(lab, &third, &[&format!("--cache-from={tag}")]);
    assert_eq!(steps, STEPS);
    assert!(log.contains("is not used: it holds no cache"), "{log}");
    // Other layers than those of the steps are no cache, which is told before anything runs.
    let output = ["-o", "type=oci,dest=x.tar,layering=packages"];
    let fourth = scene(lab, "one")?;
    let told = lab.build(&fourth, &[&["--cache-to=type=inline"], &output[..], &["ctx"]].concat());
    let told = told.is(2, "an inline cache needs the layers of the steps");
    assert!(told.err.contains("hint: ") && ran(&told.err).is_empty(), "{}", told.err);
    assert!(!fourth.work().join("x.tar").exists());
    Ok(())
}

fn rubbish_is_passed_over(lab: &Lab) -> Tested {
    let first = scene(lab, "one")?;
    let registry = Registry::start(lab, &first, false)?;
    lab.build(&first, &["--cache-to=type=local,dest=cache,mode=max", "ctx"]).ok();
    let cache = first.work().join("cache");
    let index = fs::read_to_string(cache.join("index.json")).expect("an index");
    let index: Value = serde_json::from_str(&index).expect("JSON");
    let top = index["manifests"][0]["digest"].as_str().expect("a digest").replace("sha256:", "");
    flip(&cache.join("blobs/sha256").join(top));
    let local = format!("type=local,src={}", cache.display());
    let none = format!("127.0.0.1:{}/app:none", registry.port);
    let nobody = "127.0.0.1:1/app:none".to_owned();
    for (from, why) in [
        (local.as_str(), "is not what its name says"),
        (none.as_str(), "is not used: "),
        (nobody.as_str(), "is not used: "),
        ("type=local,src=nowhere", "is not used: "),
    ] {
        let place = scene(lab, "one")?;
        let (last, steps, log) = last_of(lab, &place, &[&format!("--cache-from={from}")]);
        assert_eq!((last.as_str(), steps), ("source\nt\none\n", STEPS.to_vec()), "{from}: {log}");
        assert!(log.contains("WARNING") && log.contains(why), "{from}: {log}");
    }
    Ok(())
}

fn a_layer_that_is_damaged_is_made_again(lab: &Lab) -> Tested {
    let first = scene(lab, "one")?;
    let registry = Registry::start(lab, &first, false)?;
    let reference = format!("127.0.0.1:{}/app:cache", registry.port);
    let to = format!("--cache-to=type=registry,ref={reference},mode=max");
    lab.build(&first, &[&to, "-o", "type=oci,dest=out,tar=false", "ctx"]).ok();
    let skopeo = need("skopeo")?;
    let name = format!("docker://{reference}");
    let told = tool(&first, &skopeo, &["inspect", "--raw", "--tls-verify=false", &name]);
    let manifest: Value = serde_json::from_str(&told.out).expect("JSON");
    assert_eq!(manifest["config"]["mediaType"], "application/vnd.buildkit.cacheconfig.v0");
    for layer in manifest["layers"].as_array().expect("layers") {
        flip(&registry.blob(layer["digest"].as_str().expect("a digest")));
    }
    let second = scene(lab, "two")?;
    let (last, steps, log) = last_of(lab, &second, &[&format!("--cache-from={reference}")]);
    assert_eq!((last.as_str(), steps), ("source\nt\ntwo\n", STEPS.to_vec()), "{log}");
    assert!(log.contains("is no longer used: layers of it cannot be had"), "{log}");
    assert_eq!(second.run(["cache", "du"]).code, 0);
    Ok(())
}

fn a_warm_store_passes_its_cache_on(lab: &Lab) -> Tested {
    let first = scene(lab, "one")?;
    let registry = Registry::start(lab, &first, false)?;
    let reference = format!("127.0.0.1:{}/app:cache", registry.port);
    let to = |name: &str| format!("--cache-to=type=registry,ref={reference}{name},mode=max");
    lab.build(&first, &[&to(""), "ctx"]).ok();
    // All steps come from the cache, and none of the other stage is looked at: it is written all the same.
    let second = scene(lab, "one")?;
    let from = format!("--cache-from={reference}");
    lab.build(&second, &[&from, &to("2"), "ctx"]).ok();
    let third = scene(lab, "two")?;
    third.write("ctx/src/b", "changed\n");
    let (_, steps, log) = last_of(lab, &third, &[&format!("{from}2")]);
    assert_eq!(steps, ["ran-compile", "ran-last"], "{log}");
    Ok(())
}

/// Blobs of which the bytes were asked for, and blobs that were mounted.
fn moved(proxy: &Proxy) -> (usize, usize) {
    let seen = proxy.seen();
    let fetched = |a: &&Asked| a.method == "GET" && a.target.contains("/blobs/sha256:");
    let mounted = |a: &&Asked| a.method == "POST" && a.target.contains("mount=");
    (seen.iter().filter(fetched).count(), seen.iter().filter(mounted).count())
}

fn a_push_fetches_nothing_that_is_there(lab: &Lab) -> Tested {
    let first = scene(lab, "one")?;
    let registry = Registry::start(lab, &first, false)?;
    let cache = |port: u16, tag: &str| format!("127.0.0.1:{port}/app:{tag}");
    let to = format!("--cache-to=type=registry,ref={},mode=max", cache(registry.port, "cache"));
    let digest = lab.digest(&first, &[&to, "ctx"]);
    let second = scene(lab, "one")?;
    let proxy = Proxy::start(registry.port, |_| None);
    let from = format!("--cache-from={}", cache(proxy.port, "cache"));
    let other = format!("127.0.0.1:{}/other:1", proxy.port);
    let copy = format!("127.0.0.1:{}/copy:cache", proxy.port);
    let to = format!("--cache-to=type=registry,ref={copy},mode=max");
    assert_eq!(lab.digest(&second, &[&from, &to, "--push", "-t", &other, "ctx"]), digest);
    // Of all blobs the config of the cache alone is fetched. Mounted: three layers of the image, five and the config of the cache.
    assert_eq!(moved(&proxy), (1, 9), "{:?}", proxy.seen());
    assert!(proxy.sent() < 100_000, "{} bytes", proxy.sent());
    let pulled = lab.place()?;
    pulled.run(["pull", &other]).ok();
    assert_eq!(pulled.run(["run", &other, "--", "cat", "/last"]).ok().out, "source\nt\none\n");
    // The image is in the own store too: its layers come when something wants them.
    second.run(["cache", "verify"]).ok();
    second.run(["image", "tag", &other, "mine"]).ok();
    let third = format!("127.0.0.1:{}/third:1", proxy.port);
    second.run(["image", "tag", &other, &third]).ok();
    second.run(["push", &third]).ok();
    assert_eq!(moved(&proxy).0 - moved_by_pull(&pulled, &other), 1);
    assert_eq!(second.run(["run", "mine", "--", "cat", "/last"]).ok().out, "source\nt\none\n");
    second.write("next/Dockerfile", "FROM mine\nRUN cat /last\n");
    second.run(["build", "next"]).ok();
    // To another registry the bytes must go.
    let fourth = scene(lab, "one")?;
    let elsewhere = Registry::empty(&fourth, "", "")?;
    let there = format!("127.0.0.1:{}/app:1", elsewhere.port);
    assert_eq!(lab.digest(&fourth, &[&from, "--push", "-t", &there, "ctx"]), digest);
    pulled.run(["pull", &there]).ok();
    Ok(())
}

/// The blobs that a pull of an image fetches.
fn moved_by_pull(place: &Place, name: &str) -> usize {
    let told: Value =
        serde_json::from_str(&place.run(["image", "inspect", name]).ok().out).expect("JSON");
    1 + told["platforms"][0]["manifest"]["layers"].as_array().map_or(0, Vec::len)
}

fn a_push_of_layers_that_are_gone_makes_them(lab: &Lab) -> Tested {
    let first = scene(lab, "one")?;
    let registry = Registry::start(lab, &first, false)?;
    let reference = format!("127.0.0.1:{}/app:cache", registry.port);
    let to = format!("--cache-to=type=registry,ref={reference}");
    lab.build(&first, &[&to, "-o", "type=oci,dest=out,tar=false", "ctx"]).ok();
    let image = Layout::open(&first.work().join("out"));
    let last = image.manifest["layers"][2]["digest"].as_str().expect("a digest");
    fs::remove_file(registry.blob(last)).expect("removed");
    let second = scene(lab, "one")?;
    let other = format!("127.0.0.1:{}/other:1", registry.port);
    let from = format!("--cache-from={reference}");
    let log = lab.build(&second, &[&from, "--push", "-t", &other, "ctx"]).ok().err;
    assert!(log.contains("is no longer used: layers of it cannot be had"), "{log}");
    assert_eq!(ran(&log), STEPS);
    let third = lab.place()?;
    third.run(["pull", &other]).ok();
    assert_eq!(third.run(["run", &other, "--", "cat", "/last"]).ok().out, "source\nt\none\n");
    Ok(())
}

fn results_that_share_a_layer_fetch_it_once(lab: &Lab) -> Tested {
    let text = |last: &str| {
        format!(
            "FROM busybox AS base\nRUN head -c 300000 /dev/urandom > /big\n\
             FROM base AS a\nRUN echo mid > /mid\nRUN cat /mid > /a && echo {last} >> /a\n\
             FROM base AS b\nRUN echo {last} > /b\n\
             FROM scratch\nCOPY --from=a /a /\nCOPY --from=b /b /\n"
        )
    };
    let first = lab.place()?;
    let registry = Registry::start(lab, &first, false)?;
    first.write("ctx/Dockerfile", text("one"));
    let cache = |port: u16| format!("127.0.0.1:{port}/app:cache");
    let to = format!("--cache-to=type=registry,ref={},mode=max", cache(registry.port));
    lab.build(&first, &[&to, "ctx"]).ok();
    // Slow enough that both results come to their common layers while these are on their way.
    let slow = |asked: &Asked| {
        let is_blob = asked.method == "GET" && asked.target.contains("/blobs/");
        is_blob.then_some(Fault::Stall(Duration::from_millis(300)))
    };
    let proxy = Proxy::start(registry.port, slow);
    let second = lab.place()?;
    second.write("ctx/Dockerfile", text("two"));
    let from = format!("--cache-from={}", cache(proxy.port));
    lab.build(&second, &[&from, "-o", "files", "ctx"]).ok();
    assert_eq!(fs::read_to_string(second.work().join("files/a")).expect("a"), "mid\ntwo\n");
    let seen = proxy.seen();
    let blobs: Vec<&str> = seen
        .iter()
        .filter(|a| a.method == "GET" && a.target.contains("/blobs/"))
        .map(|a| a.target.as_str())
        .collect();
    let apart: BTreeSet<&str> = blobs.iter().copied().collect();
    assert_eq!((blobs.len(), apart.len()), (4, 4), "the config and three layers: {blobs:?}");
    Ok(())
}

fn bake_reads_and_writes_caches(lab: &Lab) -> Tested {
    let first = scene(lab, "one")?;
    let file = format!(
        "target \"app\" {{\n  context = \"ctx\"\n  contexts = {{ busybox = \"{}\" }}\n  \
         cache-to = [\"type=local,dest=cache,mode=max\"]\n}}\n",
        lab.base()
    );
    first.write("docker-bake.hcl", &file);
    let bake = ["bake", "--progress=plain", "--allow=fs=/"];
    first.run([&bake[..], &["app"]].concat()).ok();
    let second = scene(lab, "two")?;
    second.write("docker-bake.hcl", &file);
    let cache = first.work().join("cache").display().to_string();
    let set = format!("app.cache-from=type=local,src={cache}");
    let log = second.run([&bake[..], &["--set", &set, "app"]].concat()).ok().err;
    assert_eq!(ran(&log), ["ran-last"], "{log}");
    assert!(second.work().join("cache/index.json").exists());
    Ok(())
}

fn a_cache_that_cannot_be_written(lab: &Lab) -> Tested {
    let place = scene(lab, "one")?;
    place.write("file", "");
    let to = "--cache-to=type=local,dest=file/below";
    let told = lab.build(&place, &[to, "-o", "files", "ctx"]);
    assert!(told.code != 0 && told.err.contains("write the cache"), "{}", told.err);
    assert!(place.work().join("files/last").exists(), "the result is there");
    let told = lab.build(&place, &[&format!("{to},ignore-error=true"), "ctx"]).ok();
    assert!(told.err.contains("WARNING") && told.err.contains("was not written"), "{}", told.err);
    Ok(())
}
