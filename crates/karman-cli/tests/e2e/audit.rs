//! Sabotage: what must not ship is put into images, one thing each, and the audit finds it.

use std::path::{Path, PathBuf};

use karman_inventory::ElfFacts;
use karman_inventory::memory::elf_file;
use karman_testing::{Place, Skip, Tested};
use serde_json::Value;

use crate::Tests;
use crate::lab::{Lab, need, read_by_python, tool};

pub(crate) const TESTS: Tests = &[
    ("a_clean_image_passes", a_clean_image_passes),
    ("a_compiler_and_a_header_of_a_stage_are_found", a_compiler_and_a_header),
    ("a_removed_library_is_missed_and_its_package_named", a_removed_library),
    ("a_secret_of_the_build_is_found_without_being_kept", a_secret_of_the_build),
    ("a_setuid_file_and_a_stray_cache_are_found", a_setuid_file_and_a_stray_cache),
    ("a_closed_gate_exports_nothing", a_closed_gate_exports_nothing),
    ("a_console_script_with_a_broken_import_is_found", a_broken_console_script),
    ("vulnerable_distributions_are_found_unless_accepted", vulnerable_distributions),
    ("listening_defaults_are_told", listening_defaults),
    ("sarif_validates", sarif_validates),
    ("policies_are_read_before_anything_is_done", policies_are_read_first),
];

/// A builder with a package database, and a runtime that takes what is in `/out`.
fn dockerfile(build: &str, runtime: &str) -> String {
    format!(
        "FROM busybox AS build\n\
         COPY dpkg /var/lib/dpkg\n\
         COPY libs /usr/lib\n\
         RUN mkdir /out && echo data > /out/data\n\
         {build}\n\
         FROM busybox\n\
         USER app\n\
         COPY --from=build /out /opt/out\n\
         {runtime}\n"
    )
}

fn place(lab: &Lab, build: &str, runtime: &str) -> Result<Place, Skip> {
    let place = lab.place()?;
    let status = "Package: libdemo-dev\nStatus: install ok installed\nVersion: 1\n\n\
                  Package: libldap2\nStatus: install ok installed\nVersion: 2\n";
    place.write("ctx/dpkg/status", status);
    place.write("ctx/dpkg/info/libdemo-dev.list", "/usr/include/demo.h\n/usr/bin/gcc\n");
    place.write("ctx/dpkg/info/libldap2.list", "/usr/lib/libldap.so.2\n");
    let needs = |libraries: &[&str]| ElfFacts {
        needed: libraries.iter().map(|l| (*l).to_owned()).collect(),
        ..ElfFacts::default()
    };
    place.write("ctx/libs/libldap.so.2", elf_file(&needs(&[])));
    place.write("ctx/_ldap.so", elf_file(&needs(&["libldap.so.2"])));
    place.write("ctx/demo.h", "#define DEMO\n");
    place.write("ctx/Dockerfile", dockerfile(build, runtime));
    Ok(place)
}

/// Builds, audits; gives the findings that fail as `id subject`, and everything.
fn audit(lab: &Lab, place: &Place, more: &[&str]) -> (Vec<String>, Value) {
    lab.build(place, &[&["-t", "demo"], more, &["ctx"]].concat()).ok();
    judged(place, &[])
}

/// Audits what was built.
fn judged(place: &Place, more: &[&str]) -> (Vec<String>, Value) {
    let told = place.run([&["audit", "--format", "json", "demo"], more].concat());
    let json: Value = serde_json::from_str(&told.out).expect("JSON");
    let findings = json["images"][0]["findings"].as_array().expect("findings");
    let failed = findings.iter().filter(|f| f["verdict"] == "fail");
    let text = |f: &Value| {
        let word = |name: &str| f[name].as_str().unwrap_or_default().to_owned();
        format!("{} {}", word("id"), word("subject"))
    };
    let failed: Vec<String> = failed.map(text).collect();
    assert_eq!(told.code, i32::from(!failed.is_empty()), "{}", told.err);
    (failed, json)
}

fn a_clean_image_passes(lab: &Lab) -> Tested {
    let place = place(lab, "", "")?;
    let (failed, json) = audit(lab, &place, &[]);
    assert!(failed.is_empty(), "{failed:?}");
    assert_eq!(json["images"][0]["counts"]["setid"], 0);
    let text = place.run(["audit", "demo"]).ok().out;
    assert!(text.contains("demo: 0 failed"), "{text}");
    Ok(())
}

