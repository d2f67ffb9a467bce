//! `karman sbom`: the forms validate against their published schemas, and say the same twice.

use karman_inventory::ElfFacts;
use karman_inventory::memory::elf_file;
use karman_testing::{Place, Skip, Tested};
use serde_json::Value;

use crate::Tests;
use crate::lab::{Lab, read_by_python};

pub(crate) const TESTS: Tests = &[
    ("bills_name_packages_distributions_and_stages", bills_name_everything),
    ("cyclonedx_validates", cyclonedx_validates),
    ("spdx_validates", spdx_validates),
    ("bills_tell_what_policies_did", bills_tell_policies),
];

const DOCKERFILE: &str = "\
FROM busybox AS build
COPY build /var/lib/dpkg
COPY venv /venv
FROM busybox
COPY runtime /var/lib/dpkg
COPY libdemo1 /usr/share/doc/libdemo1
COPY os-release /etc/os-release
COPY --from=build /venv /venv
";

fn place(lab: &Lab) -> Result<Place, Skip> {
    let place = lab.place()?;
    let package = |name: &str, more: &str| {
        format!(
            "Package: {name}\nStatus: install ok installed\nArchitecture: amd64\nSource: demo (1:2-1)\n\
             Maintainer: Demo Team <demo@example.org>\nVersion: 1:2-1+b1\n{more}\n"
        )
    };
    let runtime = [package("libdemo1", "Depends: libother (>= 1)\n"), package("libother", "")];
    place.write("ctx/runtime/status", runtime.concat());
    place.write("ctx/runtime/info/libdemo1.list", "/etc/os-release\n");
    let tools = [package("libdemo-dev", ""), package("git", "")];
    place.write("ctx/build/status", [runtime.concat(), tools.concat()].concat());
    place.write("ctx/venv/lib/demo.so", elf_file(&ElfFacts::default()));
    place.write("ctx/libdemo1/copyright", "Format: x\nLicense: GPL-2+\n\nLicense: Expat\n");
    place.write("ctx/os-release", "ID=debian\nVERSION_ID=\"13\"\nVERSION_CODENAME=trixie\n");
    for (name, more) in [
        ("Demo.App", "License-Expression: MIT OR Apache-2.0\nRequires-Dist: lib>1\n"),
        ("lib", "License: odd\n"),
    ] {
        let info = format!("ctx/venv/lib/python3.13/site-packages/{name}-1.dist-info");
        let metadata = format!("Metadata-Version: 2.4\nName: {name}\nVersion: 1\n{more}");
        place.write(&format!("{info}/METADATA"), metadata);
        place
            .write(&format!("{info}/POLICIES"), "slim:tests 2 300\nbytecode:unchecked-hash 1 50\n");
        place.write(&format!("{info}/RECORD"), format!("{name}-1.dist-info/METADATA,,\n"));
    }
    place.write("ctx/Dockerfile", DOCKERFILE);
    lab.build(&place, &["-t", "demo", "ctx"]).ok();
    Ok(place)
}

fn bill(place: &Place, format: &str) -> Value {
    let first = place.run(["sbom", "--format", format, "demo"]).ok().out;
    assert_eq!(first, place.run(["sbom", "--format", format, "demo"]).ok().out);
    place.write(&format!("{format}.json"), &first);
    serde_json::from_str(&first).expect("JSON")
}

fn bills_name_everything(lab: &Lab) -> Tested {
    let place = place(lab)?;
    let bill = bill(&place, "cyclonedx");
    let components = bill["components"].as_array().expect("components");
    let purls: Vec<&str> = components.iter().filter_map(|c| c["purl"].as_str()).collect();
    let version = "1%3A2-1%2Bb1?arch=amd64&distro=debian-13";
    let wanted = [
        &format!("pkg:deb/debian/libdemo1@{version}"),
        &format!("pkg:deb/debian/libother@{version}"),
        "pkg:pypi/demo-app@1",
        "pkg:pypi/lib@1",
        &format!("pkg:deb/debian/libdemo-dev@{version}"),
    ];
    assert_eq!(purls, wanted);
    let scope = |n: usize| components[n]["scope"].as_str();
    assert_eq!((scope(0), scope(4)), (None, Some("excluded")));
    assert_eq!(components[0]["licenses"][1]["license"]["name"], "GPL-2+");
    assert_eq!(components[2]["licenses"][0]["expression"], "MIT OR Apache-2.0");
    assert!(components[0]["hashes"][0]["content"].is_string(), "{}", components[0]);
    let on = |purl: &str| {
        let graph = bill["dependencies"].as_array().expect("a graph");
        let of = graph.iter().find(|d| d["ref"] == purl).expect("a node");
        of["dependsOn"].clone()
    };
    assert_eq!(on(purls[0]), serde_json::json!([purls[1]]));
    assert_eq!(on(purls[2]), serde_json::json!([purls[3]]));
    Ok(())
}

fn bills_tell_policies(lab: &Lab) -> Tested {
    let place = place(lab)?;
    let cyclonedx = bill(&place, "cyclonedx");
    let properties = |of: &Value| -> Vec<(String, String)> {
        let all = of["properties"].as_array().cloned().unwrap_or_default();
        let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
        let all = all.iter().map(|p| (text(&p["name"]), text(&p["value"])));
        all.filter(|(name, _)| name.starts_with("karman:policy:")).collect()
    };
    let pairs = |bytecode: &str, tests: &str| {
        [("karman:policy:bytecode:unchecked-hash", bytecode), ("karman:policy:slim:tests", tests)]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
    };
    let whole = properties(&cyclonedx["metadata"]["component"]);
    assert_eq!(whole, pairs("2 files, 100 bytes", "4 files, 600 bytes"));
    let mut one = properties(&cyclonedx["components"][2]);
    one.sort();
    assert_eq!(one, pairs("1 files, 50 bytes", "2 files, 300 bytes"));
    assert_eq!(properties(&cyclonedx["components"][0]), [], "a Debian package");
    let spdx = bill(&place, "spdx");
    let comment = |n: usize| spdx["packages"][n]["annotations"][0]["comment"].as_str();
    let told = "policies of the build: bytecode:unchecked-hash: 2 files, 100 bytes; slim:tests: 4 files, 600 bytes";
    assert_eq!(comment(0), Some(told));
    assert_eq!(comment(1), None, "a Debian package");
    Ok(())
}

fn cyclonedx_validates(lab: &Lab) -> Tested {
    let place = place(lab)?;
    bill(&place, "cyclonedx");
    let check = "import sys\nfrom cyclonedx.schema import SchemaVersion\n\
                 from cyclonedx.validation.json import JsonStrictValidator\n\
                 wrong = JsonStrictValidator(SchemaVersion.V1_6).validate_str(open('cyclonedx.json').read())\n\
                 sys.exit(repr(wrong) if wrong else 0)\n";
    read_by_python(
        &place,
        "cyclonedx.validation.json, jsonschema",
        "cyclonedx-python-lib[json-validation]",
        check,
    )
}

fn spdx_validates(lab: &Lab) -> Tested {
    let place = place(lab)?;
    bill(&place, "spdx");
    let check = "import sys\nfrom spdx_tools.spdx.parser.parse_anything import parse_file\n\
                 from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document\n\
                 wrong = validate_full_spdx_document(parse_file('spdx.json'))\n\
                 sys.exit('\\n'.join(w.validation_message for w in wrong) if wrong else 0)\n";
    read_by_python(&place, "spdx_tools", "spdx-tools", check)
}
