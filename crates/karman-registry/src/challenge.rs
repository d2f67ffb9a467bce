//! `WWW-Authenticate` (RFC 9110 §11.6.1, RFC 6750 §3).

/// The most challenges and parameters looked at in one header.
const MAX_PARTS: usize = 64;

/// One challenge: a scheme in lower case and its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Challenge {
    pub(crate) scheme: String,
    params: Vec<(String, String)>,
}

impl Challenge {
    /// The value of a parameter.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let found = self.params.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

/// Reads every challenge of one header value; stops at the first thing it does not understand.
pub(crate) fn parse(value: &str) -> Vec<Challenge> {
    let mut out: Vec<Challenge> = Vec::new();
    let mut rest = value;
    for _ in 0..MAX_PARTS {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let (word, after) = token(rest);
        if word.is_empty() {
            break;
        }
        let tail = after.trim_start_matches([' ', '\t']);
        match tail.strip_prefix('=') {
            Some(quoted) if !out.is_empty() => {
                let Some((value, next)) = param_value(quoted.trim_start()) else {
                    break;
                };
                if let Some(last) = out.last_mut() {
                    last.params.push((word.to_owned(), value));
                }
                rest = next;
            }
            Some(_) => break,
            None => {
                out.push(Challenge { scheme: word.to_ascii_lowercase(), params: Vec::new() });
                rest = after;
            }
        }
    }
    out
}

fn token(text: &str) -> (&str, &str) {
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    text.split_at(text.find(|c| !is_token(c)).unwrap_or(text.len()))
}

/// A token or a quoted string with its escapes, and what follows it.
fn param_value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let (word, rest) = token(text);
        return Some((word.to_owned(), rest));
    };
    let mut out = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((out, &quoted[at + 1..])),
            '\\' => out.push(chars.next()?.1),
            c => out.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bearer_challenge_keeps_commas_inside_quotes() {
        let all = parse(
            r#"Bearer realm="https://auth.example/token",service="reg.example",scope="repository:a/b:pull,push""#,
        );
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].scheme, "bearer");
        assert_eq!(all[0].get("Realm"), Some("https://auth.example/token"));
        assert_eq!(all[0].get("scope"), Some("repository:a/b:pull,push"));
    }

    #[test]
    fn several_challenges_and_escapes() {
        let all = parse(r#"Negotiate, Basic realm="a \"b\" c", charset=UTF-8, Bearer realm="x""#);
        let schemes: Vec<&str> = all.iter().map(|c| c.scheme.as_str()).collect();
        assert_eq!(schemes, ["negotiate", "basic", "bearer"]);
        assert_eq!(all[1].get("realm"), Some(r#"a "b" c"#));
        assert_eq!(all[1].get("charset"), Some("UTF-8"));
    }

    #[test]
    fn junk_ends_quietly() {
        assert!(parse("").is_empty());
        assert!(parse("=,=").is_empty());
        assert_eq!(parse("Bearer realm=\"open").len(), 1);
        assert!(parse(&"a ".repeat(100_000)).len() <= MAX_PARTS);
    }
}
