//! A running build's output: takes events from many threads, draws from one.

use std::fmt::Display;
use std::io::{self, Write};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use karman_control::{Event, EventSink, VertexStatus};
use karman_llb::VertexDigest;
use karman_oci::Digest;

use crate::Redactor;
use crate::json::RawJson;
use crate::plain::Plain;
use crate::tty::Tty;

/// How often the terminal is drawn.
const PERIOD: Duration = Duration::from_millis(100);

/// Columns and rows of the terminal as it is now.
pub type SizeFn = Box<dyn Fn() -> Option<(u16, u16)> + Send>;

/// How a build is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// A live view; the output must be a terminal.
    Tty,
    /// Lines for a log.
    Plain,
    /// One JSON object per line; the shape is described in `docs/cli.md`.
    RawJson,
    /// Nothing.
    Quiet,
}

/// What a [`Reporter`] is told by its caller.
pub struct Options {
    /// How the build is shown.
    pub progress: Progress,
    /// Whether the live view may use colours.
    pub colour: bool,
    /// The secrets that must not be shown.
    pub redactor: Redactor,
    /// Asks the terminal for its size.
    pub size: SizeFn,
}

/// A way to show a build. `now` is the time since the build began.
pub(crate) trait View: Send {
    fn event(&mut self, event: &Event, now: Duration, out: &mut dyn Write) -> io::Result<()>;
    fn tick(&mut self, now: Duration, out: &mut dyn Write) -> io::Result<()>;
    fn finish(&mut self, now: Duration, out: &mut dyn Write) -> io::Result<()>;

    /// Masks these secrets from now on.
    fn redact(&mut self, redactor: Redactor);

    /// The user wants the build to stop; the process may end at any moment.
    fn cancel(&mut self, _out: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }

    /// Gives the terminal back as it was.
    fn restore(&mut self, _out: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }
}

/// Shows nothing.
struct Quiet;

impl View for Quiet {
    fn event(&mut self, _: &Event, _: Duration, _: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }

    fn tick(&mut self, _: Duration, _: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }

    fn finish(&mut self, _: Duration, _: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }

    fn redact(&mut self, _: Redactor) {}
}

struct State {
    view: Box<dyn View>,
    out: Box<dyn Write + Send>,
    /// The time of the newest event, and when it came here.
    clock: (Duration, Instant),
    /// What passed before the backend's clock began.
    offset: Duration,
    finished: bool,
}

impl State {
    fn now(&self) -> Duration {
        self.clock.0 + self.clock.1.elapsed()
    }

    fn event(&mut self, event: &Event) {
        if self.finished {
            return;
        }
        if let Some(at) = time_of(event).filter(|at| *at >= self.clock.0) {
            self.clock = (at, Instant::now());
        }
        // A build does not fail because nobody can read about it.
        let _ = self.view.event(event, self.clock.0, &mut self.out);
    }
}

/// Shows a build while it runs. Dropping it gives the terminal back, also while unwinding.
pub struct Reporter {
    state: Arc<Mutex<State>>,
    stop: Option<Sender<()>>,
    ticker: Option<JoinHandle<()>>,
}

impl Reporter {
    /// Starts showing on `out`; a thread draws until [`Reporter::finish`].
    pub fn start(options: Options, out: Box<dyn Write + Send>) -> Self {
        let Options { progress, colour, redactor, size } = options;
        let view: Box<dyn View> = match progress {
            Progress::Tty => Box::new(Tty::new(redactor, colour, size)),
            Progress::Plain => Box::new(Plain::new(redactor)),
            Progress::RawJson => Box::new(RawJson::new(redactor)),
            Progress::Quiet => Box::new(Quiet),
        };
        let clock = (Duration::ZERO, Instant::now());
        let state = Arc::new(Mutex::new(State {
            view,
            out,
            clock,
            offset: Duration::ZERO,
            finished: false,
        }));
        let (stop, stopped) = mpsc::channel::<()>();
        let shared = Arc::clone(&state);
        let ticker = std::thread::Builder::new().name("report".into()).spawn(move || {
            while stopped.recv_timeout(PERIOD) == Err(RecvTimeoutError::Timeout) {
                let mut state = lock(&shared);
                let now = state.now();
                let State { view, out, .. } = &mut *state;
                let _ = view.tick(now, out);
            }
        });
        // Without the thread everything is still shown, only later.
        Self { state, stop: Some(stop), ticker: ticker.ok() }
    }

    /// Runs `body`, the work before the backend's, as a step of its own. The clock of the events that
    /// come later begins at its end.
    ///
    /// # Errors
    /// Those of `body`.
    pub fn step<T, E: Display>(
        &self,
        name: &str,
        body: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let vertex = VertexDigest(Digest::sha256_of(name.as_bytes()));
        let at = lock(&self.state).now();
        lock(&self.state).event(&Event::Started { vertex, name: name.to_owned(), at });
        let result = body();
        let status = match &result {
            Ok(_) => VertexStatus::Done,
            Err(error) => VertexStatus::Failed(error.to_string()),
        };
        let mut state = lock(&self.state);
        let at = state.now();
        state.event(&Event::Ended { vertex, status, at });
        state.offset = at;
        drop(state);
        result
    }

