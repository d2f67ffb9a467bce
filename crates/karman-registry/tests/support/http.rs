//! A tiny HTTP/1.1 server on 127.0.0.1 that misbehaves as told. Also used by karman-net's tests.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// The most an endless body sends before the test is considered lost.
pub(crate) const ENDLESS: u64 = 256 * 1024 * 1024;

/// One request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// The body is the part that was taken before the connection was dropped; no answer is sent.
    pub(crate) cut: bool,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(k, _)| k == name).map(|(_, v)| v.as_str())
    }

    /// The first position of `Range: bytes=N-`.
    pub(crate) fn range_start(&self) -> Option<usize> {
        self.header("range")?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
    }
}

/// The answer to one request.
#[derive(Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Body,
}

/// What follows the head.
#[derive(Clone)]
pub(crate) enum Body {
    /// All of it, with its length.
    Whole(Vec<u8>),
    /// The length of all, but only so many bytes, then the connection ends.
    Cut(Vec<u8>, usize),
    /// No length and no end.
    Endless,
}

impl Reply {
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: Body::Whole(body.into()) }
    }

    pub(crate) fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self::new(200, body)
    }

    pub(crate) fn redirect(status: u16, to: &str) -> Self {
        Self::new(status, "").with("location", to)
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn cut(mut self, after: usize) -> Self {
        if let Body::Whole(bytes) = self.body {
            self.body = Body::Cut(bytes, after);
        }
        self
    }

    pub(crate) fn endless() -> Self {
        Self { status: 200, headers: Vec::new(), body: Body::Endless }
    }
}

type Handler = dyn Fn(&Seen) -> Reply + Send + Sync;
/// How many bytes of a body are taken before the connection is dropped.
type Cut = dyn Fn(&Seen) -> Option<usize> + Send + Sync;

/// A running server; it ends when dropped.
pub(crate) struct Server {
    pub(crate) addr: SocketAddr,
    log: Arc<Mutex<Vec<Seen>>>,
    sent: Arc<AtomicU64>,
    connections: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Server {
    pub(crate) fn start(handler: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_cutting(|_| None, handler)
    }

    /// Like [`Server::start`], but drops connections in the middle of the bodies that `cut` names by
    /// their head.
    pub(crate) fn start_cutting(
        cut: impl Fn(&Seen) -> Option<usize> + Send + Sync + 'static,
        handler: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind to loopback");
        let addr = listener.local_addr().expect("local address");
        let log = Arc::new(Mutex::new(Vec::new()));
        let (sent, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let connections = Arc::new(AtomicU64::new(0));
        let accepted = connections.clone();
        let handler: Arc<Handler> = Arc::new(handler);
        let cut: Arc<Cut> = Arc::new(cut);
        let server =
            Self { addr, log: log.clone(), sent: sent.clone(), connections, stop: stop.clone() };
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                accepted.fetch_add(1, Ordering::SeqCst);
                let (handler, log, sent) = (handler.clone(), log.clone(), sent.clone());
                let cut = cut.clone();
                thread::spawn(move || serve(&stream, &*handler, &*cut, &log, &sent));
            }
        });
        server
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    /// `127.0.0.1:port`.
    pub(crate) fn host(&self) -> String {
        self.addr.to_string()
    }

    /// The same server under another origin: `localhost` instead of the address.
    pub(crate) fn other_url(&self, path: &str) -> String {
        format!("http://localhost:{}{path}", self.addr.port())
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.log.lock().expect("log").clone()
    }

    /// `METHOD target` of every request.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.seen().iter().map(|s| format!("{} {}", s.method, s.target)).collect()
    }

    /// Connections accepted.
    pub(crate) fn connections(&self) -> u64 {
        self.connections.load(Ordering::SeqCst)
    }

    /// Bytes of bodies that went out.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.addr));
    }
}

fn serve(
    stream: &TcpStream,
    handler: &Handler,
    cut: &Cut,
    log: &Mutex<Vec<Seen>>,
    sent: &AtomicU64,
) {
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("timeout");
    stream.set_write_timeout(Some(Duration::from_secs(10))).expect("timeout");
    let mut reader = BufReader::new(stream);
    while let Some(seen) = read_request(&mut reader, cut) {
        log.lock().expect("log").push(seen.clone());
        let reply = handler(&seen);
        if seen.cut {
            return;
        }
        if !write_reply(stream, &seen, &reply, sent).unwrap_or(false) {
            return;
        }
    }
}

fn read_request(reader: &mut BufReader<&TcpStream>, cut: &Cut) -> Option<Seen> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut seen = Seen { method, target, headers, body: Vec::new(), cut: false };
    let mut length = seen.header("content-length").and_then(|v| v.parse().ok()).unwrap_or(0);
    if let Some(taken) = cut(&seen) {
        (length, seen.cut) = (taken.min(length), true);
    }
    seen.body = vec![0; length];
    reader.read_exact(&mut seen.body).ok()?;
    Some(seen)
}

/// Whether the connection may be used again.
fn write_reply(
    mut stream: &TcpStream,
    seen: &Seen,
    reply: &Reply,
    sent: &AtomicU64,
) -> std::io::Result<bool> {
    let mut head = format!("HTTP/1.1 {} X\r\n", reply.status);
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    match &reply.body {
        Body::Whole(bytes) | Body::Cut(bytes, _) => {
            head.push_str(&format!("content-length: {}\r\n\r\n", bytes.len()));
        }
        Body::Endless => head.push_str("connection: close\r\n\r\n"),
    }
    stream.write_all(head.as_bytes())?;
    if seen.method == "HEAD" {
        return Ok(true);
    }
    let mut push = |bytes: &[u8]| {
        sent.fetch_add(bytes.len() as u64, Ordering::SeqCst);
        stream.write_all(bytes)
    };
    match &reply.body {
        Body::Whole(bytes) => push(bytes).map(|()| true),
        Body::Cut(bytes, after) => push(&bytes[..*after]).map(|()| false),
        Body::Endless => {
            let chunk = vec![b'x'; 64 * 1024];
            for _ in 0..ENDLESS / chunk.len() as u64 {
                push(&chunk)?;
            }
            Ok(false)
        }
    }
}
