//! Pulling from a registry, a well-behaved one and others.

#[expect(dead_code, reason = "each test binary uses a part of the support")]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use karman_net::{Failure, Retry};
use karman_oci::{Digest, Platform, Reference, media_type};
use karman_registry::{Config, MAX_MANIFEST, Registry, RegistryError};
use support::http::{Body, ENDLESS, Reply, Server};
use support::{Image, describe, reference, registry, ruled};

#[test]
fn an_image_is_pulled_anonymously() {
    let image = Image::new();
    let served = image.clone();
    let server = Server::start(move |seen| served.serve(seen));
    let (client, name) = (registry(Config::default()), reference(&server));
    let index = client.resolve(&name).unwrap();
    assert_eq!(index.bytes, image.index, "the raw bytes are kept");
    assert_eq!(index.descriptor.media_type, media_type::OCI_INDEX);
    let found = client.resolve_platform(&name, &Platform::new("linux", "amd64")).unwrap();
    assert_eq!(found.bytes, image.manifest);
    assert_eq!(found.descriptor.digest, Digest::sha256_of(&image.manifest));
    let manifest = found.manifest().unwrap();
    let mut layer = Vec::new();
    let done = client.fetch_blob(&name, &manifest.layers[0], &mut layer).unwrap();
    assert!(layer == image.layer);
    assert_eq!(done.size, image.layer_descriptor.size);
    assert!(server.seen()[0].header("accept").unwrap().contains(media_type::DOCKER_MANIFEST));
}

#[test]
fn a_platform_that_is_not_there_lists_the_others() {
    let image = Image::new();
    let server = Server::start(move |seen| image.serve(seen));
    let wanted = Platform::new("linux", "s390x");
    let error =
        registry(Config::default()).resolve_platform(&reference(&server), &wanted).unwrap_err();
    assert!(error.to_string().contains("available: linux/amd64, linux/arm64"), "{error}");
    assert!(error.hint().is_some());
}

#[test]
fn what_does_not_exist_is_told() {
    let server = Server::start(|_| Reply::new(404, ""));
    let error = registry(Config::default()).resolve(&reference(&server)).unwrap_err();
    assert!(matches!(error, RegistryError::NotFound { .. }));
    let image = Image::new();
    let blob = &image.layer_descriptor;
    let fetched =
        registry(Config::default()).fetch_blob(&reference(&server), blob, &mut Vec::new());
    let told = fetched.unwrap_err().to_string();
    assert!(told.contains(&format!("names the blob `{}`", blob.digest)), "{told}");
}

#[test]
fn a_rate_limit_is_waited_out() {
    let (image, calls) = (Image::new(), AtomicU32::new(0));
    let server = Server::start(move |seen| match calls.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::new(429, "").with("retry-after", "0"),
        _ => image.serve(seen),
    });
    registry(Config::default()).resolve(&reference(&server)).unwrap();
    assert_eq!(server.seen().len(), 2);
}

#[test]
fn a_blob_is_resumed_after_a_drop() {
    let image = Image::new();
    let (served, calls) = (image.clone(), AtomicU32::new(0));
    let server = Server::start(move |seen| match calls.fetch_add(1, Ordering::SeqCst) {
        0 => served.serve(seen).cut(300_000),
        _ => served.serve(seen),
    });
    let mut layer = Vec::new();
    let client = registry(Config::default());
    client.fetch_blob(&reference(&server), &image.layer_descriptor, &mut layer).unwrap();
    assert!(layer == image.layer);
    assert_eq!(server.seen()[1].header("range"), Some("bytes=300000-"));
    assert_eq!(server.sent(), image.layer.len() as u64);
}

#[test]
fn blobs_come_in_parallel() {
    let image = Image::new();
    let served = image.clone();
    let server = Server::start(move |seen| served.serve(seen));
    let (client, name) = (registry(Config::default()), reference(&server));
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut layer = Vec::new();
                client.fetch_blob(&name, &image.layer_descriptor, &mut layer).unwrap();
                assert!(layer == image.layer);
            });
        }
    });
}

#[test]
fn a_wrong_digest_is_refused() {
    let image = Image::new();
    let served = image.clone();
    let server = Server::start(move |seen| {
        let mut reply = served.serve(seen).with("docker-content-digest", "sha256:00");
        if let Body::Whole(bytes) = &mut reply.body {
            bytes[100] ^= 1;
        }
        reply
    });
    let (client, name) = (registry(Config::default()), reference(&server));
    let error = client.fetch_blob(&name, &image.layer_descriptor, &mut Vec::new()).unwrap_err();
    assert!(
        matches!(&error, RegistryError::Pull { source, .. } if matches!(*source.failure, Failure::DigestMismatch { .. }))
    );
    let pinned = name.with_digest(Digest::sha256_of(&image.index));
    let error = client.resolve(&pinned).unwrap_err();
    assert!(matches!(error, RegistryError::DigestMismatch { .. }), "{error:?}");
}

