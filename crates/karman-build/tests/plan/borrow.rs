//! Secrets, ssh agents, networks and hosts.

use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use karman_build::{SecretSpec, SshSpec, TargetSpec};
use karman_control::{SecretSource, SshSource};
use karman_llb::{ExecOp, Network, Op};

use crate::support::{Caller, inline};

fn base() -> TargetSpec {
    inline("t", "FROM alpine\nRUN true\n")
}

fn secret(id: &str, src: Option<&str>, env: Option<&str>) -> TargetSpec {
    let (src, env) = (src.map(PathBuf::from), env.map(str::to_owned));
    TargetSpec { secrets: vec![SecretSpec { id: id.to_owned(), src, env }], ..base() }
}

fn exec(caller: &mut Caller, spec: TargetSpec) -> ExecOp {
    let planned = caller.planned(&[spec]);
    let mut ops = planned.request.graph.iter().filter_map(|(_, v)| match &v.op {
        Op::Exec(exec) => Some(exec.clone()),
        _ => None,
    });
    ops.next().expect("a RUN")
}

#[test]
fn secrets_are_files_or_variables() {
    let mut caller = Caller::new().file("token", "x").file("s/f", "y").env("TOKEN", "v");
    caller.planned(&[secret("a", Some("s/f"), None)]);
    assert_eq!(caller.session.secrets["a"], SecretSource::File(caller.path("s/f")));
    caller.planned(&[secret("b", None, Some("TOKEN"))]);
    assert_eq!(caller.session.secrets["b"], SecretSource::Value(b"v".to_vec()));
    caller.planned(&[secret("TOKEN", None, None)]);
    assert_eq!(caller.session.secrets["TOKEN"], SecretSource::Value(b"v".to_vec()));
    caller.planned(&[secret("token", None, None)]);
    assert_eq!(caller.session.secrets["token"], SecretSource::File(caller.path("token")));
}

#[test]
fn a_missing_secret_file_is_found_early() {
    let mut caller = Caller::new();
    let error = caller.refused(&[secret("a", Some("gone"), None)]);
    assert!(error.contains("secret `a`: there is no file `gone`"), "{error}");
    let error = caller.refused(&[secret("a", None, None)]);
    assert!(error.contains("set the variable `a`, or name a file with `src=`"), "{error}");
    assert!(caller.refused(&[secret("a", Some("."), None)]).contains("is a directory"));
    assert!(caller.refused(&[secret("", None, None)]).contains("no `id`"));
    let mut large = Caller::new().file("big", &"x".repeat(600 << 10));
    assert!(large.refused(&[secret("a", Some("big"), None)]).contains("is larger than"));
}

#[test]
fn an_unset_variable_is_only_doubtful() {
    let mut caller = Caller::new();
    let planned = caller.planned(&[secret("a", None, Some("UNSET"))]);
    assert!(planned.warnings[0].message.contains("`UNSET` is not set"));
    assert!(caller.session.secrets.is_empty());
}

#[test]
fn one_id_is_one_secret() {
    let mut caller = Caller::new().file("x", "").file("y", "");
    let other = TargetSpec { name: "u".into(), ..secret("a", Some("y"), None) };
    let error = caller.refused(&[secret("a", Some("x"), None), other]);
    assert!(error.contains("the secret `a` has two different values"), "{error}");
}

#[test]
fn ssh_agents_are_sockets_or_key_files() {
    let ssh = |id: &str, paths: Vec<PathBuf>| TargetSpec {
        ssh: vec![SshSpec { id: id.to_owned(), paths }],
        ..base()
    };
    let mut caller = Caller::new().file("key", "x");
    assert!(caller.refused(&[ssh("", vec![])]).contains("`SSH_AUTH_SOCK` is not set"));
    assert!(caller.refused(&[ssh("", vec![".".into()])]).contains("neither a socket nor a key"));
    assert!(caller.refused(&[ssh("", vec!["gone".into()])]).contains("no socket or key file"));
    let socket = caller.path("agent");
    let _listener = UnixListener::bind(&socket).expect("a socket");
    let mut caller = caller.env("SSH_AUTH_SOCK", &socket.to_string_lossy());
    caller.planned(&[
        ssh("", vec![]),
        TargetSpec { name: "u".into(), ..ssh("git", vec!["agent".into()]) },
        TargetSpec { name: "v".into(), ..ssh("keys", vec!["key".into(), "key".into()]) },
    ]);
    let agent = SshSource::Agent(socket);
    assert_eq!(caller.session.ssh["default"], agent);
    assert_eq!(caller.session.ssh["git"], agent);
    let key = caller.path("key");
    assert_eq!(caller.session.ssh["keys"], SshSource::Keys(vec![key.clone(), key]));
    let mixed = ssh("git", vec!["key".into(), "agent".into()]);
    assert!(caller.refused(&[mixed]).contains("is the socket of an agent, and not alone"));
}

#[test]
fn networks_are_known_words() {
    let mut caller = Caller::new();
    let network = |mode: &str| TargetSpec { network: Some(mode.to_owned()), ..base() };
    assert_eq!(exec(&mut caller, network("none")).network, Network::None);
    assert!(caller.refused(&[network("host")]).contains("--allow network.host"));
    caller.session.allow_host_network = true;
    assert_eq!(exec(&mut caller, network("host")).network, Network::Host);
    assert!(caller.refused(&[network("bridge")]).contains("unknown network mode `bridge`"));
}

#[test]
fn hosts_limits_and_sizes_reach_the_steps() {
    let mut caller = Caller::new();
    let spec = TargetSpec {
        extra_hosts: vec![("a".into(), "[::1]".into()), ("b".into(), "host-gateway".into())],
        shm_size: 64,
        ulimits: vec![karman_llb::Ulimit { name: "nofile".into(), soft: 1, hard: 2 }],
        ..base()
    };
    let exec = exec(&mut caller, spec);
    let hosts: Vec<&str> = exec.extra_hosts.iter().map(|h| h.address.as_str()).collect();
    assert_eq!(hosts, ["::1", "127.0.0.1"]);
    assert_eq!((exec.shm_size, exec.ulimits.len()), (64, 1));
    let wrong = TargetSpec { extra_hosts: vec![("a".into(), "b".into())], ..base() };
    assert!(caller.refused(&[wrong]).contains("invalid host `a=b`"));
}

#[test]
fn proxies_go_to_the_session_and_not_into_the_graph() {
    let mut caller = Caller::new();
    let args = [("HTTP_PROXY".to_owned(), Some("http://u:p@proxy".to_owned()))];
    let planned = caller.planned(&[TargetSpec { build_args: args.into(), ..base() }]);
    for name in ["http_proxy", "HTTP_PROXY"] {
        assert_eq!(caller.session.proxies.variables[name], "http://u:p@proxy");
    }
    assert!(!karman_llb::dump(&planned.request.graph).contains("u:p"));
    assert!(planned.warnings.is_empty(), "{:?}", planned.warnings);
}
