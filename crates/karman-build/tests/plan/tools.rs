//! The programs in `images/tools` that make virtual environments, on an environment of a few files.
//! They run with the host's Python, as they run in the builder with Debian's.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Python with what the programs need of it, its version as `python3.13`; why there is none.
fn python(test: &str) -> Option<String> {
    let version = "import sys, tomllib; print('python%d.%d' % sys.version_info[:2])";
    let told = Command::new("python3").args(["-c", version]).output().ok()?;
    let is_there = |program: &str| Command::new(program).arg("--version").output().is_ok();
    if !told.status.success() || !is_there("patch") {
        eprintln!("SKIP {test}: no python3 of 3.11 or later, or no patch");
        return None;
    }
    Some(String::from_utf8_lossy(&told.stdout).trim().to_owned())
}

/// A virtual environment with distributions of ours.
struct Venv {
    dir: tempfile::TempDir,
    python: String,
}

impl Venv {
    fn new(test: &str) -> Option<Self> {
        let venv = Self { python: python(test)?, dir: tempfile::tempdir().expect("a directory") };
        std::fs::create_dir_all(venv.site()).expect("directories");
        Some(venv)
    }

    fn root(&self) -> PathBuf {
        self.dir.path().canonicalize().expect("a path").join("venv")
    }

    fn site(&self) -> PathBuf {
        self.root().join("lib").join(&self.python).join("site-packages")
    }

    fn write(&self, path: &Path, text: &str) {
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
        std::fs::write(path, text).expect("writes");
    }

    /// Files below site-packages, with a RECORD that lists them.
    fn distribution(&self, name: &str, files: &[(&str, &str)]) {
        let info = format!("{name}-1.0.dist-info");
        let mut record = String::new();
        for (file, text) in files {
            self.write(&self.site().join(file), text);
            record += &format!("{file},sha256=old,1\n");
        }
        record += &format!("{info}/RECORD,,\n");
        self.write(&self.site().join(info).join("RECORD"), &record);
    }

    fn record(&self, name: &str) -> String {
        let path = self.site().join(format!("{name}-1.0.dist-info/RECORD"));
        std::fs::read_to_string(path).expect("a RECORD")
    }

    fn has(&self, file: &str) -> bool {
        self.site().join(file).exists()
    }

    /// Lines of a RECORD that name a file that is not there.
    fn lies(&self, name: &str) -> Vec<String> {
        let record = self.record(name);
        let names = record.lines().map(|l| l.split(',').next().unwrap_or_default().to_owned());
        names.filter(|n| !self.has(n)).collect()
    }

    fn tool(&self, name: &str, arguments: &[&Path], environment: &[(&str, &str)]) -> Output {
        let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../images/tools");
        Command::new("python3")
            .arg(tools.join(name))
            .args(arguments)
            .env("VIRTUAL_ENV", self.root())
            .env("BYTECODE_CACHE", self.dir.path().join("cache"))
            .envs(environment.iter().copied())
            .output()
            .expect("runs")
    }

    fn finish(&self, environment: &[(&str, &str)]) -> String {
        let done = self.tool("venv-finish", &[], environment);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8_lossy(&done.stdout).into_owned()
    }

    /// Runs `venv-patch` with one patch of `demo`, the fleet's and the site's directory being one; what it said, and whether
    /// it ended well.
    fn patch(&self, text: &str) -> (bool, String) {
        let patches = self.dir.path().join("patches");
        self.write(&patches.join("Demo/0001-fix.patch"), text);
        self.patch_by(&patches, &patches)
    }

    fn patch_by(&self, fleet: &Path, site: &Path) -> (bool, String) {
        let pins = self.dir.path().join("constraints.txt");
        self.write(&pins, "demo===1.0\n");
        let done = self.tool("venv-patch", &[fleet, site, &pins], &[("SERIES", "2026.1")]);
        let said = [done.stdout, done.stderr].concat();
        (done.status.success(), String::from_utf8_lossy(&said).into_owned())
    }
}

