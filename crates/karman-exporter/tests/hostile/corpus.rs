//! The archives.

use std::io::Write;

use karman_exporter::tarball::Kind;

use super::common::archive;

/// What must come of an archive.
pub(crate) enum Verdict {
    /// The layer unpacker refuses it.
    Refused,
    /// The layer unpacker and the extraction for `ADD` refuse it.
    RefusedByBoth,
    /// It is unpacked, and this path is then in the tree.
    Harmless(&'static str),
}

pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) bytes: Vec<u8>,
    pub(crate) verdict: Verdict,
}

const FILE: Kind<'static> = Kind::File(0);

pub(crate) fn corpus() -> Vec<Case> {
    let mut cases = names();
    cases.extend(markers());
    cases.extend(broken());
    cases.extend(bombs());
    cases
}

fn case(name: &'static str, verdict: Verdict, entries: &[(&[u8], Kind<'_>, &[u8])]) -> Case {
    Case { name, bytes: archive(entries), verdict }
}

fn names() -> Vec<Case> {
    use Verdict::{Harmless, RefusedByBoth};
    let long: Vec<u8> = b"d/".repeat(2000);
    vec![
        case("climbing name", Harmless("secret"), &[(b"../secret", FILE, b"owned")]),
        case("absolute name", Harmless("etc/passwd"), &[(b"/etc/passwd", FILE, b"owned")]),
        case(
            "climbing in the middle",
            Harmless("secret"),
            &[(b"a/b/../../../../secret", FILE, b"x")],
        ),
        case(
            "through a climbing link",
            Harmless("outside/f"),
            &[(b"l", Kind::Symlink(b"../outside"), b""), (b"l/f", FILE, b"x")],
        ),
        case(
            "through an absolute link",
            Harmless("tmp/f"),
            &[(b"l", Kind::Symlink(b"/tmp"), b""), (b"l/f", FILE, b"x")],
        ),
        case(
            "through links to links",
            Harmless("outside/f"),
            &[
                (b"a", Kind::Symlink(b".."), b""),
                (b"b", Kind::Symlink(b"a/../outside"), b""),
                (b"b/f", FILE, b"x"),
            ],
        ),
        case(
            "over a link",
            Harmless("l"),
            &[(b"l", Kind::Symlink(b"../secret"), b""), (b"l", FILE, b"owned")],
        ),
        case(
            "links in a circle",
            RefusedByBoth,
            &[
                (b"a", Kind::Symlink(b"b"), b""),
                (b"b", Kind::Symlink(b"a"), b""),
                (b"a/f", FILE, b"x"),
            ],
        ),
        case("hard link outside", RefusedByBoth, &[(b"h", Kind::HardLink(b"../secret"), b"")]),
        case(
            "hard link through a link",
            RefusedByBoth,
            &[(b"l", Kind::Symlink(b".."), b""), (b"h", Kind::HardLink(b"l/secret"), b"")],
        ),
        case("hard link to the root", RefusedByBoth, &[(b"h", Kind::HardLink(b"/"), b"")]),
        case(
            "hard link to a directory",
            RefusedByBoth,
            &[(b"d", Kind::Dir, b""), (b"h", Kind::HardLink(b"d"), b"")],
        ),
        case(
            "hard link to itself",
            Harmless("h"),
            &[(b"h", FILE, b"x"), (b"h", Kind::HardLink(b"h"), b"")],
        ),
        case("endless nesting", RefusedByBoth, &[(&long, Kind::Dir, b"")]),
        case("too long a name", RefusedByBoth, &[(&[b'n'; 300], FILE, b"")]),
        case("the root as a file", Harmless("."), &[(b"./", FILE, b"")]),
        case(
            "forged whiteout device",
            Harmless("ok"),
            &[(b"w", Kind::Char(0, 0), b""), (b"ok", FILE, b"")],
        ),
    ]
}

