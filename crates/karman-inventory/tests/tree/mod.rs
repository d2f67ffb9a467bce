//! Trees of `.case` files.
//!
//! | section | meaning |
//! |---|---|
//! | `layer: RUN make` | a new layer and its instruction; `FROM x` is a base, `COPY --from=x …` names its stage |
//! | `file: /path [mode=0755] [uid=1] [gid=2] [cap=00]` | a file with the lines below |
//! | `dir: /path [mode=…]`, `link: /path -> target` | a directory, a symbolic link |
//! | `elf: /path [soname=x] [needed=a,b] [runpath=x:y] [needs=lib,VERSION] [defines=VERSION]` | an ELF file |
//! | `gone: /path` | what a later layer removes |

use karman_inventory::memory::{MemoryTree, elf_file};
use karman_inventory::{ElfFacts, Inventory, Layer, NoSources, Node, Step, StepKind, Survey, take};
use karman_testing::{Case, Section};

/// The inventory of a case's tree.
pub(crate) fn inventory(case: &Case) -> Inventory {
    let (tree, layers) = tree(case);
    let survey = Survey::read(&tree, layers).expect("a tree in memory can be read");
    take(&tree, survey, "linux/amd64", &NoSources).expect("a tree in memory can be read")
}

fn tree(case: &Case) -> (MemoryTree, Vec<Layer>) {
    let mut tree = MemoryTree::new();
    let mut layers = Vec::new();
    for section in &case.sections {
        let (path, options) = section.value.split_once(' ').unwrap_or((&section.value, ""));
        let node = match section.name.as_str() {
            "layer" => {
                tree.begin_layer(layers.len());
                layers.push(layer(&section.value));
                continue;
            }
            "file" => tree.file(path, content(section)),
            "elf" => {
                tree.file(path, elf(options)).mode = 0o755;
                continue;
            }
            "dir" => tree.directory(path),
            "link" => tree.symlink(path, options.trim_start_matches("-> ")),
            "gone" => {
                tree.remove(path);
                continue;
            }
            _ => continue,
        };
        options.split(' ').for_each(|option| change(node, option));
    }
    (tree, layers)
}

fn elf(options: &str) -> Vec<u8> {
    let mut facts = ElfFacts::default();
    for (name, value) in options.split(' ').filter_map(|option| option.split_once('=')) {
        let list = |separator| value.split(separator).map(str::to_owned).collect::<Vec<_>>();
        match name {
            "soname" => facts.soname = Some(value.to_owned()),
            "needed" => facts.needed = list(','),
            "runpath" => facts.runpath = list(':'),
            "rpath" => facts.rpath = list(':'),
            "interpreter" => facts.interpreter = Some(value.to_owned()),
            "defines" => facts.defines_versions = list(','),
            "needs" => {
                let (library, version) = value.split_once(',').expect("library and version");
                facts
                    .needs_versions
                    .entry(library.to_owned())
                    .or_default()
                    .push(version.to_owned());
            }
            _ => panic!("no option `{name}`"),
        }
    }
    elf_file(&facts)
}

fn content(section: &Section) -> Vec<u8> {
    section.body.clone().into_bytes()
}

fn change(node: &mut Node, option: &str) {
    let Some((name, value)) = option.split_once('=') else { return };
    let number = |radix| u32::from_str_radix(value, radix).expect("a number");
    match name {
        "mode" => node.mode = number(8),
        "uid" => node.uid = number(10),
        "gid" => node.gid = number(10),
        "cap" => node.capability = Some(value.as_bytes().to_vec()),
        _ => panic!("no option `{name}`"),
    }
}

fn layer(text: &str) -> Layer {
    let kind = match text.split(' ').next() {
        Some("FROM") => StepKind::Base,
        Some("RUN") => StepKind::Run,
        Some("COPY") => StepKind::Copy,
        _ => StepKind::Unknown,
    };
    let mut words = text.split(' ').filter_map(|w| w.strip_prefix("--from="));
    let from = words.next().map(str::to_owned);
    Layer { diff_id: None, step: Step { kind, text: text.to_owned(), place: None, from } }
}
