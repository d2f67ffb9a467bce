//! Requests against a server that misbehaves: redirects, credentials, proxies, retries.

#[path = "../../karman-registry/tests/support/http.rs"]
#[expect(dead_code, reason = "each test binary uses a part of the server")]
mod http;

use std::io::Write as _;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use http::{Reply, Server};
use karman_net::{Client, Config, Failure, Proxies, Request, Retry};

fn config() -> Config {
    let retry = Retry { base_delay: Duration::from_millis(1), ..Retry::default() };
    Config {
        retry,
        connect_timeout: Duration::from_secs(5),
        read_timeout: Duration::from_secs(5),
        ..Config::default()
    }
}

fn client() -> Client {
    Client::new(config()).unwrap()
}

#[test]
fn headers_and_body_come_back() {
    let server = Server::start(|_| {
        Reply::ok("hello")
            .with("etag", "\"e\"")
            .with("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT")
            .with("content-type", "Text/Plain; charset=x")
    });
    let response = client().get(&server.url("/a?b=c"), &[("x-test", "1")]).unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.etag(), Some("\"e\""));
    assert_eq!(response.content_length(), Some(5));
    assert_eq!(response.content_type().as_deref(), Some("text/plain"));
    assert!(response.last_modified().is_some());
    assert_eq!(response.read_to_limit(5).unwrap(), b"hello");
    let seen = &server.seen()[0];
    assert_eq!(seen.target, "/a?b=c");
    assert_eq!(seen.header("x-test"), Some("1"));
    assert_eq!(seen.header("accept-encoding"), Some("identity"));
    assert!(seen.header("user-agent").unwrap().starts_with("karman/"));
}

#[test]
fn a_redirect_to_another_origin_loses_the_credentials() {
    let server = Server::start(|seen| match seen.target.as_str() {
        "/same" => Reply::redirect(302, "/start"),
        "/start" => {
            let port = seen.header("host").unwrap().rsplit(':').next().unwrap();
            Reply::redirect(307, &format!("http://localhost:{port}/end"))
        }
        _ => Reply::ok("done"),
    });
    let request = Request::get(server.url("/same")).basic("u", "p").header("x-keep", "1");
    let response = client().send(&request).unwrap();
    assert_eq!(response.url().host(), "localhost");
    let seen = server.seen();
    assert!(seen[1].header("authorization").is_some(), "kept within one origin");
    assert_eq!(seen[2].header("authorization"), None);
    assert_eq!(seen[2].header("x-keep"), Some("1"));
}

#[test]
fn credentials_in_a_url_become_a_header_and_are_never_shown() {
    let server = Server::start(|_| Reply::new(404, ""));
    let url = server.url("/x?token=geheim").replace("http://", "http://us:geheim@");
    let error = client().get(&url, &[]).unwrap().error_for_status().unwrap_err();
    assert!(matches!(*error.failure, Failure::NotFound { status: 404 }));
    assert!(!format!("{error} {error:?}").contains("geheim"));
    assert_eq!(server.seen()[0].header("authorization"), Some("Basic dXM6Z2VoZWlt"));
    let bad = client().get("ftp://us:geheim@h/?token=geheim", &[]).unwrap_err();
    assert!(!format!("{bad} {bad:?}").contains("geheim"), "{bad:?}");
}

#[test]
fn a_redirect_loop_ends() {
    let server = Server::start(|_| Reply::redirect(302, "/again"));
    let error = client().get(&server.url("/"), &[]).unwrap_err();
    assert!(matches!(*error.failure, Failure::TooManyRedirects { limit: 10 }));
    assert_eq!(server.seen().len(), 11);
}

#[test]
fn a_post_becomes_a_get_after_302_and_stays_one_after_307() {
    let server = Server::start(|seen| match seen.target.as_str() {
        "/302" => Reply::redirect(302, "/end"),
        "/307" => Reply::redirect(307, "/end"),
        _ => Reply::ok(""),
    });
    client().post_form(&server.url("/302"), &[("a", "b c")]).unwrap();
    client().post_form(&server.url("/307"), &[("a", "b c")]).unwrap();
    assert_eq!(server.lines(), ["POST /302", "GET /end", "POST /307", "POST /end"]);
    assert_eq!(server.seen()[3].body, b"a=b%20c");
    assert!(server.seen()[1].body.is_empty());
}

#[test]
fn retry_after_is_honoured_and_bounded() {
    let calls = AtomicU32::new(0);
    let server = Server::start(move |_| match calls.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::new(429, "").with("retry-after", "1"),
        1 => Reply::new(503, ""),
        _ => Reply::ok("x"),
    });
    let started = Instant::now();
    let response = client().get(&server.url("/"), &[]).unwrap();
    assert_eq!((response.status(), response.attempts()), (200, 3));
    assert!(started.elapsed() >= Duration::from_secs(1));

    let patient = Server::start(|_| Reply::new(429, "").with("retry-after", "86400"));
    assert_eq!(client().get(&patient.url("/"), &[]).unwrap().status(), 429);
    assert_eq!(patient.seen().len(), 1, "nobody waits for a day");
}

