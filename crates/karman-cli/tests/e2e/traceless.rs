//! Nothing borrowed for a build stays anywhere: certificate authorities, secrets, proxies.

use std::fs;
use std::path::Path;

use karman_oci::Digest;
use karman_testing::{Place, Skip, Tested, Told};

use crate::Tests;
use crate::lab::Lab;
use crate::layout::{Layout, decompressed};
use crate::tree::{Times, Tree};

pub(crate) const TESTS: Tests = &[
    ("borrowed_things_leave_no_byte", borrowed_things_leave_no_byte),
    ("secrets_are_masked_in_every_log", secrets_are_masked_in_every_log),
    ("borrowed_things_are_in_no_cache_key", borrowed_things_are_in_no_cache_key),
    ("proxies_given_as_arguments_leave_no_byte", proxies_given_as_arguments_leave_no_byte),
    ("the_search_finds_what_is_there", the_search_finds_what_is_there),
];

/// A certificate that nobody has the key of.
const CERTIFICATE: &str = "\
-----BEGIN CERTIFICATE-----
MIIBQDCB86ADAgECAhQXB5RfBPMkE0i/6tzlfUsEeWWDXzAFBgMrZXAwFTETMBEG
A1UEAwwKa2FybWFuIGUyZTAgFw0yNjExMjQwMjU2MDFaGA8yMTI2MTAzMTAyNTYw
MVowFTETMBEGA1UEAwwKa2FybWFuIGUyZTAqMAUGAytlcAMhAECZaX1Uh6oKiL16
9QgiGEid2QC0lTY/1GO8skT8ZuOJo1MwUTAdBgNVHQ4EFgQUz49hT0zxXmlH2Qt+
wDR5mR153zowHwYDVR0jBBgwFoAUz49hT0zxXmlH2Qt+wDR5mR153zowDwYDVR0T
AQH/BAUwAwEB/zAFBgMrZXADQQC+rrFRPEqz962rs6n/0gflJ0B2esoEUTq+7w9Z
Kt5kMQbpiMoG/nX7xpx2VCvm+B+I7kwq8B4jJm3DRWN+J/AG
-----END CERTIFICATE-----
";
const FILE_SECRET: &str = "e2e-marker-in-a-secret-file";
const ENV_SECRET: &str = "e2e-marker-in-a-secret-variable";
const PROXY_PASSWORD: &str = "e2e-marker-of-a-proxy";
const CA_MARKER: &str = "# e2e-marker-in-a-ca-bundle";
/// What must not be found; the line of the certificate stands for all of it.
const MARKERS: [&str; 5] = [
    "e2e-marker-in-a-secret-file",
    "e2e-marker-in-a-secret-variable",
    "e2e-marker-of-a-proxy",
    "e2e-marker-in-a-ca-bundle",
    "A1UEAwwKa2FybWFuIGUyZTAg",
];

/// A place whose caller has all of it, in files outside of everything that is searched.
fn place(lab: &Lab) -> Result<Place, Skip> {
    let place = lab.place()?;
    let lent = place.root().join("lent");
    fs::create_dir(&lent).expect("a directory");
    fs::write(lent.join("ca.pem"), format!("{CA_MARKER}\n{CERTIFICATE}")).expect("a bundle");
    fs::write(lent.join("secret"), FILE_SECRET).expect("a secret");
    let proxy = format!("http://user:{PROXY_PASSWORD}@127.0.0.1:9");
    let bundle = lent.join("ca.pem").display().to_string();
    Ok(place
        .with_env("SSL_CERT_FILE", bundle)
        .with_env("TOKEN", ENV_SECRET)
        .with_env("HTTP_PROXY", proxy.clone())
        .with_env("http_proxy", proxy.clone())
        .with_env("https_proxy", proxy))
}

fn build(lab: &Lab, place: &Place, args: &[&str]) -> Told {
    let secret = format!("id=file,src={}", place.root().join("lent/secret").display());
    let secrets = ["--secret", &secret, "--secret", "id=variable,env=TOKEN"];
    lab.build(place, &[&secrets[..], args].concat())
}

