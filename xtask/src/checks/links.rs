//! Relative links in Markdown lead somewhere.

use crate::checks::Finding;
use crate::tree::{File, Tree};

pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    tree.files.iter().filter(|f| is_page(&f.path)).flat_map(|file| check_file(tree, file)).collect()
}

/// Whether a file is Markdown.
pub(crate) fn is_page(path: &str) -> bool {
    path.ends_with(".md")
}

/// The files of the repository that a page leads to.
pub(crate) fn linked(file: &File) -> Vec<String> {
    let paths = links(file).into_iter().filter(|(_, target)| !is_elsewhere(target));
    let path = |target: &str| resolve(&file.path, target.split('#').next().unwrap_or(target));
    paths.filter_map(|(_, target)| path(target)).collect()
}

fn check_file(tree: &Tree, file: &File) -> Vec<Finding> {
    let problem = |(line, target): (usize, &str)| {
        problem(tree, file, target).map(|message| Finding::new(&file.path, line, message))
    };
    links(file).into_iter().filter_map(problem).collect()
}

/// The targets of all links, with their lines.
fn links(file: &File) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut fenced = false;
    for (index, line) in file.text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            found.extend(targets(line).into_iter().map(|target| (index + 1, target)));
        }
    }
    found
}

fn is_elsewhere(target: &str) -> bool {
    target.contains("://") || target.starts_with("mailto:")
}

fn problem(tree: &Tree, file: &File, target: &str) -> Option<String> {
    if is_elsewhere(target) {
        return None;
    }
    let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
    let Some(path) = resolve(&file.path, path) else {
        return Some(format!("link to `{target}` leads out of the repository"));
    };
    if !tree.has(&path) {
        return Some(format!("link to `{target}` leads nowhere"));
    }
    let document = tree.file(&path).filter(|f| f.path.ends_with(".md"))?;
    let known = anchor.is_empty()
        || document.text.lines().any(|line| slug(line) == Some(anchor.to_owned()));
    (!known).then(|| format!("link to `{target}`: there is no such heading"))
}

/// The targets of `[text](target)` outside code spans.
fn targets(line: &str) -> Vec<&str> {
    let mut out = Vec::new();
    for (index, part) in line.split('`').enumerate() {
        // A code span may be the text of a link: only the part before `](` counts as code.
        if index % 2 == 1 {
            continue;
        }
        let mut rest = part;
        while let Some(at) = rest.find("](") {
            rest = &rest[at + 2..];
            let end = rest.find(')').unwrap_or(rest.len());
            out.push(rest[..end].split_whitespace().next().unwrap_or(""));
            rest = &rest[end..];
        }
    }
    out
}

fn resolve(from: &str, path: &str) -> Option<String> {
    if path.is_empty() {
        return Some(from.to_owned());
    }
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in path.trim_end_matches('/').split('/') {
        match part {
            "." | "" => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// The anchor that forges make of a heading.
fn slug(line: &str) -> Option<String> {
    let heading = line.strip_prefix('#')?.trim_start_matches('#').strip_prefix(' ')?;
    let kept = heading.trim().to_lowercase();
    let plain = kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    Some(plain.map(|c| if c == ' ' { '-' } else { c }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::shown;

    #[test]
    fn dead_links_are_found() {
        let text =
            "[a](docs/b.md) [c](missing.md)\n[d](../out.md)\n[e](docs/b.md#nope) [`f`](gone/)\n";
        let tree = Tree::of(&[("README.md", text), ("docs/b.md", "# Some Words, here\n")]);
        assert_eq!(
            shown(&check(&tree)),
            [
                "README.md:1: link to `missing.md` leads nowhere",
                "README.md:2: link to `../out.md` leads out of the repository",
                "README.md:3: link to `docs/b.md#nope`: there is no such heading",
                "README.md:3: link to `gone/` leads nowhere",
            ]
        );
    }

    #[test]
    fn good_links_code_and_urls_pass() {
        let text = "[a](b.md#some-words-here) [c](https://x.example/y) [d](#top) [e](../docs)\n# Top\n\
                    `[x](y)`\n```\n[x](y)\n```\n";
        let tree = Tree::of(&[("docs/a.md", text), ("docs/b.md", "## Some Words, here\n")]);
        assert_eq!(shown(&check(&tree)), Vec::<String>::new());
    }
}
