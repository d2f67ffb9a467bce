//! Layers along packages: the same files as layers of steps, shared by images, explained, read by other tools.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use karman_testing::{Place, Skip, Tested};
use serde_json::Value;

use crate::Tests;
use crate::flat::Flat;
use crate::lab::{Lab, need, need_root, tool};
use crate::layout::Layout;

pub(crate) const TESTS: Tests = &[
    ("the_files_are_those_of_steps", the_files_are_those_of_steps),
    ("a_unit_is_one_layer_in_all_images", a_unit_is_one_layer_in_all_images),
    ("one_target_alone_gives_the_image_of_the_fleet", one_target_alone),
    ("a_bump_moves_one_layer", a_bump_moves_one_layer),
    ("origins_are_those_of_steps", origins_are_those_of_steps),
    ("the_budget_is_kept", the_budget_is_kept),
    ("images_of_others_are_relayered", images_of_others_are_relayered),
    ("several_layouts_are_several_images", several_layouts_are_several_images),
    ("what_buildah_built_is_relayered", what_buildah_built_is_relayered),
    ("other_tools_read_the_layers", other_tools_read_the_layers),
    ("a_bad_plan_is_told", a_bad_plan_is_told),
    ("a_plan_elsewhere_needs_permission", a_plan_elsewhere_needs_permission),
];

/// Packages whose files meet in every unpleasant way: diverted, linked to each other, claimed twice, reached through a
/// linked directory, changed and removed later.
const PACKAGES: &str = r#"
RUN <<EOF
set -e
mkdir -p /usr/lib /usr/share/both /usr/share/empty /var/lib/dpkg/info /usr/share/gone /etc/alternatives
ln -s usr/lib /lib64x
chmod 2750 /usr/share/both && chown 1000:3000 /usr/share/both
info=/var/lib/dpkg/info
for name in one two three; do
  printf 'Package: %s\nStatus: install ok installed\nVersion: 1-%s\nArchitecture: all\n\n' $name $name >> /var/lib/dpkg/status
  echo "/usr/share/both" > $info/$name.list
  echo "/usr/share/both/$name" >> $info/$name.list
  head -c 5000 /dev/zero > /usr/share/both/$name
done
printf '/lib64x/one.so\n/etc/one.conf\n/usr/bin/tool\n/usr/share/empty\n/usr/share/twice\n' >> $info/one.list
printf '/usr/share/both/linked\n/usr/share/gone\n/usr/share/gone/file\n/usr/share/twice\n/usr/share/two\xff\n' >> $info/two.list
printf '/usr/bin/tool\n/usr/share/pipe\n/usr/share/again\n' >> $info/three.list
echo /etc/one.conf > $info/one.conffiles
printf '/usr/bin/tool\n/usr/bin/tool.one\nthree\n' > /var/lib/dpkg/diversions
echo so > /usr/lib/one.so && echo default > /etc/one.conf && echo 1 > /usr/bin/tool.one && echo 3 > /usr/bin/tool
ln /usr/share/both/one /usr/share/both/linked
echo twice > /usr/share/twice
mkfifo -m 622 /usr/share/pipe
ln -s /usr/bin/tool.one /etc/alternatives/tool && ln -s /etc/alternatives/tool /usr/bin/alternative
echo f > /usr/share/gone/file && echo a > /usr/share/again && chmod 4755 /usr/bin/tool
touch -d '2001-02-03 04:05:06' /usr/share/both/three /usr/share/empty
EOF
"#;

/// A virtual environment with two distributions that share a directory and a file.
const VENV: &str = r##"
FROM busybox AS venv
RUN <<EOF
set -e
site=/var/lib/venv/lib/python3.13/site-packages
mkdir -p $site/space /var/lib/venv/bin
for name in alpha beta; do
  mkdir -p $site/space/$name/__pycache__ $site/$name-1.dist-info
  echo "# $name" > $site/space/$name/__init__.py
  echo "code of $name" > $site/space/$name/__pycache__/__init__.cpython-313.pyc
  printf 'Metadata-Version: 2.1\nName: %s\nVersion: 1\n' $name > $site/$name-1.dist-info/METADATA
  printf 'space/%s/__init__.py,,\n%s-1.dist-info/METADATA,,\n%s-1.dist-info/RECORD,,\nspace/shared.py,,\n../../../bin/%s,,\n' \
    $name $name $name $name > $site/$name-1.dist-info/RECORD
  echo '#!/usr/bin/python3' > /var/lib/venv/bin/$name
