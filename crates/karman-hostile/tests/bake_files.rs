//! Bake files made to cost much: each ends in success or in a clear error, in bounded time and memory.

use std::time::Duration;

use karman_bake::{Request, list_targets, list_variables, parse, print_json, resolve};
use karman_diag::{Diagnostic, render};
use karman_testing::{Bounds, bounded};

const BOUNDS: Bounds = Bounds { memory: 1 << 30, time: Duration::from_secs(60) };

/// The first error as people see it; empty where the file resolves.
fn baked_as(name: &str, text: String) -> String {
    resolved(name, text, true)
}

fn resolved(name: &str, text: String, lists: bool) -> String {
    let (bake, problems) = parse(&[(name.to_owned(), text)], &Request::default());
    let shown = |all: &[Diagnostic]| {
        all.iter().find(|d| d.is_error()).map_or_else(String::new, |d| render(d, &bake.sources))
    };
    if problems.iter().any(Diagnostic::is_error) {
        return shown(&problems);
    }
    let request = Request { targets: vec!["*".to_owned()], ..Request::default() };
    // Lists have errors of their own; what matters here is that they end.
    if lists {
        let _ = list_variables(&bake, &request);
        let _ = list_targets(&bake, &request);
    }
    match resolve(&bake, &request) {
        Ok(resolved) => {
            assert!(print_json(&resolved).len() < 64 << 20);
            String::new()
        }
        Err(problems) => shown(&problems),
    }
}

fn baked(text: impl Into<String>) -> String {
    baked_as("docker-bake.hcl", text.into())
}

#[track_caller]
fn refused(text: impl Into<String>, why: &str) {
    let error = baked(text);
    assert!(error.contains(why), "`{why}` is not in: {error}");
    assert!(error.contains("docker-bake."), "no place is told: {error}");
}

/// A target whose only tag is an expression.
fn tagged(expression: &str) -> String {
    format!("target \"default\" {{\n  tags = [{expression}]\n}}\n")
}

fn lines(n: usize, line: impl Fn(usize) -> String) -> String {
    (0..n).map(|i| line(i) + "\n").collect()
}

#[test]
fn nesting_without_end() {
    bounded("nesting_without_end", BOUNDS, || {
        let around =
            |open: &str, close: &str, n: usize| tagged(&(open.repeat(n) + "1" + &close.repeat(n)));
        for n in [1_000, 20_000] {
            for (open, close) in [
                ("(", ")"),
                ("[", "]"),
                ("{a=", "}"),
                ("\"${", "}\""),
                ("!", ""),
                ("-", ""),
                ("upper(", ")"),
                ("true ? 1 : ", ""),
                ("1 + ", ""),
                ("[for x in [1]: ", "]"),
                ("a[", "]"),
                ("\"%{ if true }", "%{ endif }\""),
            ] {
                baked(around(open, close, n));
            }
            baked("a { ".repeat(n) + &"} ".repeat(n));
            baked(tagged(&("a".to_owned() + &".b".repeat(n))));
            baked(tagged(&("a".to_owned() + &"[0]".repeat(n))));
            baked(tagged(&("a".to_owned() + &"[*]".repeat(n))));
        }
        refused(around("(", ")", 1_000_000), "");
    });
}

#[test]
fn nested_json_without_end() {
    bounded("nested_json_without_end", BOUNDS, || {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let deep = format!("{}1{}", open.repeat(500_000), close.repeat(500_000));
            let error = baked_as("docker-bake.json", format!("{{\"target\":{deep}}}"));
            assert!(error.contains("deeply nested"), "{error}");
        }
        let template = format!("{}1{}", "${(".repeat(100_000), ")}".repeat(100_000));
        baked_as(
            "docker-bake.json",
            format!("{{\"target\":{{\"a\":{{\"tags\":[\"{template}\"]}}}}}}"),
        );
    });
}

#[test]
fn nested_yaml_without_end() {
    bounded("nested_yaml_without_end", BOUNDS, || {
        for deep in ["[".repeat(100_000), "{a: ".repeat(100_000), "- ".repeat(100_000)] {
            baked_as("compose.yaml", format!("services:\n  a:\n    build: {deep}\n"));
        }
        let anchors = lines(30, |i| match i {
            0 => "x0: &x0 [a,a,a,a,a,a,a,a,a]".to_owned(),
            i => format!("x{i}: &x{i} [*x{0},*x{0},*x{0},*x{0},*x{0},*x{0},*x{0}]", i - 1),
        });
        baked_as("compose.yaml", format!("services: {{}}\n{anchors}"));
    });
}