/// A step that fails unless it sees everything, by digest, so that it does not hold it itself.
fn dockerfile() -> String {
    let sum = |text: &str| Digest::sha256_of(text.as_bytes()).hex();
    let (file, variable) = (sum(FILE_SECRET), sum(ENV_SECRET));
    let proxy = sum(&format!("http://user:{PROXY_PASSWORD}@127.0.0.1:9"));
    let bundle = sum(&format!("{CA_MARKER}\n{CERTIFICATE}"));
    format!(
        "FROM busybox\n\
         RUN test -z \"$SSL_CERT_FILE$PIP_CERT\" && mkdir /etc/ssl\n\
         RUN --mount=type=secret,id=file --mount=type=secret,id=variable,env=V \\\n\
         test \"$(sha256sum < /run/secrets/file)\" = '{file}  -' && \\\n\
         test \"$(echo -n \"$V\" | sha256sum)\" = '{variable}  -' && \\\n\
         for p in \"$HTTP_PROXY\" \"$http_proxy\" \"$https_proxy\"; do \\\n\
         test \"$(echo -n \"$p\" | sha256sum)\" = '{proxy}  -' || exit 1; done && \\\n\
         for f in \"$SSL_CERT_FILE\" \"$PIP_CERT\" \"$CURL_CA_BUNDLE\" \"$REQUESTS_CA_BUNDLE\"; do \\\n\
         test \"$(sha256sum < $f)\" = '{bundle}  -' || exit 2; done && echo seen\n\
         RUN test ! -e /run/secrets && echo gone\n\
         COPY kept /kept\n"
    )
}

fn borrowed_things_leave_no_byte(lab: &Lab) -> Tested {
    let place = place(lab)?;
    place.write("ctx/Dockerfile", dockerfile());
    place.write("ctx/kept", "e2e-kept-in-a-layer");
    let outputs = ["-o", "type=oci,dest=dir,tar=false", "-o", "type=tar,dest=out.tar"];
    let more = ["-o", "type=image", "-o", "files", "--metadata-file", "meta", "-t", "x", "ctx"];
    let log = build(lab, &place, &[&outputs[..], &more].concat()).ok().err;
    assert!(log.contains(" seen\n") && log.contains(" gone\n"), "{log}");
    for marker in MARKERS {
        assert!(!log.contains(marker), "`{marker}` is in the log: {log}");
    }
    // A failing step with everything at hand, and a run of the image.
    let failing =
        "FROM busybox\nRUN --mount=type=secret,id=file cat /run/secrets/file; env; false\n";
    place.write("failing/Dockerfile", failing);
    let told = build(lab, &place, &["failing"]).is(1, "exit code: 1");
    for marker in [FILE_SECRET, PROXY_PASSWORD] {
        assert!(!told.err.contains(marker), "`{marker}` is in the log: {}", told.err);
    }
    place.run(["run", "x", "true"]).ok();

    let tar = fs::read(place.work().join("out.tar")).expect("the output");
    let shown = Tree::read(&tar).beyond(lab.base_tree()?, Times::Hidden);
    assert_eq!(
        shown, "d 0755 0:0 /etc/ssl\nf 0644 0:0 /kept \"e2e-kept-in-a-layer\"\n",
        "no mount points either"
    );
    let layout = Layout::open(&place.work().join("dir"));
    for marker in MARKERS {
        assert!(!layout.config.to_string().contains(marker), "{}", layout.config);
        for dir in [place.store(), place.work(), place.root().join("tmp")] {
            let found = found_below(&dir, marker.as_bytes());
            assert_eq!(found, [""; 0], "`{marker}`");
        }
    }
    assert_ne!(found_below(&place.store(), b"e2e-kept-in-a-layer"), [""; 0]);
    Ok(())
}

fn secrets_are_masked_in_every_log(lab: &Lab) -> Tested {
    let place = place(lab)?;
    let text = "FROM busybox\n\
        RUN --mount=type=secret,id=file --mount=type=secret,id=variable,env=V \
        cat /run/secrets/file; echo; echo \"a${V}b\" >&2; echo \"$http_proxy\"; echo end\n";
    place.write("ctx/Dockerfile", text);
    for style in ["plain", "rawjson"] {
        let progress = format!("--progress={style}");
        let mut args = lab.build_args(&["--no-cache"]);
        args.retain(|a| a != "--progress=plain");
        let secret = format!("id=file,src={}", place.root().join("lent/secret").display());
        let more = [&progress, "--secret", &secret, "--secret", "id=variable,env=TOKEN", "ctx"];
        args.extend(more.iter().map(|a| (*a).to_owned()));
        let log = place.run(args).ok().err;
        assert!(log.contains("***") && log.contains("a***b") && log.contains("end"), "{log}");
        for marker in MARKERS {
            assert!(!log.contains(marker), "{style}: `{marker}` in {log}");
        }
    }
    Ok(())
}