done
echo shared > $site/space/shared.py
echo cfg > /var/lib/venv/pyvenv.cfg
EOF
"##;

/// What later steps do to it.
const LATER: &str = r"
COPY --from=venv --link /var/lib/venv /var/lib/venv
RUN echo changed >> /etc/one.conf && rm -r /usr/share/gone && rm /usr/share/again && mkdir -m 700 /usr/share/again
RUN chmod 711 /usr/share/both && ln /usr/share/both/two /usr/share/both/other && head -c 2000000 /dev/zero > /var/lib/large
COPY t.tar /data/
ADD t.tar /data/
RUN mkdir /usr/share/gone && echo new > /usr/share/gone/file && chown -R 1000:1000 /var/lib/venv/bin
WORKDIR /srv/made
ENV A=b
";

fn nasty() -> String {
    format!("{VENV}FROM busybox\n{PACKAGES}{LATER}")
}

/// A place with a Dockerfile, and an archive whose file has attributes and capabilities where the host lets us.
fn place(lab: &Lab, dockerfile: &str) -> Result<Place, Skip> {
    let place = lab.place()?;
    place.write("ctx/Dockerfile", dockerfile);
    place.write("ctx/a", "1");
    let attributes = "setcap cap_net_raw+ep a || true; tar --xattrs --xattrs-include='*' --owner=0 --group=0 -cf t.tar a";
    tool(
        &place,
        Path::new("/bin/sh"),
        &["-c", &format!("cd ctx && PATH=$PATH:/usr/sbin; {attributes}")],
    );
    Ok(place)
}

fn flat(place: &Place, dir: &str) -> Flat {
    Flat::of(&Layout::open(&place.work().join(dir)).layers())
}

#[track_caller]
fn assert_same(made: &Flat, wanted: &Flat) {
    let (made, wanted) = (made.text(), wanted.text());
    let of = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<String>>();
    let (made, wanted) = (of(&made), of(&wanted));
    let (more, less): (Vec<_>, Vec<_>) =
        (made.difference(&wanted).collect(), wanted.difference(&made).collect());
    assert!(more.is_empty() && less.is_empty(), "made {more:#?} instead of {less:#?}");
}

fn the_files_are_those_of_steps(lab: &Lab) -> Tested {
    let place = place(lab, &nasty())?;
    for more in ["", ",rewrite-timestamp=true,compression=zstd"] {
        let steps = format!(
            "type=oci,dest=steps,tar=false{}",
            more.split(",compression").next().unwrap_or("")
        );
        let packages = format!(
            "type=oci,dest=packages,tar=false,layering=packages{}",
            more.replace("zstd", "uncompressed")
        );
        lab.build(&place, &["-t", "demo", "-o", &steps, "-o", &packages, "ctx"]).ok();
        let (steps, packages) = (flat(&place, "steps"), flat(&place, "packages"));
        assert_same(&packages, &steps);
        assert!(steps.text().contains("/usr/share/both 711 1000:3000"), "{}", steps.text());
        for dir in ["steps", "packages"] {
            std::fs::remove_dir_all(place.work().join(dir)).expect("the output");
        }
    }
    Ok(())
}

/// Layer digest → the paths of files in it.
fn contents(layout: &Layout) -> BTreeMap<String, BTreeSet<String>> {
    let digests = layout.manifest["layers"].as_array().expect("layers").iter();
    let digests = digests.map(|l| l["digest"].as_str().expect("a digest").to_owned());
    digests.zip(layout.layers()).map(|(digest, tar)| (digest, Flat::of(&[tar]).files())).collect()
}

fn layer_of(layout: &Layout, path: &str) -> String {
    let found = contents(layout).into_iter().find(|(_, paths)| paths.contains(path));
    found.unwrap_or_else(|| panic!("no {path}")).0
}

/// Two images with the same packages and distributions, made by different steps, and some of their own.
const FLEET: &str = r#"
target "first" {
  contexts = { busybox = BASE }
  context = "first"
}
target "second" {
  contexts = { busybox = BASE }
  context = "second"
}
variable "BASE" { default = "" }
variable "PLAN" { default = "" }
target "first" { output = ["type=oci,dest=first.oci,tar=false,layering=packages,layer-plan=${PLAN}"] }
target "second" { output = ["type=oci,dest=second.oci,tar=false,layering=packages,layer-plan=${PLAN}"] }
group "default" { targets = ["first", "second"] }
"#;

