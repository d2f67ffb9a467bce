//! A block of lines at the bottom of a terminal, drawn again and again in its place.

use std::io::{self, Write};

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

const HIDE_CURSOR: &str = "\u{1b}[?25l";
const SHOW_CURSOR: &str = "\u{1b}[?25h";
const CLEAR_TO_END_OF_LINE: &str = "\u{1b}[K";
const CLEAR_BELOW: &str = "\u{1b}[J";
const RESET: &str = "\u{1b}[0m";
const ELLIPSIS: char = '…';

/// How a line looks where colour is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    Plain,
    /// Ended well.
    Done,
    /// Failed.
    Bad,
    /// Given up.
    Warn,
    /// Output of a command.
    Faint,
}

impl Style {
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Done => "\u{1b}[34m",
            Self::Bad => "\u{1b}[31m",
            Self::Warn => "\u{1b}[33m",
            Self::Faint => "\u{1b}[2m",
        }
    }
}

/// A line of one row at most.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) text: String,
    pub(crate) style: Style,
}

impl Line {
    /// `left` cut or filled so that `right` ends at column `width`.
    pub(crate) fn spread(left: &str, right: &str, width: usize, style: Style) -> Self {
        let room = width.saturating_sub(right.width() + usize::from(!right.is_empty()));
        let left = truncate(left, room);
        if right.is_empty() {
            return Self { text: left, style };
        }
        let gap = " ".repeat(width.saturating_sub(left.width() + right.width()).max(1));
        Self { text: format!("{left}{gap}{right}"), style }
    }
}

/// The text cut to `width` columns, with an ellipsis where something is missing.
pub(crate) fn truncate(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut used = 0;
    for c in text.chars() {
        let w = c.width().unwrap_or(0);
        if used + w + 1 > width {
            break;
        }
        out.push(c);
        used += w;
    }
    if width > 0 {
        out.push(ELLIPSIS);
    }
    out
}

/// The block.
#[derive(Debug, Default)]
pub(crate) struct Screen {
    /// Columns of each line drawn last.
    drawn: Vec<usize>,
    cursor_hidden: bool,
    colour: bool,
}

impl Screen {
    pub(crate) fn new(colour: bool) -> Self {
        Self { colour, ..Self::default() }
    }

    /// Draws `lines` over what was drawn before, in a terminal that is `width` columns wide now.
    pub(crate) fn draw(
        &mut self,
        lines: &[Line],
        width: usize,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let mut text = String::new();
        if !self.cursor_hidden {
            text.push_str(HIDE_CURSOR);
            self.cursor_hidden = true;
        }
        // A narrower terminal has broken longer lines into several rows.
        let rows: usize = self.drawn.iter().map(|w| w.div_ceil(width.max(1)).max(1)).sum();
        if rows > 0 {
            text.push_str(&format!("\u{1b}[{rows}A\r"));
        }
        for line in lines {
            let style = if self.colour { line.style.code() } else { "" };
            text.push_str(style);
            text.push_str(&line.text);
            if !style.is_empty() {
                text.push_str(RESET);
            }
            text.push_str(CLEAR_TO_END_OF_LINE);
            text.push('\n');
        }
        text.push_str(CLEAR_BELOW);
        self.drawn = lines.iter().map(|l| l.text.width()).collect();
        out.write_all(text.as_bytes())?;
        out.flush()
    }

    /// Gives the cursor back.
    pub(crate) fn restore(&mut self, out: &mut dyn Write) -> io::Result<()> {
        if std::mem::take(&mut self.cursor_hidden) {
            out.write_all(SHOW_CURSOR.as_bytes())?;
        }
        out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_by_columns_and_durations_stand_right() {
        assert_eq!(
            Line::spread(" => abcdef", "1.2s", 20, Style::Plain).text,
            " => abcdef      1.2s"
        );
        assert_eq!(
            Line::spread(" => abcdefghijk", "1.2s", 14, Style::Plain).text,
            " => abcd… 1.2s"
        );
        assert_eq!(truncate("日本語", 5), "日本…");
        assert_eq!(truncate("日本語", 4), "日…");
        assert_eq!(truncate("abc", 3), "abc");
    }

    #[test]
    fn a_narrower_terminal_is_cleared_of_all_broken_rows() {
        let mut screen = Screen::new(false);
        let mut out = Vec::new();
        let line = Line { text: "x".repeat(70), style: Style::Plain };
        screen.draw(&[line.clone(), line.clone()], 80, &mut out).expect("memory takes everything");
        out.clear();
        screen.draw(&[line], 40, &mut out).expect("memory takes everything");
        assert!(String::from_utf8_lossy(&out).starts_with("\u{1b}[4A\r"));
    }
}
