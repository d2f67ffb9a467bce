//! Reading `.dockerignore`.

use crate::clean;

/// The patterns of a `.dockerignore` file in their order.
///
/// Rules of moby's `ignorefile.ReadAll`: a byte order mark is dropped; lines that begin with `#`
/// (before trimming) and blank lines are skipped; blanks around a pattern and after its `!` are
/// trimmed; the path is cleaned; a leading slash is dropped.
pub fn read_ignore_file(text: &str) -> Vec<String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    text.lines().filter_map(read_line).collect()
}

fn read_line(line: &str) -> Option<String> {
    if line.starts_with('#') {
        return None;
    }
    let line = line.trim();
    if line.is_empty() {
        return None;
    }
    let (mark, path) = match line.strip_prefix('!') {
        Some(rest) => ("!", rest.trim()),
        None => ("", line),
    };
    if path.is_empty() {
        return Some(mark.to_owned());
    }
    let cleaned = clean(path);
    let relative = match cleaned.strip_prefix('/') {
        Some(rest) if !rest.is_empty() => rest,
        _ => &cleaned,
    };
    Some(format!("{mark}{relative}"))
}

#[cfg(test)]
mod tests {
    use super::read_ignore_file;

    #[test]
    fn lines_are_read_as_moby_reads_them() {
        let text = "\u{feff}test1\n/test2\n/a/file/here\n\nlastfile\n# a comment\n  # not one\n\
                    ! /inverted/abs/path\n!\n! \r\n/\n/d/../e/ \n!/\n";
        let want = [
            "test1",
            "test2",
            "a/file/here",
            "lastfile",
            "# not one",
            "!inverted/abs/path",
            "!",
            "!",
            "/",
            "e",
            "!/",
        ];
        assert_eq!(read_ignore_file(text), want);
        assert!(read_ignore_file("").is_empty());
    }
}