const DEMO: &[(&str, &str)] = &[
    ("demo/__init__.py", "from demo import kept\n"),
    ("demo/kept/tests/helper.py", "A = 1\n"),
    (
        "demo/kept/__init__.py",
        "from demo import speed\nfrom .tests.helper import A\nimport os, demo.more.tests.b\n",
    ),
    ("demo/more/tests/__init__.py", ""),
    ("demo/more/tests/b.py", "from demo.more.tests import (\n    c,  # d\n    e,\n)\n"),
    ("demo/more/tests/c.py", "from . import \\\n    f\n"),
    ("demo/more/tests/d.py", ""),
    ("demo/more/tests/f.py", ""),
    ("demo/kept/tests/__init__.py", ""),
    ("demo/kept/tests/data.json", "{}"),
    ("demo/kept/tests/test_b.py", "import demo\n"),
    ("demo/test.py", "from demo.tests import test_a\n"),
    ("demo/tests/__init__.py", ""),
    ("demo/tests/test_a.py", "import demo\n"),
    ("demo/speed.pyx", "cdef int a\n"),
    ("demo/speed.h", "int a;\n"),
    ("demo/types.pyi", "a: int\n"),
    ("demo/locale/de/LC_MESSAGES/demo.mo", "words"),
];

const ALL: &str = "tests stubs docs locales sources duplicates";

#[test]
fn a_slim_environment_has_a_true_record() {
    let Some(venv) = Venv::new("a_slim_environment_has_a_true_record") else { return };
    venv.distribution("demo", DEMO);
    let said = venv.finish(&[("SLIM", ALL), ("BYTECODE", "unchecked-hash")]);
    for gone in [
        "demo/tests",
        "demo/test.py",
        "demo/kept/tests/test_b.py",
        "demo/speed.pyx",
        "demo/speed.h",
        "demo/types.pyi",
        "demo/locale",
    ] {
        assert!(!venv.has(gone), "{gone}: {said}");
    }
    assert!(venv.has("demo/kept/tests/helper.py"), "something outside of it imports it");
    for kept in ["b", "c", "f"] {
        assert!(venv.has(&format!("demo/more/tests/{kept}.py")), "{kept}: {said}");
    }
    assert!(venv.has("demo/kept/tests/data.json"), "what a kept module may read stays");
    assert!(said.contains("demo/kept/__init__.py imports demo.kept.tests"), "{said}");
    assert_eq!(venv.lies("demo"), Vec::<String>::new());
    let policies = std::fs::read_to_string(venv.site().join("demo-1.0.dist-info/POLICIES"));
    let policies = policies.expect("what the policies did");
    let told: Vec<&str> = policies.lines().map(|l| l.split(' ').next().unwrap_or("")).collect();
    let wanted = ["bytecode:unchecked-hash", "slim:always", "slim:locales", "slim:sources"];
    assert_eq!(told[..4], wanted);
    assert!(
        policies.contains("\nslim:locales 1 5\nslim:sources 1 11\nslim:stubs 1 7\n"),
        "{policies}"
    );
    let tag = venv.python.replace("python", "cpython-").replace('.', "");
    let compiled = format!("demo/__pycache__/__init__.{tag}.pyc");
    let record = venv.record("demo");
    let row = record.lines().find(|l| l.starts_with(&compiled)).expect("a row of the bytecode");
    assert!(row.contains(",sha256="), "{row}");
    let bytes = std::fs::read(venv.site().join(&compiled)).expect("bytecode");
    assert_eq!(bytes.get(4..8), Some([1, 0, 0, 0].as_slice()), "by hash, and not checked");
}

#[test]
fn the_same_environment_gives_the_same_bytes() {
    const NAME: &str = "the_same_environment_gives_the_same_bytes";
    let Some(venv) = Venv::new(NAME) else { return };
    venv.distribution("demo", DEMO);
    let settings = [("SLIM", "tests"), ("BYTECODE", "checked-hash")];
    venv.finish(&settings);
    let first = venv.record("demo");
    std::fs::remove_dir_all(venv.dir.path().join("cache")).expect("the cache goes");
    venv.finish(&settings);
    assert_eq!(venv.record("demo"), first);
    assert!(first.contains("demo-1.0.dist-info/POLICIES,sha256="), "{first}");
}

