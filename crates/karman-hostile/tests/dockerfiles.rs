//! Dockerfiles made to cost much: each ends in success or in a clear error, in bounded time and memory.

use std::fmt::Write as _;
use std::time::Duration;

use karman_diag::{Diagnostic, SourceMap, render};
use karman_dockerfile::lower::{
    ContextInput, Options, ResolveError, ResolvedBase, Resolver, lower,
};
use karman_dockerfile::parse;
use karman_llb::{Graph, ImageSource, SourceOp};
use karman_oci::{Digest, ImageConfig, Platform};
use karman_testing::{Bounds, bounded};

/// For a debug build; without the limit in question these take hours or the whole machine.
const BOUNDS: Bounds = Bounds { memory: 1 << 30, time: Duration::from_secs(120) };

/// Has every image.
struct Images;

impl Resolver for Images {
    fn image(&self, reference: &str, platform: &Platform) -> Result<ResolvedBase, ResolveError> {
        let digest = Digest::sha256_of(reference.as_bytes());
        let mut config = ImageConfig::scratch(platform);
        config.rootfs.diff_ids = vec![digest];
        let source = SourceOp::Image(ImageSource {
            reference: reference.to_owned(),
            manifest: Some(digest),
        });
        Ok(ResolvedBase { source: Some(source), config, digest: Some(digest) })
    }
}

/// The first error as people see it; empty where the Dockerfile can be built.
fn built(text: &str) -> String {
    let mut sources = SourceMap::new();
    let file = sources.add("Dockerfile", text);
    let (tree, problems) = parse(text, file);
    let shown = |all: Vec<Diagnostic>| {
        all.iter().find(|d| d.is_error()).map_or_else(String::new, |d| render(d, &sources))
    };
    let Some(tree) = tree.filter(|_| !problems.iter().any(Diagnostic::is_error)) else {
        return shown(problems);
    };
    let mut options = Options::new(Platform::new("linux", "amd64"));
    options.main_context = ContextInput::Local { name: "context".to_owned(), exclude: Vec::new() };
    lower(&tree, &options, &Images, &mut Graph::new()).map_or_else(shown, |_| String::new())
}

#[track_caller]
fn refused(text: &str, why: &str) {
    let error = built(text);
    assert!(error.contains(why), "`{why}` is not in: {error}");
    assert!(error.contains("Dockerfile:"), "no place is told: {error}");
}

#[track_caller]
fn accepted(text: &str) {
    assert_eq!(built(text), "");
}

/// Lines made one by one.
fn lines(n: usize, line: impl Fn(usize) -> String) -> String {
    (0..n).map(|i| line(i) + "\n").collect()
}

#[test]
fn a_chain_of_stages_that_are_all_needed() {
    bounded("a_chain_of_stages_that_are_all_needed", BOUNDS, || {
        let stage = |i: usize| match i {
            0 => "FROM scratch AS s0\nCOPY a /a".to_owned(),
            i => format!("FROM s{} AS s{i}\nRUN echo {i}", i - 1),
        };
        accepted(&lines(500, stage));
        // Each stage has the history of all before it.
        refused(&lines(4_000, stage), "bytes together");
        refused(&lines(10_000, stage), "more than 5000 stages");
    });
}

#[test]
fn each_stage_copies_from_the_one_before() {
    bounded("each_stage_copies_from_the_one_before", BOUNDS, || {
        let stage = |i: usize| match i {
            0 => "FROM scratch AS s0\nCOPY a /a".to_owned(),
            i => format!("FROM scratch AS s{i}\nCOPY --from=s{} /a /a", i - 1),
        };
        accepted(&lines(2_000, stage));
    });
}

#[test]
fn every_stage_reads_every_other() {
    bounded("every_stage_reads_every_other", BOUNDS, || {
        let copies = |i: usize| lines(i, |j| format!("COPY --from={j} /a /a{j}"));
        let text = lines(60, |i| format!("FROM scratch AS s{i}\n{}", copies(i)));
        accepted(&text);
    });
}

#[test]
fn variables_that_double() {
    bounded("variables_that_double", BOUNDS, || {
        let text = format!("FROM scratch\nENV a=xxxxxxxx\n{}", lines(64, |_| "ENV a=$a$a".into()));
        refused(&text, "bytes");
        let text = format!("ARG a=xxxxxxxx\n{}FROM $a\n", lines(64, |_| "ARG a=$a$a".into()));
        refused(&text, "bytes");
        let names = format!("FROM scratch\nARG a=xx\n{}", lines(64, |_| "ARG a=$a$a$a$a".into()));
        refused(&names, "bytes");
        let labels = lines(64, |i| format!("ENV a=$a$a\nLABEL l{i}=$a"));
        refused(&format!("FROM scratch\nENV a=xxxxxxxx\n{labels}"), "bytes");
    });
}

#[test]
fn many_copies_of_a_large_variable() {
    bounded("many_copies_of_a_large_variable", BOUNDS, || {
        let big = format!("FROM scratch\nENV a={}\nENV b=$a$a$a$a$a$a$a$a\n", "x".repeat(60_000));
        let env = lines(2_000, |i| format!("ENV v{i}=$b"));
        refused(&format!("{big}{env}"), "bytes");
        let labels = lines(2_000, |i| format!("LABEL v{i}=$b"));
        refused(&format!("{big}{labels}"), "bytes");
        let runs = lines(2_000, |i| format!("RUN echo {i}"));
        refused(&format!("{big}{runs}"), "bytes");
        let stages = lines(1_000, |i| format!("FROM s{} AS s{i}\nENV x{i}=y", i.saturating_sub(1)));
        refused(&format!("{}{stages}", big.replace("scratch", "scratch AS s0")), "bytes");
    });
}

