//! Names to addresses: one lookup per name and minute, however many threads ask.
//!
//! getaddrinfo is blocking, knows no cache, and waits five seconds before it repeats a lost UDP
//! query. So answers are kept for [`TTL`], callers who ask for the same name at the same time share
//! one [`Flight`], and a lookup without an answer is doubled by another one after a second. Failures
//! are never kept.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

/// How long an answer is used. getaddrinfo does not tell the record's own; CDNs use 30 to 300 s.
const TTL: Duration = Duration::from_secs(60);
/// Names kept; a build talks to a handful.
const MAX_NAMES: usize = 128;
/// Addresses used of one answer, as many as ureq takes.
const MAX_ADDRS: usize = 16;
/// When lookups beside the first are started, counted from the first. glibc itself repeats a query
/// only after 5 s; a resolver that has not answered within a second has lost the packet.
const SECOND_TRIES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(3)];

/// What asks the system; replaced in tests.
type Lookup = dyn Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync;

/// The names known to one client. Cloning shares them.
#[derive(Clone)]
pub(crate) struct Names {
    shared: Arc<Shared>,
}

struct Shared {
    lookup: Box<Lookup>,
    known: Mutex<HashMap<String, Entry>>,
}

enum Entry {
    Known { addrs: Vec<SocketAddr>, until: Instant },
    Asked(Arc<Flight>),
}

impl Names {
    pub(crate) fn new() -> Self {
        Self::with(|name: &str| Ok(name.to_socket_addrs()?.take(MAX_ADDRS).collect()))
    }

    pub(crate) fn with(
        lookup: impl Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
    ) -> Self {
        let known = Mutex::default();
        Self { shared: Arc::new(Shared { lookup: Box::new(lookup), known }) }
    }

    /// The addresses of `name` (`host:port`); `None` when `limit` passes without an answer.
    pub(crate) fn find(
        &self,
        name: &str,
        limit: Option<Duration>,
    ) -> io::Result<Option<Vec<SocketAddr>>> {
        if let Ok(addr) = name.parse() {
            return Ok(Some(vec![addr]));
        }
        let name = name.to_ascii_lowercase();
        let (flight, first) = match self.join(&name) {
            Ok(addrs) => return Ok(Some(addrs)),
            Err(joined) => joined,
        };
        if first {
            self.ask(&name, &flight);
        }
        let answer = self.wait(&name, &flight, limit);
        if answer.is_none() {
            // Whoever asks next shall not wait for a lookup that may be stuck.
            self.abandon(&name, &flight);
        }
        answer.transpose()
    }

    /// Drops what is known of the name, because it led nowhere.
    pub(crate) fn forget(&self, uri: &Uri) {
        let Some(name) = host_and_port(uri) else { return };
        let mut known = self.known();
        let name = name.to_ascii_lowercase();
        if matches!(known.get(&name), Some(Entry::Known { .. })) {
            known.remove(&name);
        }
    }

    /// The known addresses, or the lookup under way and whether it is the caller's to start.
    fn join(&self, name: &str) -> Result<Vec<SocketAddr>, (Arc<Flight>, bool)> {
        let mut known = self.known();
        match known.get(name) {
            Some(Entry::Known { addrs, until }) if *until > Instant::now() => Ok(addrs.clone()),
            Some(Entry::Asked(flight)) => Err((flight.clone(), false)),
            _ => {
                let flight = Arc::new(Flight::new());
                make_room(&mut known);
                known.insert(name.to_owned(), Entry::Asked(flight.clone()));
                Err((flight, true))
            }
        }
    }

    /// Starts a lookup; its thread outlives a caller who gives up.
    fn ask(&self, name: &str, flight: &Arc<Flight>) {
        let task = (self.clone(), name.to_owned(), flight.clone());
        let started = thread::Builder::new().name("resolve".to_owned()).spawn(move || {
            let (names, name, flight) = task;
            let answer = (names.shared.lookup)(&name);
            names.answered(&name, &flight, answer);
        });
        if let Err(error) = started {
            self.answered(name, flight, Err(error));
        }
    }