fn a_compiler_and_a_header(lab: &Lab) -> Tested {
    let build = "COPY demo.h /usr/include/demo.h\nRUN cp /bin/busybox /usr/bin/gcc";
    let runtime = "COPY --from=build /usr/bin/gcc /usr/bin/gcc\n\
                   COPY --from=build /usr/include /usr/include";
    let place = place(lab, build, runtime)?;
    let (failed, _) = audit(lab, &place, &[]);
    let wanted = [
        "leak-compiler /usr/bin/gcc",
        "leak-header /usr/include/demo.h",
        "leak-build-only /usr/bin/gcc",
        "leak-build-only /usr/include/demo.h",
    ];
    assert_eq!(failed, wanted);
    Ok(())
}

fn a_removed_library(lab: &Lab) -> Tested {
    let runtime =
        "COPY _ldap.so /opt/venv/_ldap.so\nCOPY --from=build /usr/lib/libldap.so.2 /usr/lib/";
    let place = place(lab, "", &format!("{runtime}\nCOPY dpkg /var/lib/dpkg"))?;
    let (failed, _) = audit(lab, &place, &[]);
    assert_eq!(failed, ["leak-dev-package libdemo-dev"], "the library is there");
    let removed = format!("{runtime}\nUSER root\nRUN rm /usr/lib/libldap.so.2\nUSER app");
    place.write("ctx/Dockerfile", dockerfile("", &removed));
    let (failed, json) = audit(lab, &place, &[]);
    assert_eq!(failed, ["missing-library /opt/venv/_ldap.so"]);
    let hint = &json["images"][0]["findings"][0]["hint"];
    assert_eq!(hint, "install the Debian package `libldap2` in the image");
    Ok(())
}

fn a_secret_of_the_build(lab: &Lab) -> Tested {
    let build = "RUN --mount=type=secret,id=token cp /run/secrets/token /out/data";
    let place = place(lab, build, "")?;
    place.write("token", "correct horse battery\n");
    let (failed, _) = audit(lab, &place, &["--secret", "id=token,src=token"]);
    assert_eq!(failed, ["secret-of-build /opt/out/data"]);
    // The layer itself has the secret, as it must; nothing else of the store has.
    let index = place.store().join("index.db");
    for file in [index.clone(), index.with_extension("db-wal")] {
        let bytes = std::fs::read(&file).unwrap_or_default();
        let holds = bytes.windows(13).any(|w| w == b"correct horse");
        assert!(!holds, "{} holds the secret", file.display());
    }
    Ok(())
}

fn a_setuid_file_and_a_stray_cache(lab: &Lab) -> Tested {
    let runtime = "USER root\nRUN echo x > /opt/suid && chmod 4755 /opt/suid && mkdir -p /root/.cache/uv\n\
                   USER app";
    let place = place(lab, "", runtime)?;
    let (failed, _) = audit(lab, &place, &[]);
    assert_eq!(failed, ["leak-cache /root/.cache", "surface-setid /opt/suid"]);
    Ok(())
}

fn a_closed_gate_exports_nothing(lab: &Lab) -> Tested {
    let place = place(lab, "", "USER root\nRUN echo x > /opt/suid && chmod 4755 /opt/suid")?;
    place.write("policy.toml", "");
    let gated = ["--gate", "policy.toml", "-t", "demo", "ctx"];
    let told = lab.build(&place, &gated);
    told.is(1, "surface-setid /opt/suid");
    place.run(["image", "inspect", "demo"]).is(7, "no image");
    for output in ["type=oci,dest=out.tar", "type=local,dest=out"] {
        lab.build(&place, &["--gate", "policy.toml", "-o", output, "ctx"]).is(1, "gate is closed");
    }
    assert!(!place.work().join("out.tar").exists() && !place.work().join("out").exists());
    let allow =
        "[[allow]]\nfinding = \"surface-setid\"\nsubject = \"/opt/suid\"\nreason = \"a test\"\n";
    place.write("policy.toml", allow);
    lab.build(&place, &gated).ok();
    let text = place.run(["audit", "--policy", "policy.toml", "demo"]).ok().out;
    assert!(text.contains("allowed: a test"), "{text}");
    Ok(())
}

fn policies_are_read_first(lab: &Lab) -> Tested {
    let place = place(lab, "", "")?;
    place.write("policy.toml", "fail = [\"leek-*\"]");
    lab.build(&place, &["--gate", "policy.toml", "ctx"]).is(3, "no finding is called `leek-*`");
    place.run(["audit", "--policy", "none.toml", "demo"]).is(3, "none.toml");
    place.run(["audit", "none"]).is(7, "no image `none`");
    Ok(())
}

