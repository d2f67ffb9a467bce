//! Cases: a tree goes in, its inventory for people comes out; see `tree`.

mod tree;

use std::path::Path;

use karman_inventory::print::{listing, summary};

#[test]
fn cases() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/inventory");
    karman_testing::run_cases(&dir, |case| {
        let inventory = tree::inventory(case);
        let text = serde_json::to_string(&inventory).expect("plain data");
        let again = serde_json::from_str(&text).expect("what was written can be read");
        assert_eq!(inventory, again);
        format!("{}{}", listing(&inventory), summary(&inventory))
    });
}
