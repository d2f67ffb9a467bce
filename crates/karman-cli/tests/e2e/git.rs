//! Git contexts in every form, over an `ssh` that is a script, and SSH agents in steps.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use karman_testing::{Place, Skip, Tested};

use crate::Tests;
use crate::lab::{Lab, need, tool};

pub(crate) const TESTS: Tests = &[
    ("every_form_of_a_repository_is_a_context", every_form),
    ("references_that_do_not_exist_are_named", unknown_references),
    ("history_stays_only_where_it_is_asked_for", history),
    ("submodules_are_fetched_unless_refused", submodules),
    ("repositories_of_sha256_are_contexts", sha256),
    ("the_agent_of_the_caller_is_gits", agent_for_git),
    ("key_files_are_an_agent", key_files),
    ("agents_have_the_owner_and_mode_of_the_mount", agents_in_steps),
];

/// Runs what it is asked to run on this host, and notes with which agent.
const SSH: &str = "#!/bin/sh\n\
    for last; do :; done\n\
    echo \"${SSH_AUTH_SOCK:-none} $*\" >> \"$HOME/ssh.log\"\n\
    exec sh -c \"$last\"\n";
/// Asks the agent for its keys and for a signature before that.
const SIGNING_SSH: &str = "#!/bin/sh\n\
    for last; do :; done\n\
    cd \"$HOME\" && ssh-add -L > keys && echo data > data || exit 1\n\
    ssh-keygen -q -Y sign -n test -f key.pub < data > signature || exit 1\n\
    exec sh -c \"$last\"\n";
const GIT: [&str; 6] = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"];

/// A place with our `ssh`, and a repository `repo.git` in it: branch `main` with `f` = `two` and
/// `sub/f`, tag `v1` with `f` = `one`.
struct Repository {
    place: Place,
    git: PathBuf,
}

impl Repository {
    fn new(lab: &Lab, format: &str) -> Result<Self, Skip> {
        let git = need("git")?;
        let place = lab.place()?;
        let ssh = place.write("bin/ssh", SSH);
        fs::set_permissions(&ssh, fs::Permissions::from_mode(0o755)).expect("chmod");
        let path = format!("{}:/usr/bin:/bin", place.work().join("bin").display());
        let made = Self { place: place.with_env("PATH", path), git };
        made.run(&["init", "-q", "-b", "main", "--object-format", format, "repo.git"]);
        made.commit("one");
        made.run(&["-C", "repo.git", "tag", "-a", "-m", "annotated", "v1"]);
        made.commit("two");
        Ok(made)
    }

    fn run(&self, args: &[&str]) -> String {
        tool(&self.place, &self.git, &[&GIT[..], args].concat()).out.trim().to_owned()
    }

    fn commit(&self, text: &str) {
        self.place.write("repo.git/f", format!("{text}\n"));
        self.place.write("repo.git/sub/f", format!("sub {text}\n"));
        self.place.write("repo.git/Dockerfile", "FROM scratch\nCOPY . /\n");
        self.place.write("repo.git/sub/Dockerfile", "FROM scratch\nCOPY f /in-sub\n");
        self.run(&["-C", "repo.git", "add", "."]);
        self.run(&["-C", "repo.git", "commit", "-q", "-m", text]);
    }

    fn path(&self) -> String {
        self.place.work().join("repo.git").display().to_string()
    }

    /// Builds a context to a directory and gives one file of it.
    fn built(&self, lab: &Lab, context: &str, more: &[&str], file: &str) -> String {
        let out = self.place.work().join("out");
        // Left from the context before.
        let _ = fs::remove_dir_all(&out);
        let args = [&["-o", "type=local,dest=out"], more, &[context]].concat();
        lab.build(&self.place, &args).ok();
        fs::read_to_string(out.join(file)).unwrap_or_else(|e| format!("{context}: {e}"))
    }
}