    /// Masks these secrets from now on, in place of the ones given before.
    pub fn redact(&self, redactor: Redactor) {
        lock(&self.state).view.redact(redactor);
    }

    /// Where the backend sends its events.
    pub fn sink(&self) -> EventSink {
        let state = Arc::clone(&self.state);
        let offset = lock(&state).offset;
        Arc::new(move |event| lock(&state).event(&later(event, offset)))
    }

    /// Says that the user wants the build to stop. The terminal is given back now, because a second
    /// signal ends the process without asking.
    pub fn cancel(&self) {
        let mut state = lock(&self.state);
        let State { view, out, .. } = &mut *state;
        let _ = view.cancel(out);
    }

    /// Shows the end; later events are ignored.
    pub fn finish(mut self) {
        self.halt();
        let mut state = lock(&self.state);
        let now = state.now();
        state.finished = true;
        let State { view, out, .. } = &mut *state;
        let _ = view.finish(now, out);
    }

    fn halt(&mut self) {
        drop(self.stop.take());
        if let Some(ticker) = self.ticker.take() {
            let _ = ticker.join();
        }
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        self.halt();
        let mut state = lock(&self.state);
        state.finished = true;
        let State { view, out, .. } = &mut *state;
        let _ = view.restore(out);
    }
}

/// A thread that panicked while drawing must not keep the others from giving the terminal back.
fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The event on a clock that began earlier.
fn later(mut event: Event, by: Duration) -> Event {
    match &mut event {
        Event::Started { at, .. }
        | Event::Log { at, .. }
        | Event::Progress { at, .. }
        | Event::Ended { at, .. } => *at += by,
        Event::Warning { .. } => {}
    }
    event
}

/// When an event happened.
pub(crate) fn time_of(event: &Event) -> Option<Duration> {
    match event {
        Event::Started { at, .. }
        | Event::Log { at, .. }
        | Event::Progress { at, .. }
        | Event::Ended { at, .. } => Some(*at),
        Event::Warning { .. } => None,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use karman_control::Stream;

    use super::*;

    fn vertex(n: u32) -> VertexDigest {
        VertexDigest(Digest::sha256_of(n.to_string().as_bytes()))
    }

    pub(crate) fn millis(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    pub(crate) fn started(n: u32, name: &str, at: u64) -> Event {
        Event::Started { vertex: vertex(n), name: name.into(), at: millis(at) }
    }

    pub(crate) fn log(n: u32, text: &str, at: u64) -> Event {
        let data = text.as_bytes().to_vec();
        Event::Log { vertex: vertex(n), stream: Stream::Stdout, data, at: millis(at) }
    }

    pub(crate) fn ended(n: u32, status: VertexStatus, at: u64) -> Event {
        Event::Ended { vertex: vertex(n), status, at: millis(at) }
    }

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("not poisoned").extend_from_slice(data);
            Ok(data.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Shared {
        fn text(&self) -> String {
            String::from_utf8_lossy(&self.0.lock().expect("not poisoned")).into_owned()
        }
    }

    fn options(progress: Progress) -> Options {
        let size: SizeFn = Box::new(|| Some((60, 10)));
        Options { progress, colour: false, redactor: Redactor::default(), size }
    }

    #[test]
    fn a_reporter_writes_what_its_sink_gets() {
        let out = Shared::default();
        let reporter = Reporter::start(options(Progress::Plain), Box::new(out.clone()));
        let sink = reporter.sink();
        sink(started(1, "one", 0));
        sink(ended(1, VertexStatus::Done, 100));
        reporter.finish();
        sink(started(2, "too late", 200));
        assert_eq!(out.text(), "#1 one\n#1 DONE 0.1s\n\n");
    }

    #[test]
    fn later_steps_begin_where_the_first_one_ended() {
        let out = Shared::default();
        let reporter = Reporter::start(options(Progress::RawJson), Box::new(out.clone()));
        let slow = || {
            std::thread::sleep(millis(30));
            Err::<(), &str>("no plan")
        };
        assert_eq!(reporter.step("plan", slow), Err("no plan"));
        reporter.sink()(started(1, "one", 0));
        reporter.finish();
        let text = out.text();
        let last: serde_json::Value =
            serde_json::from_str(text.lines().last().expect("lines")).expect("JSON");
        assert!(last["vertexes"][0]["started"].as_f64() >= Some(0.03), "{text}");
        assert!(text.contains("\"error\":\"no plan\""), "{text}");
    }

    #[test]
    fn a_dropped_reporter_gives_the_cursor_back() {
        let out = Shared::default();
        let reporter = Reporter::start(options(Progress::Tty), Box::new(out.clone()));
        reporter.sink()(started(1, "one", 0));
        std::thread::sleep(PERIOD * 3);
        drop(reporter);
        assert!(out.text().contains("\u{1b}[?25l"), "the view was drawn");
        assert!(out.text().ends_with("\u{1b}[?25h"));
    }
}
