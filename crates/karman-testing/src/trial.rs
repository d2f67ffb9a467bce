//! A harness for suites that skip: `harness = false` targets that `cargo test` and nextest can drive.
//!
//! It understands what they send: `--list --format terse`, `--ignored` (there are none), `--exact`,
//! `--skip`, `--test-threads`, and names. Every test is one line, `ok NAME`, `SKIP NAME: reason` or
//! `FAIL NAME: …`, and the last line counts them.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Tests that take longer say so.
const SLOW: Duration = Duration::from_secs(10);

/// Why a test did not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skip(pub String);

impl Skip {
    /// A test that cannot run here.
    pub fn because(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

/// What a test gives; it fails by panicking.
pub type Tested = Result<(), Skip>;

/// A test by name.
pub struct Trial<'a> {
    name: String,
    body: Box<dyn FnOnce() -> Tested + Send + 'a>,
}

impl<'a> Trial<'a> {
    /// A test that is run at most once.
    pub fn new(name: impl Into<String>, body: impl FnOnce() -> Tested + Send + 'a) -> Self {
        Self { name: name.into(), body: Box::new(body) }
    }
}

/// What the arguments of a test binary ask for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Arguments {
    list: bool,
    ignored: bool,
    exact: bool,
    skip: Vec<String>,
    names: Vec<String>,
    threads: Option<usize>,
}

impl Arguments {
    /// Reads the arguments behind the program's name. Flags about output have no effect here.
    pub fn parse(args: impl IntoIterator<Item = String>) -> Self {
        let mut read = Self::default();
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            let (flag, inline) = match arg.split_once('=') {
                Some((flag, value)) if flag.starts_with("--") => {
                    (flag.to_owned(), Some(value.to_owned()))
                }
                _ => (arg.clone(), None),
            };
            let mut value = || inline.clone().or_else(|| args.next()).unwrap_or_default();
            match flag.as_str() {
                "--list" => read.list = true,
                "--ignored" => read.ignored = true,
                "--exact" => read.exact = true,
                "--skip" => read.skip.push(value()),
                "--test-threads" => read.threads = value().parse().ok(),
                "--format" | "--color" | "--logfile" | "-Z" => drop(value()),
                other if other.starts_with('-') => {}
                name => read.names.push(name.to_owned()),
            }
        }
        read
    }

    fn wants(&self, name: &str) -> bool {
        let matches = |filter: &String| {
            if self.exact { name == filter } else { name.contains(filter.as_str()) }
        };
        let named = self.names.is_empty() || self.names.iter().any(matches);
        named && !self.ignored && !self.skip.iter().any(matches)
    }
}

thread_local! {
    static MESSAGE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Lists or runs the tests on `threads` threads (the arguments may say otherwise); gives the exit
/// code of the program.
pub fn run_trials(trials: Vec<Trial<'_>>, arguments: &Arguments, threads: usize) -> u8 {
    let chosen: VecDeque<Trial<'_>> =
        trials.into_iter().filter(|t| arguments.wants(&t.name)).collect();
    if arguments.list {
        chosen.iter().for_each(|t| println!("{}: test", t.name));
        return 0;
    }
    let counts = run_all(chosen, arguments.threads.unwrap_or(threads).max(1));
    println!("{} passed, {} failed, {} skipped", counts[0], counts[1], counts[2]);
    u8::from(counts[1] > 0)
}

fn run_all(chosen: VecDeque<Trial<'_>>, threads: usize) -> [usize; 3] {
    let before = take_hook();
    set_hook(Box::new(|info| {
        // The message goes into the line of the test; other threads print theirs meanwhile.
        let text = info.to_string();
        MESSAGE.with(|m| {
            let mut message = m.borrow_mut();
            if message.is_empty() {
                *message = text;
            }
        });
    }));
    let queue = Mutex::new(chosen);
    let counts = Mutex::new([0; 3]);
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(trial) = next() {
                    let slot = run_one(trial);
                    counts.lock().unwrap_or_else(PoisonError::into_inner)[slot] += 1;
                }
            });
        }
    });
    set_hook(before);
    counts.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn run_one(trial: Trial<'_>) -> usize {
    let Trial { name, body } = trial;
    let begun = Instant::now();
    MESSAGE.with(|m| m.borrow_mut().clear());
    let done = catch_unwind(AssertUnwindSafe(body));
    let took = begun.elapsed();
    let slow = if took >= SLOW { format!(" ({:.0}s)", took.as_secs_f64()) } else { String::new() };
    match done {
        Ok(Ok(())) => {
            println!("ok {name}{slow}");
            0
        }
        Ok(Err(Skip(reason))) => {
            println!("SKIP {name}: {reason}");
            2
        }
        Err(_) => {
            let message = MESSAGE.with(|m| m.borrow().clone());
            println!("FAIL {name}{slow}: {message}");
            1
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(text: &str) -> Arguments {
        Arguments::parse(text.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn arguments_of_cargo_and_nextest_are_understood() {
        let list = arguments("--list --format terse");
        assert!(list.list && list.names.is_empty());
        let exact = arguments("a::b --exact --nocapture --test-threads=3");
        assert!(exact.wants("a::b") && !exact.wants("a::bc"));
        assert_eq!(exact.threads, Some(3));
        assert!(arguments("bc").wants("a::bc") && !arguments("--skip bc").wants("a::bc"));
        assert!(!arguments("--list --format terse --ignored").wants("a"));
    }

    #[test]
    fn passing_failing_and_skipped_tests_are_counted_apart() {
        let trials = || {
            vec![
                Trial::new("good", || Ok(())),
                Trial::new("bad", || panic!("no")),
                Trial::new("skipped", || Err(Skip::because("why"))),
            ]
        };
        assert_eq!(run_trials(trials(), &arguments(""), 2), 1);
        assert_eq!(run_trials(trials(), &arguments("good --exact"), 2), 0);
        assert_eq!(run_trials(trials(), &arguments("skipped"), 1), 0);
    }
}
