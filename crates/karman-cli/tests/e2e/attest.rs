//! Attestations: provenance and bills of materials in the index of an image, and who reads it.

use std::fs;
use std::path::PathBuf;

use karman_testing::{Place, Tested};
use serde_json::Value;

use crate::Tests;
use crate::lab::{Lab, need, tool};
use crate::registry::Registry;

pub(crate) const TESTS: Tests = &[
    ("an_index_holds_the_image_and_statements", an_index_holds_the_image_and_statements),
    ("equal_inputs_have_equal_attestations", equal_inputs_have_equal_attestations),
    ("nothing_lent_and_no_place_is_attested", nothing_lent_and_no_place_is_attested),
    ("the_small_form_has_no_values", the_small_form_has_no_values),
    ("bake_merges_and_overrides_attestations", bake_merges_and_overrides_attestations),
    ("archives_of_docker_refuse_attestations", archives_of_docker_refuse_attestations),
    ("readers_find_the_image_beside_attestations", readers_find_the_image_beside_attestations),
    ("attestations_are_pushed_and_survive_a_prune", attestations_are_pushed_and_survive_a_prune),
];

const DOCKERFILE: &str = "\
FROM busybox AS build
ARG FLAVOUR=plain
RUN --mount=type=secret,id=key --network=none cat /run/secrets/key > /dev/null; echo $FLAVOUR > /made
FROM busybox
COPY --from=build /made /made
COPY own /own
";
const SECRET: &str = "s3cr3t-value-of-a-key";

fn place(lab: &Lab) -> Result<Place, karman_testing::Skip> {
    let place = lab.place()?;
    place.write("ctx/Dockerfile", DOCKERFILE);
    place.write("ctx/own", "own\n");
    place.write("key", SECRET);
    Ok(place)
}

const ARGS: [&str; 4] = ["--secret", "id=key,src=key", "--build-arg", "FLAVOUR=sweet"];

/// A layout that a build wrote.
struct Layout(PathBuf);

impl Layout {
    fn build(lab: &Lab, place: &Place, name: &str, more: &[&str]) -> Self {
        let output = format!("type=oci,tar=false,dest={name}");
        lab.build(place, &[&ARGS[..], &["-o", &output], more, &["ctx"]].concat()).ok();
        Self(place.work().join(name))
    }

    fn blob(&self, digest: &str) -> Value {
        serde_json::from_slice(&self.bytes(digest)).expect("JSON")
    }

    fn bytes(&self, digest: &str) -> Vec<u8> {
        let hex = digest.strip_prefix("sha256:").expect("a digest");
        fs::read(self.0.join("blobs/sha256").join(hex)).expect("a blob")
    }

    /// The only image's descriptor.
    fn top(&self) -> Value {
        let index = fs::read(self.0.join("index.json")).expect("an index");
        let index: Value = serde_json::from_slice(&index).expect("JSON");
        index["manifests"][0].clone()
    }

    /// The entries of the image's index.
    fn entries(&self) -> Vec<Value> {
        let index = self.blob(text(&self.top()["digest"]));
        index["manifests"].as_array().expect("entries").clone()
    }

    /// The statements about the first image.
    fn statements(&self) -> Vec<Value> {
        let entry = self.entries().pop().expect("an entry");
        let manifest = self.blob(text(&entry["digest"]));
        let layers = manifest["layers"].as_array().expect("layers");
        layers.iter().map(|layer| self.blob(text(&layer["digest"]))).collect()
    }

