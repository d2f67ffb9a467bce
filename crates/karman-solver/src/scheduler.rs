//! The scheduler: a queue of tasks, some threads, one lock.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::{Cancel, Failure, Outcome, Subject, VertexId};

/// Solves `targets` with up to `threads` vertices at once; gives the targets' results in order.
///
/// # Errors
/// The first failure, after everything that ran has stopped.
///
/// # Panics
/// When the subject panics.
pub fn solve<S: Subject>(
    subject: &S,
    targets: &[VertexId],
    threads: usize,
    cancel: &Cancel,
) -> Result<Vec<S::Output>, Failure<S::Error>> {
    let scheduler =
        Scheduler { subject, cancel, state: Mutex::new(State::default()), wake: Condvar::new() };
    {
        let mut state = scheduler.lock();
        for &target in targets {
            state.demand(target);
        }
    }
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| scheduler.work());
        }
    });
    let mut state = scheduler.lock();
    if let Some(failure) = state.failure.take() {
        return Err(failure);
    }
    let results: Option<Vec<_>> = targets.iter().map(|t| state.output(*t)).collect();
    results.ok_or(Failure::Cancelled)
}

/// One step on the way to a vertex's result.
#[derive(Debug, Clone, Copy)]
enum Task {
    /// Try the definition key.
    Check(VertexId),
    /// Inputs are there: try the content key, then run.
    Run(VertexId),
}

enum Slot<O> {
    /// Asked for; a task for it is queued or under way.
    Demanded,
    /// Its inputs are on their way.
    Waiting { missing: usize },
    /// There.
    Done(O),
}

struct State<O, E> {
    slots: BTreeMap<VertexId, Slot<O>>,
    users: BTreeMap<VertexId, Vec<VertexId>>,
    queue: VecDeque<Task>,
    running: usize,
    failure: Option<Failure<E>>,
}

impl<O, E> Default for State<O, E> {
    fn default() -> Self {
        Self {
            slots: BTreeMap::new(),
            users: BTreeMap::new(),
            queue: VecDeque::new(),
            running: 0,
            failure: None,
        }
    }
}

impl<O: Clone, E> State<O, E> {
    /// Asks for a vertex, once.
    fn demand(&mut self, vertex: VertexId) {
        self.slots.entry(vertex).or_insert_with(|| {
            self.queue.push_back(Task::Check(vertex));
            Slot::Demanded
        });
    }

    fn output(&self, vertex: VertexId) -> Option<O> {
        match self.slots.get(&vertex) {
            Some(Slot::Done(output)) => Some(output.clone()),
            _ => None,
        }
    }

    /// The vertex needs its inputs: demands those that are not there.
    fn wait_for(&mut self, vertex: VertexId, inputs: &[VertexId]) {
        let mut missing = 0;
        for (at, &input) in inputs.iter().enumerate() {
            if inputs[..at].contains(&input) || self.output(input).is_some() {
                continue;
            }
            missing += 1;
            self.users.entry(input).or_default().push(vertex);
            self.demand(input);
        }
        if missing == 0 {
            self.queue.push_back(Task::Run(vertex));
        }
        self.slots.insert(vertex, Slot::Waiting { missing });
    }

    /// The vertex has its result: wakes its users.
    fn complete(&mut self, vertex: VertexId, output: O) {
        self.slots.insert(vertex, Slot::Done(output));
        for user in self.users.remove(&vertex).unwrap_or_default() {
            if let Some(Slot::Waiting { missing }) = self.slots.get_mut(&user) {
                *missing -= 1;
                if *missing == 0 {
                    self.queue.push_back(Task::Run(user));
                }
            }
        }
    }
}

struct Scheduler<'a, S: Subject> {
    subject: &'a S,
    cancel: &'a Cancel,
    state: Mutex<State<S::Output, S::Error>>,
    wake: Condvar,
}

impl<S: Subject> Scheduler<'_, S> {
    fn lock(&self) -> MutexGuard<'_, State<S::Output, S::Error>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One thread's life: takes tasks until nothing is queued and nothing runs.
    fn work(&self) {
        while let Some(task) = self.next() {
            let done = match task {
                Task::Check(vertex) => self.check(vertex),
                Task::Run(vertex) => self.run(vertex),
            };
            let mut state = self.lock();
            state.running -= 1;
            if let Err((vertex, error)) = done {
                let failure = Failure::Vertex(vertex, error);
                state.failure.get_or_insert(failure);
                self.cancel.cancel();
            }
            self.wake.notify_all();
        }
    }

    fn next(&self) -> Option<Task> {
        let mut state = self.lock();
        loop {
            if self.cancel.is_cancelled() {
                state.queue.clear();
            }
            if let Some(task) = state.queue.pop_front() {
                state.running += 1;
                return Some(task);
            }
            if state.running == 0 {
                self.wake.notify_all();
                return None;
            }
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn check(&self, vertex: VertexId) -> Result<(), (VertexId, S::Error)> {
        match self.subject.by_definition(vertex).map_err(|e| (vertex, e))? {
            Some(output) => self.finish(vertex, Outcome::DefinitionHit, output),
            None => self.lock().wait_for(vertex, self.subject.inputs(vertex)),
        }
        Ok(())
    }

    fn run(&self, vertex: VertexId) -> Result<(), (VertexId, S::Error)> {
        let inputs: Vec<S::Output> = {
            let state = self.lock();
            let outputs = self.subject.inputs(vertex).iter().filter_map(|i| state.output(*i));
            outputs.collect()
        };
        let found = self.subject.by_content(vertex, &inputs).map_err(|e| (vertex, e))?;
        if let Some(output) = found {
            self.finish(vertex, Outcome::ContentHit, output);
            return Ok(());
        }
        let ran = self.subject.run(vertex, &inputs, self.cancel).map_err(|e| (vertex, e))?;
        self.finish(vertex, Outcome::Ran, ran);
        Ok(())
    }

    fn finish(&self, vertex: VertexId, outcome: Outcome, output: S::Output) {
        self.subject.finished(vertex, outcome, &output);
        self.lock().complete(vertex, output);
    }
}