fn fleet(lab: &Lab) -> Result<Place, Skip> {
    let place = lab.place()?;
    place.write("docker-bake.hcl", FLEET);
    let gamma = VENV.replace("alpha beta", "alpha beta gamma");
    let venv = "COPY --from=venv /var/lib/venv /var/lib/venv\n";
    place.write("first/Dockerfile", format!("{VENV}FROM busybox\n{PACKAGES}{venv}"));
    let more = "RUN mkdir -m 750 /usr/share && echo late > /usr/share/late\n";
    place.write(
        "second/Dockerfile",
        format!("{gamma}FROM busybox\n{more}{PACKAGES}{venv}RUN echo x >> /etc/one.conf\n"),
    );
    Ok(place)
}

fn bake(lab: &Lab, place: &Place, args: &[&str]) -> karman_testing::Told {
    let base = format!("BASE={}", lab.base());
    place
        .run([&["bake", "--progress=plain", "--allow", "fs=*", "--var", &base], args].concat())
        .ok()
}

fn pair(place: &Place) -> (Layout, Layout) {
    let open = |dir: &str| Layout::open(&place.work().join(dir));
    (open("first.oci"), open("second.oci"))
}

fn a_unit_is_one_layer_in_all_images(lab: &Lab) -> Tested {
    let place = fleet(lab)?;
    bake(lab, &place, &[]);
    let (first, second) = pair(&place);
    let shared = [
        "/usr/share/both/two",
        "/usr/bin/tool",
        "/var/lib/venv/lib/python3.13/site-packages/space/alpha/__init__.py",
        "/var/lib/venv/lib/python3.13/site-packages/space/alpha/__pycache__/__init__.cpython-313.pyc",
        "/var/lib/venv/lib/python3.13/site-packages/beta-1.dist-info/RECORD",
        "/var/lib/venv/bin/beta",
        "/bin/busybox",
    ];
    for path in shared {
        assert_eq!(layer_of(&first, path), layer_of(&second, path), "{path}");
    }
    let own = ["/etc/one.conf", "/var/lib/dpkg/status"];
    for path in own {
        assert_eq!(contents(&first).len(), first.layers().len(), "no layer comes twice");
        let layer = layer_of(&second, path);
        assert!(!contents(&second)[&layer].contains("/usr/share/both/two"), "{path}");
    }
    let history = first.config["history"].to_string();
    assert!(history.contains("Debian: ") && history.contains("two 1-two"), "{history}");
    assert!(history.contains("Python: alpha 1, beta 1"), "{history}");
    Ok(())
}

fn one_target_alone(lab: &Lab) -> Tested {
    let place = fleet(lab)?;
    let plan = bake(lab, &place, &["--print-layers=json"]).out;
    assert!(!place.work().join("first.oci").exists(), "nothing is exported");
    place.write("layers.json", &plan);
    let table = bake(lab, &place, &["--print-layers", "--var", "PLAN=layers.json"]).out;
    assert!(table.contains("second (linux/"), "{table}");
    assert!(
        table.lines().any(|l| l.contains(" 2 ") && l.ends_with("Python: alpha 1, beta 1")),
        "{table}"
    );
    bake(lab, &place, &["--var", "PLAN="]);
    let (first, second) = pair(&place);
    for (target, fleet) in [("first", first.digest), ("second", second.digest)] {
        let dir = format!("{target}.oci");
        std::fs::remove_dir_all(place.work().join(&dir)).expect("the output");
        bake(lab, &place, &["--var", "PLAN=layers.json", target]);
        assert_eq!(Layout::open(&place.work().join(dir)).digest, fleet, "{target}");
    }
    Ok(())
}