#[test]
fn duplicates_are_linked_inside_a_distribution_only() {
    use std::os::unix::fs::MetadataExt as _;
    const NAME: &str = "duplicates_are_linked_inside_a_distribution_only";
    let Some(venv) = Venv::new(NAME) else { return };
    let text = "x".repeat(2000);
    for name in ["demo", "other"] {
        let files = ["a", "b"].map(|file| format!("{name}/{file}.txt"));
        let files: Vec<(&str, &str)> = files.iter().map(|file| (file.as_str(), &*text)).collect();
        venv.distribution(name, &files);
    }
    venv.finish(&[("SLIM", "duplicates"), ("BYTECODE", "none")]);
    let inode = |file: &str| std::fs::metadata(venv.site().join(file)).expect("a file").ino();
    assert_eq!(inode("demo/a.txt"), inode("demo/b.txt"));
    assert_eq!(inode("other/a.txt"), inode("other/b.txt"));
    assert_ne!(inode("demo/a.txt"), inode("other/a.txt"), "their layers are not each other's");
}

#[test]
fn an_image_keeps_what_it_names_and_nothing_happens_without_policies() {
    const NAME: &str = "an_image_keeps_what_it_names_and_nothing_happens_without_policies";
    let Some(venv) = Venv::new(NAME) else { return };
    venv.distribution("demo", DEMO);
    venv.finish(&[("SLIM", ""), ("BYTECODE", "none")]);
    assert!(venv.has("demo/types.pyi") && !venv.has("demo/__pycache__"));
    assert!(!venv.has("demo/speed.h"), "headers never ship");
    venv.finish(&[("SLIM", ALL), ("KEEP", "tests"), ("BYTECODE", "none")]);
    assert!(venv.has("demo/tests/test_a.py") && !venv.has("demo/types.pyi"));
    let wrong = venv.tool("venv-finish", &[], &[("SLIM", "test")]);
    let said = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(!wrong.status.success() && said.contains("SLIM does not know `test`"), "{said}");
}

/// A program that imports a module with garbage in it, asks for a collection, and makes garbage itself: how many objects were
/// frozen at each moment, Python's threshold at the end, and how many callbacks its collector has.
const PROGRAM: &str = "\
import gc, heavy
imported = gc.get_freeze_count()
gc.collect()
class Loop: pass
def main():
    import weakref
    first = Loop(); first.it = first
    seen = weakref.ref(first)
    del first
    loops = []
    for _ in range(20000):
        loop = Loop(); loop.it = [loop]
        loops = [loops]
    later = gc.get_freeze_count()
    print(imported > 15000, later == imported, seen() is None, gc.get_threshold()[0], len(gc.callbacks))
main()
";

/// One that makes garbage in its own lines, outside of functions.
const BARE: &str = "\
import gc
kept = [[] for _ in range(30000)]
print(gc.get_freeze_count(), gc.get_threshold()[0], len(gc.callbacks))
";

#[test]
fn what_a_program_imports_first_is_frozen_and_nothing_else() {
    let Some(venv) = Venv::new("what_a_program_imports_first_is_frozen_and_nothing_else") else {
        return;
    };
    venv.distribution("demo", &[("heavy.py", "kept = [[] for _ in range(30000)]\n")]);
    let main = venv.root().join("main.py");
    // As a file, as a module, and imported by something that is no Python code.
    let by = |program: &str, how: &[&str]| {
        venv.write(&main, program);
        let start = format!("import site; site.addsitedir({:?})", venv.site());
        venv.write(&venv.root().join("sitecustomize.py"), &start);
        let mut python = Command::new("python3");
        let told = python
            .args(how)
            .current_dir(venv.root())
            .env("PYTHONPATH", venv.root())
            .output()
            .expect("runs");
        assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
        String::from_utf8_lossy(&told.stdout).trim().to_owned()
    };
    let file = main.to_str().expect("UTF-8").to_owned();
    let usual = by("import gc; print(gc.get_threshold()[0])", &[&file]);
    venv.finish(&[("BYTECODE", "unchecked-hash"), ("FREEZE_IMPORTS", "false")]);
    assert_eq!(by(PROGRAM, &[&file]), format!("False True True {usual} 0"));
    venv.finish(&[("BYTECODE", "unchecked-hash"), ("FREEZE_IMPORTS", "true")]);
    for how in [&[&*file][..], &["-m", "main"], &["-c", PROGRAM]] {
        assert_eq!(by(PROGRAM, how), format!("True True True {usual} 0"), "{how:?}");
    }
    assert_eq!(
        by(BARE, &[&file]),
        format!("0 {usual} 0"),
        "a program's own objects are collected as ever"
    );
    let own = format!("import gc; gc.set_threshold(777)\n{PROGRAM}");
    assert_eq!(
        by(&own, &[&file]),
        "True True True 777 0",
        "a threshold of the program's own stays"
    );
    venv.finish(&[("BYTECODE", "unchecked-hash")]);
    assert_eq!(by(BARE, &[&file]), format!("0 {usual} 0"), "the policy can be taken back");
    let wrong = venv.tool("venv-finish", &[], &[("FREEZE_IMPORTS", "1")]);
    let said = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(!wrong.status.success() && said.contains("not `1`"), "{said}");
}