fn markers() -> Vec<Case> {
    use Verdict::{Harmless, Refused};
    vec![
        case("whiteout of the parent", Refused, &[(b"d/.wh...", FILE, b"")]),
        case("whiteout of the directory", Refused, &[(b".wh..", FILE, b"")]),
        case("whiteout of nothing", Refused, &[(b".wh.", FILE, b"")]),
        case("whiteout as a parent", Refused, &[(b".wh.x/f", FILE, b"")]),
        case(
            "whiteout through a link",
            Harmless("outside"),
            &[(b"l", Kind::Symlink(b"../outside"), b""), (b"l/.wh.x", FILE, b"")],
        ),
        case(
            "opaque through a link",
            Harmless("l"),
            &[(b"l", Kind::Symlink(b".."), b""), (b"l/.wh..wh..opq", FILE, b"")],
        ),
        case("notes of aufs", Harmless("."), &[(b".wh..wh.plnk/1.2", FILE, b"x")]),
    ]
}

fn broken() -> Vec<Case> {
    use Verdict::RefusedByBoth;
    let good = archive(&[(b"f", FILE, &[9; 2000])]);
    let mut checksum = good.clone();
    checksum[0] = b'g';
    let mut garbage = good.clone();
    garbage.truncate(garbage.len() - 512);
    garbage.extend_from_slice(&[0xaa; 512]);
    let mut negative = good.clone();
    negative[124..136].fill(0xff);
    fix_checksums(&mut negative);
    let mut huge = good.clone();
    huge[124..136].copy_from_slice(b"77777777777\0");
    fix_checksums(&mut huge);
    let mut unknown = good.clone();
    unknown[156] = b'Z';
    fix_checksums(&mut unknown);
    let mut pax = good.clone();
    pax[156] = b'x';
    fix_checksums(&mut pax);
    let mut long_name = good.clone();
    long_name[156] = b'L';
    long_name[124..136].copy_from_slice(b"00777777777\0");
    fix_checksums(&mut long_name);
    let mut sparse = good.clone();
    sparse[156] = b'S';
    sparse[386..410].copy_from_slice(b"7777777777700000000100\0\0");
    sparse[483..495].copy_from_slice(b"00000000100\0");
    fix_checksums(&mut sparse);
    let mut cut_gzip = gzip(&good);
    cut_gzip.truncate(cut_gzip.len() / 2);
    let mut bad_gzip = gzip(&good);
    let at = bad_gzip.len() - 6;
    bad_gzip[at] ^= 0xff;
    [
        ("wrong checksum", checksum),
        ("garbage in the end", garbage),
        ("negative size", negative),
        ("size beyond the end", huge),
        ("unknown type", unknown),
        ("data as PAX records", pax),
        ("long name of 128 MiB", long_name),
        ("sparse map outside the file", sparse),
        ("cut in the data", good[..1000].to_vec()),
        ("cut gzip", cut_gzip),
        ("gzip with a wrong sum", bad_gzip),
        ("no archive at all", b"no archive at all".repeat(100)),
    ]
    .into_iter()
    .map(|(name, bytes)| Case { name, bytes, verdict: RefusedByBoth })
    .collect()
}

fn bombs() -> Vec<Case> {
    use Verdict::RefusedByBoth;
    let many: Vec<Vec<u8>> = (0..1500).map(|i| format!("f{i}").into_bytes()).collect();
    let many: Vec<_> = many.iter().map(|name| (&name[..], FILE, &b""[..])).collect();
    let zeros = vec![0; 80 << 20];
    let large = archive(&[(b"zeros", FILE, &zeros)]);
    // A file of 8 GiB that stores nothing.
    let mut hole = archive(&[(b"hole", FILE, b"")]);
    hole[156] = b'S';
    hole[483..495].copy_from_slice(b"77777777777\0");
    fix_checksums(&mut hole);
    vec![
        Case { name: "too many entries", bytes: archive(&many), verdict: RefusedByBoth },
        Case { name: "too many bytes", bytes: gzip(&large), verdict: RefusedByBoth },
        Case { name: "a huge hole", bytes: hole, verdict: RefusedByBoth },
    ]
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
    out.write_all(bytes).expect("gzip");
    out.finish().expect("gzip")
}

/// Makes the checksum of every block that looks like a header right, so that what is behind it is reached.
pub(crate) fn fix_checksums(tar: &mut [u8]) {
    for block in tar.chunks_exact_mut(512) {
        if &block[257..262] == b"ustar" {
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
}
