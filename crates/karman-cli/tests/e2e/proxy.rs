//! A proxy in front of a registry that makes mistakes as told: one request for each connection.

use std::io::{BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What an endless answer sends before the test is lost.
const ENDLESS: usize = 256 << 20;

/// A mistake.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// Hangs up after so many bytes of the request's body, which the registry gets.
    DropRequest(usize),
    /// Hangs up after so many bytes of the answer's body.
    DropResponse(usize),
    /// Says nothing for a while.
    Stall(Duration),
    /// Answers itself: status line, more of the head, body.
    Answer(&'static str, String, Vec<u8>),
    /// Changes a byte in the middle of the answer's body.
    Flip,
    /// Answers with bytes that never end.
    Endless,
}

/// A request as the proxy sees it.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) target: String,
    /// How often the same was asked before; all uploads to one repository are the same.
    pub(crate) before: usize,
    pub(crate) authorized: bool,
}

type Decide = dyn Fn(&Asked) -> Option<Fault> + Send + Sync;

/// A proxy until the test program ends.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    seen: Arc<Mutex<Vec<Asked>>>,
    sent: Arc<AtomicU64>,
}

impl Proxy {
    /// In front of the registry on a port of this machine.
    pub(crate) fn start(
        upstream: u16,
        decide: impl Fn(&Asked) -> Option<Fault> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let seen = Arc::<Mutex<Vec<Asked>>>::default();
        let sent = Arc::new(AtomicU64::new(0));
        let decide: Arc<Decide> = Arc::new(decide);
        let (log, bytes) = (Arc::clone(&seen), Arc::clone(&sent));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (log, bytes, decide) =
                    (Arc::clone(&log), Arc::clone(&bytes), Arc::clone(&decide));
                std::thread::spawn(move || serve(&stream, upstream, &*decide, &log, &bytes));
            }
        });
        Self { port, seen, sent }
    }

    /// All requests so far.
    pub(crate) fn seen(&self) -> Vec<Asked> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Bytes of bodies that went to the registry and to the client.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::SeqCst)
    }
}

/// One request, one answer; whoever goes away is none of our business.
fn serve(
    client: &TcpStream,
    upstream: u16,
    decide: &Decide,
    log: &Mutex<Vec<Asked>>,
    sent: &AtomicU64,
) -> Option<()> {
    let mut reader = BufReader::new(client);
    let head = read_head(&mut reader)?;
    let mut words = head.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let length = header(&head, "content-length").and_then(|l| l.parse().ok()).unwrap_or(0_usize);
    let authorized = header(&head, "authorization").is_some();
    let asked = {
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |one: &&Asked| one.method == method && class(&one.target) == class(&target);
        let before = log.iter().filter(same).count();
        let asked = Asked { method, target, before, authorized };
        log.push(asked.clone());
        asked
    };
    let fault = decide(&asked);
    let mut out = client;
    match &fault {
        Some(Fault::Answer(status, more, body)) => {
            std::io::copy(&mut reader.take(length as u64), &mut std::io::sink()).ok()?;
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Length: {}\r\n{more}Connection: close\r\n\r\n",
                body.len()
            );
            out.write_all(head.as_bytes()).ok()?;
            if asked.method != "HEAD" {
                sent.fetch_add(body.len() as u64, Ordering::SeqCst);
                out.write_all(body).ok()?;
            }
            return Some(());
        }
        Some(Fault::Endless) => {
            let kind = "application/vnd.oci.image.index.v1+json";
            let head =
                format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nConnection: close\r\n\r\n");
            out.write_all(head.as_bytes()).ok()?;
            let chunk = vec![b' '; 64 << 10];
            for _ in 0..ENDLESS / chunk.len() {
                out.write_all(&chunk).ok()?;
                sent.fetch_add(chunk.len() as u64, Ordering::SeqCst);
            }
            return Some(());
        }
        Some(Fault::Stall(time)) => std::thread::sleep(*time),
        _ => {}
    }
    let mut registry = TcpStream::connect(("127.0.0.1", upstream)).ok()?;
    registry.write_all(closing(&head).as_bytes()).ok()?;
    let taken = match fault {
        Some(Fault::DropRequest(taken)) => taken.min(length),
        _ => length,
    };
    let copied = std::io::copy(&mut (&mut reader).take(taken as u64), &mut registry).ok()?;
    sent.fetch_add(copied, Ordering::SeqCst);
    if let Some(Fault::DropRequest(_)) = fault {
        // The registry keeps what it got; the client sees the connection end.
        let _ = (registry.shutdown(Shutdown::Both), client.shutdown(Shutdown::Both));
        return Some(());
    }
    answer(registry, out, fault.as_ref(), sent)
}

/// A target without what differs from upload to upload.
fn class(target: &str) -> &str {
    let path = target.split('?').next().unwrap_or_default();
    path.find("/uploads/").map_or(path, |at| &path[..at])
}

fn answer(
    registry: TcpStream,
    mut out: &TcpStream,
    fault: Option<&Fault>,
    sent: &AtomicU64,
) -> Option<()> {
    let mut reader = BufReader::new(registry);
    let head = read_head(&mut reader)?;
    let mut body = Vec::new();
    reader.read_to_end(&mut body).ok()?;
    match fault {
        Some(Fault::DropResponse(taken)) => body.truncate(*taken),
        Some(Fault::Flip) if !body.is_empty() => {
            let middle = body.len() / 2;
            body[middle] ^= 1;
        }
        _ => {}
    }
    out.write_all(closing(&head).as_bytes()).ok()?;
    sent.fetch_add(body.len() as u64, Ordering::SeqCst);
    out.write_all(&body).ok()
}

/// Everything up to the empty line.
fn read_head(reader: &mut impl std::io::BufRead) -> Option<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        reader.read_line(&mut head).ok().filter(|read| *read > 0)?;
    }
    Some(head)
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.lines().filter_map(|line| line.split_once(':'));
    lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

/// A head that ends its connection.
fn closing(head: &str) -> String {
    let kept = head.lines().filter(|line| !line.to_ascii_lowercase().starts_with("connection:"));
    let kept: Vec<&str> = kept.filter(|line| !line.is_empty()).collect();
    format!("{}\r\nConnection: close\r\n\r\n", kept.join("\r\n"))
}
