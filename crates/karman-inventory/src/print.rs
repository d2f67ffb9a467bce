//! The inventory for people: one line a path, and a summary.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::model::{Entry, Inventory, Kind, Origin, Role, Step, StepKind, Upstream};

/// Longer instructions are cut: the line is about a path.
const MAX_TEXT: usize = 60;

/// One line for each path: type and mode, owner, size, path, origin.
pub fn listing(inventory: &Inventory) -> String {
    let mut out = String::new();
    for entry in &inventory.entries {
        let letter = letter(entry.kind);
        let owner = format!("{}:{}", entry.uid, entry.gid);
        // Writing to a string cannot fail.
        let _ = write!(out, "{letter}{:04o} {owner:>11} {:>10} ", entry.mode, entry.size);
        out.push_str(&printable(&entry.path));
        if let Some(target) = &entry.target {
            let _ = write!(out, " -> {}", printable(target));
        }
        let _ = writeln!(out, "\t{}", printable(&origin_of(inventory, entry)));
    }
    out
}

/// A text of an image on one line: control characters, and what turns the direction of text, become `\xNN`, as bytes
/// that are no UTF-8 do ([`path_text`](crate::path_text)). A name could otherwise write other lines, or to the terminal.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    let is_unseen = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(is_unseen) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match is_unseen(c) {
            true => c.encode_utf8(&mut [0; 4]).bytes().for_each(|b| {
                let _ = write!(out, "\\x{b:02x}");
            }),
            false => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// Where an entry came from, in words, with the stages it came through.
pub fn origin_of(inventory: &Inventory, entry: &Entry) -> String {
    let step = inventory.step(entry);
    let mut text = origin_text(&entry.origin, step);
    if entry.altered {
        text.push_str(", altered");
    }
    let is_owned = matches!(entry.origin, Origin::Dpkg { .. } | Origin::Python { .. });
    if let Some(step) = step.filter(|s| is_owned && s.kind == StepKind::Copy) {
        let _ = write!(text, ", {}", copied(step.from.as_deref()));
    }
    for upstream in &entry.upstream {
        if let Some(more) = upstream_text(inventory, upstream, &entry.origin) {
            let _ = write!(text, " ← {more}");
        }
    }
    text
}

/// What a stage says of a path, unless it only says the same again.
fn upstream_text(inventory: &Inventory, upstream: &Upstream, known: &Origin) -> Option<String> {
    let stage = inventory.stages.get(upstream.stage)?;
    let step = stage.layers.get(upstream.layer).map(|l| &l.step);
    match &upstream.origin {
        origin if origin == known => step.map(instruction),
        origin => Some(origin_text(origin, step)),
    }
}

/// An origin in words.
pub fn origin_text(origin: &Origin, step: Option<&Step>) -> String {
    match origin {
        Origin::Dpkg { package, role } => format!("dpkg {package}{}", role_text(*role)),
        Origin::Python { distribution, role } => {
            format!("python {distribution}{}", role_text(*role))
        }
        Origin::Copy { from } => copied(from.as_deref()),
        Origin::Run => step.map_or_else(|| "RUN".to_owned(), instruction),
        Origin::Base => "base".to_owned(),
        Origin::Unknown => "unknown".to_owned(),
    }
}

fn role_text(role: Role) -> &'static str {
    match role {
        Role::Listed => "",
        Role::Conffile => " (conffile)",
        Role::Diverted => " (diverted)",
        Role::Bytecode => " (bytecode)",
        Role::Metadata => " (metadata)",
        Role::Alternative => " (alternative)",
    }
}

fn copied(from: Option<&str>) -> String {
    from.map_or_else(|| "COPY".to_owned(), |from| format!("COPY from {from}"))
}

/// The instruction on one line without its mounts, cut where it is long.
fn instruction(step: &Step) -> String {
    let words = step.text.split_whitespace().filter(|word| !word.starts_with("--mount="));
    let flat = words.collect::<Vec<_>>().join(" ");
    let mut cut: String = flat.chars().take(MAX_TEXT).collect();
    if cut.len() < flat.len() {
        cut.push('…');
    }
    cut
}

fn letter(kind: Kind) -> char {
    match kind {
        Kind::File => '-',
        Kind::Directory => 'd',
        Kind::Symlink => 'l',
        Kind::Fifo => 'p',
        Kind::Socket => 's',
        Kind::CharDevice => 'c',
        Kind::BlockDevice => 'b',
    }
}

/// How many paths come from where.
pub fn summary(inventory: &Inventory) -> String {
    let mut counts = [0_usize; 6];
    let (mut packages, mut distributions) = (BTreeSet::new(), BTreeSet::new());
    for entry in &inventory.entries {
        let at = match &entry.origin {
            Origin::Dpkg { package, .. } => {
                packages.insert(package);
                0
            }
            Origin::Python { distribution, .. } => {
                distributions.insert(distribution);
                1
            }
            Origin::Copy { .. } => 2,
            Origin::Run => 3,
            Origin::Base => 4,
            Origin::Unknown => 5,
        };
        counts[at] += 1;
    }
    let [dpkg, python, copied, run, base, unknown] = counts;
    format!(
        "{} paths: {dpkg} of {} Debian packages, {python} of {} Python distributions, {copied} copied, \
         {run} written by commands, {base} of the base, {unknown} without an origin\n",
        inventory.entries.len(),
        packages.len(),
        distributions.len(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_write_no_other_lines() {
        assert_eq!(printable("/a b/ä"), "/a b/ä");
        assert_eq!(
            printable("a\n-0755\t\u{1b}[2Jb\u{202e}"),
            "a\\x0a-0755\\x09\\x1b[2Jb\\xe2\\x80\\xae"
        );
    }
}
