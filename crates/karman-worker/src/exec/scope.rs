//! Which steps share cache mounts of one name: those whose root filesystems could use each other's files.

use std::path::Path;

use karman_control::SolveError;
use karman_llb::ExecOp;
use karman_oci::Platform;
use karman_snapshot::View;

use super::{Variables, read_database};

/// Where programs are looked for when a step says nothing.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// os-release(5), the second where the first is not.
const RELEASES: [&str; 2] = ["/etc/os-release", "/usr/lib/os-release"];
/// The most characters of a word of os-release: names of directories come of it.
const MAX_WORD: usize = 64;

/// Platform, distribution with its release, and Python ABI of a root filesystem, such as
/// `linux/amd64 debian-13 cp313`. What it has not is left out.
pub(super) fn scope_of(
    platform: &Platform,
    op: &ExecOp,
    root: &View,
) -> Result<String, SolveError> {
    let mut words = vec![platform.to_string()];
    for path in RELEASES {
        if let Some(release) = release(&read_database(root, path)?) {
            words.push(release);
            break;
        }
    }
    words.extend(python(op, root));
    Ok(words.join(" "))
}

/// `debian-13` of the text of os-release.
fn release(text: &str) -> Option<String> {
    let value = |name: &str| {
        let lines = text.lines().filter_map(|line| line.trim().split_once('='));
        let found = lines.filter(|(key, _)| *key == name).map(|(_, value)| value).next_back()?;
        let clean = |c: &char| c.is_ascii_alphanumeric() || ".-_+~".contains(*c);
        let word: String = found.chars().filter(clean).take(MAX_WORD).collect();
        Some(word).filter(|word| !word.is_empty())
    };
    let id = value("ID")?;
    // A release that is not out yet has no number, but a name.
    Some(match value("VERSION_ID").or_else(|| value("VERSION_CODENAME")) {
        Some(version) => format!("{id}-{version}"),
        None => id,
    })
}

/// The ABI of the `python3` that the step would find, by the name of the file behind it.
fn python(op: &ExecOp, root: &View) -> Option<String> {
    let env = Variables::of_lines(&op.env);
    let path = env.get("PATH").filter(|p| !p.is_empty()).unwrap_or(PATH);
    let dirs = path.split(':').filter(|dir| dir.starts_with('/'));
    dirs.filter_map(|dir| {
        let found = root.lookup(&Path::new(dir).join("python3"), true).ok()??;
        abi(found.path.file_name()?.to_str()?)
    })
    .next()
}

/// `python3.13` → `cp313`; a free-threaded or debug build keeps its letters.
fn abi(name: &str) -> Option<String> {
    let version = name.strip_prefix("python3.")?;
    let digits = version.bytes().take_while(u8::is_ascii_digit).count();
    let (minor, flags) = version.split_at(digits);
    let known = !minor.is_empty() && flags.bytes().all(|b| b.is_ascii_lowercase());
    known.then(|| format!("cp3{minor}{flags}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_read_as_shells_read_them() {
        let debian = "PRETTY_NAME=\"Debian 13\"\nID=debian\nVERSION_ID=\"13\"\n";
        assert_eq!(release(debian).as_deref(), Some("debian-13"));
        let sid = "ID=debian\nVERSION_CODENAME=forky\n";
        assert_eq!(release(sid).as_deref(), Some("debian-forky"));
        assert_eq!(release("ID='arch'\n").as_deref(), Some("arch"));
        assert_eq!(release("NAME=x\n"), None);
        assert_eq!(release("ID=a/../b\n").as_deref(), Some("a..b"));
    }

    #[test]
    fn an_abi_is_told_by_the_name_of_the_interpreter() {
        assert_eq!(abi("python3.13").as_deref(), Some("cp313"));
        assert_eq!(abi("python3.14t").as_deref(), Some("cp314t"));
        assert_eq!(abi("python3"), None);
        assert_eq!(abi("python3.13-config"), None);
    }
}
