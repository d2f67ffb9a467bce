//! A token server (distribution's `token.md` and `oauth.md`) whose tokens Debian's `docker-registry` takes.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use karman_testing::{Place, Skip};
use serde_json::{Value, json};

use crate::lab::{need, tool};
use crate::registry::USER;

/// The identity token of the account.
pub(crate) const IDENTITY: &str = "identity-e2e-0123456789";
const SERVICE: &str = "e2e-service";
const ISSUER: &str = "e2e-issuer";
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// A server until the test program ends.
pub(crate) struct TokenServer {
    pub(crate) port: u16,
    cert: PathBuf,
    log: Arc<Mutex<Vec<String>>>,
}

struct Signer {
    openssl: PathBuf,
    key: PathBuf,
    x5c: String,
}

impl TokenServer {
    pub(crate) fn start(place: &Place) -> Result<Self, Skip> {
        let openssl = need("openssl")?;
        let (key, cert) = (place.root().join("token.key"), place.root().join("token.pem"));
        let (k, c) = (key.to_string_lossy(), cert.to_string_lossy());
        let new =
            ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=tokens"];
        tool(place, &openssl, &[&new[..], &["-keyout", &k, "-out", &c]].concat());
        let pem = fs::read_to_string(&cert).expect("a certificate");
        let x5c = pem.lines().filter(|line| !line.starts_with("---")).collect::<String>();
        let signer = Signer { openssl, key, x5c };
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let log = Arc::<Mutex<Vec<String>>>::default();
        let lines = Arc::clone(&log);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // Whoever goes away is none of our business.
                let _ = signer.answer(&stream, &lines);
            }
        });
        Ok(Self { port, cert, log })
    }

    /// The section of a registry that sends its clients here.
    pub(crate) fn section(&self) -> String {
        format!(
            "auth:\n  token:\n    realm: http://127.0.0.1:{}/token\n    service: {SERVICE}\n    issuer: {ISSUER}\n    \
             rootcertbundle: {}\n",
            self.port,
            self.cert.display()
        )
    }

    /// `METHOD ACCOUNT SCOPES` of every request so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Signer {
    fn answer(&self, stream: &TcpStream, log: &Mutex<Vec<String>>) -> Option<()> {
        let mut reader = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            reader.read_line(&mut head).ok().filter(|read| *read > 0)?;
        }
        let value = |name: &str| {
            let mut lines = head.lines().filter_map(|line| line.split_once(':'));
            lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
        };
        let mut body = vec![0; value("content-length").and_then(|l| l.parse().ok()).unwrap_or(0)];
        reader.read_exact(&mut body).ok()?;
        let mut words = head.split(' ');
        let (method, target) = (words.next()?, words.next()?);
        let form = if method == "POST" {
            String::from_utf8(body).ok()?
        } else {
            target.split_once('?')?.1.to_owned()
        };
        let fields: Vec<(String, String)> = form
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(k, v)| (k.to_owned(), decoded(v)))
            .collect();
        let of = |name: &str| {
            fields.iter().filter(|(k, _)| k == name).map(|(_, v)| v.clone()).collect::<Vec<_>>()
        };
        // `e2e:hunter2-e2e` in base64.
        let by_password = value("authorization") == Some("Basic ZTJlOmh1bnRlcjItZTJl");
        let known = by_password || of("refresh_token") == [IDENTITY];
        let scopes = of("scope").join(" ");
        let line = format!("{method} {} {scopes}", if known { USER } else { "nobody" });
        log.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        let (status, answer) = match known {
            true => (
                "200 OK",
                json!({ "token": self.token(&scopes), "access_token": self.token(&scopes), "expires_in": 60 }),
            ),
            false => ("401 Unauthorized", json!({ "details": "who are you?" })),
        };
        let answer = answer.to_string();
        let mut out = stream;
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{answer}",
            answer.len()
        );
        out.write_all(head.as_bytes()).ok()
    }

    /// A JSON Web Token that grants what is asked for.
    fn token(&self, scopes: &str) -> String {
        let access: Vec<Value> = scopes
            .split(' ')
            .filter_map(|scope| {
                let (kind, rest) = scope.split_once(':')?;
                let (name, actions) = rest.rsplit_once(':')?;
                let actions: Vec<&str> = actions.split(',').collect();
                Some(json!({ "type": kind, "name": name, "actions": actions }))
            })
            .collect();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
        let header = json!({ "typ": "JWT", "alg": "RS256", "x5c": [self.x5c] });
        let claims = json!({
            "iss": ISSUER, "sub": USER, "aud": SERVICE, "exp": now + 60, "nbf": now - 10, "iat": now,
            "jti": format!("{now}"), "access": access,
        });
        let signed = format!(
            "{}.{}",
            encoded(header.to_string().as_bytes()),
            encoded(claims.to_string().as_bytes())
        );
        format!("{signed}.{}", encoded(&sign(&self.openssl, &self.key, signed.as_bytes())))
    }
}

fn sign(openssl: &Path, key: &Path, bytes: &[u8]) -> Vec<u8> {
    let mut command = Command::new(openssl);
    command
        .args(["dgst", "-sha256", "-sign"])
        .arg(key)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = command.spawn().expect("openssl starts");
    child.stdin.take().expect("a pipe").write_all(bytes).expect("written");
    child.wait_with_output().expect("a signature").stdout
}

/// Base64 as tokens have it.
fn encoded(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let mut group = [0; 3];
        group[..chunk.len()].copy_from_slice(chunk);
        let number = u32::from_be_bytes([0, group[0], group[1], group[2]]);
        for at in 0..=chunk.len() {
            let digit = (number >> (18 - 6 * at)) & 63;
            text.push(char::from(ALPHABET[digit as usize]));
        }
    }
    text
}

/// A value of a form.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next().unwrap_or(b'0'), rest.next().unwrap_or(b'0')];
                u8::from_str_radix(&String::from_utf8_lossy(&digits), 16).unwrap_or(b'?')
            }
            b'+' => b' ',
            other => other,
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