fn every_form(lab: &Lab) -> Tested {
    let repository = Repository::new(lab, "sha1")?;
    let path = repository.path();
    let commit = repository.run(&["-C", "repo.git", "rev-parse", "v1^{commit}"]);
    repository.run(&["-C", "repo.git", "update-ref", "refs/pull/7/head", &commit]);
    for (suffix, file, want) in [
        (String::new(), "f", "two\n"),
        ("#main".to_owned(), "f", "two\n"),
        ("#v1".to_owned(), "f", "one\n"),
        ("#refs/tags/v1".to_owned(), "f", "one\n"),
        ("#refs/heads/main".to_owned(), "f", "two\n"),
        ("#refs/pull/7/head".to_owned(), "f", "one\n"),
        (format!("#{commit}"), "f", "one\n"),
        ("#:sub".to_owned(), "in-sub", "sub two\n"),
        ("#v1:sub".to_owned(), "in-sub", "sub one\n"),
        ("?ref=v1".to_owned(), "f", "one\n"),
        ("?tag=v1&subdir=sub".to_owned(), "in-sub", "sub one\n"),
        ("?branch=main".to_owned(), "f", "two\n"),
        (format!("?ref=v1&checksum={}", &commit[..12]), "f", "one\n"),
        (format!("?commit={commit}"), "f", "one\n"),
    ] {
        for form in [
            format!("git@git.example:{path}{suffix}"),
            format!("ssh://git@git.example{path}{suffix}"),
        ] {
            assert_eq!(repository.built(lab, &form, &[], file), want, "{form}");
        }
    }
    Ok(())
}

fn unknown_references(lab: &Lab) -> Tested {
    let repository = Repository::new(lab, "sha1")?;
    let path = repository.path();
    let short = &repository.run(&["-C", "repo.git", "rev-parse", "HEAD"])[..10];
    for reference in ["nowhere", short] {
        let context = format!("git@git.example:{path}#{reference}");
        let want = format!("does not contain ref `{reference}`");
        lab.build(&repository.place, &[&context]).is(7, &want);
    }
    let context = format!("git@git.example:{path}#main:none");
    lab.build(&repository.place, &[&context]).is(7, "no directory `none`");
    let context = format!("git@git.example:{path}?ref=main&checksum=0123456789");
    lab.build(&repository.place, &[&context]).is(4, "expected checksum to match 0123456789");
    Ok(())
}

fn history(lab: &Lab) -> Tested {
    let repository = Repository::new(lab, "sha1")?;
    let context = format!("git@git.example:{}", repository.path());
    let without = repository.built(lab, &context, &[], ".git/HEAD");
    assert!(without.contains("No such file"), "{without}");
    let keep = ["--build-arg", "BUILDKIT_CONTEXT_KEEP_GIT_DIR=1"];
    let with = repository.built(lab, &context, &keep, ".git/HEAD");
    assert!(!with.contains("No such file"), "{with}");
    let query = format!("{context}?keep-git-dir=true");
    let with = repository.built(lab, &query, &[], ".git/HEAD");
    assert!(!with.contains("No such file"), "{with}");
    Ok(())
}

fn submodules(lab: &Lab) -> Tested {
    let repository = Repository::new(lab, "sha1")?;
    repository.run(&["init", "-q", "-b", "main", "inner.git"]);
    repository.place.write("inner.git/deep", "inner\n");
    repository.run(&["-C", "inner.git", "add", "."]);
    repository.run(&["-C", "inner.git", "commit", "-q", "-m", "inner"]);
    let allow = ["-c", "protocol.file.allow=always", "-C", "repo.git"];
    repository.run(&[&allow[..], &["submodule", "--quiet", "add", "../inner.git", "mod"]].concat());
    repository.commit("three");
    let context = format!("git@git.example:{}", repository.path());
    assert_eq!(repository.built(lab, &context, &[], "mod/deep"), "inner\n");
    let refused = format!("{context}?submodules=false");
    let without = repository.built(lab, &refused, &[], "mod/deep");
    assert!(without.contains("No such file"), "{without}");
    Ok(())
}

fn sha256(lab: &Lab) -> Tested {
    let repository = Repository::new(lab, "sha256")?;
    let path = repository.path();
    let commit = repository.run(&["-C", "repo.git", "rev-parse", "v1^{commit}"]);
    assert_eq!(commit.len(), 64);
    for (suffix, want) in
        [(String::new(), "two\n"), ("#v1".to_owned(), "one\n"), (format!("#{commit}"), "one\n")]
    {
        let context = format!("git@git.example:{path}{suffix}");
        assert_eq!(repository.built(lab, &context, &[], "f"), want, "{context}");
    }
    Ok(())
}