const PATCH: &str = "\
diff --git a/demo/code.py b/demo/code.py
--- a/demo/code.py
+++ b/demo/code.py
@@ -1,2 +1,2 @@
-a = 1
+a = 2
 b = 1
diff --git a/demo/new.py b/demo/new.py
new file mode 100644
--- /dev/null
+++ b/demo/new.py
@@ -0,0 +1 @@
+c = 1
diff --git a/releasenotes/notes/a.yaml b/releasenotes/notes/a.yaml
new file mode 100644
--- /dev/null
+++ b/releasenotes/notes/a.yaml
@@ -0,0 +1 @@
+fixes: a
";

#[test]
fn a_patch_changes_what_is_installed_and_its_record() {
    const NAME: &str = "a_patch_changes_what_is_installed_and_its_record";
    let Some(venv) = Venv::new(NAME) else { return };
    venv.distribution("demo", &[("demo/code.py", "a = 1\nb = 1\n")]);
    let (applied, said) = venv.patch(PATCH);
    assert!(applied, "{said}");
    assert!(said.contains("left out, not installed: releasenotes/notes/a.yaml"), "{said}");
    let code = std::fs::read_to_string(venv.site().join("demo/code.py")).expect("code");
    assert_eq!(code, "a = 2\nb = 1\n");
    let record = venv.record("demo");
    assert!(record.contains("demo/new.py,sha256=") && !record.contains("sha256=old"), "{record}");
    assert!(record.contains("demo-1.0.dist-info/PATCHES,sha256="), "{record}");
    assert_eq!(venv.lies("demo"), Vec::<String>::new());
}

#[test]
fn a_patch_that_does_not_apply_is_named_with_its_hunk() {
    const NAME: &str = "a_patch_that_does_not_apply_is_named_with_its_hunk";
    let Some(venv) = Venv::new(NAME) else { return };
    venv.distribution("demo", &[("demo/code.py", "a = 3\nb = 1\n")]);
    let (applied, said) = venv.patch(PATCH);
    assert!(!applied, "{said}");
    let named = "ERROR: patches/Demo/0001-fix.patch does not apply to demo/code.py of demo 1.0:\n  Hunk #1 FAILED at 1.";
    assert!(said.contains(named), "{said}");
    let (applied, said) = venv.patch(&PATCH.replace("/demo/", "/elsewhere/"));
    assert!(!applied && said.contains("changes nothing that is installed"), "{said}");
}

