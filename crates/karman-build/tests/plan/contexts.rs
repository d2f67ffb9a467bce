//! Main contexts: directories, standard input, git, http, images.

use karman_build::{TargetSpec, needs_stdin};
use karman_llb::{Op, SourceOp};

use crate::support::{Caller, locals, map, names, of_context, sources};

/// A tar with one file.
fn tar(name: &str, text: &str) -> Vec<u8> {
    let mut header = vec![0u8; 512];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[100..107].copy_from_slice(b"0000644");
    header[108..115].copy_from_slice(b"0000000");
    header[116..123].copy_from_slice(b"0000000");
    let size = format!("{:011o}", text.len());
    header[124..135].copy_from_slice(size.as_bytes());
    header[136..147].copy_from_slice(b"00000000000");
    header[148..156].copy_from_slice(b"        ");
    header[156] = b'0';
    header[257..263].copy_from_slice(b"ustar\0");
    header[263..265].copy_from_slice(b"00");
    let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut out = header;
    out.extend_from_slice(text.as_bytes());
    out.resize(out.len().div_ceil(512) * 512 + 1024, 0);
    out
}

#[test]
fn a_directory_is_a_local_source_of_the_session() {
    let mut caller = Caller::new().file("src/Dockerfile", "FROM alpine\nCOPY . /\n");
    let planned = caller.planned(&[of_context("src")]);
    assert_eq!(locals(&planned), [("context".to_owned(), vec![])]);
    assert_eq!(caller.session.locals["context"].path, caller.path("src"));
    assert!(names(&planned).contains(&"[internal] load build context".to_owned()));
}

#[test]
fn a_missing_directory_and_a_file_are_refused() {
    let mut caller = Caller::new().file("Dockerfile", "FROM alpine\n");
    let error = caller.refused(&[of_context("nowhere")]);
    assert!(
        error.contains("context `nowhere` does not exist\nhint: paths are relative to"),
        "{error}"
    );
    let error = caller.refused(&[of_context("Dockerfile")]);
    assert!(error.contains("is not a directory\nhint: a Dockerfile is named with `-f`"), "{error}");
}

#[test]
fn a_dockerfile_on_standard_input_has_no_files() {
    let mut caller = Caller::new().stdin("FROM alpine\nRUN true\n");
    let planned = caller.planned(&[of_context("-")]);
    assert!(locals(&planned).is_empty());
    let file = planned.sources.get(karman_diag::FileId(0)).map(|f| f.name.clone());
    assert_eq!(file.as_deref(), Some("Dockerfile (standard input)"));
}

#[test]
fn an_archive_on_standard_input_is_unpacked() {
    let mut caller = Caller::new().stdin(tar("Dockerfile", "FROM alpine\nCOPY a /\n"));
    let planned = caller.planned(&[of_context("-")]);
    assert_eq!(locals(&planned).len(), 1);
    let path = caller.session.locals["context"].path.clone();
    assert!(path.starts_with(caller.root().canonicalize().expect("a path").join("scratch")));
    assert!(path.join("Dockerfile").is_file());
}

#[test]
fn the_dockerfile_of_an_archive_is_inside_it() {
    let mut caller = Caller::new().stdin(tar("sub.dockerfile", "FROM alpine\nCOPY a /\n"));
    let spec = TargetSpec { dockerfile: Some("sub.dockerfile".into()), ..of_context("-") };
    caller.planned(std::slice::from_ref(&spec));
}

#[test]
fn an_archive_cannot_leave_the_scratch_directory() {
    let mut caller = Caller::new().stdin(tar("../../Dockerfile", "FROM alpine\n"));
    caller.planned(&[of_context("-")]);
    assert!(!caller.root().join("scratch/Dockerfile").exists());
    assert!(!caller.root().join("Dockerfile").exists());
    assert!(caller.root().join("scratch/stdin-context/Dockerfile").exists());
}

