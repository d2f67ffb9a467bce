//! Functions read at a glance.

use crate::checks::Finding;
use crate::mask::{is_word_at, line_of, mask};
use crate::tables::MAX_FUNCTION_LINES;
use crate::tree::Tree;

pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.rust() {
        let masked = mask(&file.text);
        for (at, _) in masked.match_indices("fn ").filter(|&(at, _)| is_word_at(&masked, at, "fn"))
        {
            let Some(end) = body_end(&masked, at) else { continue };
            let (first, last) = (line_of(&masked, at), line_of(&masked, end));
            let lines = last - first + 1;
            if lines > MAX_FUNCTION_LINES {
                let name: String =
                    masked[at + 3..].chars().take_while(|c| *c != '(' && *c != '<').collect();
                let message = format!(
                    "function `{}` has {lines} lines, more than {MAX_FUNCTION_LINES}",
                    name.trim()
                );
                findings.push(Finding::new(&file.path, first, message));
            }
        }
    }
    findings
}

/// The offset of the brace that closes the function at `at`; `None` for one without a body.
fn body_end(masked: &str, at: usize) -> Option<usize> {
    let mut nesting = 0i32;
    let mut depth = 0usize;
    for (offset, c) in masked[at..].char_indices() {
        match c {
            '(' | '[' if depth == 0 => nesting += 1,
            ')' | ']' if depth == 0 => nesting -= 1,
            ';' if depth == 0 && nesting == 0 => return None,
            '{' => depth += 1,
            '}' => {
                depth = depth.checked_sub(1)?;
                // A brace inside parentheses is a constant in a type, not the body.
                if depth == 0 && nesting == 0 {
                    return Some(at + offset);
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::shown;

    fn found(text: &str) -> Vec<String> {
        shown(&check(&Tree::of(&[("a.rs", text)])))
    }

    #[test]
    fn a_long_function_is_found_where_it_begins() {
        let body = "    x();\n".repeat(MAX_FUNCTION_LINES - 1);
        let text = format!("fn short() {{}}\n\nfn long<T>(\n) -> [u8; 2] {{\n{body}}}\n");
        assert_eq!(found(&text), ["a.rs:3: function `long` has 102 lines, more than 100"]);
    }

    #[test]
    fn a_function_at_the_limit_and_braces_in_literals_pass() {
        let body = "    x(\"}\"); // }\n".repeat(MAX_FUNCTION_LINES - 2);
        assert!(found(&format!("fn exact() {{\n{body}}}\n{}", "\n".repeat(200))).is_empty());
        assert!(found(&format!("trait T {{ fn f(&self);\n{} }}", "\n".repeat(200))).is_empty());
        let closure_type = format!("struct S {{ f: fn (u8), {} }}", "\n".repeat(50));
        assert!(found(&closure_type).is_empty());
    }
}
