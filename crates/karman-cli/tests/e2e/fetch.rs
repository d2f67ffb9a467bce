//! Files by HTTP and git repositories, from servers on the loopback.

use std::fs;

use karman_oci::Digest;
use karman_testing::{Place, Skip, Tested};

use crate::Tests;
use crate::lab::{Lab, need, tool};
use crate::server::Server;

pub(crate) const TESTS: Tests = &[
    ("a_file_is_added_by_http", a_file_is_added_by_http),
    ("an_unchanged_file_is_not_fetched_again", an_unchanged_file_is_not_fetched_again),
    ("a_wrong_checksum_is_refused", a_wrong_checksum_is_refused),
    ("a_missing_file_shows_its_line", a_missing_file_shows_its_line),
    ("an_archive_is_a_context", an_archive_is_a_context),
    ("archives_are_unpacked_by_add", archives_are_unpacked_by_add),
    ("a_git_repository_is_a_context", a_git_repository_is_a_context),
    ("a_git_repository_is_added", a_git_repository_is_added),
];

fn served(lab: &Lab) -> Result<(Place, Server), Skip> {
    let place = lab.place()?;
    let dir = place.root().join("www");
    fs::create_dir(&dir).expect("a directory");
    fs::write(dir.join("file.txt"), "served\n").expect("a file");
    let server = Server::start(dir);
    Ok((place, server))
}

fn a_file_is_added_by_http(lab: &Lab) -> Tested {
    let (place, server) = served(lab)?;
    let url = server.url("file.txt");
    let checksum = Digest::sha256_of(b"served\n");
    let text = format!(
        "FROM scratch\nADD {url} /dir/\nADD --checksum={checksum} --chmod=755 {url} /named\n"
    );
    place.write("ctx/Dockerfile", text);
    lab.build(&place, &["-o", "files", "ctx"]).ok();
    for name in ["dir/file.txt", "named"] {
        let content = fs::read_to_string(place.work().join("files").join(name)).expect("the file");
        assert_eq!(content, "served\n");
    }
    Ok(())
}

fn an_unchanged_file_is_not_fetched_again(lab: &Lab) -> Tested {
    let (place, server) = served(lab)?;
    let url = server.url("file.txt");
    place.write("ctx/Dockerfile", format!("FROM busybox\nADD {url} /f\nRUN cat /f\n"));
    lab.build(&place, &["ctx"]).ok();
    let log = lab.build(&place, &["ctx"]).ok().err;
    assert!(log.contains("CACHED") && !log.contains(" served\n"), "{log}");
    let fetched = |requests: &[String]| requests.iter().filter(|r| r.ends_with("200")).count();
    assert_eq!(fetched(&server.requests()), 1, "{:?}", server.requests());
    fs::write(place.root().join("www/file.txt"), "changed\n").expect("a file");
    let log = lab.build(&place, &["ctx"]).ok().err;
    assert!(log.contains(" changed\n"), "{log}");
    Ok(())
}

fn a_wrong_checksum_is_refused(lab: &Lab) -> Tested {
    let (place, server) = served(lab)?;
    let wrong = Digest::sha256_of(b"something else");
    let url = server.url("file.txt");
    place.write("ctx/Dockerfile", format!("FROM scratch\nADD --checksum={wrong} {url} /f\n"));
    let told = lab.build(&place, &["-o", "files", "ctx"]).is(4, "digest mismatch");
    assert!(told.err.contains(">>> ADD --checksum"), "{}", told.err);
    assert!(told.err.contains(&Digest::sha256_of(b"served\n").to_string()), "{}", told.err);
    assert!(!place.work().join("files").exists(), "nothing is exported");
    Ok(())
}

fn a_missing_file_shows_its_line(lab: &Lab) -> Tested {
    let (place, server) = served(lab)?;
    let url = server.url("none.txt");
    place.write("ctx/Dockerfile", format!("FROM scratch\nADD {url} /f\n"));
    let told = lab.build(&place, &["ctx"]);
    assert!([4, 7].contains(&told.code), "exit {}: {}", told.code, told.err);
    assert!(told.err.contains("404") && told.err.contains(">>> ADD"), "{}", told.err);
    Ok(())
}

fn an_archive_is_a_context(lab: &Lab) -> Tested {
    let (place, server) = served(lab)?;
    place.write("ctx/Dockerfile", "FROM scratch\nCOPY a /copied\n");
    place.write("ctx/a", "in an archive");
    let archive = place.root().join("www/ctx.tar.gz");
    let archive = archive.to_string_lossy();
    tool(&place, &need("tar")?, &["-czf", &archive, "-C", "ctx", "."]);
    lab.build(&place, &["-o", "files", &server.url("ctx.tar.gz")]).ok();
    let copied = fs::read_to_string(place.work().join("files/copied")).expect("the file");
    assert_eq!(copied, "in an archive");
    Ok(())
}

