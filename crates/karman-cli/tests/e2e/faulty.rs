//! Whole pushes and pulls through a proxy that makes mistakes: each ends right, or with a clear error after which the same
//! command succeeds.

use std::fs;
use std::time::Duration;

use karman_testing::{Place, Skip, Tested, Told};

use crate::Tests;
use crate::full_disk::noise;
use crate::lab::Lab;
use crate::proxy::{Asked, Fault, Proxy};
use crate::registry::Registry;
use crate::server::free_port;

pub(crate) const TESTS: Tests = &[
    ("passing_trouble_is_sat_out", passing_trouble_is_sat_out),
    ("connections_that_break_are_resumed", connections_that_break_are_resumed),
    ("trouble_that_stays_is_told", trouble_that_stays_is_told),
    ("wrong_bytes_are_refused", wrong_bytes_are_refused),
    ("redirects_lead_elsewhere_without_credentials_or_nowhere", redirects),
    ("what_never_ends_is_cut_off", what_never_ends_is_cut_off),
    ("a_push_that_was_killed_goes_on", a_push_that_was_killed_goes_on),
];

/// More than goes with the request that ends an upload.
const LARGE: usize = 3 << 20;

/// A registry, a store with an image for it, and another store.
struct Scene {
    registry: Registry,
    from: Place,
    to: Place,
    digest: String,
}

impl Scene {
    fn new(lab: &Lab) -> Result<Self, Skip> {
        let (from, to) = (lab.place()?, lab.place()?);
        let registry = Registry::start(lab, &from, false)?;
        from.write("ctx/Dockerfile", "FROM busybox\nCOPY large /\nRUN echo small > /small\n");
        from.write("ctx/large", noise(LARGE));
        let digest = lab.digest(&from, &["-t", "x", "ctx"]);
        Ok(Self { registry, from, to, digest })
    }

    fn proxy(&self, decide: impl Fn(&Asked) -> Option<Fault> + Send + Sync + 'static) -> Proxy {
        Proxy::start(self.registry.port, decide)
    }

    /// Pushes the image as `name` through a port.
    fn push(&self, port: u16, name: &str) -> Told {
        let name = format!("127.0.0.1:{port}/{name}:1");
        self.from.run(["image", "tag", "x", &name]).ok();
        self.from.run(["push", &name])
    }

    /// Pulls `name` through a port into a store that has nothing.
    fn pull(&self, port: u16, name: &str) -> Told {
        let name = format!("127.0.0.1:{port}/{name}:1");
        for image in self.to.run(["image", "ls", "-q"]).ok().out.lines() {
            // Several names may have one digest, and go one by one.
            self.to.run(["image", "rm", image]).ok();
        }
        self.to.run(["cache", "prune", "--force"]).ok();
        let told = self.to.run(["pull", &name]);
        if told.code == 0 {
            assert!(told.out.contains(&self.digest), "{}", told.out);
            assert_eq!(self.to.run(["run", &name, "cat", "/small"]).ok().out, "small\n");
        }
        told
    }

    /// Both without trouble, and nothing is wrong with the stores.
    fn works(&self, name: &str) {
        self.push(self.registry.port, name).ok();
        self.pull(self.registry.port, name).ok();
        for place in [&self.from, &self.to] {
            place.run(["cache", "verify"]).ok();
            let left = fs::read_dir(place.store().join("tmp")).expect("tmp").count();
            assert_eq!(left, 0, "in tmp");
        }
    }
}

/// An answer of the proxy's own.
fn says(status: &'static str, more: &str) -> Fault {
    Fault::Answer(status, more.to_owned(), b"{}".to_vec())
}

