//! moby's documented behaviour, row by row.

use karman_pattern::{Decision, Matcher, PatternError, glob_match};

/// Pattern, path, whether the path or one of its parents matches.
const DOUBLE_STAR: &[(&str, &str, bool)] = &[
    ("**", "file", true),
    ("**/", "file", true),
    ("**", "dir/file", true),
    ("**/", "dir/file", true),
    ("**/**", "dir/file", true),
    ("dir/**", "dir/file", true),
    ("dir/**", "dir", false),
    ("dir/**", "dir/dir2/file", true),
    ("**/dir", "dir", true),
    ("**/dir", "dir/file", true),
    ("**/dir2/*", "dir/dir2/file", true),
    ("**/dir2/*", "dir/dir2/file/x", true),
    ("**/dir2/**", "dir/dir2/dir3/file", true),
    ("**file", "file", true),
    ("**file", "dir/file", true),
    ("**file", "dir/xfile", true),
    ("**/file", "dir/file", true),
    ("**/file", "dir/xfile", false),
    ("**file", "dir/dir/file", true),
    ("**/file", "dir/dir/file", true),
    ("**/file*", "dir/dir/file", true),
    ("**/file*", "dir/dir/file.txt", true),
    ("**/file*txt", "dir/dir/file.txt", true),
    ("**/file*.txt", "dir/dir/file.txt", true),
    ("**/file*.txt*", "dir/dir/file.txt", true),
    ("**/**/*.txt", "dir/dir/file.txt", true),
    ("**/**/*.txt2", "dir/dir/file.txt", false),
    ("**/*.txt", "file.txt", true),
    ("**/**/*.txt", "file.txt", true),
    ("a**/*.txt", "a/file.txt", true),
    ("a**/*.txt", "a/dir/file.txt", true),
    ("a**/*.txt", "a/dir/dir/file.txt", true),
    ("a/*.txt", "a/dir/file.txt", false),
    ("a/*.txt", "a/file.txt", true),
    ("a/*.txt**", "a/file.txt", true),
    ("a[b-d]e", "ae", false),
    ("a[b-d]e", "ace", true),
    ("a[b-d]e", "aae", false),
    ("a[^b-d]e", "aze", true),
    (".*", ".foo", true),
    (".*", "foo", false),
    ("abc.def", "abcdef", false),
    ("abc.def", "abc.def", true),
    ("abc.def", "abcZdef", false),
    ("abc?def", "abcZdef", true),
    ("abc?def", "abcdef", false),
    ("**/foo/bar", "foo/bar", true),
    ("**/foo/bar", "dir/foo/bar", true),
    ("**/foo/bar", "dir/dir2/foo/bar", true),
    ("abc/**", "abc", false),
    ("abc/**", "abc/def", true),
    ("abc/**", "abc/def/ghi", true),
    ("**/.foo", ".foo", true),
    ("**/.foo", "bar.foo", false),
    ("a(b)c/def", "a(b)c/def", true),
    ("a(b)c/def", "a(b)c/xyz", false),
    ("a.|)$(}+{bc", "a.|)$(}+{bc", true),
    ("dist/p.py-2.4.0rc3.dev36+g08-any.whl", "dist/p.py-2.4.0rc3.dev36+g08-any.whl", true),
    ("dist/*.whl", "dist/p.py-2.4.0rc3.dev36+g08-any.whl", true),
    ("a\\*b", "a*b", true),
    ("a\\*b", "axb", false),
    ("a\\\\", "a\\", true),
    ("docs/", "docs", true),
    ("./docs", "docs/a", true),
    ("a/../docs", "docs/a/b", true),
    ("*", "a/b/c", true),
    ("*/b", "a/b/c", true),
    ("*/b", "b", false),
    ("docs", "docs2", false),
];

/// Patterns, path, whether the path is excluded.
const LISTS: &[(&[&str], &str, bool)] = &[
    (&["**", "!util/docker/web"], "util/docker/web/foo", false),
    (&["**", "!util/docker/web", "util/docker/web/foo"], "util/docker/web/foo", true),
    (&["**", "!dist/p+g.whl"], "dist/p+g.whl", false),
    (&["**", "!dist/*.whl"], "dist/p+g.whl", false),
    (&["!fileutils.go", "*.go"], "fileutils.go", true),
    (&["*.go", "!fileutils.go"], "fileutils.go", false),
    (&["docs", "!docs/README.md"], "docs/README.md", false),
    (&["docs/", "!docs/README.md"], "docs/README.md", false),
    (&["docs/*", "!docs/README.md"], "docs/README.md", false),
    (&["docs", "!docs/README.md"], "docs/other", true),
    (&["*.md", "!README*.md", "README-secret.md"], "README-secret.md", true),
    (&["*.md", "!README*.md", "README-secret.md"], "README-a.md", false),
    (&["*.md", "README-secret.md", "!README*.md"], "README-secret.md", false),
    (&["  docs ", ""], "docs/a", true),
    (&["*.go"], ".", false),
    (&["**"], ".", false),
    (&[], "any/path", false),
    (&["a", "!a/b", "a/b/c"], "a/b/c/d", true),
    (&["a", "!a/b", "a/b/c"], "a/b/d", false),
    (&["a", "!a/b/"], "a/b", false),
];

