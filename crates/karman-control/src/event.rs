//! What happens while a build runs. The terminal, the log and JSON are all made from these.

use std::sync::Arc;
use std::time::Duration;

use karman_llb::VertexDigest;

/// Takes events from many threads at once.
pub type EventSink = Arc<dyn Fn(Event) + Send + Sync>;

/// Which stream of a command a log line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// How a vertex ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VertexStatus {
    /// It ran.
    Done,
    /// Its result was there.
    Cached,
    /// Another vertex failed first.
    Canceled,
    /// It failed, with the message.
    Failed(String),
}

/// One thing that happened. `at` is the time since the build began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A vertex began.
    Started {
        /// Which.
        vertex: VertexDigest,
        /// Its name for people.
        name: String,
        /// When.
        at: Duration,
    },
    /// A vertex wrote something. Lines may be cut anywhere.
    Log {
        /// Which.
        vertex: VertexDigest,
        /// Where to.
        stream: Stream,
        /// What.
        data: Vec<u8>,
        /// When.
        at: Duration,
    },
    /// Part of a vertex made progress (a download, a layer).
    Progress {
        /// Which.
        vertex: VertexDigest,
        /// What part.
        id: String,
        /// Units done.
        current: u64,
        /// Units in all; 0 when unknown.
        total: u64,
        /// When.
        at: Duration,
        /// Whether the part is complete.
        done: bool,
    },
    /// A vertex ended.
    Ended {
        /// Which.
        vertex: VertexDigest,
        /// How.
        status: VertexStatus,
        /// When.
        at: Duration,
    },
    /// Something people should know.
    Warning {
        /// Which vertex, where one is concerned.
        vertex: Option<VertexDigest>,
        /// What.
        message: String,
    },
}