    fn provenance(&self) -> Value {
        let all = self.statements();
        let found =
            all.into_iter().find(|s| s["predicateType"] == "https://slsa.dev/provenance/v1");
        found.expect("a provenance")["predicate"].clone()
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

const MAX: [&str; 2] = ["--provenance=mode=max", "--sbom"];

fn an_index_holds_the_image_and_statements(lab: &Lab) -> Tested {
    let place = place(lab)?;
    let plain = Layout::build(lab, &place, "plain", &[]);
    let layout = Layout::build(lab, &place, "attested", &[&MAX[..], &["-t", "demo:1"]].concat());
    let entries = layout.entries();
    let [image, attestation] = entries.as_slice() else { panic!("{entries:?}") };
    // The image itself is the same with attestations and without.
    assert_eq!(image["digest"], plain.top()["digest"]);
    let annotations = &attestation["annotations"];
    assert_eq!(annotations["vnd.docker.reference.type"], "attestation-manifest");
    assert_eq!(annotations["vnd.docker.reference.digest"], image["digest"]);
    assert_eq!(attestation["platform"]["os"], "unknown");
    assert_eq!(attestation["platform"]["architecture"], "unknown");

    let manifest = layout.blob(text(&attestation["digest"]));
    let layers = manifest["layers"].as_array().expect("layers");
    let types: Vec<&str> =
        layers.iter().map(|l| text(&l["annotations"]["in-toto.io/predicate-type"])).collect();
    assert_eq!(types, ["https://spdx.dev/Document", "https://slsa.dev/provenance/v1"]);
    assert!(layers.iter().all(|l| l["mediaType"] == "application/vnd.in-toto+json"));
    let config = layout.blob(text(&manifest["config"]["digest"]));
    assert_eq!(config["os"], "unknown");
    assert_eq!(config["rootfs"]["diff_ids"][0], layers[0]["digest"]);
    for (statement, kind) in layout.statements().iter().zip(types) {
        assert_eq!(statement["_type"], "https://in-toto.io/Statement/v1");
        assert_eq!(statement["predicateType"], kind);
        let subject = &statement["subject"][0];
        assert_eq!(text(&subject["name"]), format!("pkg:docker/demo@1?platform={}", platform()));
        let digest = format!("sha256:{}", text(&subject["digest"]["sha256"]));
        assert_eq!(image["digest"], digest.as_str());
    }
    assert_eq!(layout.statements()[0]["predicate"]["spdxVersion"], "SPDX-2.3");
    let provenance = layout.provenance();
    let definition = &provenance["buildDefinition"];
    let parameters = &definition["externalParameters"];
    assert_eq!(parameters["configSource"]["path"], "ctx/Dockerfile");
    let request = &parameters["request"];
    assert_eq!(request["frontend"], "dockerfile.v0");
    assert_eq!(request["args"]["build-arg:FLAVOUR"], "sweet");
    assert_eq!(request["secrets"], serde_json::json!([{ "id": "key", "optional": true }]));
    let base = &definition["resolvedDependencies"][0];
    assert!(text(&base["uri"]).starts_with("pkg:oci/layout?platform="), "{base}");
    let steps = &definition["internalParameters"]["buildConfig"]["llbDefinition"];
    assert_eq!(steps[0]["id"], "step0");
    let sources = &provenance["runDetails"]["metadata"]["buildkit_metadata"]["source"]["infos"];
    assert_eq!(sources[0]["filename"], "ctx/Dockerfile");
    assert_eq!(sources[0]["digest"], parameters["configSource"]["digest"]);
    assert_eq!(provenance["runDetails"]["metadata"]["buildkit_hermetic"], true);
    Ok(())
}

fn platform() -> String {
    karman_oci::Platform::host().to_string().replace('/', "%2F")
}

fn equal_inputs_have_equal_attestations(lab: &Lab) -> Tested {
    let digests = [place(lab)?, place(lab)?].map(|place| {
        let layout = Layout::build(lab, &place, "out", &MAX);
        text(&layout.top()["digest"]).to_owned()
    });
    assert_eq!(digests[0], digests[1]);
    Ok(())
}

fn nothing_lent_and_no_place_is_attested(lab: &Lab) -> Tested {
    let place = place(lab)?;
    let context = place.work().join("ctx").to_string_lossy().into_owned();
    let other = place.root().join("tmp/other");
    fs::create_dir(&other).expect("a directory");
    let named = format!("other={}", other.display());
    let proxy = "HTTP_PROXY=http://user:pass-word@proxy.example:3128";
    let more = ["-o", "type=oci,tar=false,dest=out", "--build-arg", proxy];
    let args = [&ARGS[..], &MAX, &more, &["--build-context", &named, &context]].concat();
    lab.build(&place, &args).ok();
    let layout = Layout(place.work().join("out"));
    let all = layout.statements().iter().map(Value::to_string).collect::<String>();
    let root = place.root().to_string_lossy().into_owned();
    for word in [SECRET, "pass-word", "proxy.example", &root, &*lab.base_dir().to_string_lossy()] {
        assert!(!all.contains(word), "`{word}` in {all}");
    }
    let locals = layout.provenance()["buildDefinition"]["externalParameters"]["request"]["locals"]
        .to_string();
    let wanted = r#"[{"name":"context","path":"ctx"},{"name":"busybox"},{"name":"other"}]"#;
    assert_eq!(locals, wanted);
    Ok(())
}

fn the_small_form_has_no_values(lab: &Lab) -> Tested {
    let place = place(lab)?;
    let layout = Layout::build(lab, &place, "out", &["--attest", "type=provenance"]);
    let provenance = layout.provenance();
    let definition = &provenance["buildDefinition"];
    let request = &definition["externalParameters"]["request"];
    assert!(request["args"].get("build-arg:FLAVOUR").is_none(), "{request}");
    assert!(request.get("secrets").is_none(), "{request}");
    assert!(definition["internalParameters"].get("buildConfig").is_none(), "{definition}");
    let metadata = &provenance["runDetails"]["metadata"];
    assert!(metadata.get("buildkit_metadata").is_none(), "{metadata}");
    assert_eq!(metadata["buildkit_completeness"]["request"], false);
    Ok(())
}

fn bake_merges_and_overrides_attestations(lab: &Lab) -> Tested {
    let place = place(lab)?;
    let base = lab.base();
    place.write(
        "docker-bake.hcl",
        format!(
            "target \"base\" {{\n  context = \"ctx\"\n  contexts = {{ busybox = \"{base}\" }}\n  \
             attest = [\"type=provenance,mode=min\", \"type=sbom\"]\n}}\n\
             target \"default\" {{\n  inherits = [\"base\"]\n  tags = [\"demo\"]\n  \
             secret = [\"id=key,src=key\"]\n  args = {{ FLAVOUR = \"sweet\" }}\n  \
             output = [\"type=oci,tar=false,dest=out\"]\n  \
             attest = [\"type=provenance,mode=max,builder-id=https://ci.example/7\"]\n}}\n"
        ),
    );
    place.run(["bake", "--metadata-file", "meta"]).ok();
    let layout = Layout(place.work().join("out"));
    assert_eq!(layout.statements().len(), 2);
    let provenance = layout.provenance();
    assert_eq!(provenance["runDetails"]["builder"]["id"], "https://ci.example/7");
    let request = &provenance["buildDefinition"]["externalParameters"]["request"];
    assert_eq!(request["args"]["build-arg:FLAVOUR"], "sweet");

    let meta = fs::read_to_string(place.work().join("meta")).expect("metadata");
    let meta: Value = serde_json::from_str(&meta).expect("JSON");
    let told = &meta["default"]["buildx.build.provenance"]["buildDefinition"];
    assert_eq!(told["externalParameters"]["configSource"]["path"], "ctx/Dockerfile");
    assert!(told["internalParameters"].get("buildConfig").is_none(), "{told}");

    fs::remove_dir_all(place.work().join("out")).expect("removed");
    place.run(["bake", "--provenance=false"]).ok();
    let left = layout.statements();
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(left[0]["predicateType"], "https://spdx.dev/Document");

    fs::remove_dir_all(place.work().join("out")).expect("removed");
    place.run(["bake", "--provenance=0", "--sbom=false"]).ok();
    let media = "application/vnd.oci.image.manifest.v1+json";
    assert_eq!(layout.top()["mediaType"], media);
    Ok(())
}

fn archives_of_docker_refuse_attestations(lab: &Lab) -> Tested {
    let place = place(lab)?;
    let args = ["--provenance", "-o", "type=docker,dest=x.tar", "ctx"];
    let told = lab.build(&place, &[&ARGS[..], &args].concat());
    told.is(2, "docker exporter does not support exporting manifest lists");
    assert!(!place.work().join("x.tar").exists());
    Ok(())
}

/// Everything that reads an image takes the image, not what is said about it.
fn readers_find_the_image_beside_attestations(lab: &Lab) -> Tested {
    let place = place(lab)?;
    let args = ["-t", "demo", "-o", "type=image", "-o", "type=oci,tar=false,dest=out"];
    lab.build(&place, &[&ARGS[..], &MAX, &args, &["ctx"]].concat()).ok();
    let own = format!("{}", karman_oci::Platform::host());
    let listed: Value =
        serde_json::from_str(&place.run(["image", "ls", "--format", "json"]).ok().out)
            .expect("JSON");
    assert_eq!(listed[0]["platforms"], serde_json::json!([own]));
    assert_eq!(place.run(["run", "demo", "cat", "/own"]).ok().out, "own\n");
    for image in ["demo", "./out"] {
        let bill = place.run(["sbom", "--format", "spdx", image]).ok();
        assert!(bill.out.contains("SPDX-2.3"), "{}", bill.out);
        let paths = place.run(["inventory", image]).ok();
        assert!(paths.out.contains("/own"), "{}", paths.out);
        place.run(["audit", "--no-run", image]).ok();
    }
    // As a base of another build.
    place.write("next/Dockerfile", "FROM mine\nRUN cat /own > /copied\n");
    let layout = place.work().join("out").display().to_string();
    for source in [format!("mine=oci-layout://{layout}"), "mine=docker-image://demo".to_owned()] {
        lab.build(&place, &["-t", "next", "--build-context", &source, "next"]).ok();
        assert_eq!(place.run(["run", "next", "cat", "/copied"]).ok().out, "own\n");
    }
    let skopeo = need("skopeo")?;
    let seen = tool(&place, &skopeo, &["inspect", "oci:out"]);
    let seen: Value = serde_json::from_str(&seen.out).expect("JSON");
    assert_eq!(seen["Os"], "linux");
    tool(&place, &skopeo, &["copy", "--all", "oci:out", "oci:copy"]);
    let copied = Layout(place.work().join("copy"));
    assert_eq!(copied.top()["digest"], Layout(place.work().join("out")).top()["digest"]);
    Ok(())
}

fn attestations_are_pushed_and_survive_a_prune(lab: &Lab) -> Tested {
    let place = place(lab)?;
    let registry = Registry::start(lab, &place, false)?;
    let name = format!("127.0.0.1:{}/demo:1", registry.port);
    lab.build(&place, &[&ARGS[..], &MAX, &["-t", &name, "ctx"]].concat()).ok();
    place.run(["cache", "prune", "--all", "--force"]).ok();
    place.run(["push", &name]).ok();
    let skopeo = need("skopeo")?;
    let from = format!("docker://{name}");
    let args = ["copy", "--all", "--src-tls-verify=false", &from, "oci:pulled"];
    tool(&place, &skopeo, &args);
    let pulled = Layout(place.work().join("pulled"));
    assert_eq!(pulled.statements().len(), 2);
    let other = lab.place()?;
    other.run(["pull", &name]).ok();
    assert_eq!(other.run(["run", &name, "cat", "/own"]).ok().out, "own\n");
    Ok(())
}
