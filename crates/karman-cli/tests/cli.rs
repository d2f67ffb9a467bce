//! The real binary, with an empty environment, a temporary home and a temporary store.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

/// A home, a store and a working directory that nobody else uses.
struct Place {
    dir: TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        for name in ["home", "store", "work"] {
            fs::create_dir(dir.path().join(name)).expect("a directory");
        }
        Self { dir }
    }

    fn work(&self) -> std::path::PathBuf {
        self.dir.path().join("work")
    }

    fn file(&self, name: &str, text: &str) {
        let path = self.work().join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(path, text).expect("a file");
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_karman"));
        command
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", self.dir.path().join("home"))
            .env("KARMAN_ROOT", self.dir.path().join("store"))
            .current_dir(self.work())
            .args(args);
        command
    }

    fn karman(&self, args: &[&str]) -> Told {
        Told::of(self.command(args).output().expect("karman starts"))
    }

    /// Whether builds work on this machine; says so where they do not.
    fn builds(&self, test: &str) -> bool {
        let works = self.karman(&["doctor", "--json"]).code == 0;
        if !works {
            eprintln!("SKIP {test}: `karman doctor` says that builds cannot work here");
        }
        works
    }
}

struct Told {
    code: i32,
    out: String,
    err: String,
}

impl Told {
    fn of(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    #[track_caller]
    fn is(&self, code: i32, words: &str) {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.out, self.err);
        assert!(self.err.contains(words), "`{words}` is not in: {}", self.err);
    }
}

const BAKE: &str = "\
variable \"TAG\" {
  default = \"latest\"
}
group \"default\" {
  targets = [\"nova\"]
}
target \"nova\" {
  description = \"Compute\"
  tags = [\"nova:${TAG}\"]
}
";

#[test]
fn wrong_command_lines_exit_2_and_name_the_nearest_flag() {
    let place = Place::new();
    let told = place.karman(&["build", "--progres", "plain", "."]);
    told.is(2, "ERROR: unexpected argument '--progres' found");
    told.is(2, "hint: a similar argument exists: '--progress'");
    place.karman(&["build"]).is(2, "<CONTEXT>");
    place.karman(&["biuld", "."]).is(2, "hint: a similar subcommand exists: 'build'");
    place.karman(&["build", "-o", "type=zip", "."]).is(2, "unknown output type `zip`");
    place.karman(&["build", "--platform", "linux/", "."]).is(2, "hint: as in `linux/amd64`");
    place.karman(&["build", "-t", "UPPER", "."]).is(2, "UPPER");
    place.karman(&["build", "--secret", "src=x", "."]).is(2, "a secret needs `id=`");
    place.karman(&["build", "--allow", "network.hots", "."]).is(2, "did you mean `network.host`?");
    place.karman(&["cache", "prune"]).is(2, "hint: give `--force`");
    let attest = |flag| place.karman(&["build", flag, "."]);
    attest("--attest=type=vex").is(2, "unknown attestation type `vex`");
    attest("--provenance=mode=middle").is(2, "want min or max");
    attest("--sbom=generator=x").is(2, "made by Karman itself");
}

#[test]
fn caches_that_make_no_sense_are_explained() {
    let place = Place::new();
    for (flag, why) in [
        ("--cache-to=type=gha", "cache type `gha` is not supported"),
        ("--cache-to=type=gha", "hint: use `type=local`"),
        ("--cache-from=type=s3,bucket=x", "hint: use `type=registry`"),
        ("--cache-from=type=local", "cache type `local` needs `src=`"),
        ("--cache-to=ref=x", "--cache-to: type required"),
    ] {
        place.karman(&["build", flag, "."]).is(2, why);
    }
}

#[test]
fn bake_prints_and_lists_without_a_store() {
    let place = Place::new();
    place.file("docker-bake.hcl", BAKE);
    let print = place.karman(&["bake", "--print", "--var", "TAG=1", "--set", "nova.args.A=b"]);
    print.is(0, "");
    let json: serde_json::Value = serde_json::from_str(&print.out).expect("JSON");
    assert_eq!(json["target"]["nova"]["tags"][0], "nova:1");
    assert_eq!(json["target"]["nova"]["args"]["A"], "b");
    assert_eq!(json["group"]["default"]["targets"][0], "nova");

    let targets = place.karman(&["bake", "--list", "targets"]);
    assert_eq!(targets.out, "TARGET\tDESCRIPTION\ndefault\tnova\nnova\tCompute\n");
    let variables = place.karman(&["bake", "--list", "variables,format=json"]);
    let json: serde_json::Value = serde_json::from_str(&variables.out).expect("JSON");
    assert_eq!(json[0]["value"], "latest");
    assert!(fs::read_dir(place.dir.path().join("store")).expect("the store").next().is_none());
}

