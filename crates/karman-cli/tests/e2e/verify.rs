//! Signatures that other programs verify, and rebuilds that must be the same.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, SystemTime};

use karman_testing::{Place, Skip, Tested};
use serde_json::Value;

use crate::Tests;
use crate::lab::{Lab, need, tool, tool_tells};
use crate::registry::Registry;

pub(crate) const TESTS: Tests = &[
    ("openssl_verifies_signatures", openssl_verifies_signatures),
    ("keys_of_openssl_sign", keys_of_openssl_sign),
    ("a_password_guards_the_key", a_password_guards_the_key),
    ("signatures_are_of_one_image_by_one_key", signatures_are_of_one_image_by_one_key),
    ("layouts_keep_their_signatures", layouts_keep_their_signatures),
    ("registries_keep_signatures", registries_keep_signatures),
    ("a_rebuild_is_the_same", a_rebuild_is_the_same),
    ("an_inline_cache_is_rebuilt_too", an_inline_cache_is_rebuilt_too),
    (
        "a_base_of_the_local_store_is_named_for_the_rebuild",
        a_base_of_the_local_store_is_named_for_the_rebuild,
    ),
    ("bake_targets_are_rebuilt_with_what_they_link", bake_targets_are_rebuilt_with_what_they_link),
    ("attested_images_are_rebuilt_elsewhere", attested_images_are_rebuilt_elsewhere),
    ("what_is_known_of_an_image_goes_with_it", what_is_known_of_an_image_goes_with_it),
    ("the_first_difference_is_named", the_first_difference_is_named),
    ("what_the_provenance_leaves_out_is_asked_for", what_the_provenance_leaves_out_is_asked_for),
];

/// A place with a key pair whose password is empty, and an image `demo`.
fn place(lab: &Lab) -> Result<Place, Skip> {
    let place = lab.place()?.with_env("COSIGN_PASSWORD", "");
    place.write(
        "ctx/Dockerfile",
        "FROM busybox\nARG WORD=a\nCOPY own /own\nRUN echo $WORD > /made\n",
    );
    dated(&place, "ctx/own", b"own\n");
    place.run(["generate-key-pair"]).ok();
    lab.build(&place, &["-t", "demo", "ctx"]).ok();
    Ok(place)
}

/// Files of a context keep their times, so that equal ones are equally old.
fn dated(place: &Place, name: &str, content: &[u8]) {
    let file = fs::File::options().write(true).open(place.write(name, content)).expect("a file");
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    file.set_modified(time).expect("a time");
}

fn base_context(lab: &Lab) -> String {
    format!("busybox={}", lab.base())
}

fn openssl_verifies_signatures(lab: &Lab) -> Tested {
    let openssl = need("openssl")?;
    let place = place(lab)?;
    let mode = fs::metadata(place.work().join("cosign.key")).expect("a key").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let args = ["sign", "--key", "cosign.key", "--output-signature", "sig", "--output-payload"];
    place.run([&args[..], &["payload", "demo"]].concat()).ok();
    tool(&place, &openssl, &["base64", "-d", "-A", "-in", "sig", "-out", "sig.der"]);
    let args = ["dgst", "-sha256", "-verify", "cosign.pub", "-signature", "sig.der", "payload"];
    assert!(tool(&place, &openssl, &args).out.contains("Verified OK"));
    let payload = fs::read_to_string(place.work().join("payload")).expect("a payload");
    let claim: Value = serde_json::from_str(&payload).expect("JSON");
    assert_eq!(claim["critical"]["type"], "cosign container image signature");
    let identity = &claim["critical"]["identity"]["docker-reference"];
    assert_eq!(identity, "index.docker.io/library/demo");
    place.write("payload", payload.replace("cosign", "c0sign"));
    assert_ne!(tool_tells(&place, &openssl, &args).code, 0);
    // What is kept with the image is the same signature: RFC 6979 has no chance in it.
    let told = place.run(["verify", "--key", "cosign.pub", "demo"]).ok();
    let claims: Value = serde_json::from_str(&told.out).expect("JSON");
    assert_eq!(claims.as_array().map(Vec::len), Some(1));
    assert_eq!(claims[0]["critical"], claim["critical"]);
    Ok(())
}