#[test]
fn names_in_circles() {
    bounded("names_in_circles", BOUNDS, || {
        let ring = |n: usize, line: fn(usize, usize) -> String| lines(n, |i| line(i, (i + 1) % n));
        for n in [1, 2, 300] {
            let variables = ring(n, |i, j| format!("variable \"v{i}\" {{ default = v{j} }}"));
            refused(format!("{variables}{}", tagged("v0")), "");
            baked(ring(n, |i, j| format!("target \"t{i}\" {{ inherits = [\"t{j}\"] }}")));
            baked(ring(n, |i, j| format!("group \"g{i}\" {{ targets = [\"g{j}\"] }}")));
            baked(ring(n, |i, j| {
                format!("target \"t{i}\" {{ contexts = {{ x = \"target:t{j}\" }} }}")
            }));
            baked(ring(n, |i, j| format!("target \"t{i}\" {{ tags = target.t{j}.tags }}")));
            let calls = ring(n, |i, j| {
                format!("function \"f{i}\" {{\n  params = []\n  result = f{j}()\n}}")
            });
            baked(format!("{calls}{}", tagged("f0()")));
        }
    });
}

#[test]
fn products_of_a_matrix() {
    bounded("products_of_a_matrix", BOUNDS, || {
        let axis = |i: usize| format!("a{i} = range(1000)");
        let axes: Vec<String> = (0..3).map(axis).collect();
        let matrix = axes.join(", ");
        refused(
            format!("target \"x\" {{\n  name = \"x\"\n  matrix = {{ {matrix} }}\n}}\n"),
            "combinations",
        );
        let many = lines(100, |i| {
            format!(
                "target \"x{i}\" {{\n  name = \"x{i}-${{a}}\"\n  matrix = {{ a = range(1000) }}\n}}"
            )
        });
        baked(many);
        refused(
            tagged("join(\"\", setproduct(range(1000), range(1000), range(1000))[0])"),
            "setproduct",
        );
    });
}

#[test]
fn numbers_and_ranges() {
    bounded("numbers_and_ranges", BOUNDS, || {
        refused(tagged("length(range(0, 1000000000000))"), "range");
        baked(tagged("range(0, 1, 0.0000000001)[0]"));
        baked(tagged("range(0, 1, 0)[0]"));
        baked(tagged("pow(10, 1000000000)"));
        baked(tagged("1e999999999"));
        baked(tagged("0.1e-999999999"));
        baked(tagged("parseint(\"zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz\", 36)"));
        baked(tagged(&"9".repeat(1_000_000)));
        baked(tagged("substr(\"a\", 9223372036854775807, 9223372036854775807)"));
        baked(tagged(
            "170141183460469231731687303715884105727 * 170141183460469231731687303715884105727",
        ));
        baked(tagged("-170141183460469231731687303715884105728 - 1"));
        baked(tagged("-170141183460469231731687303715884105728 / -1"));
        baked(tagged("-170141183460469231731687303715884105728 % -1"));
        baked(tagged("abs(-170141183460469231731687303715884105728)"));
    });
}

#[test]
fn strings_that_double() {
    bounded("strings_that_double", BOUNDS, || {
        let chain = |first: &str, next: &str| {
            lines(64, |i| match i {
                0 => format!("variable \"v0\" {{ default = {first} }}"),
                i => format!(
                    "variable \"v{i}\" {{ default = {} }}",
                    next.replace("@", &format!("v{}", i - 1))
                ),
            }) + &tagged("length(jsonencode(v63))")
        };
        for (first, next) in [
            ("\"xxxxxxxx\"", "\"${@}${@}\""),
            ("\"xxxxxxxx\"", "replace(@, \"x\", \"xx\")"),
            ("\"xxxxxxxx\"", "regex_replace(@, \"(x+)\", \"$1$1$1$1\")"),
            ("\"xxxxxxxx\"", "indent(1000, \"${@}\\n${@}\")"),
            ("\"xxxxxxxx\"", "jsonencode([@, @])"),
            ("[1, 2]", "concat(@, @)"),
            ("[1, 2]", "[@, @]"),
            ("[1, 2]", "[for x in @: [x, @]]"),
            ("{a = 1}", "{a = @, b = @}"),
            ("{a = 1}", "merge(@, {for k, v in @: \"x${k}\" => v})"),
        ] {
            resolved("docker-bake.hcl", chain(first, next), false);
        }
        let calls = lines(64, |i| match i {
            0 => "function \"f0\" {\n  params = [a]\n  result = a\n}".to_owned(),
            i => format!(
                "function \"f{i}\" {{\n  params = [a]\n  result = \"${{f{0}(a)}}${{f{0}(a)}}\"\n}}",
                i - 1
            ),
        });
        refused(format!("{calls}{}", tagged("f63(\"x\")")), "steps");
    });
}

