//! Paths through symbolic links of the tree.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Links passed on the way to one path (the kernel's limit).
const MAX_LINKS: usize = 40;
/// Components of one path, links included.
const MAX_COMPONENTS: usize = 4096;

/// Resolves directories to where they really are.
pub(crate) struct Links {
    targets: HashMap<String, String>,
    /// Directory → where it really is.
    known: Mutex<HashMap<String, String>>,
}

impl Links {
    /// Takes the symbolic links of a tree: path → text.
    pub(crate) fn new(targets: HashMap<String, String>) -> Self {
        Self { targets, known: Mutex::default() }
    }

    /// The path with all links in its directories followed, and not the last component.
    pub(crate) fn place(&self, path: &str) -> String {
        let Some((dir, name)) = path.rsplit_once('/') else { return path.to_owned() };
        if dir.is_empty() {
            return path.to_owned();
        }
        let real = self.directory(dir);
        if real == "/" { format!("/{name}") } else { format!("{real}/{name}") }
    }

    /// The path with all links followed, the last component too.
    pub(crate) fn follow(&self, path: &str) -> String {
        let mut left = MAX_LINKS;
        self.walk(path, &mut left)
    }

    fn directory(&self, dir: &str) -> String {
        let known = |m: &Mutex<HashMap<String, String>>| {
            m.lock().unwrap_or_else(PoisonError::into_inner).get(dir).cloned()
        };
        if let Some(real) = known(&self.known) {
            return real;
        }
        let real = self.follow(dir);
        let mut cache = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        cache.insert(dir.to_owned(), real.clone());
        real
    }

    fn walk(&self, path: &str, links: &mut usize) -> String {
        let mut real = String::new();
        let mut todo: Vec<String> = components(path);
        let mut steps = 0;
        while let Some(name) = todo.pop() {
            steps += 1;
            if steps > MAX_COMPONENTS {
                break;
            }
            if name == ".." {
                real.truncate(real.rfind('/').unwrap_or(0));
                continue;
            }
            let here = format!("{real}/{name}");
            match self.targets.get(&here) {
                Some(target) if *links > 0 => {
                    *links -= 1;
                    if target.starts_with('/') {
                        real.clear();
                    }
                    todo.extend(components(target));
                }
                _ => real = here,
            }
        }
        if real.is_empty() { "/".to_owned() } else { real }
    }
}

/// The components of a path, the last one first.
fn components(path: &str) -> Vec<String> {
    let parts = path.split('/').filter(|p| !p.is_empty() && *p != ".");
    let mut parts: Vec<String> = parts.map(str::to_owned).collect();
    parts.reverse();
    parts
}

/// A path without `.`, `..` and doubled slashes, absolute.
pub(crate) fn clean(path: &str) -> String {
    let mut out: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(out.pop()),
            part => out.push(part),
        }
    }
    format!("/{}", out.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links(pairs: &[(&str, &str)]) -> Links {
        Links::new(pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect())
    }

    #[test]
    fn directories_are_followed_and_names_are_not() {
        let links = links(&[("/lib", "usr/lib"), ("/usr/lib/x", "/opt/y"), ("/usr/lib/z.so", "x")]);
        assert_eq!(links.place("/lib/x/f"), "/opt/y/f");
        assert_eq!(links.place("/lib/z.so"), "/usr/lib/z.so");
        assert_eq!(links.follow("/lib/z.so"), "/opt/y");
        assert_eq!(links.place("/lib"), "/lib");
    }

    #[test]
    fn loops_end() {
        let links = links(&[("/a", "b"), ("/b", "a")]);
        assert!(links.place("/a/c").ends_with("/c"));
        assert_eq!(links.follow("/../x/./y/.."), "/x");
    }
}