fn borrowed_things_are_in_no_cache_key(lab: &Lab) -> Tested {
    let place = place(lab)?;
    let text =
        "FROM busybox\nRUN --mount=type=secret,id=file test -s /run/secrets/file && date > /made\n";
    place.write("ctx/Dockerfile", text);
    let first = build(lab, &place, &["--iidfile", "one", "ctx"]).ok();
    assert!(!first.err.contains("CACHED"), "{}", first.err);
    fs::write(place.root().join("lent/secret"), "another").expect("a secret");
    let bundle = format!("# another\n{CERTIFICATE}");
    fs::write(place.root().join("lent/ca.pem"), bundle).expect("a bundle");
    let place = place.with_env("http_proxy", "http://other.invalid:1");
    let second = build(lab, &place, &["--iidfile", "two", "ctx"]).ok();
    assert!(second.err.contains("CACHED"), "{}", second.err);
    let id = |name: &str| fs::read_to_string(place.work().join(name)).expect("an id");
    assert_eq!(id("one"), id("two"));
    Ok(())
}

fn proxies_given_as_arguments_leave_no_byte(lab: &Lab) -> Tested {
    let place = lab.place()?;
    let sum = Digest::sha256_of(PROXY_PASSWORD.as_bytes()).hex();
    let text = format!(
        "FROM busybox\nRUN test \"$(echo -n $HTTPS_PROXY | sha256sum)\" = '{sum}  -' && echo seen\n"
    );
    place.write("ctx/Dockerfile", text);
    let argument = format!("HTTPS_PROXY={PROXY_PASSWORD}");
    let args = ["--build-arg", &argument, "-o", "type=oci,dest=dir,tar=false", "-o", "type=image"];
    let log = lab.build(&place, &[&args[..], &["-t", "x", "ctx"]].concat()).ok().err;
    assert!(log.contains(" seen\n") && !log.contains(PROXY_PASSWORD), "{log}");
    for dir in [place.store(), place.work()] {
        assert_eq!(found_below(&dir, PROXY_PASSWORD.as_bytes()), [""; 0]);
    }
    Ok(())
}

/// The search itself would pass if it read nothing.
fn the_search_finds_what_is_there(lab: &Lab) -> Tested {
    let place = lab.place()?;
    place.write("ctx/Dockerfile", "FROM busybox\nCOPY leak /a/b/leak\n");
    place.write("ctx/leak", format!("x{FILE_SECRET}x"));
    lab.build(&place, &["-t", "x", "ctx"]).ok();
    let found = found_below(&place.store(), FILE_SECRET.as_bytes());
    assert!(found.iter().any(|f| f.contains("snapshots/")), "{found:?}");
    assert!(found.iter().any(|f| f.contains("blobs/sha256/")), "in a compressed layer: {found:?}");
    Ok(())
}

/// Every file below a directory that holds those bytes, in it or in its name, gzip undone.
fn found_below(dir: &Path, wanted: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    let mut pending = vec![dir.to_owned()];
    while let Some(dir) = pending.pop() {
        for entry in fs::read_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display())) {
            let path = entry.expect("an entry").path();
            let meta = fs::symlink_metadata(&path).expect("metadata");
            let mut bytes = path.as_os_str().as_encoded_bytes().to_vec();
            if meta.is_dir() {
                pending.push(path.clone());
            } else if meta.is_symlink() {
                bytes.extend(fs::read_link(&path).expect("a link").as_os_str().as_encoded_bytes());
            } else if meta.is_file() {
                bytes.extend(decompressed(&fs::read(&path).expect("a file")));
            }
            if bytes.windows(wanted.len()).any(|w| w == wanted) {
                found.push(path.display().to_string());
            }
        }
    }
    found
}