#[test]
fn widths_of_formats() {
    bounded("widths_of_formats", BOUNDS, || {
        for verb in
            ["%999999999d", "%-999999999s", "%.999999999f", "%0999999999d", "%*d", "%[999999999]d"]
        {
            refused(tagged(&format!("format(\"{verb}\", 1)")), "format");
        }
        baked(tagged(&format!("format(\"{}\", 1)", "%[1]4096d".repeat(5_000))));
        baked(tagged(&format!("formatlist(\"{}\", range(1000))[0]", "%[1]4000d".repeat(1_000))));
    });
}

#[test]
fn regular_expressions_that_cost_much() {
    bounded("regular_expressions_that_cost_much", BOUNDS, || {
        let text = "variable \"x\" { default = \"aaaaaaaaaaaaaaaa\" }\n".to_owned();
        let grown = lines(14, |i| {
            let from = if i == 0 { "x".to_owned() } else { format!("y{}", i - 1) };
            format!("variable \"y{i}\" {{ default = \"${{{from}}}${{{from}}}\" }}")
        });
        for pattern in [
            "(a*)*b",
            "((a{1,100}){1,100}){1,100}b",
            "(a|a)*b",
            "(.*)(.*)(.*)(.*)(.*)(.*)(.*)(.*)(.*)(.*)b",
            "(a?){500}a{500}b",
            "[a-z]{1000}\\\\pL{1000}b",
            "(?i)(?:(?:a|b|c|d|e)*.){300}b$",
        ] {
            for call in [
                "regex(\"@\", y13)",
                "length(regexall(\"@\", y13))",
                "regex_replace(y13, \"@\", \"\")",
            ] {
                let calls: Vec<String> = (0..3).map(|_| call.replace('@', pattern)).collect();
                baked(format!("{text}{grown}{}", tagged(&calls.join(", "))));
            }
        }
    });
}

#[test]
fn a_million_of_everything() {
    bounded("a_million_of_everything", BOUNDS, || {
        for line in [
            "target \"t@\" {}",
            "group \"t@\" {}",
            "variable \"t@\" {}",
            "t@ = 1",
            "target \"t\" {}",
        ] {
            let text = |n: usize| lines(n, |i| line.replace('@', &i.to_string()));
            refused(text(12_000), "more than 10000 blocks and attributes");
            baked(text(300) + &tagged("t1"));
        }
        let attributes = lines(2_000, |i| format!("a{i} = 1"));
        refused(format!("target \"default\" {{\n{attributes}}}\n"), "more than 1000 attributes");
        baked(tagged(&"1, ".repeat(50_000)));
        baked("x".repeat(1 << 20));
        baked("#".repeat(1 << 20));
        baked("\"".repeat(1 << 18));
        baked(format!("x = <<E\n{}", "y\n".repeat(1 << 18)));
        refused("#".repeat(5 << 20), "4194304 bytes");
    });
}

#[test]
fn names_that_inherit_without_end() {
    bounded("names_that_inherit_without_end", BOUNDS, || {
        // Each target inherits from the two before it: a naive walk takes 2^n steps.
        let both = lines(100, |i| match i {
            0 | 1 => format!("target \"t{i}\" {{ tags = [\"x{i}\"] }}"),
            i => format!("target \"t{i}\" {{ inherits = [\"t{}\", \"t{}\"] }}", i - 1, i - 2),
        });
        baked(both);
        let groups = lines(100, |i| match i {
            0 | 1 => format!("target \"g{i}\" {{}}"),
            i => format!("group \"g{i}\" {{ targets = [\"g{}\", \"g{}\"] }}", i - 1, i - 2),
        });
        baked(groups);
        let contexts = lines(100, |i| match i {
            0 | 1 => format!("target \"t{i}\" {{}}"),
            i => format!(
                "target \"t{i}\" {{ contexts = {{ a = \"target:t{}\", b = \"target:t{}\" }} }}",
                i - 1,
                i - 2
            ),
        });
        baked(contexts);
        // Lists that double on the way up.
        let lists = lines(100, |i| match i {
            0 => "target \"t0\" { cache-from = [\"a\"] }".to_owned(),
            i => format!(
                "target \"t{i}\" {{\n cache-from = concat(target.t{0}.cache-from, target.t{0}.cache-from)\n}}",
                i - 1
            ),
        });
        baked(lists);
    });
}