fn archives_are_unpacked_by_add(lab: &Lab) -> Tested {
    let (place, server) = served(lab)?;
    place.write("in/d/f", "packed\n");
    for (name, flags) in [("a.tar", "-cf"), ("a.tgz", "-czf")] {
        let archive = place.work().join("ctx").join(name);
        place.write(&format!("ctx/{name}"), "");
        tool(&place, &need("tar")?, &[flags, &archive.to_string_lossy(), "-C", "in", "d"]);
    }
    fs::copy(place.work().join("ctx/a.tgz"), place.root().join("www/a.tgz")).expect("a copy");
    let url = server.url("a.tgz");
    let text = format!(
        "FROM scratch\nADD a.tar /tar/\nADD --chown=7:8 a.tgz /tgz\nADD {url} /kept/\n\
         ADD --unpack {url} /fetched/\nADD --unpack=false a.tar /whole/\n"
    );
    place.write("ctx/Dockerfile", text);
    lab.build(&place, &["-o", "files", "ctx"]).ok();
    let files = place.work().join("files");
    for name in ["tar/d/f", "tgz/d/f", "fetched/d/f"] {
        assert_eq!(fs::read_to_string(files.join(name)).expect(name), "packed\n");
    }
    assert!(files.join("kept/a.tgz").is_file() && files.join("whole/a.tar").is_file());
    Ok(())
}

/// A repository `repo.git` with the branch `main`, the tag `v1` one commit before it, and the
/// directory `sub`.
fn with_repository(lab: &Lab) -> Result<(Place, Server), Skip> {
    let git = need("git")?;
    let (place, server) = served(lab)?;
    let git = |args: &[&str]| {
        let identity = ["-c", "user.name=e2e", "-c", "user.email=e2e@example.org"];
        tool(&place, &git, &[&identity[..], &["-C", "repo"], args].concat());
    };
    place.write("repo/sub/Dockerfile", "FROM scratch\nCOPY f /f\n");
    place.write("repo/sub/f", "one\n");
    place.write("repo/Dockerfile", "FROM scratch\nCOPY . /\n");
    git(&["init", "-q", "-b", "main", "."]);
    git(&["add", "."]);
    git(&["commit", "-q", "-m", "one"]);
    git(&["tag", "-a", "v1", "-m", "v1"]);
    place.write("repo/sub/f", "two\n");
    git(&["commit", "-q", "-a", "-m", "two"]);
    let bare = place.root().join("www/repo.git");
    git(&["clone", "-q", "--bare", ".", &bare.to_string_lossy()]);
    git(&["--git-dir", &bare.to_string_lossy(), "update-server-info"]);
    Ok((place, server))
}

fn a_git_repository_is_a_context(lab: &Lab) -> Tested {
    let (place, server) = with_repository(lab)?;
    for (fragment, want) in [("#main:sub", "two\n"), ("#v1:sub", "one\n"), ("?subdir=sub", "two\n")]
    {
        let url = server.url(&format!("repo.git{fragment}"));
        lab.build(&place, &["-o", "files", &url]).ok();
        let content = fs::read_to_string(place.work().join("files/f")).expect("the file");
        assert_eq!(content, want, "{fragment}");
    }
    let url = server.url("repo.git");
    lab.build(&place, &["-o", "whole", &url]).ok();
    assert!(place.work().join("whole/sub/f").exists());
    assert!(!place.work().join("whole/.git").exists());
    let none = lab.build(&place, &[&server.url("repo.git#none")]);
    assert!([4, 7].contains(&none.code) && none.err.contains("none"), "{}", none.err);
    Ok(())
}

fn a_git_repository_is_added(lab: &Lab) -> Tested {
    let (place, server) = with_repository(lab)?;
    let text = format!("FROM scratch\nADD {} /src\n", server.url("repo.git#v1"));
    place.write("ctx/Dockerfile", text);
    lab.build(&place, &["-o", "files", "ctx"]).ok();
    let content = fs::read_to_string(place.work().join("files/src/sub/f")).expect("the file");
    assert_eq!(content, "one\n");
    let log = lab.build(&place, &["-o", "files", "ctx"]).ok().err;
    assert!(log.contains("CACHED"), "{log}");
    Ok(())
}
