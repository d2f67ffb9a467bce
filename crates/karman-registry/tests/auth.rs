//! Answering challenges, and keeping credentials where they belong.

#[expect(dead_code, reason = "each test binary uses a part of the support")]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use karman_registry::{Config, Credential, CredentialError, CredentialSource, RegistryError};
use support::http::{Reply, Seen, Server};
use support::{Image, reference, registry};

struct Fixed(Credential);

impl CredentialSource for Fixed {
    fn lookup(&self, host: &str, repository: &str) -> Result<Option<Credential>, CredentialError> {
        assert_eq!(repository, "a/b");
        Ok(host.starts_with("127.0.0.1:").then(|| self.0.clone()))
    }
}

fn with(credential: Credential) -> Config {
    Config { credentials: Arc::new(Fixed(credential)), ..Config::default() }
}

fn user() -> Credential {
    Credential::Basic { user: "us".to_owned(), password: "geheim".to_owned() }
}

const BASIC: &str = "Basic dXM6Z2VoZWlt";

fn challenge(seen: &Seen) -> Reply {
    let host = seen.header("host").unwrap();
    let value = format!(
        r#"Bearer realm="http://{host}/token",service="reg, test",scope="repository:a/b:pull""#
    );
    Reply::new(401, "").with("www-authenticate", &value)
}

/// A registry that wants tokens `t1`, `t2`, …: each is good for `uses` requests.
fn bearer(uses: u32) -> (Server, Image) {
    let image = Image::new();
    let served = image.clone();
    let (issued, used) = (AtomicU32::new(0), AtomicU32::new(0));
    let server = Server::start(move |seen| {
        if seen.target.starts_with("/token") {
            let n = issued.fetch_add(1, Ordering::SeqCst) + 1;
            used.store(0, Ordering::SeqCst);
            return Reply::ok(format!(r#"{{"token":"t{n}","expires_in":300}}"#));
        }
        let good = format!("Bearer t{}", issued.load(Ordering::SeqCst));
        if seen.header("authorization") != Some(&good)
            || used.fetch_add(1, Ordering::SeqCst) >= uses
        {
            return challenge(seen);
        }
        served.serve(seen)
    });
    (server, image)
}

fn tokens(server: &Server) -> usize {
    server.seen().iter().filter(|s| s.target.starts_with("/token")).count()
}

#[test]
fn basic_credentials_follow_a_challenge() {
    let image = Image::new();
    let server = Server::start(move |seen| match seen.header("authorization") {
        Some(BASIC) => image.serve(seen),
        _ => Reply::new(401, "").with("www-authenticate", r#"Basic realm="x""#),
    });
    let client = registry(with(user()));
    client.resolve(&reference(&server)).unwrap();
    client.resolve(&reference(&server)).unwrap();
    assert_eq!(server.seen().len(), 3, "the answer is remembered");
    assert_eq!(server.seen()[0].header("authorization"), None, "nothing is sent unasked");

    let error = registry(Config::default()).resolve(&reference(&server)).unwrap_err();
    assert!(matches!(error, RegistryError::Denied { with_credentials: false, .. }), "{error:?}");
    assert!(error.hint().unwrap().contains("log in"));
}

#[test]
fn an_anonymous_token_is_fetched_once() {
    let (server, image) = bearer(u32::MAX);
    let client = registry(Config::default());
    client.resolve(&reference(&server)).unwrap();
    client.fetch_blob(&reference(&server), &image.layer_descriptor, &mut Vec::new()).unwrap();
    assert_eq!(tokens(&server), 1);
    let seen = server.seen();
    assert_eq!(seen[1].target, "/token?service=reg%2C%20test&scope=repository%3Aa%2Fb%3Apull");
    assert_eq!(seen[1].header("authorization"), None);
}

#[test]
fn parallel_pulls_share_one_token() {
    let (server, image) = bearer(u32::MAX);
    let (client, name) = (registry(Config::default()), reference(&server));
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                client.fetch_blob(&name, &image.layer_descriptor, &mut Vec::new()).unwrap()
            });
        }
    });
    assert_eq!(tokens(&server), 1);
}

#[test]
fn a_password_goes_to_the_token_server_only() {
    let (server, _) = bearer(u32::MAX);
    registry(with(user())).resolve(&reference(&server)).unwrap();
    let seen = server.seen();
    assert_eq!(seen[1].header("authorization"), Some(BASIC));
    assert_eq!(seen[2].header("authorization"), Some("Bearer t1"));
}