/// Every different request fails once.
fn passing_trouble_is_sat_out(lab: &Lab) -> Tested {
    let scene = Scene::new(lab)?;
    let faults = [
        ("busy", says("429 Too Many Requests", "Retry-After: 0\r\n")),
        ("sick", says("503 Service Unavailable", "")),
        ("late", says("408 Request Timeout", "")),
        ("slow", Fault::Stall(Duration::from_millis(300))),
    ];
    for (name, fault) in faults {
        let proxy = scene.proxy(move |asked| (asked.before == 0).then(|| fault.clone()));
        scene.push(proxy.port, name).ok();
        scene.pull(proxy.port, name).ok();
        assert!(proxy.seen().len() > 15, "{name}: {:?}", proxy.seen());
        scene.works(name);
    }
    Ok(())
}

/// Every different request breaks once, in its body where it has one.
fn connections_that_break_are_resumed(lab: &Lab) -> Tested {
    let scene = Scene::new(lab)?;
    for (name, at) in [("early", 0), ("middle", 1 << 20)] {
        let proxy = scene.proxy(move |asked| {
            let upload = ["PUT", "PATCH"].contains(&asked.method.as_str());
            let fault = if upload { Fault::DropRequest(at) } else { Fault::DropResponse(at) };
            (asked.before == 0).then_some(fault)
        });
        scene.push(proxy.port, name).ok();
        scene.pull(proxy.port, name).ok();
        // What had arrived of the layer is not asked for again. docker-registry forgets what arrived of an upload that
        // breaks, so that goes once more.
        let limit = 3 * (LARGE as u64) + (5 << 20);
        assert!(proxy.sent() < limit, "{name}: {} bytes of {limit}", proxy.sent());
        scene.works(name);
    }
    Ok(())
}

fn trouble_that_stays_is_told(lab: &Lab) -> Tested {
    let scene = Scene::new(lab)?;
    scene.push(scene.registry.port, "stays").ok();
    let large = |asked: &Asked| asked.target.contains("/blobs/sha256:");
    let faults = [
        ("500", says("500 Internal Server Error", "")),
        ("403", says("403 Forbidden", "")),
        ("truncated", Fault::DropResponse(100)),
    ];
    for (name, fault) in faults {
        let pulls = fault.clone();
        let proxy = scene.proxy(move |asked| large(asked).then(|| pulls.clone()));
        let told = scene.pull(proxy.port, "stays");
        assert_eq!(told.code, 4, "{name}: {}", told.err);
        assert!(told.err.contains("stays:1"), "{name}: {}", told.err);
        let pushes = match &fault {
            Fault::DropResponse(taken) => Fault::DropRequest(*taken),
            other => other.clone(),
        };
        let proxy = scene.proxy(move |asked| {
            let upload = asked.target.contains("/uploads/");
            (upload && asked.method != "GET").then(|| pushes.clone())
        });
        let told = scene.push(proxy.port, name);
        assert_eq!(told.code, 4, "{name}: {}", told.err);
        assert!(told.err.contains("ERROR: "), "{name}: {}", told.err);
        assert!(
            scene.registry.tags(name).is_empty(),
            "{name}: no tag before the image is complete"
        );
        scene.works(name);
    }
    let port = free_port();
    scene.push(port, "none").is(4, &format!("127.0.0.1:{port}"));
    Ok(())
}

fn wrong_bytes_are_refused(lab: &Lab) -> Tested {
    let scene = Scene::new(lab)?;
    scene.push(scene.registry.port, "wrong").ok();
    for part in ["/blobs/", "/manifests/"] {
        let proxy = scene.proxy(move |asked| asked.target.contains(part).then_some(Fault::Flip));
        let told = scene.pull(proxy.port, "wrong");
        // Nothing says what a tag's manifest should be; if it still is one, its blobs are others.
        assert!(told.code == 4, "{part}: {} {}", told.code, told.err);
        assert!(told.err.contains("digest") || part == "/manifests/", "{part}: {}", told.err);
    }
    scene.works("wrong");
    Ok(())
}

