//! Making text of untrusted origin safe for a terminal.

const ESCAPE: char = '\u{1b}';
const BELL: char = '\u{7}';
const TAB_STOP: usize = 8;
/// An escape sequence longer than this is none; what follows is shown.
const MAX_SEQUENCE: usize = 256;

/// One line without escape sequences and control characters; tabs become spaces.
///
/// A log can otherwise move the cursor, change the window's title, or answer for the user.
pub fn sanitize(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut column = 0;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            ESCAPE => skip_sequence(&mut chars),
            '\t' => {
                let spaces = TAB_STOP - column % TAB_STOP;
                out.extend(std::iter::repeat_n(' ', spaces));
                column += spaces;
            }
            '\n' => {
                out.push(' ');
                column += 1;
            }
            c if c.is_control() || is_invisible(c) => {}
            c => {
                out.push(c);
                column += 1;
            }
        }
    }
    out
}

/// Bidirectional overrides and line separators: they change what people read without being seen.
pub(crate) fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2028}' | '\u{2029}'
        | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

fn skip_sequence(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    match chars.peek() {
        Some('[') => {
            chars.next();
            for _ in 0..MAX_SEQUENCE {
                match chars.next() {
                    Some('\u{40}'..='\u{7e}') | None => return,
                    Some(_) => {}
                }
            }
        }
        // Operating system commands and other strings end with BEL or ESC \.
        Some(']' | 'P' | 'X' | '^' | '_') => {
            chars.next();
            for _ in 0..MAX_SEQUENCE {
                match chars.next() {
                    Some(BELL) | None => return,
                    Some(ESCAPE) => {
                        chars.next_if_eq(&'\\');
                        return;
                    }
                    Some(_) => {}
                }
            }
        }
        Some('(' | ')' | '*' | '+' | '#' | ' ') => {
            chars.next();
            chars.next();
        }
        Some(_) => {
            chars.next();
        }
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_vanish_and_text_stays() {
        assert_eq!(sanitize("\u{1b}[1;31mred\u{1b}[0m \u{1b}[2J\u{1b}[10Aup"), "red up");
        assert_eq!(sanitize("\u{1b}]0;title\u{7}x\u{1b}]8;;u\u{1b}\\y"), "xy");
        assert_eq!(sanitize("a\u{8}\u{0}b\u{9b}c"), "abc");
        assert_eq!(sanitize("a\tb"), "a       b");
        assert_eq!(sanitize("a\u{202e}b"), "ab");
    }

    #[test]
    fn an_unfinished_sequence_ends_with_the_line() {
        assert_eq!(sanitize("a\u{1b}[12"), "a");
        assert_eq!(sanitize("a\u{1b}"), "a");
    }
}
