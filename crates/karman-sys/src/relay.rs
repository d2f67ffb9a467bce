//! A Unix socket that passes every connection on to another one, or has it answered here.
//!
//! An SSH agent answers its own user only (it compares credentials of the peer), and its socket's
//! mode is not ours to change. A step of any user, in any user namespace, talks to a relay instead.

use std::io;
use std::net::Shutdown;
use std::os::fd::AsRawFd as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid, chmodat, chownat, open};

/// The name of the socket.
const NAME: &str = "agent";
/// More connections at once than any program keeps to its agent.
const MAX_CONNECTIONS: usize = 64;
/// How often the relay looks whether it is over.
const POLL: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
/// How long an idle connection sleeps before it looks whether the relay is over.
const IDLE: Duration = Duration::from_millis(200);

/// Who may use the socket of a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// A running relay; dropping it closes its socket and its connections.
#[derive(Debug)]
pub struct Relay {
    path: PathBuf,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    /// Listens in `dir`, where no relay may be yet, and connects to `target` for every connection.
    ///
    /// # Errors
    /// When the socket cannot be made. That `target` does not answer shows on a connection only.
    pub fn start(dir: &Path, target: &Path, access: Access) -> io::Result<Self> {
        let target = target.to_owned();
        // Whatever fails here is seen by the program as a closed connection.
        Self::serve(dir, access, move |near| drop(pass_on(near.stream, &target, near.over)))
    }

    /// Listens in `dir`, where no relay may be yet, and lets `answer` have every connection.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn serve<F>(dir: &Path, access: Access, answer: F) -> io::Result<Self>
    where
        F: Fn(Connection<'_>) + Send + Sync + 'static,
    {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = open(dir, flags, Mode::empty())?;
        // The address of a socket has 108 bytes at most; a store may lie deeper.
        let short = format!("/proc/self/fd/{}/{NAME}", opened.as_raw_fd());
        let listener = UnixListener::bind(&short)?;
        let (uid, gid) = (Uid::from_raw(access.uid), Gid::from_raw(access.gid));
        chownat(&opened, NAME, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        chmodat(&opened, NAME, Mode::from_raw_mode(access.mode), AtFlags::empty())?;
        listener.set_nonblocking(true)?;
        let over = Arc::new(AtomicBool::new(false));
        let theirs = Arc::clone(&over);
        let thread = std::thread::spawn(move || accept(&listener, &answer, &theirs));
        Ok(Self { path: dir.join(NAME), over, thread: Some(thread) })
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            // A panic in there was already reported by the runtime.
            let _ = thread.join();
        }
        // The directory it lies in goes with its owner; a socket that is left there harms nobody.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// One connection to a relay. Reading ends, as at the end of input, when the relay is over.
#[derive(Debug)]
pub struct Connection<'a> {
    stream: &'a UnixStream,
    over: &'a AtomicBool,
}

impl io::Read for Connection<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match io::Read::read(&mut self.stream, buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if self.over.load(Ordering::SeqCst) {
                        return Ok(0);
                    }
                }
                other => return other,
            }
        }
    }
}

impl io::Write for Connection<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        io::Write::write(&mut self.stream, bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn accept<F>(listener: &UnixListener, answer: &F, over: &AtomicBool)
where
    F: Fn(Connection<'_>) + Sync,
{
    let open = Arc::new(AtomicUsize::new(0));
    std::thread::scope(|scope| {
        while !over.load(Ordering::SeqCst) {
            let mut fds = [PollFd::new(listener, PollFlags::IN)];
            // An interrupted wait only looks again.
            let _ = poll(&mut fds, Some(&POLL));
            let Ok((near, _)) = listener.accept() else { continue };
            if open.fetch_add(1, Ordering::SeqCst) >= MAX_CONNECTIONS {
                open.fetch_sub(1, Ordering::SeqCst);
                continue;
            }
            let open = Arc::clone(&open);
            scope.spawn(move || {
                let ready = near.set_nonblocking(false);
                if ready.and_then(|()| near.set_read_timeout(Some(IDLE))).is_ok() {
                    answer(Connection { stream: &near, over });
                }
                open.fetch_sub(1, Ordering::SeqCst);
            });
        }
    });
}

fn pass_on(near: &UnixStream, target: &Path, over: &AtomicBool) -> io::Result<()> {
    let far = UnixStream::connect(target)?;
    far.set_read_timeout(Some(IDLE))?;
    std::thread::scope(|scope| {
        let there = scope.spawn(|| one_way(near, &far, over));
        let back = one_way(&far, near, over);
        there.join().unwrap_or(Ok(())).and(back)
    })
}

/// Copies until one side closes.
fn one_way(mut from: &UnixStream, mut to: &UnixStream, over: &AtomicBool) -> io::Result<()> {
    use std::io::{Read as _, Write as _};
    let mut buffer = [0u8; 16 * 1024];
    let done = loop {
        match from.read(&mut buffer) {
            Ok(0) => break Ok(()),
            Ok(read) => {
                if let Err(error) = to.write_all(&buffer[..read]) {
                    break Err(error);
                }
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock) => {
                if over.load(Ordering::SeqCst) {
                    break Ok(());
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => break Err(error),
        }
    };
    // The other direction ends by itself where this one did.
    let _ = to.shutdown(Shutdown::Write);
    if done.is_err() {
        let _ = from.shutdown(Shutdown::Both);
    }
    done
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn connections_are_passed_on_and_end_with_the_relay() {
        let dir = tempfile::tempdir().expect("a directory");
        let target = dir.path().join("target");
        let listener = UnixListener::bind(&target).expect("a socket");
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut bytes = [0u8; 4];
            stream.read_exact(&mut bytes).expect("four bytes");
            stream.write_all(b"pong").expect("written");
        });
        let stat = rustix::fs::stat(dir.path()).expect("stat");
        let access = Access { mode: 0o640, uid: stat.st_uid, gid: stat.st_gid };
        let relay = Relay::start(dir.path(), &target, access).expect("a relay");
        let path = relay.path().to_owned();
        let mode = std::fs::metadata(&path).expect("there").mode() & 0o777;
        assert_eq!(mode, 0o640);
        let mut stream = UnixStream::connect(&path).expect("connects");
        stream.write_all(b"ping").expect("written");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("an answer");
        assert_eq!(answer, b"pong");
        server.join().expect("served");
        drop(relay);
        assert!(UnixStream::connect(&path).is_err());
    }
}
