//! Databases that lie: what they may cost, and that they claim nothing they should not.

use std::time::{Duration, Instant};

use karman_inventory::memory::MemoryTree;
use karman_inventory::{Origin, Survey, TreeError};

const SITE: &str = "/venv/lib/python3/site-packages";
/// Far more than any of these takes, far less than they took.
const PATIENCE: Duration = Duration::from_secs(20);

fn distribution(tree: &mut MemoryTree, name: &str, record: String) {
    let info = format!("{SITE}/{name}-1.dist-info");
    tree.file(&format!("{info}/METADATA"), format!("Name: {name}\nVersion: 1\n"));
    tree.file(&format!("{info}/RECORD"), record);
}

fn survey(tree: &MemoryTree) -> Result<Survey, TreeError> {
    let begun = Instant::now();
    let survey = Survey::read(tree, Vec::new());
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    survey
}

fn origin(survey: &Survey, path: &str) -> Origin {
    survey.origin(survey.node(path).unwrap_or_else(|| panic!("no {path}")))
}

/// Directories of directories that are not there: each line once claimed all of them.
#[test]
fn deep_lines_of_a_record_claim_what_is_there() {
    let mut tree = MemoryTree::new();
    let deep = "x/".repeat(2000);
    let lines: Vec<String> = (0..2000).map(|at| format!("{at}/{deep}f,,\n")).collect();
    distribution(&mut tree, "deep", lines.concat() + "real/dir/file.py,,\n");
    tree.file(&format!("{SITE}/real/dir/file.py"), "");
    let survey = survey(&tree).expect("a survey");
    let python = |origin| matches!(origin, Origin::Python { .. });
    for path in ["real", "real/dir", "real/dir/file.py"] {
        assert!(python(origin(&survey, &format!("{SITE}/{path}"))), "{path}");
    }
    assert!(!python(origin(&survey, SITE)));
}

/// A short line through links to a long way: each once was resolved from the beginning, and kept.
#[test]
fn lines_through_links_cost_what_they_are_long() {
    let mut tree = MemoryTree::new();
    for link in 0..39 {
        let way = "y/../".repeat(700);
        tree.symlink(&format!("{SITE}/l{link}"), &format!("{way}l{}", link + 1));
    }
    tree.symlink(&format!("{SITE}/l39"), &"z/".repeat(2000));
    let lines: Vec<String> = (0..30_000).map(|at| format!("l0/{at}/f,,\n")).collect();
    distribution(&mut tree, "links", lines.concat());
    survey(&tree).expect("a survey");
}

#[test]
fn many_distributions_do_not_look_at_everything_each() {
    let mut tree = MemoryTree::new();
    for at in 0..3000 {
        distribution(&mut tree, &format!("d{at}"), "shared.py,,\n".repeat(20));
        tree.file(&format!("{SITE}/d{at}.py"), "");
    }
    let survey = survey(&tree).expect("a survey");
    assert_eq!(survey.distributions.len(), 3000);
}

#[test]
fn more_bytes_than_any_image_has_are_refused() {
    let mut tree = MemoryTree::new();
    for at in 0..129 {
        let info = format!("{SITE}/d{at}-1.dist-info");
        tree.file(&format!("{info}/METADATA"), "Name: x\n\n".to_owned() + &" ".repeat(4 << 20));
    }
    let error = survey(&tree).err().expect("an error");
    assert_eq!(
        error.to_string(),
        "the databases of packages in the image have more than 536870912 bytes"
    );
}

/// Includes that name everything, everything once more in each.
#[test]
fn includes_of_the_linker_end() {
    let mut tree = MemoryTree::new();
    for at in 0..2000 {
        tree.file(&format!("/etc/c/{at}"), "include c/*\n".repeat(500));
    }
    tree.file("/etc/ld.so.conf", "/usr/local/lib\n".to_owned() + &"include c/*\n".repeat(500));
    let survey = survey(&tree).expect("a survey");
    assert_eq!(survey.library_path, ["/usr/local/lib"]);
}

#[test]
fn paths_that_leave_the_root_or_the_tree_stay_in_it() {
    let mut tree = MemoryTree::new();
    tree.file("/etc/passwd", "");
    tree.file("/venv/lib/python3/site-packages-more/f", "");
    let up = "../".repeat(50);
    let record = format!("{up}etc/passwd,,\n../site-packages-more/f,,\n/,,\n..,,\n,,\n\"open\n");
    distribution(&mut tree, "liar", record);
    let survey = survey(&tree).expect("a survey");
    assert!(matches!(origin(&survey, "/etc/passwd"), Origin::Python { .. }));
    let beside = "/venv/lib/python3/site-packages-more";
    assert!(matches!(origin(&survey, &format!("{beside}/f")), Origin::Python { .. }));
    assert!(!matches!(origin(&survey, beside), Origin::Python { .. }), "it is no directory of it");
}
