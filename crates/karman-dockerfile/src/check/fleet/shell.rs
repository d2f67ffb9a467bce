//! A shell script as the commands in it, as far as they show without running it.
//!
//! This is no shell: it finds simple commands in what people write in Dockerfiles. Substitutions
//! stay text, control words are passed over, whatever is not understood is a word. It is linear in
//! the script.

/// A simple command: the words after assignments and control words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Command(Vec<String>);

/// Words that come before a command and change nothing about what it does.
const PREFIXES: &[&str] = &[
    "!",
    "{",
    "}",
    "if",
    "then",
    "else",
    "elif",
    "while",
    "until",
    "do",
    "time",
    "exec",
    "command",
    "sudo",
    "env",
    "nice",
    "eatmydata",
];

impl Command {
    /// The command's name without its directory.
    pub(super) fn name(&self) -> &str {
        self.0.first().map_or("", |word| word.rsplit('/').next().unwrap_or(word))
    }

    /// What follows the name.
    pub(super) fn arguments(&self) -> &[String] {
        self.0.get(1..).unwrap_or_default()
    }

    /// The command that these words are, without prefixes; `None` where nothing is left.
    pub(super) fn of(words: Vec<String>) -> Option<Self> {
        let is_prefix = |word: &String| PREFIXES.contains(&word.as_str()) || is_assignment(word);
        let words: Vec<String> = words.into_iter().skip_while(is_prefix).collect();
        (!words.is_empty()).then_some(Self(words))
    }
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    })
}

/// The commands of a script, in order.
pub(super) fn commands(script: &str) -> Vec<Command> {
    let mut splitter = Splitter::default();
    let mut chars = script.chars().peekable();
    while let Some(c) = chars.next() {
        match (splitter.quote, c) {
            (None, '\\') if chars.peek() == Some(&'\n') => drop(chars.next()),
            (None | Some('"'), '\\') => splitter.word(chars.next().unwrap_or('\\')),
            (Some(open), c) if c == open => splitter.quote = None,
            (Some(_), c) => splitter.word(c),
            (None, '\'' | '"') => splitter.open(c),
            (None, '$') if chars.peek() == Some(&'(') => {
                splitter.word('$');
                splitter.depth += 1;
                splitter.word('(');
                chars.next();
            }
            (None, ')') if splitter.depth > 0 => {
                splitter.depth -= 1;
                splitter.word(')');
            }
            (None, c) if splitter.depth > 0 => splitter.word(c),
            (None, '#') if splitter.current.is_none() => {
                while chars.peek().is_some_and(|c| *c != '\n') {
                    chars.next();
                }
            }
            (None, ';' | '\n' | '|' | '(' | ')') => splitter.end_command(),
            // `2>&1` and `&>` are redirections, not the end of a command.
            (None, '&') if splitter.is_redirecting() => splitter.word('&'),
            (None, '&') if chars.peek() == Some(&'>') => splitter.word('&'),
            (None, '&') => splitter.end_command(),
            (None, c) if c.is_whitespace() => splitter.end_word(),
            (None, c) => splitter.word(c),
        }
    }
    splitter.end_command();
    splitter.commands
}

#[derive(Default)]
struct Splitter {
    commands: Vec<Command>,
    words: Vec<String>,
    current: Option<String>,
    quote: Option<char>,
    /// How many `$(` are open.
    depth: usize,
}

impl Splitter {
    fn word(&mut self, c: char) {
        self.current.get_or_insert_default().push(c);
    }

    fn open(&mut self, quote: char) {
        self.current.get_or_insert_default();
        self.quote = Some(quote);
    }

    fn is_redirecting(&self) -> bool {
        self.current.as_ref().is_some_and(|word| word.ends_with(['>', '<']))
    }

    fn end_word(&mut self) {
        self.words.extend(self.current.take());
    }

    fn end_command(&mut self) {
        self.end_word();
        self.commands.extend(Command::of(std::mem::take(&mut self.words)));
    }
}

#[cfg(test)]
mod tests {
    use super::commands;

    #[test]
    fn scripts_fall_apart_at_operators() {
        let shown = |script: &str| {
            commands(script).iter().map(|c| c.0.join("·")).collect::<Vec<_>>().join(" | ")
        };
        for (script, want) in [
            ("a b && c || d; e", "a·b | c | d | e"),
            ("A=1 B= sudo /usr/bin/x y", "/usr/bin/x·y"),
            ("if a; then b; fi", "a | b | fi"),
            ("a 'b; c' \"d && e\" f\\ g", "a·b; c·d && e·f g"),
            ("a 2>&1 >/dev/null & b", "a·2>&1·>/dev/null | b"),
            ("a \\\n  b\n# c d\ne", "a·b | e"),
            ("a $(b; c && d) e", "a·$(b; c && d)·e"),
            ("(cd /x && make)", "cd·/x | make"),
            ("", ""),
        ] {
            assert_eq!(shown(script), want, "{script:?}");
        }
    }
}