fn keys_of_openssl_sign(lab: &Lab) -> Tested {
    let openssl = need("openssl")?;
    let place = place(lab)?;
    let curve = ["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "sec1.pem"];
    tool(&place, &openssl, &curve);
    tool(
        &place,
        &openssl,
        &["pkcs8", "-topk8", "-nocrypt", "-in", "sec1.pem", "-out", "pkcs8.pem"],
    );
    tool(&place, &openssl, &["ec", "-in", "sec1.pem", "-pubout", "-out", "pub.pem"]);
    for key in ["sec1.pem", "pkcs8.pem"] {
        place.run(["sign", "--key", key, "demo"]).ok();
        place.run(["verify", "--key", "pub.pem", "demo"]).ok();
    }
    tool(&place, &openssl, &["genpkey", "-algorithm", "ed25519", "-out", "other.pem"]);
    place.run(["sign", "--key", "other.pem", "demo"]).is(3, "no ECDSA key on P-256");
    Ok(())
}

fn a_password_guards_the_key(lab: &Lab) -> Tested {
    let place = lab.place()?.with_env("COSIGN_PASSWORD", "open sesame");
    place.write("ctx/Dockerfile", "FROM scratch\nCOPY own /own\n");
    place.write("ctx/own", "own\n");
    lab.build(&place, &["-t", "demo", "ctx"]).ok();
    place.run(["generate-key-pair", "--output-key-prefix", "mine"]).ok();
    place.run(["generate-key-pair", "--output-key-prefix", "mine"]).is(2, "exists");
    let key = fs::read_to_string(place.work().join("mine.key")).expect("a key");
    assert!(key.starts_with("-----BEGIN ENCRYPTED SIGSTORE PRIVATE"), "{key}");
    place.run(["sign", "--key", "mine.key", "demo"]).ok();
    let place = place.with_env("COSIGN_PASSWORD", "sesame");
    place.run(["sign", "--key", "mine.key", "demo"]).is(3, "the password does not open the key");
    Ok(())
}

fn signatures_are_of_one_image_by_one_key(lab: &Lab) -> Tested {
    let place = place(lab)?;
    let verify = |key: &str| place.run(["verify", "--key", key, "demo"]);
    verify("cosign.pub").is(8, "has no signature");
    place.run(["generate-key-pair", "--output-key-prefix", "other"]).ok();
    place.run(["sign", "--key", "other.key", "-a", "git=abc", "demo"]).ok();
    verify("cosign.pub").is(8, "none of the 1 signatures of `demo` is by this key");
    verify("other.pub").ok();
    let with = |text: &str| place.run(["verify", "--key", "other.pub", "-a", text, "demo"]);
    with("git=abc").ok();
    with("git=abd").is(8, "has other annotations");
    place.run(["sign", "--key", "cosign.key", "demo"]).ok();
    verify("cosign.pub").ok();
    verify("other.pub").ok();
    // A signature does not make a line of its own, and another image under the name has none.
    assert_eq!(place.run(["image", "ls", "--quiet"]).ok().out.lines().count(), 1);
    lab.build(&place, &["-t", "demo", "--build-arg", "WORD=b", "ctx"]).ok();
    verify("cosign.pub").is(8, "has no signature");
    Ok(())
}

fn layouts_keep_their_signatures(lab: &Lab) -> Tested {
    let place = place(lab)?;
    let output = ["-o", "type=oci,tar=false,dest=out", "-o", "type=oci,dest=out.tar"];
    lab.build(&place, &[&output[..], &["--provenance", "ctx"]].concat()).ok();
    place.run(["sign", "--key", "cosign.key", "--recursive", "./out"]).ok();
    place.run(["generate-key-pair", "--output-key-prefix", "other"]).ok();
    place.run(["sign", "--key", "other.key", "./out"]).ok();
    for key in ["cosign.pub", "other.pub"] {
        place.run(["verify", "--key", key, "./out"]).ok();
    }
    // The image is still the only one: readers do not take signatures for images.
    place.run(["inventory", "./out"]).ok();
    let index = fs::read_to_string(place.work().join("out/index.json")).expect("an index");
    let index: Value = serde_json::from_str(&index).expect("JSON");
    assert_eq!(index["manifests"].as_array().map(Vec::len), Some(3));
    place.run(["sign", "--key", "cosign.key", "./out.tar"]).is(3, "is an archive");
    Ok(())
}

fn registries_keep_signatures(lab: &Lab) -> Tested {
    let skopeo = need("skopeo")?;
    let place = place(lab)?;
    let registry = Registry::start(lab, &place, false)?;
    let name = format!("127.0.0.1:{}/team/demo:1", registry.port);
    let remote = format!("docker-image://{name}");
    lab.build(&place, &["-t", &name, "--push", "ctx"]).ok();
    place.run(["sign", "--key", "cosign.key", &remote]).ok();
    place.run(["verify", "--key", "cosign.pub", &remote]).ok();
    let seen =
        tool(&place, &skopeo, &["inspect", "--tls-verify=false", &format!("docker://{name}")]);
    let seen: Value = serde_json::from_str(&seen.out).expect("JSON");
    let tag = seen["Digest"].as_str().expect("a digest").replace(':', "-") + ".sig";
    let tags = seen["RepoTags"].as_array().expect("tags");
    assert!(tags.iter().any(|t| t == tag.as_str()), "{tags:?}");
    let kept = format!("docker://127.0.0.1:{}/team/demo:{tag}", registry.port);
    let raw = tool(&place, &skopeo, &["inspect", "--raw", "--tls-verify=false", &kept]).out;
    let raw: Value = serde_json::from_str(&raw).expect("JSON");
    let layer = &raw["layers"][0];
    assert_eq!(layer["mediaType"], "application/vnd.dev.cosign.simplesigning.v1+json");
    assert!(layer["annotations"]["dev.cosignproject.cosign/signature"].is_string(), "{layer}");
    // A push takes the signatures of the store along.
    let other = format!("127.0.0.1:{}/team/other:1", registry.port);
    place.run(["image", "tag", "demo", &other]).ok();
    place.run(["sign", "--key", "cosign.key", &other]).ok();
    place.run(["push", &other]).ok();
    place.run(["verify", "--key", "cosign.pub", &format!("docker-image://{other}")]).ok();
    Ok(())
}

fn a_rebuild_is_the_same(lab: &Lab) -> Tested {
    let place = place(lab)?;
    lab.build(&place, &["-t", "demo", "--build-arg", "WORD=b", "--label", "l=1", "ctx"]).ok();
    let base = base_context(lab);
    let told = place.run(["verify", "demo", "--build-context", &base]).ok();
    assert!(told.out.starts_with("demo@sha256:"), "{}", told.out);
    assert!(told.out.ends_with(": the rebuild is the same\n"), "{}", told.out);
    // From elsewhere: the directory in which it was built is named.
    place.write("elsewhere/x", "");
    let mut command = place.command(["verify", "demo", "..", "--build-context", &base]);
    let output = command.current_dir(place.work().join("elsewhere")).output().expect("run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let left = fs::read_dir(place.store().join("tmp")).expect("the store").count();
    assert_eq!(left, 0, "the rebuild's store is gone");
    Ok(())
}

/// The cache in an image's configuration is part of its digest.
fn an_inline_cache_is_rebuilt_too(lab: &Lab) -> Tested {
    let place = place(lab)?;
    let plain = place.run(["image", "ls", "-q"]).ok().out;
    lab.build(&place, &["-t", "demo", "--cache-to", "type=inline", "ctx"]).ok();
    assert_ne!(place.run(["image", "ls", "-q"]).ok().out, plain, "the cache is in the image");
    let told = place.run(["verify", "demo", "--build-context", &base_context(lab)]).ok();
    assert!(told.out.contains("the rebuild is the same"), "{}", told.out);
    Ok(())
}

/// The store of the rebuild has no images: a base of the local store alone is named where it is now.
fn a_base_of_the_local_store_is_named_for_the_rebuild(lab: &Lab) -> Tested {
    let place = place(lab)?;
    place.write("top/Dockerfile", "FROM demo\nRUN echo more > /more\n");
    place.run(["build", "-t", "top", "top"]).ok();
    lab.build(&place, &["-t", "demo", "-o", "type=oci,dest=base,tar=false", "ctx"]).ok();
    let told = place.run(["verify", "top", "--build-context", "demo=oci-layout://base"]).ok();
    assert!(told.out.contains("the rebuild is the same"), "{}", told.out);
    Ok(())
}

fn bake_targets_are_rebuilt_with_what_they_link(lab: &Lab) -> Tested {
    let place = place(lab)?;
    let base = lab.base();
    place.write(
        "app/Dockerfile",
        "FROM lower\nARG WHAT\nRUN echo $WHAT >> /made\nCOPY --from=files x /x\n",
    );
    place.write("files/x", "x\n");
    place.write(
        "docker-bake.hcl",
        format!(
            "target \"lower\" {{\n  context = \"ctx\"\n  contexts = {{ busybox = \"{base}\" }}\n  \
             args = {{ WORD = \"low\" }}\n}}\n\
             target \"app\" {{\n  context = \"app\"\n  args = {{ WHAT = \"app\" }}\n  \
             contexts = {{ lower = \"target:lower\", files = \"files\" }}\n  \
             output = [\"type=image,compression=zstd,annotation.a.b=c\"]\n}}\n"
        ),
    );
    place.run(["bake", "app"]).ok();
    place.run(["verify", "app", "--build-context", &base_context(lab)]).ok();
    place.write("files/x", "y\n");
    let told = place.run(["verify", "app", "--build-context", &base_context(lab)]);
    told.is(8, "/x: byte 0: 780a `x.` in the image, 790a `y.` in the rebuild");
    Ok(())
}

fn attested_images_are_rebuilt_elsewhere(lab: &Lab) -> Tested {
    let place = place(lab)?;
    let out = ["--provenance=mode=max", "-o", "type=oci,tar=false,dest=out", "ctx"];
    lab.build(&place, &out).ok();
    let other = lab.place()?;
    let layout = place.work().join("out").display().to_string();
    // The Dockerfile comes from the provenance, only the context must be there.
    dated(&other, "ctx/own", b"own\n");
    let base = base_context(lab);
    other.run(["verify", &layout, "--build-context", &base]).ok();
    other.write("ctx/own", "0wn\n");
    let told = other.run(["verify", &layout, "--build-context", &base]);
    told.is(8, "/own: byte 0: 6f776e0a `own.` in the image, 30776e0a `0wn.` in the rebuild");
    dated(&other, "ctx/own", b"own\n");
    let file = fs::File::options().write(true).open(other.work().join("ctx/own")).expect("a file");
    file.set_modified(SystemTime::UNIX_EPOCH).expect("a time");
    let told = other.run(["verify", &layout, "--build-context", &base]);
    told.is(8, "/own: time is 1700000000.000000000 in the image, 0.000000000 in the rebuild");
    Ok(())
}

fn what_is_known_of_an_image_goes_with_it(lab: &Lab) -> Tested {
    let place = place(lab)?;
    lab.build(
        &place,
        &["-t", "demo", "-o", "type=oci,tar=false,dest=out", "-o", "type=image", "ctx"],
    )
    .ok();
    let verify = || place.run(["verify", "./out", "--build-context", &base_context(lab)]);
    verify().ok();
    place.run(["cache", "prune", "--all", "--force"]).ok();
    verify().ok();
    place.run(["image", "rm", "demo"]).ok();
    place.run(["cache", "prune", "--all", "--force"]).ok();
    verify().is(7, "nobody says how `./out` was built");
    Ok(())
}

fn the_first_difference_is_named(lab: &Lab) -> Tested {
    let place = lab.place()?;
    place.write(
        "ctx/Dockerfile",
        "FROM busybox\nRUN date +%s%N > /now; cat /proc/sys/kernel/random/uuid > /chance\n",
    );
    lab.build(&place, &["-t", "demo", "ctx"]).ok();
    let told = place.run(["verify", "demo", "--build-context", &base_context(lab)]);
    let told = told.is(8, "the rebuild of `demo` is not the same");
    assert!(told.err.contains("first difference: layer 2: /chance: byte "), "{}", told.err);
    Ok(())
}

fn what_the_provenance_leaves_out_is_asked_for(lab: &Lab) -> Tested {
    let place = place(lab)?;
    let min = ["--provenance", "-o", "type=oci,tar=false,dest=out", "--build-arg", "WORD=b", "ctx"];
    lab.build(&place, &min).ok();
    let other = lab.place()?;
    let layout = place.work().join("out").display().to_string();
    let base = base_context(lab);
    let verify = |more: &[&str]| {
        let args = ["verify", &layout, "--build-context", &base];
        other.run([&args[..], more].concat())
    };
    verify(&[]).is(2, "the provenance has no text of the Dockerfile");
    let text = fs::read(place.work().join("ctx/Dockerfile")).expect("a file");
    other.write("ctx/Dockerfile", text);
    dated(&other, "ctx/own", b"own\n");
    verify(&[]).is(8, "first difference: layer 3: /made: byte 0: 620a `b.` in the image");
    verify(&["--build-arg", "WORD=b"]).ok();
    other.run(["verify", &layout]).is(2, "`--build-context busybox=PATH`");
    Ok(())
}
