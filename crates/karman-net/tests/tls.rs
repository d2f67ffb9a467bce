//! Trust: a server with a certificate nobody signed, and the ways to accept it.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use karman_net::{Client, Config, Failure, Request, Retry};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// A TLS server on 127.0.0.1 that answers every connection with `reply`.
fn serve(reply: &'static str) -> String {
    let certs = vec![CertificateDer::from_pem_file(data("localhost.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(data("localhost.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(certs, key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let session = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut tls = rustls::StreamOwned::new(session, stream);
            if matches!(tls.read(&mut [0; 4096]), Ok(n) if n > 0) {
                tls.write_all(reply.as_bytes()).unwrap();
                tls.conn.send_close_notify();
                tls.flush().unwrap();
            }
        }
    });
    format!("https://{addr}/")
}

const HELLO: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello";

fn config() -> Config {
    let retry = Retry { max_attempts: 1, ..Retry::default() };
    Config { retry, ..Config::default() }
}

#[test]
fn an_unknown_issuer_is_refused_with_a_hint() {
    let error = Client::new(config()).unwrap().get(&serve(HELLO), &[]).unwrap_err();
    assert!(matches!(*error.failure, Failure::Tls { untrusted: true, .. }), "{error:?}");
    assert!(error.hint().unwrap().contains("SSL_CERT_FILE"));
}

#[test]
fn a_bundle_an_extra_root_or_an_exemption_help() {
    let url = serve(HELLO);
    let bundle = Config { ca_bundle: Some(data("localhost.pem")), ..config() };
    let extra = Config { extra_roots: vec![data("localhost.pem")], ..config() };
    let exempt = Config { insecure_hosts: vec!["127.0.0.1".to_owned()], ..config() };
    for config in [bundle, extra, exempt] {
        let response = Client::new(config).unwrap().get(&url, &[]).unwrap();
        assert_eq!(response.read_to_limit(10).unwrap(), b"hello");
    }
    let other = Config { insecure_hosts: vec!["127.0.0.1:1".to_owned()], ..config() };
    assert!(Client::new(other).unwrap().get(&url, &[]).is_err());
}

#[test]
fn an_authenticated_request_is_not_led_to_plain_http() {
    let url = serve("HTTP/1.1 302 F\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n");
    let config = Config { ca_bundle: Some(data("localhost.pem")), ..config() };
    let client = Client::new(config).unwrap();
    let error = client.send(&Request::get(&url).basic("u", "p")).unwrap_err();
    assert!(matches!(*error.failure, Failure::InsecureRedirect { .. }), "{error:?}");
    let error = client.send(&Request::get(&url)).unwrap_err();
    assert!(matches!(*error.failure, Failure::Connect { .. }), "{error:?}");
}