    fn answered(&self, name: &str, flight: &Arc<Flight>, answer: io::Result<Vec<SocketAddr>>) {
        match &answer {
            Ok(addrs) if !addrs.is_empty() => {
                let entry = Entry::Known { addrs: addrs.clone(), until: Instant::now() + TTL };
                let mut known = self.known();
                // A late answer to a lookup given up is as good as any, but must not push out others.
                if known.contains_key(name) || known.len() < MAX_NAMES {
                    known.insert(name.to_owned(), entry);
                }
            }
            _ => self.abandon(name, flight),
        }
        flight.land(answer);
    }

    /// Waits for the answer; starts another lookup whenever one is due.
    fn wait(
        &self,
        name: &str,
        flight: &Arc<Flight>,
        limit: Option<Duration>,
    ) -> Option<io::Result<Vec<SocketAddr>>> {
        let started = Instant::now();
        let mut state = flight.state();
        loop {
            if let Some(answer) = &state.answer {
                return Some(answer.clone().map_err(Lost::into_error));
            }
            let left = limit.map(|limit| limit.saturating_sub(started.elapsed()));
            if left == Some(Duration::ZERO) {
                return None;
            }
            let next = SECOND_TRIES.get(state.repeated);
            let due = next.map(|after| after.saturating_sub(flight.started.elapsed()));
            if due == Some(Duration::ZERO) {
                state.repeated += 1;
                drop(state);
                self.ask(name, flight);
                state = flight.state();
                continue;
            }
            let pause = [left, due].into_iter().flatten().min().unwrap_or(TTL);
            let woken = flight.landed.wait_timeout(state, pause);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn abandon(&self, name: &str, flight: &Arc<Flight>) {
        let mut known = self.known();
        if matches!(known.get(name), Some(Entry::Asked(asked)) if Arc::ptr_eq(asked, flight)) {
            known.remove(name);
        }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        self.shared.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Resolver for Names {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let name = host_and_port(uri).ok_or(Error::HostNotFound)?;
        let limit = (!timeout.after.is_not_happening()).then_some(*timeout.after);
        let found = self.find(&name, limit)?.ok_or(Error::Timeout(timeout.reason))?;
        let mut addrs = self.empty();
        let family = config.ip_family();
        for addr in family.keep_wanted(found.into_iter()).take(MAX_ADDRS) {
            addrs.push(addr);
        }
        if addrs.is_empty() { Err(Error::HostNotFound) } else { Ok(addrs) }
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Names").finish_non_exhaustive()
    }
}

fn host_and_port(uri: &Uri) -> Option<String> {
    DefaultResolver::host_and_port(uri.scheme()?, uri.authority()?)
}

/// Keeps [`MAX_NAMES`]: what is out of date goes, or else what will be next. Lookups under way stay;
/// there are no more of them than threads that ask.
fn make_room(known: &mut HashMap<String, Entry>) {
    if known.len() < MAX_NAMES {
        return;
    }
    let now = Instant::now();
    known.retain(|_, entry| !matches!(entry, Entry::Known { until, .. } if *until <= now));
    if known.len() < MAX_NAMES {
        return;
    }
    let until = |entry: &Entry| match entry {
        Entry::Known { until, .. } => Some(*until),
        Entry::Asked(_) => None,
    };
    let oldest = known.iter().filter_map(|(name, entry)| Some((until(entry)?, name))).min();
    if let Some(name) = oldest.map(|(_, name)| name.clone()) {
        known.remove(&name);
    }
}

/// One question and everybody who waits for its answer.
struct Flight {
    started: Instant,
    state: Mutex<State>,
    landed: Condvar,
}

#[derive(Default)]
struct State {
    answer: Option<Result<Vec<SocketAddr>, Lost>>,
    /// Lookups started beside the first.
    repeated: usize,
}

impl Flight {
    fn new() -> Self {
        Self { started: Instant::now(), state: Mutex::default(), landed: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first answer counts.
    fn land(&self, answer: io::Result<Vec<SocketAddr>>) {
        self.state().answer.get_or_insert_with(|| answer.map_err(|error| Lost::from(&error)));
        self.landed.notify_all();
    }
}

/// An [`io::Error`] that several callers can get.
#[derive(Clone)]
struct Lost {
    kind: io::ErrorKind,
    text: String,
}

impl Lost {
    fn into_error(self) -> io::Error {
        io::Error::new(self.kind, self.text)
    }
}

impl From<&io::Error> for Lost {
    fn from(error: &io::Error) -> Self {
        Self { kind: error.kind(), text: error.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const LIMIT: Option<Duration> = Some(Duration::from_secs(20));

    /// Names whose lookups are counted and answered by `answer`, which is told how many went before.
    fn counting(
        answer: impl Fn(usize) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
    ) -> (Names, Arc<AtomicUsize>) {
        let count = Arc::new(AtomicUsize::new(0));
        let counter = count.clone();
        (Names::with(move |_| answer(counter.fetch_add(1, Ordering::SeqCst))), count)
    }

    fn some_addr() -> Vec<SocketAddr> {
        vec![SocketAddr::from(([192, 0, 2, 1], 80))]
    }

    #[test]
    fn a_name_is_looked_up_once_until_it_is_forgotten() {
        let (names, count) = counting(|_| Ok(some_addr()));
        for _ in 0..10 {
            assert_eq!(names.find("a.example:80", LIMIT).unwrap(), Some(some_addr()));
        }
        names.find("A.Example:80", LIMIT).unwrap();
        assert_eq!(count.load(Ordering::SeqCst), 1);
        names.forget(&Uri::from_static("http://a.example/x"));
        names.find("a.example:80", LIMIT).unwrap();
        assert_eq!(count.load(Ordering::SeqCst), 2);
        names.find("a.example:443", LIMIT).unwrap();
        assert_eq!(count.load(Ordering::SeqCst), 3);
    }

    #[test]
    fn those_who_ask_at_once_share_a_lookup() {
        let (names, count) = counting(|_| {
            thread::sleep(Duration::from_millis(200));
            Ok(some_addr())
        });
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    assert_eq!(names.find("a.example:80", LIMIT).unwrap(), Some(some_addr()));
                });
            }
        });
        assert_eq!(count.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn failures_and_empty_answers_are_not_kept() {
        let (names, count) = counting(|before| match before {
            0 => Err(io::Error::other("failed to lookup address information")),
            1 => Ok(Vec::new()),
            _ => Ok(some_addr()),
        });
        let error = names.find("a.example:80", LIMIT).unwrap_err();
        assert!(error.to_string().contains("failed to lookup address"), "{error}");
        assert_eq!(names.find("a.example:80", LIMIT).unwrap(), Some(Vec::new()));
        assert_eq!(names.find("a.example:80", LIMIT).unwrap(), Some(some_addr()));
        assert_eq!(count.load(Ordering::SeqCst), 3);
    }

    #[test]
    fn a_lost_query_costs_a_second_and_not_five() {
        let (names, count) = counting(|before| {
            if before == 0 {
                thread::sleep(Duration::from_secs(5));
            }
            Ok(some_addr())
        });
        let started = Instant::now();
        assert_eq!(names.find("a.example:80", LIMIT).unwrap(), Some(some_addr()));
        assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
        assert_eq!(count.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn the_limit_holds_and_a_stuck_lookup_is_not_joined_again() {
        let (names, count) = counting(|before| {
            if before == 0 {
                thread::sleep(Duration::from_secs(5));
            }
            Ok(some_addr())
        });
        let brief = Some(Duration::from_millis(50));
        assert_eq!(names.find("a.example:80", brief).unwrap(), None);
        assert_eq!(names.find("a.example:80", LIMIT).unwrap(), Some(some_addr()));
        assert_eq!(count.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn addresses_need_no_lookup() {
        let (names, count) = counting(|_| Ok(some_addr()));
        for literal in ["127.0.0.1:80", "[::1]:443"] {
            let found = names.find(literal, LIMIT).unwrap().unwrap();
            assert_eq!(found, [literal.parse().unwrap()]);
        }
        assert_eq!(count.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn the_number_of_names_is_bounded() {
        let (names, _) = counting(|_| Ok(some_addr()));
        for i in 0..MAX_NAMES + 20 {
            names.find(&format!("{i}.example:80"), LIMIT).unwrap();
        }
        assert_eq!(names.known().len(), MAX_NAMES);
        assert!(names.known().contains_key(&format!("{}.example:80", MAX_NAMES + 19)));
    }
}
