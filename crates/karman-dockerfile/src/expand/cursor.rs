//! A position in a text, read character by character.

/// Reads a text from left to right.
#[derive(Debug, Clone)]
pub(super) struct Cursor<'a> {
    rest: &'a str,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { rest: text }
    }

    /// The next character, which stays.
    pub(super) fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    /// The next character, which is consumed.
    pub(super) fn next(&mut self) -> Option<char> {
        let found = self.peek()?;
        self.rest = &self.rest[found.len_utf8()..];
        Some(found)
    }

    /// Whether `$((…))` stands here.
    pub(super) fn is_arithmetic(&self) -> bool {
        self.rest.strip_prefix("$((").is_some_and(|rest| rest.contains("))"))
    }

    /// Everything up to and with `))`, consumed.
    pub(super) fn arithmetic(&mut self) -> &'a str {
        let end = self.rest.find("))").map_or(self.rest.len(), |at| at + "))".len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    /// The longest run of characters that fit, consumed.
    pub(super) fn take_while(&mut self, fits: impl Fn(char) -> bool) -> &'a str {
        let length = self.rest.find(|c| !fits(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(length);
        self.rest = rest;
        taken
    }
}