#[test]
fn a_link_in_an_archive_stays_inside_it() {
    let mut caller = Caller::new().file("outside", "FROM alpine\n");
    let outside = caller.path("outside");
    let target = outside.to_str().expect("a text").as_bytes();
    let mut link = tar("Dockerfile", "");
    link[156] = b'2';
    link[157..157 + target.len()].copy_from_slice(target);
    link[148..156].copy_from_slice(b"        ");
    let sum: u32 = link[..512].iter().map(|b| u32::from(*b)).sum();
    link[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    caller.facts.stdin = Some(link);
    let error = caller.refused(&[of_context("-")]);
    assert!(error.contains("there is no Dockerfile at `Dockerfile`"), "{error}");
}

#[test]
fn standard_input_has_one_use() {
    let both = TargetSpec { dockerfile: Some("-".into()), ..of_context("-") };
    assert!(needs_stdin(std::slice::from_ref(&both)));
    assert!(!needs_stdin(&[TargetSpec::default()]));
    let mut caller = Caller::new().stdin("FROM alpine\n");
    assert!(caller.refused(&[both]).contains("can't use stdin for both"));
    let file = TargetSpec { dockerfile: Some("other".into()), ..of_context("-") };
    assert!(caller.refused(&[file]).contains("ambiguous Dockerfile source"));
    let mut empty = Caller::new().stdin("");
    assert!(empty.refused(&[of_context("-")]).contains("standard input is empty"));
    let mut unread = Caller::new();
    assert!(unread.refused(&[of_context("-")]).contains("was not read"));
}

#[test]
fn a_git_context_is_read_through_the_backend() {
    let mut caller = Caller::new();
    let url = "https://h/a.git";
    caller.backend = std::mem::take(&mut caller.backend)
        .with_file("https://h/a.git /Dockerfile", "FROM alpine\nCOPY . /\n");
    let planned = caller.planned(&[of_context("https://h/a.git#v1:sub")]);
    let git = sources(&planned).into_iter().find_map(|s| match s {
        SourceOp::Git(git) => Some(git),
        _ => None,
    });
    let git = git.expect("a git source");
    assert_eq!((git.url.as_str(), git.reference.as_str(), git.subdir.as_str()), (url, "v1", "sub"));
    assert!(!git.keep_git_dir);
    assert!(
        names(&planned).iter().any(|n| n.starts_with("[internal] load git source https://h/a.git"))
    );
}

#[test]
fn a_git_context_has_its_dockerfile_inside_and_may_keep_its_history() {
    let mut caller = Caller::new();
    caller.backend = std::mem::take(&mut caller.backend)
        .with_file("https://h/a.git /x/File", "FROM alpine\nCOPY . /\n");
    let keep = [("BUILDKIT_CONTEXT_KEEP_GIT_DIR".to_owned(), Some("1".to_owned()))];
    let spec = TargetSpec {
        dockerfile: Some("./x/File".into()),
        build_args: keep.into(),
        ..of_context("https://h/a.git")
    };
    let planned = caller.planned(&[spec]);
    assert!(sources(&planned).iter().any(|s| matches!(s, SourceOp::Git(g) if g.keep_git_dir)));
    let error = caller.refused(&[of_context("https://h/a.git")]);
    assert!(error.contains("there is no `Dockerfile` in `https://h/a.git`"), "{error}");
    assert_eq!(caller.backend.asked("/dockerfile"), 1);
}

#[test]
fn an_absolute_dockerfile_of_a_remote_context_is_the_callers() {
    let mut caller = Caller::new().file("own/File", "FROM alpine\nCOPY . /\n");
    let file = caller.path("own/File").to_string_lossy().into_owned();
    let spec = TargetSpec { dockerfile: Some(file), ..of_context("https://h/a.git") };
    let planned = caller.planned(&[spec]);
    assert!(sources(&planned).iter().any(|s| matches!(s, SourceOp::Git(_))));
    assert_eq!(caller.backend.asked("file https://h/a.git"), 0);
}

#[test]
fn named_git_contexts_do_not_keep_their_history() {
    let mut caller = Caller::new();
    let keep = [("BUILDKIT_CONTEXT_KEEP_GIT_DIR".to_owned(), Some("1".to_owned()))];
    let spec = TargetSpec {
        contexts: map(&[("base", "https://h/a.git")]),
        build_args: keep.into(),
        ..crate::support::inline("t", "FROM scratch\nCOPY --from=base a /\n")
    };
    let planned = caller.planned(&[spec]);
    assert!(sources(&planned).iter().any(|s| matches!(s, SourceOp::Git(g) if !g.keep_git_dir)));
}

#[test]
fn an_http_archive_is_unpacked_in_the_graph() {
    let mut caller = Caller::new();
    caller.backend = std::mem::take(&mut caller.backend)
        .with_file("unpacked https://h/a.tar.gz /Dockerfile", "FROM alpine\nCOPY . /\n")
        .with_file("https://h/x /context", tar("Dockerfile", ""))
        .with_file("unpacked https://h/x /Dockerfile", "FROM alpine\nCOPY . /\n");
    for url in ["https://h/a.tar.gz", "https://h/x"] {
        let planned = caller.planned(&[of_context(url)]);
        let ops: Vec<&Op> = planned.request.graph.iter().map(|(_, v)| &v.op).collect();
        let unpacks = |op: &&&Op| match op {
            Op::File(file) => format!("{file:?}").contains("unpack: true"),
            _ => false,
        };
        assert_eq!(ops.iter().filter(unpacks).count(), 1, "{url}");
    }
    // An archive with a telling name is not loaded into memory.
    assert_eq!(caller.backend.asked("file https://h/a.tar.gz /context"), 0);
}

#[test]
fn an_http_file_may_be_a_dockerfile() {
    let mut caller = Caller::new();
    caller.backend = std::mem::take(&mut caller.backend)
        .with_file("https://h/Df /context", "FROM alpine\nRUN true\n");
    let planned = caller.planned(&[of_context("https://h/Df")]);
    assert_eq!(planned.request.targets[0].images.len(), 1);
    let spec = TargetSpec { dockerfile: Some("https://h/Df".into()), ..TargetSpec::default() };
    caller.planned(&[spec]);
}

#[test]
fn another_target_may_be_the_main_context() {
    let mut caller = Caller::new();
    let base = crate::support::inline("base", "FROM alpine\nRUN make\n");
    let user = TargetSpec {
        context: "target:base".into(),
        ..crate::support::inline("user", "FROM scratch\nCOPY /out /\n")
    };
    let planned = caller.planned(&[user, base]);
    let root = planned.request.targets[1].images[0].root.expect("a root");
    let user = planned.request.targets[0].images[0].root.expect("a root");
    assert!(planned.request.graph.needed_by([user]).contains(&root));
}

#[test]
fn labels_and_contexts_are_kept_apart_by_path() {
    let mut caller = Caller::new()
        .file("a/Dockerfile", "FROM alpine\nCOPY . /\n")
        .file("b/Dockerfile", "FROM alpine\nCOPY . /\n");
    let mut a = of_context("a");
    a.labels = map(&[("x", "1")]);
    let planned = caller.planned(&[a, TargetSpec { name: "b".into(), ..of_context("b") }]);
    let names: Vec<String> = locals(&planned).into_iter().map(|(n, _)| n).collect();
    assert_eq!(names, ["context", "context-2"]);
    assert_eq!(caller.session.locals["context-2"].path, caller.path("b"));
    let labels = planned.request.targets[0].images[0].config.config.labels.clone();
    assert_eq!(labels, Some(map(&[("x", "1")])));
}
