//! What refers to an image: the registry's own list, and the tag in its place.

#[expect(dead_code, reason = "each test binary uses a part of the support")]
mod support;

use karman_oci::{Descriptor, Digest, Index, media_type};
use karman_registry::{Config, EMPTY_CONFIG, Registry, RegistryError};
use support::http::{Reply, Seen, Server};
use support::store::Shelf;
use support::{describe, reference, registry};

const TYPE: &str = "application/vnd.example.signature";

fn subject() -> Descriptor {
    describe(media_type::OCI_MANIFEST, b"the image")
}

fn artifact(kind: &str, bytes: &[u8]) -> Descriptor {
    Descriptor { artifact_type: Some(kind.to_owned()), ..describe(media_type::OCI_MANIFEST, bytes) }
}

fn index(manifests: &[Descriptor]) -> Reply {
    let bytes = serde_json::to_vec(&Index::oci(manifests.to_vec())).unwrap();
    Reply::ok(bytes).with("content-type", media_type::OCI_INDEX)
}

fn list(
    client: &Registry,
    server: &Server,
    kind: Option<&str>,
) -> Result<Vec<Descriptor>, RegistryError> {
    client.referrers(&reference(server), &subject().digest, kind)
}

#[test]
fn the_list_of_a_registry_is_read_page_by_page_and_filtered_here() {
    let (one, two) = (artifact(TYPE, b"1"), artifact("application/other", b"2"));
    let pages = (one.clone(), two.clone());
    let path = format!("/v2/a/b/referrers/{}", subject().digest);
    let expected = path.clone();
    let server = Server::start(move |seen| match seen.target.split_once("?page=") {
        Some(_) => index(std::slice::from_ref(&pages.1)),
        None if seen.target == expected => index(std::slice::from_ref(&pages.0))
            .with("link", &format!("<{}?page=2>; rel=\"next\"", seen.target)),
        None => Reply::new(500, ""),
    });
    let client = registry(Config::default());
    assert_eq!(list(&client, &server, None).unwrap(), [one.clone(), two]);
    assert_eq!(list(&client, &server, Some(TYPE)).unwrap(), [one]);
    assert_eq!(server.lines()[..2], [format!("GET {path}"), format!("GET {path}?page=2")]);
}

#[test]
fn hostile_pages_end_and_stay_at_the_registry() {
    let elsewhere = Server::start(|_| index(&[]));
    let away = elsewhere.url("/more");
    let server =
        Server::start(move |_| index(&[]).with("link", &format!("<{away}>; rel=\"next\"")));
    assert!(list(&registry(Config::default()), &server, None).unwrap().is_empty());
    assert!(elsewhere.seen().is_empty());
    let endless =
        Server::start(|seen| index(&[]).with("link", &format!("<{}x>; rel=\"next\"", seen.target)));
    assert!(list(&registry(Config::default()), &endless, None).unwrap().is_empty());
    assert!(endless.seen().len() <= 50, "{}", endless.seen().len());
}

/// A registry without the list, as docker-registry is.
fn without_list(shelf: &Shelf) -> impl Fn(&Seen) -> Reply + Send + Sync + 'static {
    let served = shelf.clone();
    move |seen| {
        if seen.target.contains("/referrers/") {
            return Reply::new(404, "404 page not found\n").with("content-type", "text/plain");
        }
        served.serve(seen).with("content-type", media_type::OCI_INDEX)
    }
}

#[test]
fn a_registry_without_a_list_has_a_tag() {
    let shelf = Shelf::default();
    let server = Server::start(without_list(&shelf));
    let client = registry(Config::default());
    assert!(list(&client, &server, None).unwrap().is_empty());
    let blob = describe("text/plain", b"signed");
    let push = || {
        client
            .push_artifact(&reference(&server), &subject(), TYPE, std::slice::from_ref(&blob))
            .unwrap()
    };
    let pushed = push();
    assert_eq!(push(), pushed, "the same again is the same");
    assert_eq!(list(&client, &server, Some(TYPE)).unwrap(), std::slice::from_ref(&pushed));
    assert!(list(&client, &server, Some("application/other")).unwrap().is_empty());
    let other =
        client.push_artifact(&reference(&server), &subject(), "application/other", &[]).unwrap();
    assert_eq!(list(&client, &server, None).unwrap(), [pushed.clone(), other]);
    let held = shelf.0.lock().unwrap();
    let tag = subject().digest.to_string().replace(':', "-");
    assert!(held.manifests.contains_key(&("a/b".to_owned(), tag)));
    let manifest = &held.manifests[&("a/b".to_owned(), pushed.digest.to_string())];
    let json: serde_json::Value = serde_json::from_slice(manifest).unwrap();
    assert_eq!(json["artifactType"], TYPE);
    assert_eq!(json["subject"]["digest"], subject().digest.to_string());
    assert_eq!(json["config"]["digest"], Digest::sha256_of(EMPTY_CONFIG).to_string());
}

#[test]
fn a_registry_that_lists_by_itself_needs_no_tag() {
    let shelf = Shelf::default();
    let served = shelf.clone();
    let server = Server::start(move |seen| match seen.method.as_str() {
        "PUT" => served.serve(seen).with("oci-subject", &subject().digest.to_string()),
        _ => served.serve(seen),
    });
    let client = registry(Config::default());
    client.push_artifact(&reference(&server), &subject(), TYPE, &[]).unwrap();
    assert_eq!(shelf.0.lock().unwrap().manifests.len(), 1);
}