fn agent_for_git(lab: &Lab) -> Tested {
    let repository = Repository::new(lab, "sha1")?;
    let socket = repository.place.work().join("agent.sock");
    let _listener = UnixListener::bind(&socket).expect("a socket");
    let context = format!("git@git.example:{}", repository.path());
    let ssh = format!("default={}", socket.display());
    repository.built(lab, &context, &["--ssh", &ssh], "f");
    let log = fs::read_to_string(repository.place.home().join("ssh.log")).expect("a log");
    assert!(log.lines().all(|l| l.starts_with(&*socket.to_string_lossy())), "{log}");
    assert!(log.contains("StrictHostKeyChecking=accept-new"), "{log}");
    Ok(())
}

fn key_files(lab: &Lab) -> Tested {
    let keygen = need("ssh-keygen")?;
    need("ssh-add")?;
    for kind in [&["ed25519"][..], &["rsa", "-b", "2048"], &["ecdsa", "-b", "384"]] {
        let repository = Repository::new(lab, "sha1")?;
        let place = &repository.place;
        place.write("bin/ssh", SIGNING_SSH);
        let home = place.home();
        let at = |name: &str| home.join(name).display().to_string();
        let new = |name: &str, phrase: &str, more: &[&str]| {
            let common = ["-q", "-N", phrase, "-C", "mine", "-f", &at(name), "-t"];
            tool(place, &keygen, &[&common[..], kind, more].concat());
            place.give(&home.join(name));
        };
        new("key", "", &[]);
        let context = format!("git@git.example:{}", repository.path());
        repository.built(lab, &context, &["--ssh", &format!("default={}", at("key"))], "f");
        let public = fs::read_to_string(at("key.pub")).expect("the public key");
        assert_eq!(fs::read_to_string(at("keys")).expect("what the agent has"), public);
        let check = format!("ssh-keygen -Y check-novalidate -n test -s {} < data", at("signature"));
        let script = format!("cd {} && {check}", home.display());
        let told = tool(place, std::path::Path::new("/bin/sh"), &["-c", &script]);
        assert!(told.out.contains("Good \"test\" signature"), "{kind:?}: {}", told.out);

        new("locked", "a phrase", &[]);
        let refused = |name: &str, words: &str, hint: &str| {
            let ssh = format!("default={}", at(name));
            let told = lab.build(place, &["--ssh", &ssh, &context]).is(3, words);
            assert!(told.err.contains(hint), "{}", told.err);
        };
        refused("locked", "needs a passphrase", "ssh-add");
        new("old", "", &["-m", "PEM"]);
        if kind[0] != "ed25519" {
            refused("old", "is not a private key in OpenSSH's format", "ssh-keygen -p -f");
        }
    }
    Ok(())
}

fn agents_in_steps(lab: &Lab) -> Tested {
    let place = lab.place()?;
    let mut arguments = Vec::new();
    let mut listeners = Vec::new();
    for id in ["default", "deploy"] {
        let socket = place.work().join(format!("{id}.sock"));
        listeners.push(UnixListener::bind(&socket).expect("a socket"));
        arguments.push(format!("--ssh={id}={}", socket.display()));
    }
    place.write(
        "ctx/Dockerfile",
        "FROM busybox\n\
         RUN --mount=type=ssh --mount=type=ssh,id=deploy,uid=1000,gid=3000,mode=0660 \\\n\
           stat -c '%F %a %u:%g %n' /run/buildkit/* > /out; echo $SSH_AUTH_SOCK >> /out\n\
         RUN --mount=type=ssh,target=/there/agent echo $SSH_AUTH_SOCK >> /out\n\
         RUN ls -A /run >> /out; ls -d /there 2>/dev/null || echo gone >> /out\n",
    );
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    lab.build(&place, &[&arguments[..], &["-o", "out", "ctx"]].concat()).ok();
    let out = fs::read_to_string(place.work().join("out/out")).expect("the file");
    assert_eq!(
        out,
        "socket 600 0:0 /run/buildkit/ssh_agent.0\n\
         socket 660 1000:3000 /run/buildkit/ssh_agent.1\n\
         /run/buildkit/ssh_agent.0\n\
         /there/agent\n\
         gone\n"
    );
    Ok(())
}