fn a_bump_moves_one_layer(lab: &Lab) -> Tested {
    let place = fleet(lab)?;
    let plan = bake(lab, &place, &["--print-layers=json"]).out;
    place.write("layers.json", plan);
    let bake_both = || bake(lab, &place, &["--var", "PLAN=layers.json"]);
    bake_both();
    let before = pair(&place);
    let before = (contents(&before.0), contents(&before.1));
    for dir in ["first.oci", "second.oci"] {
        std::fs::remove_dir_all(place.work().join(dir)).expect("the output");
    }
    for target in ["first", "second"] {
        let file = format!("{target}/Dockerfile");
        let text = std::fs::read_to_string(place.work().join(&file)).expect("the Dockerfile");
        place.write(&file, text.replace("echo 3 > /usr/bin/tool", "echo 4 > /usr/bin/tool"));
    }
    bake_both();
    let after = pair(&place);
    type Contents = BTreeMap<String, BTreeSet<String>>;
    let news = |old: &Contents, after: &Layout| -> Vec<BTreeSet<String>> {
        let new = contents(after);
        new.into_iter()
            .filter(|(digest, _)| !old.contains_key(digest))
            .map(|(_, paths)| paths)
            .collect()
    };
    let first = news(&before.0, &after.0);
    assert_eq!(first.len(), 1, "{first:?}");
    assert!(first[0].contains("/usr/bin/tool"), "{first:?}");
    assert_eq!(news(&before.1, &after.1), first, "it is the same layer in both");
    Ok(())
}

/// Path → origin and what else is told of it, without layers, which are others.
fn origins(place: &Place, image: &str) -> BTreeMap<String, Value> {
    let told = place.run(["inventory", "--format", "json", image]).ok();
    let inventory: Value = serde_json::from_str(&told.out).expect("JSON");
    let step = |entry: &Value| {
        let layer = entry["layer"].as_u64().expect("a layer");
        inventory["layers"][layer as usize]["step"].clone()
    };
    let mut all = BTreeMap::new();
    for entry in inventory["entries"].as_array().expect("entries") {
        let mut told = entry.clone();
        // Which step wrote what a package has is known only where the step ran.
        let owned = ["dpkg", "python"].contains(&entry["origin"]["kind"].as_str().expect("a kind"));
        told["step"] = if owned { Value::Null } else { step(entry) };
        told.as_object_mut().expect("an object").remove("layer");
        all.insert(entry["path"].as_str().expect("a path").to_owned(), told);
    }
    all
}

fn origins_are_those_of_steps(lab: &Lab) -> Tested {
    let place = place(lab, &nasty())?;
    let outputs =
        ["-o", "type=oci,dest=steps.tar", "-o", "type=oci,dest=packages.tar,layering=packages"];
    lab.build(
        &place,
        &[&["-t", "demo:packages"], &outputs[..], &["-o", "type=image,layering=packages", "ctx"]]
            .concat(),
    )
    .ok();
    lab.build(&place, &["-t", "demo:steps", "ctx"]).ok();
    let steps = origins(&place, "demo:steps");
    assert!(steps.values().any(|e| e["upstream"].is_array()));
    assert_eq!(origins(&place, "demo:packages"), steps, "in the store that built them");
    place.run(["run", "demo:packages", "cat", "/etc/one.conf"]).is(0, "");
    let other = lab.place()?;
    let of = |file: &str| origins(&other, &place.work().join(file).to_string_lossy());
    let (steps, packages) = (of("steps.tar"), of("packages.tar"));
    for (path, entry) in &steps {
        assert_eq!(packages.get(path), Some(entry), "{path} in another store");
    }
    assert_eq!(packages.len(), steps.len());
    let told = other.run([
        "audit",
        "--no-run",
        "--format",
        "json",
        &place.work().join("packages.tar").to_string_lossy(),
    ]);
    assert!(!told.out.contains("\"unexplained\""), "{}", told.out);
    Ok(())
}

fn the_budget_is_kept(lab: &Lab) -> Tested {
    let place = place(lab, &nasty())?;
    lab.build(&place, &["-t", "demo", "-o", "type=oci,dest=steps,tar=false", "ctx"]).ok();
    for budget in [4, 6] {
        let output =
            format!("type=oci,dest=few-{budget},tar=false,layering=packages,layer-budget={budget}");
        lab.build(&place, &["-t", "demo", "-o", &output, "ctx"]).ok();
        let dir = format!("few-{budget}");
        assert!(Layout::open(&place.work().join(&dir)).layers().len() <= budget);
        assert_same(&flat(&place, &dir), &flat(&place, "steps"));
    }
    let told = lab.build(&place, &["-o", "type=image,layering=packages,layer-budget=128", "ctx"]);
    told.is(2, "want a number from 4 to 127");
    Ok(())
}

