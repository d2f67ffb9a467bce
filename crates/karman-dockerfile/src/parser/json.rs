//! The JSON form of arguments.

use std::borrow::Cow;
use std::ops::Range;

/// What arguments in JSON form are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum JsonArray {
    /// An array of strings, each with its place in the text.
    Strings(Vec<(String, Range<usize>)>),
    /// An array with something else in it.
    Mixed,
    /// No JSON array: the arguments are plain words.
    No,
}

/// Reads `text` as a JSON array of strings.
pub(super) fn json_array(text: &str) -> JsonArray {
    if !text.trim_start().starts_with('[') {
        return JsonArray::No;
    }
    let Ok(values) = serde_json::from_str::<Vec<serde_json::Value>>(&paired_surrogates(text))
    else {
        return JsonArray::No;
    };
    let mut places = string_places(text).into_iter();
    let strings = values.into_iter().map(|value| match value {
        serde_json::Value::String(s) => Some((s, places.next().unwrap_or_default())),
        _ => None,
    });
    strings.collect::<Option<Vec<_>>>().map_or(JsonArray::Mixed, JsonArray::Strings)
}

/// `\ud800` to `\udfff` that are no half of a pair as `\ufffd`: Go reads them so, where `serde_json`
/// sees an error. The length stays.
fn paired_surrogates(text: &str) -> Cow<'_, str> {
    let unit = |at: usize| -> Option<u16> {
        let digits = text.get(at..at + 6)?.strip_prefix("\\u")?;
        u16::from_str_radix(digits, 16).ok()
    };
    let mut out = Cow::Borrowed(text);
    let mut at = 0;
    while let Some(found) = text[at..].find('\\') {
        at += found;
        match (unit(at), unit(at + 6)) {
            (Some(0xd800..0xdc00), Some(0xdc00..0xe000)) => at += 12,
            (Some(0xd800..0xe000), _) => {
                out.to_mut().replace_range(at..at + 6, "\\ufffd");
                at += 6;
            }
            _ => at += text[at + 1..].chars().next().map_or(1, |c| 1 + c.len_utf8()),
        }
    }
    out
}

/// Where the strings of a valid flat array stand, quotes included.
fn string_places(text: &str) -> Vec<Range<usize>> {
    let mut out = Vec::new();
    let mut open = None;
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match (open, byte) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), b'\\') => escaped = true,
            (Some(start), b'"') => {
                out.push(start..at + 1);
                open = None;
            }
            (None, b'"') => open = Some(at),
            _ => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_arrays_of_strings_are_the_json_form() {
        let words = |text: &str| match json_array(text) {
            JsonArray::Strings(found) => {
                found.into_iter().map(|(s, r)| (s, text[r].to_owned())).collect()
            }
            other => vec![(format!("{other:?}"), String::new())],
        };
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(words(r#"[ "a\"b" , "c" ]"#), [pair("a\"b", r#""a\"b""#), pair("c", r#""c""#)]);
        assert_eq!(words("[]"), []);
        assert_eq!(words("['a']"), [pair("No", "")]);
        assert_eq!(words(r#"["a",]"#), [pair("No", "")]);
        assert_eq!(words(r#"["a"] tail"#), [pair("No", "")]);
        assert_eq!(words(r#"["a", 1]"#), [pair("Mixed", "")]);
        assert_eq!(words(r#"["a", ["b"]]"#), [pair("Mixed", "")]);
        assert_eq!(words("echo [\"a\"]"), [pair("No", "")]);
        let surrogates = r#"["\ud83d\ude00 \ud83d \ude00\\ud83d"]"#;
        assert_eq!(
            words(surrogates),
            [pair("😀 \u{fffd} \u{fffd}\\ud83d", surrogates.trim_matches(['[', ']']))]
        );
    }
}