#[test]
fn nothing_listens() {
    let addr = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let error = client().get(&format!("http://{addr}/"), &[]).unwrap_err();
    assert!(matches!(*error.failure, Failure::Connect { .. }), "{error:?}");
    assert_eq!(error.attempts, 5);
    assert!(std::error::Error::source(&error).is_some());
}

#[test]
fn a_name_that_does_not_resolve() {
    let retry = Retry { max_attempts: 1, ..Retry::default() };
    let client = Client::new(Config { retry, ..config() }).unwrap();
    let error = client.get("http://nowhere.invalid/", &[]).unwrap_err();
    assert!(matches!(*error.failure, Failure::Dns { .. }), "{error:?}");
    assert!(error.hint().is_some());
}

#[test]
fn plain_http_is_forwarded_by_a_proxy_in_absolute_form() {
    let proxy = Server::start(|_| Reply::ok("from the proxy"));
    let proxies =
        Proxies { http: Some(format!("http://pu:pw@{}", proxy.host())), ..Proxies::default() };
    let client = Client::new(Config { proxies, ..config() }).unwrap();
    let response = client.get("http://deb.example:8080/dists?x=1", &[]).unwrap();
    assert_eq!(response.read_to_limit(100).unwrap(), b"from the proxy");
    let posted = client.post_form("http://deb.example/form", &[("a", "GET /http://x")]).unwrap();
    assert_eq!(posted.status(), 200);
    assert_eq!(proxy.seen()[1].target, "http://deb.example/form");
    assert_eq!(proxy.seen()[1].body, b"a=GET%20%2Fhttp%3A%2F%2Fx");
    let seen = &proxy.seen()[0];
    assert_eq!(seen.target, "http://deb.example:8080/dists?x=1");
    assert_eq!(seen.header("host"), Some("deb.example:8080"));
    assert_eq!(seen.header("proxy-authorization"), Some("Basic cHU6cHc="));
}

#[test]
fn https_is_tunnelled_by_a_proxy() {
    let proxy = Server::start(|_| Reply::new(403, ""));
    let retry = Retry { max_attempts: 1, ..Retry::default() };
    let proxies = Proxies { all: Some(proxy.host()), ..Proxies::default() };
    let client = Client::new(Config { proxies, retry, ..config() }).unwrap();
    let error = client.get("https://deb.example/", &[]).unwrap_err();
    assert!(matches!(*error.failure, Failure::Proxy { .. }), "{error:?}");
    assert_eq!(proxy.lines(), ["CONNECT deb.example:443"]);
}

#[test]
fn a_peer_that_speaks_no_tls_is_not_trusted() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
        // Wait for the client to go, or a reset could overtake the answer.
        std::io::copy(&mut stream, &mut std::io::sink()).ok();
    });
    let retry = Retry { max_attempts: 1, ..Retry::default() };
    let client = Client::new(Config { retry, ..config() }).unwrap();
    let error = client.get(&format!("https://{addr}/"), &[]).unwrap_err();
    assert!(matches!(*error.failure, Failure::Tls { untrusted: false, .. }), "{error:?}");
}

#[test]
fn a_body_in_memory_is_limited() {
    let server = Server::start(|seen| match seen.target.as_str() {
        "/endless" => Reply::endless(),
        _ => Reply::ok(vec![0; 2000]),
    });
    for path in ["/endless", "/long"] {
        let error = client().get(&server.url(path), &[]).unwrap().read_to_limit(1000).unwrap_err();
        assert!(matches!(*error.failure, Failure::TooLarge { limit: 1000 }), "{path}: {error:?}");
    }
}

#[test]
fn one_client_serves_many_threads() {
    let server = Server::start(|seen| Reply::ok(seen.target.clone()));
    let client = client();
    std::thread::scope(|scope| {
        for i in 0..16 {
            let (client, url) = (client.clone(), server.url(&format!("/{i}")));
            scope.spawn(move || {
                let body = client.get(&url, &[]).unwrap().read_to_limit(10).unwrap();
                assert_eq!(body, format!("/{i}").into_bytes());
            });
        }
    });
    assert_eq!(server.seen().len(), 16);
}

#[test]
fn redirects_and_refusals_do_not_cost_a_connection() {
    let server = Server::start(|seen| match seen.target.as_str() {
        "/start" => Reply::new(302, "moved").with("location", "/refused"),
        "/refused" => Reply::new(401, "who are you"),
        _ => Reply::ok("x"),
    });
    let client = client();
    client.get(&server.url("/start"), &[]).unwrap().error_for_status().unwrap_err();
    client.get(&server.url("/end"), &[]).unwrap();
    assert_eq!(server.connections(), 1);
}