fn images_of_others_are_relayered(lab: &Lab) -> Tested {
    let place = place(lab, &nasty())?;
    let annotation = "annotation.org.example.kept=yes";
    let output = format!("type=oci,dest=steps,tar=false,{annotation}");
    lab.build(&place, &["-t", "demo:v1", "-o", &output, "ctx"]).ok();
    let other = lab.place()?;
    let layout = place.work().join("steps");
    let source = format!("oci-layout://{}:v1", layout.display());
    let told = other.run(["image", "relayer", &source, "-o", "type=oci,dest=again,tar=false"]).ok();
    assert!(told.err.contains("different layers of all images: "), "{}", told.err);
    let again = Layout::open(&other.work().join("again"));
    assert_same(&Flat::of(&again.layers()), &flat(&place, "steps"));
    assert_eq!(again.manifest["annotations"]["org.example.kept"], "yes");
    let names = |layout: &Layout, path: &str| layer_of(layout, path);
    assert_ne!(names(&again, "/usr/share/both/three"), names(&again, "/var/lib/dpkg/status"));
    let few = "type=oci,dest=few,tar=false,layer-budget=4,layer-plan=";
    other.run(["image", "relayer", &source, "-o", few]).ok();
    let few = Layout::open(&other.work().join("few"));
    assert_eq!(few.layers().len(), 4);
    assert_same(&Flat::of(&few.layers()), &flat(&place, "steps"));
    // The same by name in the store, and once more: nothing changes any longer.
    other
        .run(["image", "relayer", &source, "-o", "type=image", "--prefix", "example.org/new/"])
        .ok();
    let name = "example.org/new/steps:v1";
    let first = other.run(["image", "inspect", name]).ok().out;
    assert!(first.contains(&again.digest), "{first}");
    other.run(["image", "relayer", name]).ok();
    assert_eq!(other.run(["image", "inspect", name]).ok().out, first);
    other.run(["run", name, "cat", "/etc/one.conf"]).ok();
    other.run(["image", "relayer", name, "-o", "type=local,dest=x"]).is(2, "no output of images");
    Ok(())
}

/// Layouts that are asked about together once were all the first of them.
fn several_layouts_are_several_images(lab: &Lab) -> Tested {
    let place = lab.place()?;
    let mut digests = Vec::new();
    for dir in ["a/image-1.1", "b/image-1.1", "b/image-1.2"] {
        place.write("ctx/Dockerfile", format!("FROM busybox\nRUN echo {dir} > /which\n"));
        let output = format!("type=oci,dest={dir},tar=false");
        std::fs::create_dir_all(place.work().join(dir).parent().expect("a directory"))
            .expect("a directory");
        lab.build(&place, &["-o", &output, "ctx"]).ok();
        digests.push(Layout::open(&place.work().join(dir)).digest);
    }
    let output = "type=oci,dest=out,tar=false";
    let relayer =
        |images: &[&str]| place.run([&["image", "relayer", "-o", output], images].concat());
    relayer(&["./a/image-1.1", "./b/image-1.1"])
        .is(2, "`./a/image-1.1` and `./b/image-1.1` would both be named `image-1.1:latest`");
    let told = relayer(&["./a/image-1.1", "./b/image-1.2"]).ok().out;
    let made: BTreeSet<&str> = told.lines().filter_map(|l| l.split(' ').nth(1)).collect();
    assert_eq!(made.len(), 2, "{told}");
    let index = std::fs::read_to_string(place.work().join("out/index.json")).expect("an index");
    assert!(index.contains("image-1.1:latest") && index.contains("image-1.2:latest"), "{index}");
    let told = place.run(["report", "--format=json", "./a/image-1.1", "./b/image-1.2"]).ok().out;
    let json: Value = serde_json::from_str(&told).expect("JSON");
    let of = |at: usize| json["images"][at]["digest"].as_str().expect("a digest").to_owned();
    assert_eq!([of(0), of(1)], [digests[0].clone(), digests[2].clone()]);
    Ok(())
}

