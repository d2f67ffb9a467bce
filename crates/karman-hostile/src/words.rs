//! The word expander: `NAME=value` lines, an empty line, then the text that is expanded.

use karman_dockerfile::expand::{Expander, MAX_EXPANDED_BYTES};

pub(crate) fn run(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (env, raw) = text.split_once("\n\n").unwrap_or(("A=a b\nEMPTY=", &text));
    let env: Vec<(&str, &str)> = env.lines().filter_map(|line| line.split_once('=')).collect();
    let lookup = |name: &str| {
        let found = env.iter().rev().find(|(known, _)| *known == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    for escape in ['\\', '`'] {
        let expander = Expander::new(escape, &lookup);
        let word = expander.process_word(raw);
        let heredoc = expander.process_heredoc(raw);
        for expanded in [&word, &heredoc].into_iter().flatten() {
            assert!(expanded.text.len() <= MAX_EXPANDED_BYTES + raw.len());
            assert!(expanded.matched.iter().all(|name| lookup(name).is_some()));
            assert!(expanded.unmatched.iter().all(|name| lookup(name).is_none()));
        }
        let words = expander.process_words(raw);
        assert_eq!(word.is_ok(), words.is_ok(), "one word expands and several do not");
        if !raw.contains(['$', '\'', '"', escape]) {
            assert_eq!(word.map(|w| w.text).ok().as_deref(), Some(raw), "a plain text changed");
        }
    }
}