#[test]
fn a_site_adds_patches_and_replaces_those_of_the_same_name() {
    const NAME: &str = "a_site_adds_patches_and_replaces_those_of_the_same_name";
    let Some(venv) = Venv::new(NAME) else { return };
    venv.distribution("demo", &[("demo/code.py", "a = 1\nb = 1\n")]);
    let [fleet, site] = ["fleet", "site"].map(|name| venv.dir.path().join(name));
    let change = |from: &str, to: &str| {
        format!("--- a/demo/code.py\n+++ b/demo/code.py\n@@ -1,2 +1,2 @@\n-{from}\n+{to}\n b = 1\n")
    };
    venv.write(&fleet.join("demo/0001-a.patch"), &change("a = 1", "a = 2"));
    venv.write(&fleet.join("demo/2026.1/0002-a.patch"), "not to be read");
    venv.write(&fleet.join("demo/2025.2/0001-a.patch"), "of another series");
    venv.write(&fleet.join("other/0001-a.patch"), "of what this series has not");
    venv.write(&site.join("demo/2026.1/0002-a.patch"), &change("a = 3", "a = 4"));
    venv.write(&site.join("demo/0003-a.patch"), &change("a = 2", "a = 3"));
    let (applied, said) = venv.patch_by(&fleet, &site);
    assert!(applied, "{said}");
    let code = std::fs::read_to_string(venv.site().join("demo/code.py")).expect("code");
    assert_eq!(code, "a = 4\nb = 1\n", "{said}");
}

#[test]
fn a_patch_of_an_unknown_project_is_refused() {
    let Some(venv) = Venv::new("a_patch_of_an_unknown_project_is_refused") else { return };
    venv.write(&venv.dir.path().join("patches/dmeo/a.patch"), PATCH);
    let (applied, said) = venv.patch(PATCH);
    assert!(!applied && said.contains("no image of the series installs `dmeo`"), "{said}");
    assert!(said.contains("\nhint: ") && said.contains("did you mean `demo`?"), "{said}");
}

#[test]
fn a_series_is_split_so_that_an_image_sees_its_own_pins() {
    const NAME: &str = "a_series_is_split_so_that_an_image_sees_its_own_pins";
    let Some(venv) = Venv::new(NAME) else { return };
    let constraints = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../constraints");
    let out = venv.dir.path().join("out");
    let series = constraints.join("2026.1.toml");
    let done = venv.tool("split-series", &[&series, &constraints.join("2026.1"), &out], &[]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let read = |name: &str| std::fs::read_to_string(out.join(name)).expect("a file");
    assert!(read("keystone/requirements.txt").starts_with("keystone[ldap]\n"));
    let (keystone, nova) = (read("keystone/constraints.txt"), read("nova/constraints.txt"));
    assert!(keystone.contains("\npython-ldap===") && !nova.contains("\npython-ldap==="));
    assert!(keystone.contains("\ncryptography===") && nova.contains("\ncryptography==="));
    assert!(!keystone.contains("\nnova==="));
    let pins = std::fs::read_to_string(constraints.join("2026.1/upper-constraints.txt"));
    let pins: Vec<String> =
        pins.expect("pins").lines().filter(|l| !l.starts_with('#')).map(str::to_owned).collect();
    assert_eq!(read("all/constraints.txt").lines().collect::<Vec<_>>(), pins);
}

#[test]
fn a_series_that_cannot_be_split_says_why() {
    let Some(venv) = Venv::new("a_series_that_cannot_be_split_says_why") else { return };
    let dir = venv.dir.path().join("constraints");
    let split = |series: &str| {
        let (file, out) = (dir.join(format!("{series}.toml")), venv.dir.path().join("out"));
        let done = venv.tool("split-series", &[&file, &dir.join(series), &out], &[]);
        assert!(!done.status.success());
        String::from_utf8_lossy(&done.stderr).into_owned()
    };
    let service = "[services.a]\nversion = \"1\"\n";
    venv.write(&dir.join("2026.1.toml"), service);
    venv.write(&dir.join("2026.2.toml"), "[services\n");
    venv.write(&dir.join("2026.3.toml"), service);
    venv.write(&dir.join("2026.3/upper-constraints.txt"), "a===1\n");
    let cases = [
        ("2027.1", "there is no 2027.1.toml in CONSTRAINTS; its series: 2026.1, 2026.2, 2026.3"),
        ("2026.1", "there is no 2026.1/upper-constraints.txt"),
        ("2026.2", "2026.2.toml: "),
        ("2026.3", "`[services.a]` has no `requirements`"),
    ];
    for (series, why) in cases {
        let said = split(series);
        assert!(said.starts_with("ERROR: ") && said.contains("\nhint: "), "{said}");
        assert!(said.contains(why) && !said.contains("Traceback"), "{said}");
    }
}
