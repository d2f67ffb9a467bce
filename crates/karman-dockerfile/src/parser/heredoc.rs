//! Here-documents: which words announce one, and reading their bodies.

use karman_diag::Span;

use super::error::{ParseError, ParseErrorKind};
use super::statement::Statement;
use crate::expand::{ExpandError, Expander, LexMode};
use crate::instruction::{Heredoc, Spanned};
use crate::text::{LogicalLine, LogicalReader, ReadError};

/// One instruction announces at most so many heredocs.
pub(super) const MAX_HEREDOCS: usize = 1_000;

/// `[fd]<<[-] name`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HeredocWord {
    pub(super) name: String,
    pub(super) expand: bool,
    strip_tabs: bool,
    fd: u32,
}

/// Why the bodies of an instruction cannot be read.
pub(super) enum HeredocError {
    /// The line is wrong.
    Parse(ParseError),
    /// The source is.
    Read(ReadError),
}

/// Reads the bodies that the words of `line` announce.
pub(super) fn read_heredocs(
    line: &LogicalLine,
    reader: &mut LogicalReader<'_>,
) -> Result<Vec<Heredoc>, HeredocError> {
    let mut out = Vec::new();
    let mut from = 0;
    for raw in shell_words(&line.text) {
        let found = line.text[from..].find(&raw).map(|at| from + at..from + at + raw.len());
        // A word that the lexer changed is not looked for again, nor are those after it.
        from = found.as_ref().map_or(line.text.len(), |range| range.end);
        let span = found.map_or(line.span, |range| line.span_of(range));
        let parsed = heredoc_word(&raw).map_err(|error| {
            HeredocError::Parse(ParseError::new(ParseErrorKind::HeredocWord(error), span))
        })?;
        let Some(word) = parsed else { continue };
        if out.len() == MAX_HEREDOCS {
            let error = ParseError::new(ParseErrorKind::TooManyHeredocs, span);
            return Err(HeredocError::Parse(error));
        }
        let body = reader.heredoc_body(&word.name, word.strip_tabs).map_err(HeredocError::Read)?;
        let Some(body) = body else {
            let error = ParseError::new(ParseErrorKind::UnterminatedHeredoc, span);
            return Err(HeredocError::Parse(error));
        };
        out.push(Heredoc {
            name: word.name,
            body: Spanned::new(body.content, body.span),
            expand: word.expand,
            strip_tabs: word.strip_tabs,
            fd: word.fd,
            span,
        });
    }
    Ok(out)
}

/// The heredoc of a statement that a source word names; the last one of that name. In the JSON form
/// there are no bodies, and BuildKit takes the word for an empty one.
pub(super) fn find_heredoc(statement: &Statement<'_>, word: &HeredocWord, span: Span) -> Heredoc {
    match statement.heredocs.iter().rev().find(|h| h.name == word.name) {
        Some(found) => {
            Heredoc { expand: word.expand, strip_tabs: word.strip_tabs, ..found.clone() }
        }
        None => Heredoc {
            name: word.name.clone(),
            body: Spanned::new(String::new(), span),
            expand: word.expand,
            strip_tabs: word.strip_tabs,
            fd: word.fd,
            span,
        },
    }
}

/// The words of a command that may announce a heredoc; none where quotes do not balance.
fn shell_words(line: &str) -> Vec<String> {
    let mode = LexMode {
        keep_quotes: true,
        keep_escapes: true,
        keep_unset: true,
        join_heredoc: true,
        plain_quotes: false,
    };
    let (_, words) = Expander::new('\\', &|_| None).run(line, mode).unwrap_or_default();
    words.into_iter().filter(|word| word.contains("<<")).collect()
}

/// Whether a command is one heredoc word and nothing else: then its body is the script.
pub(crate) fn is_heredoc(text: &str) -> bool {
    matches!(heredoc_word(text), Ok(Some(_)))
}

