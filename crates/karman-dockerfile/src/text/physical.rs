//! Physical lines with their place in the source.

/// One line of the source.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PhysicalLine<'a> {
    /// The line with its line end, if it has one: heredoc bodies keep it.
    pub(crate) raw: &'a str,
    /// The line without trailing carriage returns and line feeds.
    pub(crate) text: &'a str,
    /// Byte offset of the first character in the source.
    pub(crate) start: usize,
}

impl PhysicalLine<'_> {
    /// One past the last byte of the line without its line end.
    pub(crate) fn end(&self) -> usize {
        self.start + self.text.len()
    }

    /// Whether the first visible character is `#`.
    pub(crate) fn is_comment(&self) -> bool {
        self.text.trim_start().starts_with('#')
    }
}

/// Walks the lines of a source; a byte order mark at its start is skipped.
#[derive(Debug, Clone)]
pub(crate) struct PhysicalLines<'a> {
    source: &'a str,
    at: usize,
}

impl<'a> PhysicalLines<'a> {
    /// The lines of `source`.
    pub(crate) fn new(source: &'a str) -> Self {
        let at = if source.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        Self { source, at }
    }

    /// Where the next line begins.
    pub(crate) fn offset(&self) -> usize {
        self.at
    }
}

impl<'a> Iterator for PhysicalLines<'a> {
    type Item = PhysicalLine<'a>;

    fn next(&mut self) -> Option<PhysicalLine<'a>> {
        let rest = &self.source[self.at..];
        if rest.is_empty() {
            return None;
        }
        let length = rest.find('\n').map_or(rest.len(), |n| n + 1);
        let raw = &rest[..length];
        let start = self.at;
        self.at += length;
        Some(PhysicalLine { raw, text: raw.trim_end_matches(['\r', '\n']), start })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_order_mark_and_carriage_returns_are_not_part_of_a_line() {
        let lines: Vec<_> = PhysicalLines::new("\u{feff}FROM a\r\n\r\nRUN b").collect();
        let texts: Vec<_> = lines.iter().map(|l| (l.start, l.text)).collect();
        assert_eq!(texts, [(3, "FROM a"), (11, ""), (13, "RUN b")]);
        assert_eq!(lines[0].raw, "FROM a\r\n");
    }
}