#[test]
fn a_truncated_manifest_is_refused() {
    let image = Image::new();
    let server = Server::start(move |seen| image.serve(seen).cut(20));
    let error = registry(Config::default()).resolve(&reference(&server)).unwrap_err();
    assert!(
        matches!(&error, RegistryError::Pull { source, .. } if matches!(*source.failure, Failure::Truncated { received: 20, .. })),
        "{error:?}"
    );
}

#[test]
fn a_manifest_that_breaks_off_is_asked_for_again() {
    let (image, calls) = (Image::new(), AtomicU32::new(0));
    let index = image.index.clone();
    let server = Server::start(move |seen| match calls.fetch_add(1, Ordering::SeqCst) {
        0 => image.serve(seen).cut(20),
        _ => image.serve(seen),
    });
    let found = registry(Config::default()).resolve(&reference(&server)).unwrap();
    assert_eq!((found.bytes, server.seen().len()), (index, 2));
}

#[test]
fn a_server_that_says_nothing_is_asked_again_and_given_up() {
    let (image, calls) = (Image::new(), AtomicU32::new(0));
    let (served, stalls) = (image.clone(), Arc::new(AtomicU32::new(2)));
    let left = Arc::clone(&stalls);
    let server = Server::start(move |seen| {
        if calls.fetch_add(1, Ordering::SeqCst) < left.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_secs(2));
        }
        served.serve(seen)
    });
    let retry = Retry { max_attempts: 3, base_delay: Duration::from_millis(1), ..Retry::default() };
    let read_timeout = Duration::from_millis(300);
    let net = karman_net::Config { retry, read_timeout, ..karman_net::Config::default() };
    let client = Registry::new(karman_net::Client::new(net).unwrap(), Config::default());
    let name = reference(&server);
    assert_eq!(client.resolve(&name).unwrap().bytes, image.index);
    stalls.store(u32::MAX, Ordering::SeqCst);
    let error = client.fetch_blob(&name, &image.layer_descriptor, &mut Vec::new()).unwrap_err();
    assert!(
        matches!(&error, RegistryError::Pull { source, .. } if matches!(*source.failure, Failure::Timeout { .. })),
        "{error:?}"
    );
}

#[test]
fn a_manifest_of_another_size_than_its_descriptor_is_refused() {
    let image = Image::new();
    let served = image.clone();
    let server = Server::start(move |seen| served.serve(seen));
    let mut descriptor = describe(media_type::OCI_MANIFEST, &image.manifest);
    descriptor.size += 1;
    let error =
        registry(Config::default()).pull_manifest(&reference(&server), &descriptor).unwrap_err();
    assert!(matches!(error, RegistryError::SizeMismatch { .. }), "{error:?}");
}