#[test]
fn double_stars() {
    for (pattern, path, want) in DOUBLE_STAR {
        let matcher = Matcher::new(&[pattern]).expect(pattern);
        assert_eq!(matcher.excluded(path, false), *want, "{pattern} on {path}");
    }
}

#[test]
fn the_last_match_of_a_list_wins() {
    for (patterns, path, want) in LISTS {
        let matcher = Matcher::new(patterns).expect("patterns");
        assert_eq!(matcher.excluded(path, false), *want, "{patterns:?} on {path}");
    }
}

/// Pattern, name, result of Go's `filepath.Match`; `None` is `ErrBadPattern`.
const GO_MATCH: &[(&str, &str, Option<bool>)] = &[
    ("abc", "abc", Some(true)),
    ("*", "abc", Some(true)),
    ("*c", "abc", Some(true)),
    ("a*", "a", Some(true)),
    ("a*", "abc", Some(true)),
    ("a*", "ab/c", Some(false)),
    ("a*/b", "abc/b", Some(true)),
    ("a*/b", "a/c/b", Some(false)),
    ("a*b*c*d*e*/f", "axbxcxdxe/f", Some(true)),
    ("a*b*c*d*e*/f", "axbxcxdxexxx/f", Some(true)),
    ("a*b*c*d*e*/f", "axbxcxdxe/xxx/f", Some(false)),
    ("a*b*c*d*e*/f", "axbxcxdxexxx/fff", Some(false)),
    ("a*b?c*x", "abxbbxdbxebxczzx", Some(true)),
    ("a*b?c*x", "abxbbxdbxebxczzy", Some(false)),
    ("ab[c]", "abc", Some(true)),
    ("ab[b-d]", "abc", Some(true)),
    ("ab[e-g]", "abc", Some(false)),
    ("ab[^c]", "abc", Some(false)),
    ("ab[^b-d]", "abc", Some(false)),
    ("ab[^e-g]", "abc", Some(true)),
    ("a\\*b", "a*b", Some(true)),
    ("a\\*b", "ab", Some(false)),
    ("a?b", "a☺b", Some(true)),
    ("a[^a]b", "a☺b", Some(true)),
    ("a???b", "a☺b", Some(false)),
    ("a[^a][^a][^a]b", "a☺b", Some(false)),
    ("[a-ζ]*", "α", Some(true)),
    ("*[a-ζ]", "A", Some(false)),
    ("a?b", "a/b", Some(false)),
    ("a*b", "a/b", Some(false)),
    ("**", "a/b", Some(false)),
    ("[\\]a]", "]", Some(true)),
    ("[\\-]", "-", Some(true)),
    ("[x\\-]", "x", Some(true)),
    ("[x\\-]", "-", Some(true)),
    ("[x\\-]", "z", Some(false)),
    ("[\\-x]", "x", Some(true)),
    ("[\\-x]", "-", Some(true)),
    ("[\\-x]", "a", Some(false)),
    ("[]a]", "]", None),
    ("[-]", "-", None),
    ("[x-]", "x", None),
    ("[-x]", "x", None),
    ("\\", "a", None),
    ("[a-b-c]", "a", None),
    ("[", "a", None),
    ("[^", "a", None),
    ("[^bc", "a", None),
    ("a[", "a", None),
    ("a[", "ab", None),
    ("z[", "ab", None),
    ("*x", "xxx", Some(true)),
    ("", "", Some(true)),
    ("", "a", Some(false)),
    ("a]", "a]", Some(true)),
];

#[test]
fn go_filepath_match() {
    for (pattern, name, want) in GO_MATCH {
        assert_eq!(glob_match(pattern, name).ok(), *want, "{pattern} on {name}");
    }
}

#[test]
fn malformed_lists_are_errors() {
    assert_eq!(Matcher::new(&["!"]), Err(PatternError::EmptyException));
    assert!(matches!(Matcher::new(&["a", "[a-"]), Err(PatternError::Syntax { .. })));
    assert!(matches!(Matcher::new(&["x".repeat(5000)]), Err(PatternError::TooLong { .. })));
}

/// Patterns, directory, what a walk does with it.
const WALK: &[(&[&str], &str, Decision)] = &[
    (&["node_modules"], "node_modules", Decision::Drop),
    (&["node_modules"], "src", Decision::Keep),
    (&["a", "!a/b/c"], "a", Decision::DropButDescend),
    (&["a", "!a/b/c"], "a/b", Decision::DropButDescend),
    (&["a", "!a/b/c"], "a/x", Decision::Drop),
    (&["a", "!a/b/c"], "a/b/c", Decision::Keep),
    (&["a", "!a/b/c"], "a/b/c/d", Decision::Keep),
    (&["a", "!a/b", "a/b/c"], "a/b/c", Decision::Drop),
    (&["*", "!**/*.md"], "any/where", Decision::DropButDescend),
    (&["*", "!src/*.md"], "src", Decision::DropButDescend),
    (&["*", "!src/*.md"], "lib", Decision::Drop),
    (&["a", "!b"], "a", Decision::Drop),
];

#[test]
fn walks_leave_out_what_they_can() {
    for (patterns, dir, want) in WALK {
        let matcher = Matcher::new(patterns).expect("patterns");
        assert_eq!(matcher.decide(dir, true), *want, "{patterns:?} on {dir}");
    }
}