#[test]
fn bake_reads_a_file_from_standard_input() {
    let place = Place::new();
    place.file("x", BAKE);
    let mut command = place.command(&["bake", "-f", "-", "--print"]);
    command.stdin(fs::File::open(place.work().join("x")).expect("the file"));
    let told = Told::of(command.output().expect("karman starts"));
    told.is(0, "");
    assert!(told.out.contains("nova:latest"));
}

#[test]
fn bake_tells_what_is_wrong_and_where() {
    let place = Place::new();
    place.karman(&["bake"]).is(3, "there is no bake file");
    place.file("docker-bake.hcl", BAKE);
    place.karman(&["bake", "--print", "nvoa"]).is(7, "hint: did you mean `nova`?");
    place.karman(&["bake", "--list", "stages"]).is(2, "want `targets` or `variables`");
    place.karman(&["bake", "--print", "--var", "TAG"]).is(2, "expected key=value");
    place.karman(&["bake", "--print", "--set", "nova.tgas=x"]).is(3, "tgas");
    place.karman(&["bake", "--print", "-f", "none.hcl"]).is(3, "none.hcl");
    place.file("docker-bake.hcl", "target \"a\" {\n  contxt = \".\"\n}\n");
    let told = place.karman(&["bake", "--print", "a"]);
    told.is(3, "docker-bake.hcl:2");
    told.is(3, ">>>   contxt");
}

#[test]
fn a_wrong_configuration_shows_its_line() {
    let place = Place::new();
    place.file("../home/.config/karman/config.toml", "rot = \"/x\"\n");
    let told = place.karman(&["image", "ls"]);
    told.is(3, "unknown field `rot`");
    told.is(3, "hint: did you mean `root`?");
    place.karman(&["--config", "none.toml", "image", "ls"]).is(3, "none.toml");
    let doctor = place.karman(&["doctor"]);
    assert_eq!(doctor.code, 5);
    assert!(doctor.out.contains("unknown field `rot`"), "{}", doctor.out);
}

#[test]
fn doctor_tells_in_json_and_keeps_passwords() {
    let place = Place::new();
    let mut command = place.command(&["doctor", "--json"]);
    command.env("HTTP_PROXY", "http://user:hunter2@proxy.invalid:3128");
    let told = Told::of(command.output().expect("karman starts"));
    let json: serde_json::Value = serde_json::from_str(&told.out).expect("JSON");
    assert_eq!(json["works"], told.code == 0);
    let checks = json["checks"].as_array().expect("checks");
    let names: Vec<&str> = checks.iter().filter_map(|c| c["name"].as_str()).collect();
    for name in ["kernel", "user", "store", "namespaces", "proxies"] {
        assert!(names.contains(&name), "{names:?}");
    }
    assert!(told.out.contains("HTTP_PROXY") && !told.out.contains("hunter2"));
}

#[test]
fn help_version_and_completions_need_nothing() {
    let place = Place::new();
    assert!(place.karman(&["--version"]).out.starts_with("karman "));
    assert!(place.karman(&["build", "--help"]).out.contains("--build-arg"));
    assert!(place.karman(&["completions", "bash"]).out.contains("_karman"));
}