/// The host's Python with its standard library and what it links, as the directories of a context.
fn python(place: &Place) -> Result<String, Skip> {
    let (python, ldd) = (need("python3")?, need("ldd")?);
    let ask = "import os, sys; print(os.path.realpath(sys.executable)); print(os.path.dirname(os.__file__)); \
               print('python%d.%d' % sys.version_info[:2])";
    let told = tool(place, &python, &["-c", ask]).out;
    let mut lines = told.lines().map(PathBuf::from);
    let (Some(program), Some(library), Some(name)) = (lines.next(), lines.next(), lines.next())
    else {
        return Err(Skip::because("`python3` does not tell where it is"));
    };
    let linked = tool(place, &ldd, &[&program.to_string_lossy()]).out;
    for path in linked.split_whitespace().filter(|w| w.starts_with('/')) {
        place.write(&format!("ctx/python{path}"), std::fs::read(path).expect("a library"));
    }
    let copy = |from: &Path, to: &str| copy_tree(place, from, to);
    copy(&library, &format!("ctx/python{}", library.display()));
    place.write("ctx/python/usr/bin/python3", std::fs::read(&program).expect("a program"));
    Ok(name.display().to_string())
}

/// Modules of the standard library that link nothing but libc.
const MODULES: &[&str] =
    &["_asyncio", "_contextvars", "_json", "_multiprocessing", "_posixshmem", "_queue", "mmap"];

/// Copies what an interpreter imports: sources and modules, no caches, tests or other packages.
fn copy_tree(place: &Place, from: &Path, to: &str) {
    for entry in std::fs::read_dir(from).expect("a directory").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let (path, to) = (entry.path(), format!("{to}/{name}"));
        let skipped = ["__pycache__", "test", "tests", "site-packages", "dist-packages", "idlelib"];
        if path.is_dir() && !skipped.contains(&name.as_str()) && !name.starts_with("config-") {
            copy_tree(place, &path, &to);
        } else if name.ends_with(".py") || MODULES.contains(&name.split('.').next().unwrap_or("")) {
            place.write(&to, std::fs::read(&path).expect("a file"));
        }
    }
}

fn a_broken_console_script(lab: &Lab) -> Tested {
    let runtime = "USER root\nCOPY python /\nCOPY venv /venv\n\
                   RUN chmod -R 755 /usr/bin/python3 /venv/bin /lib* && ln -s /usr/bin/python3 /venv/bin/python3\n\
                   USER app";
    let place = place(lab, "", runtime)?;
    let name = python(&place)?;
    let site = format!("ctx/venv/lib/{name}/site-packages");
    place.write("ctx/venv/pyvenv.cfg", "home = /usr/bin\ninclude-system-site-packages = true\n");
    let info = format!("{site}/demo-1.dist-info");
    place.write(&format!("{info}/METADATA"), "Name: demo\nVersion: 1\n");
    place.write(&format!("{info}/REQUESTED"), "");
    place.write(&format!("{info}/RECORD"), "demo.py,,\nbroken.py,,\n../../../bin/demo,,\n");
    let points = "[console_scripts]\ndemo = demo:main\n";
    place.write(&format!("{info}/entry_points.txt"), points);
    place.write("ctx/venv/bin/demo", "#!/venv/bin/python3\nimport demo\ndemo.main()\n");
    place.write(&format!("{site}/demo.py"), "def main():\n    print('demo 1')\n");
    place.write(&format!("{site}/broken.py"), "import no_such_module\n");
    let (failed, _) = audit(lab, &place, &[]);
    assert!(failed.is_empty(), "{failed:?}");
    place.write(&format!("{info}/entry_points.txt"), format!("{points}broken = broken:main\n"));
    place.write(&format!("{site}/demo.py"), "def main():\n    import no_such_module\n");
    let (failed, json) = audit(lab, &place, &[]);
    assert_eq!(
        failed,
        ["contract-script demo: console_scripts broken", "contract-run /venv/bin/demo"]
    );
    let message = json["images"][0]["findings"][0]["message"].as_str().expect("a message");
    assert!(message.contains("No module named 'no_such_module'"), "{message}");
    let told = place.run(["audit", "--no-run", "demo"]);
    assert_eq!(told.code, 0, "{}", told.out);
    let command = |name: &str, code: &str| {
        format!(
            "[[contract]]\ncommands = [{{ name = \"{name}\", run = [\"/venv/bin/python3\", \"-c\", \"{code}\"] }}]\n"
        )
    };
    let commands = command("holds", "import demo")
        + &command("does not", "import sys; sys.exit('no manifest')");
    place.write("commands.toml", format!("fail = [\"contract-command\"]\n{commands}"));
    let (failed, json) = judged(&place, &["--policy", "commands.toml"]);
    assert_eq!(failed, ["contract-command does not"]);
    let findings = json["images"][0]["findings"].as_array().expect("findings");
    let told = findings.iter().find(|f| f["id"] == "contract-command").expect("a finding");
    assert_eq!(told["message"], "no manifest (code 1)");
    Ok(())
}

