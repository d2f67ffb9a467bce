//! The same pull against Debian's `docker-registry` (the reference implementation), where installed.

#[expect(dead_code, reason = "each test binary uses a part of the support")]
mod support;

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use karman_net::{Client, Config as NetConfig, Method, Request};
use karman_oci::{Digest, Manifest, Reference, media_type};
use karman_registry::Config;
use support::{describe, registry};

/// How long the registry may take to listen, in tenths of a second.
const START_TENTHS: u32 = 100;

/// A running registry; it ends when dropped.
struct Running {
    child: Child,
    host: String,
    _data: tempfile::TempDir,
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Starts the registry, or says why not.
fn start() -> Result<Running, String> {
    let data = tempfile::tempdir().map_err(|e| e.to_string())?;
    // The port is free now; nobody else on this machine asks for ports as quickly.
    let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).unwrap().port();
    let host = format!("127.0.0.1:{port}");
    let config = data.path().join("config.yml");
    let root = data.path().join("data");
    let text = format!(
        "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {host}\n",
        root.display()
    );
    fs_err::write(&config, text).map_err(|e| e.to_string())?;
    let child = Command::new("docker-registry")
        .arg("serve")
        .arg(&config)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| format!("docker-registry: {e}"))?;
    let running = Running { child, host, _data: data };
    for _ in 0..START_TENTHS {
        if std::net::TcpStream::connect(&running.host).is_ok() {
            return Ok(running);
        }
        thread::sleep(Duration::from_millis(100));
    }
    Err("docker-registry does not listen".to_owned())
}

fn upload(client: &Client, host: &str, bytes: &[u8]) {
    let url = format!("http://{host}/v2/a/b/blobs/uploads/");
    let response = client.send(&Request::new(Method::POST, url)).unwrap();
    assert_eq!(response.status(), 202);
    let place = response.url().join(response.header("location").unwrap()).unwrap().wire();
    let joint = if place.contains('?') { '&' } else { '?' };
    let url = format!("{place}{joint}digest={}", Digest::sha256_of(bytes));
    let put = Request::new(Method::PUT, url).header("content-type", "application/octet-stream");
    assert_eq!(client.send(&put.body(bytes.to_vec())).unwrap().status(), 201);
}

#[test]
fn an_image_comes_back_from_the_reference_implementation() {
    let running = match start() {
        Ok(running) => running,
        Err(reason) => {
            eprintln!("SKIP an_image_comes_back_from_the_reference_implementation: {reason}");
            return;
        }
    };
    let client = Client::new(NetConfig::default()).unwrap();
    let layer: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
    upload(&client, &running.host, &layer);
    upload(&client, &running.host, b"{}");
    let manifest = Manifest::oci(
        describe(media_type::OCI_CONFIG, b"{}"),
        vec![describe(media_type::OCI_LAYER_GZIP, &layer)],
    );
    let manifest = serde_json::to_vec(&manifest).unwrap();
    let put = Request::new(Method::PUT, format!("http://{}/v2/a/b/manifests/1", running.host))
        .header("content-type", media_type::OCI_MANIFEST)
        .body(manifest.clone());
    assert_eq!(client.send(&put).unwrap().status(), 201);

    let name = Reference::parse(&format!("{}/a/b:1", running.host)).unwrap();
    let registry = registry(Config::default());
    let found = registry.resolve(&name).unwrap();
    assert_eq!(found.bytes, manifest);
    let mut got = Vec::new();
    registry.fetch_blob(&name, &found.manifest().unwrap().layers[0], &mut got).unwrap();
    assert!(got == layer);
}