#[test]
fn an_identity_token_is_exchanged_by_post() {
    let (server, _) = bearer(u32::MAX);
    let credential = Credential::IdentityToken("refresh&me".to_owned());
    registry(with(credential)).resolve(&reference(&server)).unwrap();
    let seen = &server.seen()[1];
    assert_eq!(seen.method, "POST");
    let body = String::from_utf8(seen.body.clone()).unwrap();
    assert!(body.contains("grant_type=refresh_token"), "{body}");
    assert!(body.contains("refresh_token=refresh%26me"), "{body}");
}

#[test]
fn a_token_that_ended_is_replaced() {
    let (server, image) = bearer(1);
    let client = registry(Config::default());
    client.resolve(&reference(&server)).unwrap();
    client.fetch_blob(&reference(&server), &image.layer_descriptor, &mut Vec::new()).unwrap();
    assert_eq!(tokens(&server), 2);
}

#[test]
fn a_token_that_ends_during_a_download_does_not_lose_what_came() {
    let image = Image::new();
    let (served, calls) = (image.clone(), AtomicU32::new(0));
    let server = Server::start(move |seen| {
        if seen.target.starts_with("/token") {
            let n = calls.load(Ordering::SeqCst);
            return Reply::ok(format!(r#"{{"access_token":"t{n}"}}"#));
        }
        match calls.fetch_add(1, Ordering::SeqCst) {
            0 | 2 => challenge(seen),
            1 => served.serve(seen).cut(500_000),
            _ => served.serve(seen),
        }
    });
    let mut layer = Vec::new();
    let client = registry(Config::default());
    client.fetch_blob(&reference(&server), &image.layer_descriptor, &mut layer).unwrap();
    assert!(layer == image.layer);
    let last = server.seen().pop().unwrap();
    assert_eq!(last.header("range"), Some("bytes=500000-"));
    assert_eq!(last.header("authorization"), Some("Bearer t3"));
}

#[test]
fn a_registry_that_is_never_content_is_given_up() {
    let (server, _) = bearer(0);
    let error = registry(with(user())).resolve(&reference(&server)).unwrap_err();
    assert!(matches!(error, RegistryError::Denied { with_credentials: true, .. }), "{error:?}");
    assert!(server.seen().len() <= 8, "{:?}", server.lines());
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains("geheim") && !shown.contains("dXM6"), "{shown}");
}

#[test]
fn blob_storage_does_not_see_the_token() {
    let image = Image::new();
    let served = image.clone();
    let storage = Server::start(move |seen| served.serve(seen));
    let target = storage.other_url("");
    let server = Server::start(move |seen| {
        if seen.target.starts_with("/token") {
            return Reply::ok(r#"{"token":"t"}"#);
        }
        match seen.header("authorization") {
            Some("Bearer t") => Reply::redirect(307, &format!("{target}{}", seen.target)),
            _ => challenge(seen),
        }
    });
    let mut layer = Vec::new();
    let client = registry(with(user()));
    client.fetch_blob(&reference(&server), &image.layer_descriptor, &mut layer).unwrap();
    assert!(layer == image.layer);
    assert_eq!(storage.seen().len(), 1);
    assert_eq!(storage.seen()[0].header("authorization"), None);
}

#[test]
fn an_unknown_kind_of_authentication_is_named() {
    let server = Server::start(|_| Reply::new(401, "").with("www-authenticate", "Negotiate"));
    let error = registry(with(user())).resolve(&reference(&server)).unwrap_err();
    assert!(matches!(error, RegistryError::UnknownChallenge { .. }), "{error:?}");
}

#[test]
fn an_answer_without_a_token_is_refused() {
    for answer in ["{}", "[]", r#"{"token":"a b"}"#, r#"{"token":""}"#] {
        let server = Server::start(move |seen| match seen.target.as_str() {
            t if t.starts_with("/token") => Reply::ok(answer),
            _ => challenge(seen),
        });
        let error = registry(Config::default()).resolve(&reference(&server)).unwrap_err();
        assert!(matches!(error, RegistryError::MalformedToken { .. }), "{answer}: {error:?}");
    }
}

#[test]
fn a_token_server_elsewhere_is_not_spoken_to_in_the_open() {
    let server = Server::start(|_| {
        let value = r#"Bearer realm="http://auth.example/token""#;
        Reply::new(401, "").with("www-authenticate", value)
    });
    let error = registry(with(user())).resolve(&reference(&server)).unwrap_err();
    assert!(matches!(error, RegistryError::Unencrypted { .. }), "{error:?}");
}

#[test]
fn a_host_that_cannot_be_asked_about_an_account_is_named_as_one() {
    let server = Server::start(|_| Reply::new(404, "no registry"));
    let refused = registry(Config::default()).check_login(&server.host(), user());
    let error = refused.expect_err("it is no registry");
    assert!(matches!(error, RegistryError::Login { .. }), "{error:?}");
    assert_eq!(error.to_string(), format!("log in to `{}`", server.host()));
}