#[test]
fn a_million_variables() {
    bounded("a_million_variables", BOUNDS, || {
        let text = format!("FROM scratch\n{}", lines(60_000, |i| format!("ENV v{i}=")));
        refused(&text, "more than 50000 instructions");
        let text = format!("FROM scratch\n{}", lines(5_000, |i| format!("ENV v{i}=")));
        refused(&text, "more than 4096 variables");
        let one: String = (0..50_000).fold("FROM scratch\nENV".to_owned(), |mut text, i| {
            let _ = writeln!(text, " v{i}= \\");
            text
        });
        refused(&one, "more than 4096 variables");
        let args = lines(5_000, |i| format!("ARG v{i}="));
        refused(&format!("FROM scratch\n{args}"), "more than 4096 variables");
        refused(&format!("{args}FROM scratch\n"), "more than 4096 variables");
        let runs = "RUN x\n".repeat(40_000);
        refused(
            &format!("FROM scratch\n{}{runs}", lines(4_000, |i| format!("ARG v{i}="))),
            "bytes together",
        );
    });
}

#[test]
fn substitutions_nested_deep() {
    bounded("substitutions_nested_deep", BOUNDS, || {
        let deep = "${a:-\\\n".repeat(100_000) + "x" + &"}\\\n".repeat(100_000);
        refused(&format!("FROM scratch\nENV b={deep}x\n"), "64 deep");
        refused(&format!("ARG b={deep}x\nFROM scratch\n"), "64 deep");
        refused(&format!("FROM scratch\nWORKDIR {deep}x\n"), "64 deep");
    });
}

#[test]
fn substitutions_with_patterns_that_cost_much() {
    bounded("substitutions_with_patterns_that_cost_much", BOUNDS, || {
        let value = "a".repeat(30_000);
        let pattern = "a*".repeat(10_000);
        let line = |operator: &str| format!("ENV y=${{x{operator}{pattern}b}}");
        for operator in ["#", "##", "%", "%%"] {
            built(&format!("FROM scratch\nENV x={value}\n{}", lines(20, |_| line(operator))));
        }
        let replace = format!("ENV y=${{x//{pattern}b/c}}");
        built(&format!("FROM scratch\nENV x={value}\n{}", lines(20, |_| replace.clone())));
        let doubled = "ENV x=$x$x\n".repeat(9);
        built(&format!("FROM scratch\nENV x={value}\n{doubled}{replace}\n"));
    });
}

#[test]
fn a_million_continuation_lines() {
    bounded("a_million_continuation_lines", BOUNDS, || {
        accepted(&format!("FROM a\nRUN {}x\n", "x \\\n".repeat(1_000_000)));
        accepted(&format!("FROM a\nRUN x \\\n{}x\n", "# c\n".repeat(200_000)));
        accepted(&format!("FROM a\nRUN x \\\n{}x\n", "\n".repeat(200_000)));
        accepted(&format!("FROM a\nENV {}z=1\n", "x=$x \\\n".repeat(50_000)));
    });
}

#[test]
fn nested_arrays() {
    bounded("nested_arrays", BOUNDS, || {
        for name in ["CMD", "COPY"] {
            let deep = "[\\\n".repeat(1_000_000) + &"]\\\n".repeat(1_000);
            built(&format!("FROM a\n{name} {deep}\n"));
            let wide = format!("[{}\"x\"]", "\"x\",\\\n".repeat(50_000));
            built(&format!("FROM a\n{name} {wide}\n"));
        }
    });
}

#[test]
fn a_million_mount_options() {
    bounded("a_million_mount_options", BOUNDS, || {
        let options = "rw,\\\n".repeat(100_000);
        built(&format!("FROM a\nRUN --mount=type=bind,{options}target=/a x\n"));
        let mounts = "--mount=type=tmpfs,target=/a \\\n".repeat(3_000);
        refused(&format!("FROM a\nRUN {mounts} x\n"), "more than 1000 mounts");
        let sources = lines(500, |i| format!("RUN --mount=type=bind,from=i{i},target=/a x"));
        built(&format!("FROM a\n{sources}"));
        built(&format!("FROM a\nCOPY {} a /b/\n", "--exclude=*.x \\\n".repeat(10_000)));
        built(&format!("FROM a\nCOPY {} /b/\n", "a \\\n".repeat(300_000)));
    });
}

#[test]
fn stages_in_circles() {
    bounded("stages_in_circles", BOUNDS, || {
        refused(
            "FROM scratch AS a\nCOPY --from=b x y\nFROM scratch AS b\nCOPY --from=1 x y\n",
            "circular dependency",
        );
        let ring = |i: usize| format!("FROM scratch AS s{i}\nCOPY --from={} / /", (i + 1) % 2000);
        refused(&lines(2_000, ring), "circular dependency");
    });
}

#[test]
fn triggers_without_end() {
    bounded("triggers_without_end", BOUNDS, || {
        let triggers = lines(10_000, |i| format!("ONBUILD RUN echo {i}"));
        accepted(&format!("FROM scratch AS a\n{triggers}FROM a\n"));
        let stages = lines(1_000, |i| format!("FROM a AS b{i}"));
        let last = lines(1_000, |i| format!("COPY --from=b{i} / /"));
        refused(
            &format!("FROM scratch AS a\n{triggers}{stages}FROM scratch\n{last}"),
            "bytes together",
        );
    });
}

#[test]
fn ports_without_end() {
    bounded("ports_without_end", BOUNDS, || {
        let text = format!("FROM scratch\n{}", lines(10_000, |_| "EXPOSE 1-65535/tcp".into()));
        refused(&text, "bytes together");
    });
}