/// Reads a word as `[fd]<<[-] name`; `None` where it is another word. The name ends the text: what
/// is more than one word is none.
pub(super) fn heredoc_word(word: &str) -> Result<Option<HeredocWord>, ExpandError> {
    let rest = word.trim_start_matches(|c: char| c.is_ascii_digit());
    let digits = &word[..word.len() - rest.len()];
    let Some(rest) = rest.strip_prefix("<<") else { return Ok(None) };
    let (strip_tabs, rest) = rest.strip_prefix('-').map_or((false, rest), |rest| (true, rest));
    let rest = rest.trim_start_matches(['\t', '\n', '\u{c}', '\r', ' ']);
    if rest.is_empty() || rest.contains('<') {
        return Ok(None);
    }
    let expander = Expander::new('\\', &|_| None);
    let plain = LexMode { keep_unset: true, ..LexMode::default() };
    let (_, words) = expander.run(rest, plain)?;
    let (_, quoted) = expander.run(rest, LexMode { keep_quotes: true, ..plain })?;
    let ([name], [quoted]) = (words.as_slice(), quoted.as_slice()) else { return Ok(None) };
    Ok(Some(HeredocWord {
        name: name.clone(),
        expand: count_quotes(name) == count_quotes(quoted),
        strip_tabs,
        fd: digits.parse().unwrap_or(0),
    }))
}

fn count_quotes(word: &str) -> usize {
    word.matches(['"', '\'']).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_announce_a_heredoc() {
        type Parts<'a> = (&'a str, bool, bool, u32);
        let table: &[(&str, Option<Parts<'_>>)] = &[
            ("<<EOF", Some(("EOF", true, false, 0))),
            ("<<-EOF", Some(("EOF", true, true, 0))),
            ("3<<EOF", Some(("EOF", true, false, 3))),
            ("<<'EOF'", Some(("EOF", false, false, 0))),
            ("<<\"EOF\"", Some(("EOF", false, false, 0))),
            ("<<E\"O\"F", Some(("EOF", false, false, 0))),
            ("<<-'E OF'", Some(("E OF", false, true, 0))),
            ("<<$X", Some(("$X", true, false, 0))),
            ("<< EOF", Some(("EOF", true, false, 0))),
            ("<<- \t'EOF'", Some(("EOF", false, true, 0))),
            ("<< -EOF", Some(("-EOF", true, false, 0))),
            ("<<eo\\'f", Some(("eo'f", true, false, 0))),
            ("<<'e'o\\'f", Some(("eo'f", false, false, 0))),
            ("<<EOF cat", None),
            ("<<A <<B", None),
            ("<< ", None),
            ("<<", None),
            ("<<-", None),
            ("<<<EOF", None),
            ("a<<EOF", None),
            ("\"<<EOF\"", None),
            ("$((1<<2))", None),
        ];
        for (word, expect) in table {
            let found = heredoc_word(word).expect(word);
            let found = found.as_ref().map(|h| (h.name.as_str(), h.expand, h.strip_tabs, h.fd));
            assert_eq!(found, *expect, "{word:?}");
        }
    }

    #[test]
    fn a_command_line_announces_what_the_shell_would_see() {
        let announced = |line: &str| -> Vec<String> {
            let words = shell_words(line).into_iter();
            words.filter_map(|w| heredoc_word(&w).ok().flatten()).map(|h| h.name).collect()
        };
        assert_eq!(announced("RUN <<EOF cat >/a && cat <<'X' >/b"), ["EOF", "X"]);
        assert_eq!(announced("RUN cat > /a <<EOF"), ["EOF"]);
        assert_eq!(announced("RUN cat 3<<  A <<-\tB < /in"), ["A", "B"]);
        assert_eq!(announced("RUN echo $((1<<2)) \"<<NO\" '<<NO' a<<b"), [] as [&str; 0]);
        assert_eq!(announced("RUN echo $(( 1 << 2 )) $((3 <<A)) <<B"), ["B"]);
        assert_eq!(announced("RUN cat <<< A <A < B <<-"), [] as [&str; 0]);
        assert_eq!(announced("RUN echo \\<<EOF"), [] as [&str; 0]);
        assert_eq!(announced("RUN cat <<EOF 'open"), [] as [&str; 0]);
    }
}
