//! gzip in members of fixed size over several threads (RFC 1952: a file is a series of members).

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use flate2::{Compression, GzBuilder};

/// RFC 1952: the operating system is unknown, so that the host does not show.
const OS_UNKNOWN: u8 = 255;

type Reply = io::Result<Vec<u8>>;
type Job = (Vec<u8>, SyncSender<Reply>);

/// Compresses chunks to members, in order.
#[derive(Debug)]
pub(super) struct GzipPool {
    jobs: Option<Sender<Job>>,
    pending: VecDeque<Receiver<Reply>>,
    limit: usize,
    threads: Vec<JoinHandle<()>>,
}

impl GzipPool {
    pub(super) fn new(level: u32, threads: usize) -> Self {
        let (jobs_in, jobs_out) = channel::<Job>();
        let jobs = Arc::new(Mutex::new(jobs_out));
        let serve = |jobs: Arc<Mutex<Receiver<Job>>>| {
            move || {
                loop {
                    let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok((chunk, reply)) = job else { return };
                    // Whoever asked may have given up.
                    let _ = reply.send(member(&chunk, level));
                }
            }
        };
        let threads = threads.max(1);
        let handles = (0..threads).map(|_| std::thread::spawn(serve(Arc::clone(&jobs)))).collect();
        Self { jobs: Some(jobs_in), pending: VecDeque::new(), limit: 2 * threads, threads: handles }
    }

    /// Queues a chunk; writes finished members to `out` while too many are queued.
    pub(super) fn push(&mut self, chunk: Vec<u8>, out: &mut dyn Write) -> io::Result<()> {
        while self.pending.len() >= self.limit {
            self.pop(out)?;
        }
        let (reply_in, reply_out) = sync_channel(1);
        let sent = self.jobs.as_ref().is_some_and(|jobs| jobs.send((chunk, reply_in)).is_ok());
        if !sent {
            return Err(died());
        }
        self.pending.push_back(reply_out);
        Ok(())
    }

    /// Writes all members that are still queued.
    pub(super) fn finish(&mut self, out: &mut dyn Write) -> io::Result<()> {
        while !self.pending.is_empty() {
            self.pop(out)?;
        }
        Ok(())
    }

    fn pop(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let Some(reply) = self.pending.pop_front() else { return Ok(()) };
        out.write_all(&reply.recv().map_err(|_| died())??)
    }
}

impl Drop for GzipPool {
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            // A thread that panicked has been noticed by the missing reply.
            let _ = thread.join();
        }
    }
}

fn died() -> io::Error {
    io::Error::other("a compression thread ended early")
}

/// One member without name, time or host.
fn member(chunk: &[u8], level: u32) -> Reply {
    let out = Vec::with_capacity(chunk.len() / 2 + 64);
    let builder = GzBuilder::new().mtime(0).operating_system(OS_UNKNOWN);
    let mut encoder = builder.write(out, Compression::new(level));
    encoder.write_all(chunk)?;
    encoder.finish()
}
