//! Patterns made to cost much.

use std::time::Duration;

use karman_pattern::{Matcher, Pattern, glob_match, read_ignore_file};
use karman_testing::{Bounds, bounded};

const BOUNDS: Bounds = Bounds { memory: 512 << 20, time: Duration::from_secs(60) };

#[test]
fn an_ignore_file_of_a_million_lines() {
    bounded("an_ignore_file_of_a_million_lines", BOUNDS, || {
        let text: String = (0..1_000_000).map(|i| format!("f{i}\n")).collect();
        let error = Matcher::new(&read_ignore_file(&text)).expect_err("too many");
        assert_eq!(error.to_string(), "more than 100000 patterns");
        let comments = "# nothing\n\n".repeat(1_000_000);
        assert!(read_ignore_file(&comments).is_empty());
        let text: String = (0..100_000).map(|i| format!("d{i}/f\n")).collect();
        let matcher = Matcher::new(&read_ignore_file(&text)).expect("as many as may be");
        assert!(matcher.excluded("d99999/f", false));
        for i in 0..5 {
            assert!(!matcher.excluded(&format!("deep/{}", "x/".repeat(i)), false));
        }
    });
}

#[test]
fn stars_against_deep_trees() {
    bounded("stars_against_deep_trees", BOUNDS, || {
        let deep = "aaaaaaa/".repeat(60);
        for unit in ["**/", "**/a", "*", "**", "*a", "**/*/", "[a-z]*", "?*"] {
            let pattern = unit.repeat(500 / unit.len()) + "b";
            let compiled = Pattern::compile(&pattern).expect("within the limit");
            assert!(!compiled.matches(&deep), "{unit}");
            assert!(!glob_match(&pattern, &deep).expect("well-formed"), "{unit}");
            let matcher = Matcher::new(&[pattern]).expect("within the limit");
            assert!(!matcher.excluded(&"a/".repeat(20), true), "{unit}");
        }
    });
}

#[test]
fn patterns_that_are_too_long() {
    bounded("patterns_that_are_too_long", BOUNDS, || {
        for pattern in ["a".repeat(100 << 20), "*".repeat(10 << 20), "[".repeat(10 << 20)] {
            let error = Pattern::compile(&pattern).expect_err("too long").to_string();
            assert!(error.len() < 200, "the message repeats the pattern");
        }
        assert!(Pattern::compile(&"[a-".repeat(1_000)).is_err());
    });
}