fn redirects(lab: &Lab) -> Tested {
    let scene = Scene::new(lab)?;
    scene.push(scene.registry.port, "away").ok();
    let storage = scene.proxy(|_| None);
    let elsewhere = storage.port;
    let proxy = scene.proxy(move |asked| {
        let away = format!("Location: http://localhost:{elsewhere}{}\r\n", asked.target);
        let blob = asked.method == "GET" && asked.target.contains("/blobs/sha256:");
        blob.then(|| says("307 Temporary Redirect", &away))
    });
    // An account for the first host, which the second has no business with.
    let accounts = scene.to.root().join("accounts");
    fs::create_dir(&accounts).expect("a directory");
    let auths = format!(r#"{{"auths":{{"127.0.0.1:{}":{{"auth":"dTpw"}}}}}}"#, proxy.port);
    fs::write(accounts.join("config.json"), auths).expect("accounts");
    scene.pull(proxy.port, "away").ok();
    assert!(!storage.seen().is_empty() && storage.seen().iter().all(|asked| !asked.authorized));
    let turning = scene.proxy(|asked| {
        let again = format!("Location: {}\r\n", asked.target);
        (asked.method != "HEAD").then(|| says("307 Temporary Redirect", &again))
    });
    let told = scene.pull(turning.port, "away");
    assert_eq!(told.code, 4, "{}", told.err);
    assert!(told.err.contains("redirects"), "{}", told.err);
    let told = scene.push(turning.port, "loop");
    assert_eq!(told.code, 4, "{}", told.err);
    assert!(turning.seen().len() < 100, "{}", turning.seen().len());
    scene.works("away");
    Ok(())
}

fn what_never_ends_is_cut_off(lab: &Lab) -> Tested {
    let scene = Scene::new(lab)?;
    scene.push(scene.registry.port, "long").ok();
    for part in ["/manifests/", "/blobs/"] {
        let proxy = scene.proxy(move |asked| {
            (asked.method == "GET" && asked.target.contains(part)).then_some(Fault::Endless)
        });
        let told = scene.pull(proxy.port, "long");
        assert_eq!(told.code, 4, "{part}: {}", told.err);
        // Sockets hold some of it.
        assert!(proxy.sent() < 40 << 20, "{part}: {} bytes", proxy.sent());
    }
    let giant = scene.proxy(|asked| {
        let kind = "Content-Type: application/vnd.oci.image.manifest.v1+json\r\n";
        let body = || vec![b' '; (4 << 20) + 1];
        asked
            .target
            .contains("/manifests/")
            .then(|| Fault::Answer("200 OK", kind.to_owned(), body()))
    });
    let told = scene.pull(giant.port, "long");
    assert_eq!(told.code, 4, "{}", told.err);
    scene.works("long");
    Ok(())
}

/// The blobs that were complete are not sent again, and no tag was moved.
fn a_push_that_was_killed_goes_on(lab: &Lab) -> Tested {
    let scene = Scene::new(lab)?;
    let stalled = scene.proxy(|asked| {
        let last = asked.method == "PUT" && asked.target.contains("/manifests/");
        last.then_some(Fault::Stall(Duration::from_secs(600)))
    });
    let name = format!("127.0.0.1:{}/killed:1", stalled.port);
    scene.from.run(["image", "tag", "x", &name]).ok();
    let mut child = scene.from.command(["push", &name]).spawn().expect("the program starts");
    let arrived = crate::lab::wait_for(|| {
        stalled.seen().iter().any(|a| a.target.contains("/manifests/1") && a.method == "PUT")
    });
    child.kill().expect("killed");
    child.wait().expect("it ends");
    assert!(arrived, "{:?}", stalled.seen());
    assert!(scene.registry.tags("killed").is_empty());
    let told = scene.push(scene.registry.port, "killed").ok();
    assert!(told.err.contains("0 blobs uploaded (0B)"), "{}", told.err);
    scene.works("killed");
    Ok(())
}