#[test]
fn schema_1_is_refused_clearly() {
    let server = Server::start(|_| {
        Reply::ok(r#"{"schemaVersion":1,"fsLayers":[]}"#)
            .with("content-type", "application/vnd.docker.distribution.manifest.v1+prettyjws")
    });
    let error = registry(Config::default()).resolve(&reference(&server)).unwrap_err();
    assert!(error.to_string().contains("schema 1"), "{error}");
}

#[test]
fn foreign_layers_are_not_fetched() {
    let server = Server::start(|_| Reply::ok(""));
    let (client, name) = (registry(Config::default()), reference(&server));
    let mut elsewhere = describe(media_type::OCI_LAYER_GZIP, b"x");
    elsewhere.urls.push(server.url("/layer"));
    let foreign = describe("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", b"x");
    for descriptor in [elsewhere, foreign] {
        let error = client.fetch_blob(&name, &descriptor, &mut Vec::new()).unwrap_err();
        assert!(matches!(error, RegistryError::ForeignLayer { .. }));
    }
    assert!(server.seen().is_empty());
}

#[test]
fn mirrors_are_tried_in_order() {
    let image = Image::new();
    let served = image.clone();
    let broken = Server::start(|_| Reply::ok("{}").with("content-type", media_type::OCI_INDEX));
    let empty = Server::start(|_| Reply::new(404, ""));
    let origin = Server::start(move |seen| served.serve(seen));
    let name = reference(&origin).with_digest(Digest::sha256_of(&image.index));
    let text = format!(
        "[[registry]]\nlocation = \"{}\"\n[[registry.mirror]]\nlocation = \"{}\"\n\
         [[registry.mirror]]\nlocation = \"{}/cache\"\n",
        origin.host(),
        broken.host(),
        empty.host()
    );
    let client = registry(ruled(&[("registries.conf", &text)]));
    assert_eq!(client.resolve(&name).unwrap().bytes, image.index);
    let mut layer = Vec::new();
    client.fetch_blob(&name, &image.layer_descriptor, &mut layer).unwrap();
    assert!(layer == image.layer);
    assert_eq!(broken.seen().len(), 2);
    assert!(empty.lines()[0].starts_with("GET /v2/cache/a/b/manifests/sha256:"));
}

#[test]
fn hosts_of_containerd_get_their_headers_and_the_name_of_the_registry() {
    let image = Image::new();
    let served = image.clone();
    let storage = Server::start(move |seen| served.serve(seen));
    let (place, served) = (storage.other_url(""), image.clone());
    let mirror = Server::start(move |seen| match seen.target.contains("/blobs/") {
        true => {
            Reply::redirect(307, &format!("{place}{}", seen.target.replace("?ns=r.example", "")))
        }
        false => {
            let target = seen.target.replace("?ns=r.example", "").replace("/v2/proxy/", "/v2/");
            served.serve(&support::http::Seen { target, ..seen.clone() })
        }
    });
    let text = format!(
        "[host.\"{0}/v2/proxy\"]\noverride_path = true\n[host.\"{0}/v2/proxy\".header]\nx-team = \"blue\"\n",
        mirror.url("")
    );
    let client = registry(ruled(&[("certs.d/r.example/hosts.toml", &text)]));
    let name = Reference::parse("r.example/a/b:1").unwrap();
    assert_eq!(client.resolve(&name).unwrap().bytes, image.index);
    let seen = mirror.seen();
    assert_eq!(seen[0].target, "/v2/proxy/a/b/manifests/1?ns=r.example");
    assert_eq!(seen[0].header("x-team"), Some("blue"));
    // The mirror sends us elsewhere for blobs, where its headers do not go.
    let mut layer = Vec::new();
    drop(client.fetch_blob(&name, &image.layer_descriptor, &mut layer));
    assert_eq!(storage.seen()[0].header("x-team"), None);
}

#[test]
fn a_blocked_registry_is_not_spoken_to() {
    let server = Server::start(|_| Reply::ok(""));
    let text = format!("[[registry]]\nlocation = \"{}\"\nblocked = true\n", server.host());
    let client = registry(ruled(&[("registries.conf", &text)]));
    let error = client.resolve(&reference(&server)).unwrap_err();
    assert!(matches!(error, RegistryError::Blocked { .. }), "{error}");
    assert!(server.seen().is_empty());
}

#[test]
fn a_redirect_loop_ends() {
    let server = Server::start(|seen| Reply::redirect(307, &seen.target));
    let error = registry(Config::default()).resolve(&reference(&server)).unwrap_err();
    assert!(
        matches!(&error, RegistryError::Pull { source, .. } if matches!(*source.failure, Failure::TooManyRedirects { .. }))
    );
}

#[test]
fn hostile_bodies_are_cut_off() {
    let image = Image::new();
    let server = Server::start(|_| Reply::endless());
    let (client, name) = (registry(Config::default()), reference(&server));
    let error = client.resolve(&name).unwrap_err();
    assert!(
        matches!(&error, RegistryError::Pull { source, .. } if matches!(*source.failure, Failure::TooLarge { limit: MAX_MANIFEST })),
        "{error:?}"
    );
    let mut layer = Vec::new();
    let error = client.fetch_blob(&name, &image.layer_descriptor, &mut layer).unwrap_err();
    assert!(
        matches!(&error, RegistryError::Pull { source, .. } if matches!(*source.failure, Failure::TooLarge { limit: 800_000 })),
        "{error:?}"
    );
    assert!(layer.len() <= 800_000, "memory is bounded by the descriptor");
    assert!(server.sent() < ENDLESS / 4, "{} bytes were sent", server.sent());
    assert_eq!(server.seen().len(), 2, "neither is tried again");
}

#[test]
fn hostile_a_manifest_that_announces_too_much_is_not_read() {
    let server = Server::start(|_| {
        Reply::ok(vec![b' '; MAX_MANIFEST as usize + 1]).with("content-type", media_type::OCI_INDEX)
    });
    let error = registry(Config::default()).resolve(&reference(&server)).unwrap_err();
    assert!(
        matches!(&error, RegistryError::Pull { source, .. } if matches!(*source.failure, Failure::TooLarge { .. }))
    );
}

#[test]
fn a_reference_that_pins_nothing_is_refused() {
    let name = Reference { tag: None, ..Reference::parse("127.0.0.1:1/a").unwrap() };
    let error = registry(Config::default()).resolve(&name).unwrap_err();
    assert!(matches!(error, RegistryError::BadReference { .. }));
}
