//! Paths through symbolic links of the tree.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

/// Links passed on the way to one path (the kernel's limit).
const MAX_LINKS: usize = 40;
/// Components of one path, links included.
const MAX_COMPONENTS: usize = 4096;
/// Bytes of answers that are kept: those of a large image have some 10 MB. What is beyond is found again.
const MAX_KNOWN: usize = 64 << 20;

/// Resolves directories to where they really are.
pub(crate) struct Links {
    targets: HashMap<String, String>,
    /// Directories with a link somewhere below them: nowhere else is anything to be followed.
    above: HashSet<String>,
    known: Mutex<Known>,
}

/// Answers: directories and links.
#[derive(Default)]
struct Known {
    places: HashMap<String, Place>,
    /// Links whose way the limit cuts short, by what was left of it.
    cut: HashMap<(String, usize), Place>,
    bytes: usize,
}

/// Where a path really is.
#[derive(Clone, Default)]
struct Place {
    /// Empty for the root.
    real: String,
    /// Components behind the last directory that has a link somewhere below it.
    outside: usize,
    /// Links on the way.
    links: usize,
    /// Whether there were more links than were followed.
    is_cut: bool,
}

impl Links {
    /// Takes the symbolic links of a tree: path → text.
    pub(crate) fn new(targets: HashMap<String, String>) -> Self {
        let mut above = HashSet::new();
        for path in targets.keys() {
            let mut dir = parent(path);
            while !dir.is_empty() && above.insert(dir.to_owned()) {
                dir = parent(dir);
            }
        }
        Self { targets, above, known: Mutex::default() }
    }

    /// The path with all links in its directories followed, and not the last component.
    pub(crate) fn place(&self, path: &str) -> String {
        let Some((dir, name)) = path.rsplit_once('/') else { return path.to_owned() };
        if dir.is_empty() {
            return path.to_owned();
        }
        let place = self.recall(dir, MAX_LINKS).unwrap_or_else(|| {
            let place = self.walk(dir, MAX_LINKS);
            self.remember(dir, MAX_LINKS, &place);
            place
        });
        format!("{}/{name}", place.real)
    }

    /// The path with all links followed, the last component too.
    pub(crate) fn follow(&self, path: &str) -> String {
        let real = self.walk(path, MAX_LINKS).real;
        if real.is_empty() { "/".to_owned() } else { real }
    }

    /// Where a link leads or a directory is, as it was found before with that many links left.
    fn recall(&self, path: &str, limit: usize) -> Option<Place> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let place = known.places.get(path).filter(|place| place.links <= limit);
        place.or_else(|| known.cut.get(&(path.to_owned(), limit))).cloned()
    }

    fn remember(&self, path: &str, limit: usize, place: &Place) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.bytes += path.len() + place.real.len();
        if known.bytes > MAX_KNOWN {
            return;
        }
        if place.is_cut {
            known.cut.insert((path.to_owned(), limit), place.clone());
        } else {
            known.places.insert(path.to_owned(), place.clone());
        }
    }

    fn walk(&self, path: &str, limit: usize) -> Place {
        let mut here = Place::default();
        for name in components(path).take(MAX_COMPONENTS) {
            if name == ".." {
                here.real.truncate(here.real.rfind('/').unwrap_or(0));
                here.outside = here.outside.saturating_sub(1);
                continue;
            }
            here.real.push('/');
            here.real.push_str(name);
            if here.outside > 0 {
                here.outside += 1;
            } else if let Some(text) = self.targets.get(&here.real) {
                here = self.link(here, text, limit);
            } else if !self.above.contains(&here.real) {
                here.outside = 1;
            }
        }
        here
    }

    /// Where a link leads. However many paths lead through it, it is looked at once.
    fn link(&self, here: Place, text: &str, limit: usize) -> Place {
        let left = limit - here.links;
        if left == 0 {
            return Place { outside: 1, is_cut: true, ..here };
        }
        let to = self.recall(&here.real, left).unwrap_or_else(|| {
            let dir = if text.starts_with('/') { "" } else { parent(&here.real) };
            let mut place = self.walk(&format!("{dir}/{text}"), left - 1);
            place.links += 1;
            self.remember(&here.real, left, &place);
            place
        });
        Place { links: here.links + to.links, is_cut: here.is_cut || to.is_cut, ..to }
    }
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(dir, _)| dir)
}

fn components(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|part| !part.is_empty() && *part != ".")
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