const ADVISORY: &str = r#"{"id": "GHSA-79v4-65xg-pq4g", "modified": "2025-02-11T00:00:00Z", "aliases": ["CVE-2024-12797"],
"summary": "Vulnerable OpenSSL included in cryptography wheels",
"affected": [{"package": {"ecosystem": "PyPI", "name": "cryptography"},
"ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "42.0.0"}, {"fixed": "44.0.1"}]}]}]}"#;

fn series(expires: &str) -> String {
    format!(
        "series = \"2026.1\"\npython = [\"3.13\"]\ncutoff = \"2026-04-15\"\n\
         [services.keystone]\nversion = \"29.1.0\"\nrequirements = [\"keystone\"]\n\
         [[accepted]]\nadvisory = \"CVE-2024-12797\"\npackage = \"cryptography\"\n\
         justification = \"vulnerable_code_not_in_execute_path\"\n\
         statement = \"no raw public keys are used\"\ndecided = \"2025-03-01\"\nexpires = \"{expires}\"\n"
    )
}

fn vulnerable_distributions(lab: &Lab) -> Tested {
    let copy = "COPY cryptography-43.0.3.dist-info /venv/lib/python3.13/site-packages/cryptography-43.0.3.dist-info";
    let place = place(lab, "", copy)?;
    let info = "ctx/cryptography-43.0.3.dist-info";
    let metadata = "Metadata-Version: 2.4\nName: cryptography\nVersion: 43.0.3\n";
    place.write(&format!("{info}/METADATA"), metadata);
    place.write(&format!("{info}/RECORD"), "cryptography-43.0.3.dist-info/METADATA,,\n");
    place.write("advisories/one.json", ADVISORY);
    place.write("accepted.toml", series("2099-01-01"));
    place.write("expired.toml", series("2025-06-01"));
    let (failed, _) = audit(lab, &place, &[]);
    assert!(failed.is_empty(), "{failed:?}");
    let audit = |more: &[&str]| {
        place.run([&["audit", "--no-run", "--advisories", "advisories", "demo"], more].concat())
    };
    let told = audit(&[]);
    assert_eq!(told.code, 1, "{}", told.err);
    for words in ["vulnerable-python", "cryptography 43.0.3", "CVE-2024-12797", "fixed in 44.0.1"] {
        assert!(told.out.contains(words), "`{words}` in {}", told.out);
    }
    audit(&["--constraints", "accepted.toml"]).ok();
    let told = audit(&["--constraints", "expired.toml"]);
    assert_eq!(told.code, 1, "{}", told.err);
    assert!(told.out.contains("accepted until 2025-06-01"), "{}", told.out);
    audit(&["--constraints", "Dockerfile"]).is(3, "Dockerfile");
    Ok(())
}

fn listening_defaults(lab: &Lab) -> Tested {
    let place = place(lab, "", "COPY ports.conf /etc/apache2/ports.conf")?;
    place.write("ctx/ports.conf", "# Listen 81\nListen 80\n");
    let (failed, json) = audit(lab, &place, &[]);
    assert!(failed.is_empty(), "{failed:?}");
    let findings = json["images"][0]["findings"].as_array().expect("findings");
    let listen = findings.iter().find(|f| f["id"] == "surface-listen").expect("a finding");
    assert_eq!(listen["subject"], "/etc/apache2/ports.conf");
    assert_eq!(listen["message"], "it says that its server listens on 80");
    Ok(())
}

fn sarif_validates(lab: &Lab) -> Tested {
    let place = place(lab, "", "COPY demo.h /usr/include/demo.h")?;
    lab.build(&place, &["-t", "demo", "ctx"]).ok();
    let told = place.run(["audit", "--no-run", "--format", "sarif", "demo"]);
    place.write("audit.sarif", &told.out);
    let check = "import json\nfrom sarif_pydantic import Sarif\n\
                 log = Sarif.model_validate(json.load(open('audit.sarif')))\n\
                 assert log.version == '2.1.0' and log.runs[0].results, log\n";
    read_by_python(&place, "sarif_pydantic", "sarif-pydantic", check)
}
