//! The scheduler: a queue of tasks, some threads, one lock.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::{Cancel, Failure, Outcome, Partial, PartlySolved, Subject, VertexId};

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
    let scheduler = Scheduler::new(subject, cancel, false);
    let mut state = scheduler.solve(targets, threads);
    if let Some(failure) = state.failure.take() {
        return Err(failure);
    }
    let results: Option<Vec<_>> = targets.iter().map(|t| state.output(*t)).collect();
    results.ok_or(Failure::Cancelled)
}

/// Solves what can be solved of `targets`: a failure stops only what needs the vertex that failed.
///
/// # Errors
/// [`Failure::Cancelled`], or the failure of a vertex that was running when the caller cancelled.
///
/// # Panics
/// When the subject panics.
pub fn solve_what_can<S: Subject>(
    subject: &S,
    targets: &[VertexId],
    threads: usize,
    cancel: &Cancel,
) -> PartlySolved<S> {
    let scheduler = Scheduler::new(subject, cancel, true);
    let mut state = scheduler.solve(targets, threads);
    if let Some(failure) = state.failure.take() {
        return Err(failure);
    }
    let result = |target: &VertexId| match state.slots.get(target) {
        Some(Slot::Done(output)) => Ok(Ok(output.clone())),
        Some(Slot::Failed(cause)) => Ok(Err(*cause)),
        _ => Err(Failure::Cancelled),
    };
    let results = targets.iter().map(result).collect::<Result<Vec<_>, _>>()?;
    Ok(Partial { results, failures: std::mem::take(&mut state.failures) })
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
    /// It failed, or what it needs did: the vertex that failed.
    Failed(VertexId),
}

struct State<O, E> {
    slots: BTreeMap<VertexId, Slot<O>>,
    users: BTreeMap<VertexId, Vec<VertexId>>,
    queue: VecDeque<Task>,
    running: usize,
    /// What stops the solve.
    failure: Option<Failure<E>>,
    /// What failed of a solve that goes on.
    failures: BTreeMap<VertexId, E>,
}

impl<O, E> Default for State<O, E> {
    fn default() -> Self {
        Self {
            slots: BTreeMap::new(),
            users: BTreeMap::new(),
            queue: VecDeque::new(),
            running: 0,
            failure: None,
            failures: BTreeMap::new(),
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
        let failed = inputs.iter().find_map(|input| match self.slots.get(input) {
            Some(Slot::Failed(cause)) => Some(*cause),
            _ => None,
        });
        if let Some(cause) = failed {
            return self.fail(vertex, cause);
        }
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

    /// The vertex has no result because of `cause`, nor has anything that waits for it.
    fn fail(&mut self, vertex: VertexId, cause: VertexId) {
        let mut stack = vec![vertex];
        while let Some(vertex) = stack.pop() {
            self.slots.insert(vertex, Slot::Failed(cause));
            stack.extend(self.users.remove(&vertex).unwrap_or_default());
        }
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
    /// Whether a failure leaves alone what does not need it.
    keeps_going: bool,
}

impl<'a, S: Subject> Scheduler<'a, S> {
    fn new(subject: &'a S, cancel: &'a Cancel, keeps_going: bool) -> Self {
        let (state, wake) = (Mutex::new(State::default()), Condvar::new());
        Self { subject, cancel, state, wake, keeps_going }
    }

    /// Works until nothing is left to do.
    fn solve(
        &self,
        targets: &[VertexId],
        threads: usize,
    ) -> MutexGuard<'_, State<S::Output, S::Error>> {
        {
            let mut state = self.lock();
            for &target in targets {
                state.demand(target);
            }
        }
        std::thread::scope(|scope| {
            for _ in 0..threads.max(1) {
                scope.spawn(|| self.work());
            }
        });
        self.lock()
    }

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
                if self.keeps_going && !self.cancel.is_cancelled() {
                    state.fail(vertex, vertex);
                    state.failures.insert(vertex, error);
                    self.wake.notify_all();
                    continue;
                }
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
