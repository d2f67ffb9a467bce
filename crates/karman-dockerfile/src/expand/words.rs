//! Splits an expanded text into words while it is made.

/// The words so far and the one being made.
#[derive(Debug, Default)]
pub(super) struct Words {
    done: Vec<String>,
    word: String,
}

impl Words {
    /// A character outside quotes: a blank ends the word.
    pub(super) fn push(&mut self, c: char) {
        if !c.is_whitespace() {
            self.word.push(c);
        } else if !self.word.is_empty() {
            self.done.push(std::mem::take(&mut self.word));
        }
    }

    /// The value of an unquoted variable: its blanks split.
    pub(super) fn push_split(&mut self, text: &str) {
        text.chars().for_each(|c| self.push(c));
    }

    /// An escaped character.
    pub(super) fn push_raw(&mut self, c: char) {
        self.word.push(c);
    }

    /// Quoted text: its blanks stay.
    pub(super) fn push_raw_str(&mut self, text: &str) {
        self.word.push_str(text);
    }

    /// All words.
    pub(super) fn finish(mut self) -> Vec<String> {
        if !self.word.is_empty() {
            self.done.push(self.word);
        }
        self.done
    }
}
