//! What words expand to: the table of BuildKit's behaviour.

use super::*;

fn lookup(name: &str) -> Option<String> {
    let value = match name {
        "A" => "a",
        "PATH" => "/usr/bin:/bin",
        "V" => "3.4.5",
        "SPACED" => "  one two  ",
        "EMPTY" => "",
        "REPL" => "x$1",
        "NL" => "a\nb",
        "1" => "first",
        "ü" => "umlaut",
        _ => return None,
    };
    Some(value.to_owned())
}

fn word(raw: &str, escape: char) -> String {
    match Expander::new(escape, &lookup).process_word(raw) {
        Ok(found) => found.text,
        Err(error) => format!("! {}", error.kind),
    }
}

fn check(table: &[(&str, &str)]) {
    for (raw, expect) in table {
        assert_eq!(word(raw, '\\'), *expect, "{raw}");
    }
}

#[test]
fn plain_quoted_and_escaped_text() {
    check(&[
        ("", ""),
        ("plain", "plain"),
        ("'single $A \"x\" \\'", "single $A \"x\" \\"),
        ("\"double $A 'x'\"", "double a 'x'"),
        (r#""a\"b\$A\\c\d""#, r#"a"b$A\c\d"#),
        (r"\$A \\ \n \'", r"$A \ n '"),
        (r"tail\", "tail"),
        ("a'b'\"c\"", "abc"),
        ("'open", "! unexpected end of statement while looking for matching single-quote"),
        ("\"open", "! unexpected end of statement while looking for matching double-quote"),
        ("\"open\\", "! unexpected end of statement while looking for matching double-quote"),
    ]);
}

#[test]
fn plain_variables() {
    check(&[
        ("$A", "a"),
        ("${A}", "a"),
        ("x${A}y$A-z", "xaya-z"),
        ("$UNSET[$UNSET]", "[]"),
        ("$AB", ""),
        ("$", "$"),
        ("$ A", "$ A"),
        ("a$", "a$"),
        ("$(A)", "$(A)"),
        ("$$", ""),
        ("$$A", "A"),
        ("$1$12", "first"),
        ("$1A", "firstA"),
        ("$@ $* $# $? $- $!", "     "),
        ("$ü", "umlaut"),
        ("$a.b", ".b"),
    ]);
}

#[test]
fn defaults_and_alternatives() {
    check(&[
        ("${A:-x}", "a"),
        ("${EMPTY:-x}", "x"),
        ("${EMPTY-x}", ""),
        ("${UNSET:-x}", "x"),
        ("${UNSET-x}", "x"),
        ("${A:+x}", "x"),
        ("${EMPTY:+x}", ""),
        ("${EMPTY+x}", "x"),
        ("${UNSET+x}", ""),
        ("${UNSET:-}", ""),
        ("${UNSET:-$A}", "a"),
        ("${UNSET:-${EMPTY:-${A}}}", "a"),
        ("${UNSET:-'$A'}", "$A"),
        ("${UNSET:-\"q $A\"}", "q a"),
        ("${UNSET:-a\\}b}", "a}b"),
        ("\"${UNSET:-'$A'}\"", "$A"),
        ("${UNSET:-}}", "}"),
    ]);
}

#[test]
fn required_variables() {
    check(&[
        ("${A:?msg}", "a"),
        ("${EMPTY?msg}", ""),
        ("${EMPTY:?must have text}", "! EMPTY: must have text"),
        ("${EMPTY:?}", "! EMPTY: is not allowed to be empty"),
        ("${UNSET?}", "! UNSET: is not allowed to be unset"),
        ("${UNSET:?}", "! UNSET: is not allowed to be unset"),
        ("${UNSET?needs $A}", "! UNSET: needs a"),
    ]);
}

#[test]
fn prefixes_and_suffixes() {
    check(&[
        ("${V#*.}", "4.5"),
        ("${V##*.}", "5"),
        ("${V%.*}", "3.4"),
        ("${V%%.*}", "3"),
        ("${V#3}", ".4.5"),
        ("${V#?.}", "4.5"),
        ("${V#x}", "3.4.5"),
        ("${V%.5}", "3.4"),
        ("${V#}", "3.4.5"),
        ("${V#\\*}", "3.4.5"),
        ("${V%[0-9]}", "3.4.5"),
        ("${PATH##*/}", "bin"),
        ("${PATH%%:*}", "/usr/bin"),
        ("${UNSET#x}", ""),
        ("${V#$A}", "3.4.5"),
        ("${V#\\x}", "! invalid pattern (\\x) in substitution: invalid escape '\\x'"),
        ("${NL#*b}", "a\nb"),
    ]);
}

#[test]
fn replacements() {
    check(&[
        ("${V/./-}", "3-4.5"),
        ("${V//./-}", "3-4-5"),
        ("${V/4*/x}", "3.x"),
        ("${V//[/x}", "3.4.5"),
        ("${PATH//\\//_}", "_usr_bin:_bin"),
        ("${PATH/bin/$A}", "/usr/a:/bin"),
        ("${V/./}", "34.5"),
        ("${V//./}", "345"),
        ("${V/\\}/x}", "3.4.5"),
        ("${A/a/$REPL}", "x$1"),
        ("${A//a/$REPL}", "x"),
        ("${V/x", "! syntax error: missing '/' in ${}"),
        ("${V/x/y", "! syntax error: missing '}'"),
    ]);
}

#[test]
fn bad_substitutions() {
    check(&[
        ("${}", "! syntax error: bad substitution"),
        ("${:}", "! syntax error: bad substitution"),
        ("${{A}}", "! syntax error: bad substitution"),
        ("${", "! syntax error: missing '}'"),
        ("${A", "! syntax error: missing '}'"),
        ("${A:", "! syntax error: missing '}'"),
        ("${A:-x", "! syntax error: missing '}'"),
        ("${A:-\"x}", "! syntax error: missing '}'"),
        ("${A!x}", "! unsupported modifier (!) in substitution"),
        ("${A:x}", "! unsupported modifier (:x) in substitution"),
        ("${ A}", "! unsupported modifier ( ) in substitution"),
        ("${A^^}", "! unsupported modifier (^) in substitution"),
        ("${A,}", "! unsupported modifier (,) in substitution"),
    ]);
}

#[test]
fn the_backtick_escapes_where_the_directive_says_so() {
    assert_eq!(word("`$A", '`'), "$A");
    assert_eq!(word("\\$A", '`'), "\\a");
    assert_eq!(word("\"`$A \\$A\"", '`'), "$A \\a");
    assert_eq!(word("x` y", '`'), "x y");
}

#[test]
fn words_split_at_blanks_outside_quotes() {
    let table: &[(&str, &[&str])] = &[
        ("a b", &["a", "b"]),
        ("  a\t b  ", &["a", "b"]),
        ("$SPACED", &["one", "two"]),
        ("x$SPACED", &["x", "one", "two"]),
        ("\"$SPACED\"", &["  one two  "]),
        ("'a b' c", &["a b", "c"]),
        ("a\\ b", &["a b"]),
        ("$EMPTY", &[]),
        ("\"\" a", &["a"]),
        ("80 $V/tcp", &["80", "3.4.5/tcp"]),
    ];
    let expander = Expander::new('\\', &lookup);
    for (raw, expect) in table {
        assert_eq!(expander.process_words(raw).expect(raw).words, *expect, "{raw}");
    }
}

#[test]
fn heredoc_bodies_keep_quotes_and_resolve_escapes() {
    let expander = Expander::new('`', &lookup);
    let body = "$A ${V%.*} [$UNSET] ${EMPTY:-d}\n\\$A \\\\ \\n \"$A\" '$A' it's $ $$ % `\n";
    let found = expander.process_heredoc(body).expect("expands");
    assert_eq!(found.text, "a 3.4 [] d\n$A \\ n \"a\" 'a' it's $  % `\n");
}

#[test]
fn used_names_are_told() {
    let expander = Expander::new('\\', &lookup);
    let found = expander.process_word("$A${UNSET:-$V}$OTHER").expect("expands");
    assert_eq!(found.matched.into_iter().collect::<Vec<_>>(), ["A", "V"]);
    assert_eq!(found.unmatched.into_iter().collect::<Vec<_>>(), ["OTHER", "UNSET"]);
}

#[test]
fn an_error_names_the_word() {
    let error = Expander::new('\\', &lookup).process_word("a${}").expect_err("fails");
    assert_eq!(error.to_string(), "failed to process \"a${}\": syntax error: bad substitution");
    let long = "x".repeat(1 << 20) + "${}";
    let error = Expander::new('\\', &lookup).process_word(&long).expect_err("fails");
    assert!(error.to_string().len() < 400);
}

#[test]
fn nesting_and_size_are_bounded() {
    let deep = format!("{}x{}", "${U:-".repeat(100_000), "}".repeat(100_000));
    assert_eq!(word(&deep, '\\'), format!("! {}", ExpandErrorKind::TooDeep));
    let fits = format!("{}x{}", "${U:-".repeat(MAX_NESTING), "}".repeat(MAX_NESTING));
    assert_eq!(word(&fits, '\\'), "x");
    let big = |_: &str| Some("x".repeat(1 << 20));
    let raw = "$A".repeat(17);
    let error = Expander::new('\\', &big).process_word(&raw).expect_err("too long");
    assert_eq!(error.kind, ExpandErrorKind::TooLong);
}
