//! Downloads: verified, resumed, cut off.

#[path = "../../karman-registry/tests/support/http.rs"]
#[expect(dead_code, reason = "each test binary uses a part of the server")]
mod http;

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use http::{ENDLESS, Reply, Seen, Server};
use karman_net::{Checksum, Client, Config, Expect, Failure, Reopen, Retry, Sink};
use sha2::{Digest as _, Sha256};

fn client() -> Client {
    let retry = Retry { base_delay: Duration::from_millis(1), ..Retry::default() };
    Client::new(Config { retry, ..Config::default() }).unwrap()
}

fn content() -> Vec<u8> {
    (0..300_000_u32).flat_map(|n| n.to_le_bytes()).collect()
}

fn exactly(bytes: &[u8]) -> Expect {
    Expect::exactly(bytes.len() as u64, Checksum::Sha256(Sha256::digest(bytes).into()))
}

/// The rest of `content` that a range request asks for.
fn rest(seen: &Seen, etag: &str) -> Reply {
    let all = content();
    let fresh = seen.header("if-range").is_none_or(|tag| tag == etag);
    match seen.range_start().filter(|_| fresh) {
        Some(start) => Reply::new(206, &all[start..])
            .with("content-range", &format!("bytes {start}-{}/{}", all.len() - 1, all.len())),
        None => Reply::ok(all),
    }
    .with("etag", etag)
}

#[test]
fn a_dropped_connection_is_resumed() {
    let calls = AtomicU32::new(0);
    let server = Server::start(move |seen| match calls.fetch_add(1, Ordering::SeqCst) {
        0 | 1 => rest(seen, "\"v1\"").cut(400_000),
        _ => rest(seen, "\"v1\""),
    });
    let mut body = Vec::new();
    let done = client().download(&server.url("/"), &mut body, &exactly(&content())).unwrap();
    assert!(body == content());
    assert_eq!((done.size, done.attempts), (1_200_000, 3));
    assert_eq!(done.etag.as_deref(), Some("\"v1\""));
    let seen = server.seen();
    assert_eq!(seen[1].header("range"), Some("bytes=400000-"));
    assert_eq!(seen[1].header("if-range"), Some("\"v1\""));
    assert_eq!(seen[2].header("range"), Some("bytes=800000-"));
    assert_eq!(server.sent(), 1_200_000, "nothing is sent twice");
}

#[test]
fn a_file_that_changed_meanwhile_is_fetched_anew() {
    let calls = AtomicU32::new(0);
    let server = Server::start(move |seen| match calls.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::ok(vec![7; 1_200_000]).with("etag", "\"old\"").cut(500_000),
        _ => rest(seen, "\"new\""),
    });
    let mut opened = 0;
    let mut sink = Reopen::new(|| {
        opened += 1;
        Ok(Vec::new())
    });
    client().download(&server.url("/"), &mut sink, &exactly(&content())).unwrap();
    assert!(sink.into_inner().unwrap() == content());
    assert_eq!(opened, 2);
}

#[test]
fn a_bad_seam_is_mended_by_a_fresh_start() {
    let calls = AtomicU32::new(0);
    let server = Server::start(move |seen| match calls.fetch_add(1, Ordering::SeqCst) {
        // Another file under the same name, from a server without validators.
        0 => Reply::ok(vec![7; 1_200_000]).cut(500_000),
        _ => {
            let mut reply = rest(seen, "");
            reply.headers.retain(|(name, _)| name != "etag");
            reply
        }
    });
    let mut body = Vec::new();
    client().download(&server.url("/"), &mut body, &exactly(&content())).unwrap();
    assert!(body == content());
    assert_eq!(server.seen().len(), 3);
}

#[test]
fn a_server_that_never_delivers_is_given_up() {
    let server = Server::start(|_| Reply::ok(content()).cut(1000));
    let error =
        client().download(&server.url("/"), &mut Vec::new(), &exactly(&content())).unwrap_err();
    let truncated = Failure::Truncated { expected: Some(1_200_000), received: 1000 };
    assert_eq!(error.failure.to_string(), truncated.to_string());
    assert_eq!((error.attempts, server.seen().len()), (5, 5));
}

#[test]
fn a_wrong_digest_is_not_success() {
    let server = Server::start(|_| Reply::ok(vec![1; 1_200_000]));
    let error =
        client().download(&server.url("/"), &mut Vec::new(), &exactly(&content())).unwrap_err();
    assert!(matches!(*error.failure, Failure::DigestMismatch { .. }));
    assert_eq!(server.seen().len(), 1);
}

#[test]
fn sizes_that_cannot_be_right_are_refused_before_the_body() {
    let server = Server::start(|_| Reply::ok(vec![1; 1000]));
    let mut expect = exactly(&[1; 999]);
    let error = client().download(&server.url("/"), &mut Vec::new(), &expect).unwrap_err();
    assert!(matches!(*error.failure, Failure::TooLarge { limit: 999 }));
    expect = exactly(&[1; 1001]);
    let error = client().download(&server.url("/"), &mut Vec::new(), &expect).unwrap_err();
    assert!(matches!(*error.failure, Failure::WrongSize { expected: 1001, actual: 1000 }));
}

#[test]
fn hostile_an_endless_body_is_cut_off() {
    struct Counting(u64);
    impl Sink for Counting {
        fn restart(&mut self) -> io::Result<()> {
            self.0 = 0;
            Ok(())
        }

        fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
            self.0 += bytes.len() as u64;
            Ok(())
        }
    }
    let server = Server::start(|_| Reply::endless());
    let mut sink = Counting(0);
    let error =
        client().download(&server.url("/"), &mut sink, &Expect::at_most(1 << 20)).unwrap_err();
    assert!(matches!(*error.failure, Failure::TooLarge { limit: 1_048_576 }));
    assert!(sink.0 <= 1 << 20);
    assert!(server.sent() < ENDLESS / 4, "the connection was closed, {} sent", server.sent());
    assert_eq!(server.seen().len(), 1);
}

#[test]
fn the_receiver_may_stop_a_download() {
    struct Full;
    impl Sink for Full {
        fn restart(&mut self) -> io::Result<()> {
            Ok(())
        }

        fn write(&mut self, _: &[u8]) -> io::Result<()> {
            Err(io::ErrorKind::StorageFull.into())
        }
    }
    let server = Server::start(|_| Reply::ok("x"));
    let error = client().download(&server.url("/"), &mut Full, &Expect::default()).unwrap_err();
    assert!(matches!(*error.failure, Failure::Sink { .. }));
    assert_eq!(server.seen().len(), 1);
}

#[test]
fn a_missing_file_is_told_from_a_sick_server() {
    let server = Server::start(|seen| match seen.target.as_str() {
        "/gone" => Reply::new(404, ""),
        "/private" => Reply::new(401, "").with("www-authenticate", "Basic realm=\"x\""),
        _ => Reply::new(500, ""),
    });
    let fail = |path| {
        client().download(&server.url(path), &mut Vec::new(), &Expect::default()).unwrap_err()
    };
    assert!(matches!(*fail("/gone").failure, Failure::NotFound { status: 404 }));
    assert!(
        matches!(&*fail("/private").failure, Failure::Auth { status: 401, challenges } if challenges.len() == 1)
    );
    let sick = fail("/sick");
    assert!(matches!(*sick.failure, Failure::Status { status: 500 }));
    assert_eq!((sick.status(), sick.attempts), (Some(500), 5));
}
