//! A small HTTP server of one directory, and ports that are free.
//!
//! A file `NAME.head` beside `NAME` is the head of the answer for it: lines `Name: value`, and `Status: 302 Found`
//! where it is not `200 OK`.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use karman_oci::Digest;

/// Serves files until the test program ends.
pub(crate) struct Server {
    port: u16,
    log: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Serves the files below `dir`.
    pub(crate) fn start(dir: PathBuf) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let log = Arc::<Mutex<Vec<String>>>::default();
        let lines = Arc::clone(&log);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (dir, lines) = (dir.clone(), Arc::clone(&lines));
                std::thread::spawn(move || answer(&stream, &dir, &lines));
            }
        });
        Self { port, log }
    }

    /// The address of a file.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.port)
    }

    /// `METHOD PATH STATUS` of every request so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// One request, one answer; a client that goes away is none of our business.
fn answer(stream: &TcpStream, dir: &Path, log: &Mutex<Vec<String>>) -> Option<()> {
    let mut lines = BufReader::new(stream).lines();
    let request = lines.next()?.ok()?;
    let mut words = request.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut known = String::new();
    for line in lines.map_while(Result::ok).take_while(|l| !l.is_empty()) {
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("if-none-match")
        {
            value.trim().clone_into(&mut known);
        }
    }
    let path = target.split('?').next()?.trim_start_matches('/');
    let safe = Path::new(path).components().all(|c| matches!(c, Component::Normal(_)));
    let body = std::fs::read(dir.join(path)).ok().filter(|_| safe);
    let etag = body.as_ref().map(|b| format!("\"{}\"", Digest::sha256_of(b).hex()));
    let head = std::fs::read_to_string(dir.join(format!("{path}.head"))).unwrap_or_default();
    let (told, head): (Vec<&str>, Vec<&str>) =
        head.lines().partition(|line| line.starts_with("Status: "));
    let told = told.first().and_then(|line| line.strip_prefix("Status: "));
    let (status, body) = match (body, etag.as_ref()) {
        (Some(_), Some(etag)) if *etag == known => ("304 Not Modified", Vec::new()),
        (Some(body), _) => (told.unwrap_or("200 OK"), body),
        _ => ("404 Not Found", b"no such file".to_vec()),
    };
    let line = format!("{method} /{path} {}", &status[..3]);
    log.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    let mut etag = etag.map_or(String::new(), |e| format!("ETag: {e}\r\n"));
    head.iter().for_each(|line| etag.push_str(&format!("{line}\r\n")));
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\n{etag}Connection: close\r\n\r\n",
        body.len()
    );
    let mut out = stream;
    out.write_all(head.as_bytes()).ok()?;
    if method != "HEAD" {
        out.write_all(&body).ok()?;
    }
    Some(())
}

/// Ports that no kernel hands out by itself: below `ip_local_port_range`, above what services have.
const OWN_PORTS: std::ops::Range<u16> = 20_000..32_000;

/// A port that nobody listens on right now, a new one each time. One out of the kernel's own range could be taken before
/// its program starts: by the next server or connection, even by the connection that asks whether it is up.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let count = u32::from(OWN_PORTS.end - OWN_PORTS.start);
    let ports = (0..count).map(|_| {
        // Test programs that run at once begin at different places.
        let at =
            NEXT.fetch_add(1, Ordering::Relaxed).wrapping_add(std::process::id().wrapping_mul(100));
        OWN_PORTS.start + u16::try_from(at % count).expect("less than the range")
    });
    let mut free = ports.filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    free.next().expect("a port")
}