fn what_buildah_built_is_relayered(lab: &Lab) -> Tested {
    need_root()?;
    let buildah = need("buildah")?;
    let place = lab.place()?;
    let (_, body) = PACKAGES.split_once("EOF\n").expect("a heredoc");
    place.write("packages.sh", body.trim_end().trim_end_matches("EOF"));
    place.write(
        "later.sh",
        "echo changed >> /etc/one.conf; rm -r /usr/share/gone; mkdir -m 700 /usr/share/again.d",
    );
    let script = format!(
        "set -e; b='{} --root {root}/c --runroot {root}/r --storage-driver vfs'; cp -r {} base; c=$($b from oci:base); \
         $b copy $c packages.sh later.sh /root/; \
         $b run --isolation chroot $c sh /root/packages.sh; $b commit -q $c step:1; d=$($b from --pull-never localhost/step:1); \
         $b run --isolation chroot $d sh /root/later.sh; $b commit -q $d oci:built:1",
        buildah.display(),
        lab.base_dir().display(),
        root = place.root().display(),
    );
    tool(&place, Path::new("/bin/sh"), &["-c", &script]);
    place
        .run(["image", "relayer", "oci-layout://built:1", "-o", "type=oci,dest=again,tar=false"])
        .ok();
    let built = Layout::open(&place.work().join("built"));
    let again = Layout::open(&place.work().join("again"));
    assert_same(&Flat::of(&again.layers()), &Flat::of(&built.layers()));
    assert_ne!(layer_of(&again, "/usr/bin/tool"), layer_of(&again, "/etc/one.conf"));
    assert_eq!(again.config["config"], built.config["config"]);
    Ok(())
}

fn other_tools_read_the_layers(lab: &Lab) -> Tested {
    need_root()?;
    let (skopeo, umoci) = (need("skopeo")?, need("umoci")?);
    let place = place(lab, &nasty())?;
    let outputs = [
        "-o",
        "type=oci,dest=steps,tar=false",
        "-o",
        "type=oci,dest=packages,tar=false,layering=packages",
    ];
    let archive = ["-o", "type=docker,dest=docker.tar,layering=packages"];
    lab.build(&place, &[&["-t", "demo:1"], &outputs[..], &archive[..], &["ctx"]].concat()).ok();
    for what in ["oci:packages:1", "docker-archive:docker.tar"] {
        let dest = format!("dir:{}", what.replace([':', '.'], "-"));
        tool(&place, &skopeo, &["--insecure-policy", "copy", what, &dest]);
    }
    for dir in ["steps", "packages"] {
        tool(
            &place,
            &umoci,
            &[
                "unpack",
                "--keep-dirlinks",
                "--image",
                &format!("{dir}:1"),
                &format!("{dir}-unpacked"),
            ],
        );
    }
    let list = |dir: &str| {
        let script = format!(
            "cd {dir}-unpacked/rootfs && find . -mindepth 1 -printf '%p %y %m %U:%G %s %T@ %l %n\\n' | grep -v ' d ' | sort; \
             find . -mindepth 1 -type d -printf '%p %m %U:%G %T@\\n' | sort; find . -type f -exec sha256sum {{}} + | sort"
        );
        tool(&place, Path::new("/bin/sh"), &["-c", &script]).out
    };
    let (steps, packages) = (list("steps"), list("packages"));
    for (one, other) in steps.lines().zip(packages.lines()) {
        assert_eq!(one, other, "umoci unpacks something else");
    }
    assert_eq!(steps.lines().count(), packages.lines().count());
    Ok(())
}

/// A bake file of others does not have any file of ours read.
fn a_plan_elsewhere_needs_permission(lab: &Lab) -> Tested {
    let place = lab.place()?;
    place.write("ctx/Dockerfile", "FROM scratch\nCOPY a /a\n");
    place.write("ctx/a", "a");
    let output = "type=image,layering=packages,layer-plan=/etc/hostname";
    let file = format!("target \"default\" {{\n context = \"ctx\"\n output = [\"{output}\"]\n}}\n");
    place.write("docker-bake.hcl", file);
    place.run(["bake"]).is(2, "fs.read=/etc/hostname");
    place.run(["bake", "--allow", "fs.read=/etc/hostname"]).is(3, "read the layer plan");
    place.run(["bake", "-o", output]).is(3, "read the layer plan");
    Ok(())
}

fn a_bad_plan_is_told(lab: &Lab) -> Tested {
    let place = place(lab, "FROM busybox\nRUN echo a > /a\n")?;
    let output = "type=oci,dest=out.tar,layering=packages,layer-plan=plan.json";
    let build = || lab.build(&place, &["-o", output, "ctx"]);
    let told = build().is(3, "read the layer plan");
    assert!(!told.err.contains("RUN echo"), "it is told before the build: {}", told.err);
    place.write("plan.json", "{\"version\": 9, \"layers\": []}");
    build().is(3, "the layer plan has version 9, and 1 is the newest that is known");
    place.write("plan.json", "{\"version\": 1, \"layers\": [[\"deb:unknown\"]]}");
    build().ok();
    let told = lab.build(&place, &["-o", "type=oci,layer-plan=plan.json", "ctx"]);
    told.is(2, "it needs layering=packages");
    Ok(())
}