#[test]
fn an_image_is_built_listed_named_and_removed() {
    let place = Place::new();
    if !place.builds("an_image_is_built_listed_named_and_removed") {
        return;
    }
    place.file("Dockerfile", "FROM scratch\nCOPY a.txt /a.txt\nLABEL x=y\n");
    place.file("a.txt", "hello\n");
    let args = ["build", "-t", "thing:1", "--metadata-file", "m.json", "--iidfile", "id", "."];
    let told = place.karman(&args);
    told.is(0, "#1 ");
    assert_eq!(told.out, "", "standard output is for data");
    let read = |name: &str| fs::read_to_string(place.work().join(name)).expect("written");
    let meta: serde_json::Value = serde_json::from_str(&read("m.json")).expect("JSON");
    assert_eq!(meta["containerimage.config.digest"], read("id").as_str());
    assert_eq!(meta["image.name"], "docker.io/library/thing:1");

    let quiet = place.karman(&["build", "-q", "-t", "thing:1", "."]);
    assert_eq!((quiet.out.trim(), quiet.err.as_str()), (read("id").as_str(), ""));

    place.karman(&["image", "tag", "thing:1", "other"]).is(0, "");
    let list: serde_json::Value =
        serde_json::from_str(&place.karman(&["image", "ls", "--format", "json"]).out)
            .expect("JSON");
    let names: Vec<&str> =
        list.as_array().expect("a list").iter().filter_map(|i| i["repository"].as_str()).collect();
    assert_eq!(names, ["other", "thing"]);
    let inspected: serde_json::Value =
        serde_json::from_str(&place.karman(&["image", "inspect", "other"]).out).expect("JSON");
    assert_eq!(inspected["platforms"][0]["config"]["config"]["Labels"]["x"], "y");

    assert_eq!(place.karman(&["image", "rm", "other"]).out, "Untagged: other:latest\n");
    place.karman(&["image", "rm", "other"]).is(7, "no image `other`");
    place.karman(&["cache", "prune", "--force", "--all"]).is(0, "");
    place.karman(&["cache", "du"]).is(0, "");
}

#[test]
fn outputs_go_where_they_are_sent() {
    let place = Place::new();
    if !place.builds("outputs_go_where_they_are_sent") {
        return;
    }
    place.file("Dockerfile", "FROM scratch\nCOPY a.txt /a.txt\n");
    place.file("a.txt", "hello\n");
    let output = place.command(&["build", "-o", "-", "."]).output().expect("karman starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stdout.len() >= 1024 && output.stdout.starts_with(b"a.txt"));
    place.karman(&["build", "-o", "out", "."]).is(0, "");
    let made = fs::read_to_string(place.work().join("out/a.txt")).expect("exported");
    assert_eq!(made, "hello\n");
}

#[test]
fn a_failing_build_shows_the_line_and_its_kind() {
    let place = Place::new();
    if !place.builds("a_failing_build_shows_the_line_and_its_kind") {
        return;
    }
    place.file("Dockerfile", "FROM scratch\nCOPY none.txt /\n");
    let told = place.karman(&["build", "."]);
    assert_ne!(told.code, 0);
    assert!(
        told.err.contains("Dockerfile:2") && told.err.contains(">>> COPY none.txt /"),
        "{}",
        told.err
    );
    place.file("Dockerfile", "FORM scratch\n");
    place.karman(&["build", "."]).is(3, "FROM");
    let missing = Path::new("does-not-exist");
    assert_ne!(place.karman(&["build", &missing.display().to_string()]).code, 0);
}

#[test]
fn bake_names_images_after_their_targets() {
    let place = Place::new();
    if !place.builds("bake_names_images_after_their_targets") {
        return;
    }
    place.file("base/Dockerfile", "FROM scratch\nCOPY a.txt /a.txt\n");
    place.file("base/a.txt", "hello\n");
    place.file("Dockerfile", "FROM base\nLABEL x=y\n");
    place.file(
        "docker-bake.hcl",
        "target \"base\" { context = \"base\" }\ntarget \"nova\" {\n  contexts = { base = \"target:base\" }\n}\n",
    );
    place.karman(&["bake", "nova", "--metadata-file", "m.json"]).is(0, "");
    let text = fs::read_to_string(place.work().join("m.json")).expect("written");
    let meta: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(meta["nova"]["image.name"], "docker.io/library/nova:latest");
    assert!(meta.get("base").is_none(), "linked targets are no results");
    // How long ago it was may differ between the two.
    let json = |name: &[&str]| place.karman(&[name, &["--format", "json"]].concat()).out;
    assert_eq!(json(&["images"]), json(&["image", "ls"]));
    let list = place.karman(&["image", "ls"]);
    assert!(list.out.contains("nova") && !list.out.contains("base"), "{}", list.out);
}
