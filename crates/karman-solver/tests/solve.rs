//! The solver with fake ops.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use karman_solver::{Cancel, Failure, Outcome, Subject, VertexId, solve, solve_what_can};

#[derive(Default)]
struct Fake {
    inputs: Vec<Vec<VertexId>>,
    cached: BTreeMap<VertexId, String>,
    by_content: BTreeMap<String, String>,
    failing: BTreeSet<VertexId>,
    pause: Duration,
    ran: Mutex<Vec<VertexId>>,
    outcomes: Mutex<BTreeMap<VertexId, Outcome>>,
    running: AtomicUsize,
    most_running: AtomicUsize,
}

impl Subject for Fake {
    type Output = String;
    type Error = String;

    fn inputs(&self, vertex: VertexId) -> &[VertexId] {
        &self.inputs[vertex]
    }

    fn by_definition(&self, vertex: VertexId) -> Result<Option<String>, String> {
        Ok(self.cached.get(&vertex).cloned())
    }

    fn by_content(&self, vertex: VertexId, inputs: &[String]) -> Result<Option<String>, String> {
        Ok(self.by_content.get(&format!("{vertex}({})", inputs.join(","))).cloned())
    }

    fn run(&self, v: VertexId, inputs: &[String], cancel: &Cancel) -> Result<String, String> {
        let now = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_running.fetch_max(now, Ordering::SeqCst);
        std::thread::sleep(self.pause);
        self.running.fetch_sub(1, Ordering::SeqCst);
        if cancel.is_cancelled() {
            return Err("cancelled".to_owned());
        }
        self.ran.lock().unwrap().push(v);
        if self.failing.contains(&v) {
            Err(format!("{v} fails"))
        } else {
            Ok(format!("{v}[{}]", inputs.join(" ")))
        }
    }

    fn finished(&self, vertex: VertexId, outcome: Outcome, _: &String) {
        self.outcomes.lock().unwrap().insert(vertex, outcome);
    }
}

/// 0 ← 1, 0 ← 2, (1, 2) ← 3; 4 hangs off 0 and nobody asks for it.
fn diamond() -> Fake {
    Fake { inputs: vec![vec![], vec![0], vec![0], vec![1, 2], vec![0]], ..Fake::default() }
}

#[test]
fn a_shared_input_runs_once_and_the_unneeded_never() {
    let fake = diamond();
    let out = solve(&fake, &[3], 4, &Cancel::new()).unwrap();
    assert_eq!(out, ["3[1[0[]] 2[0[]]]"]);
    let mut ran = fake.ran.into_inner().unwrap();
    ran.sort_unstable();
    assert_eq!(ran, [0, 1, 2, 3]);
}

#[test]
fn a_definition_hit_leaves_the_inputs_alone() {
    let mut fake = diamond();
    fake.cached.insert(3, "old".into());
    assert_eq!(solve(&fake, &[3], 2, &Cancel::new()).unwrap(), ["old"]);
    assert!(fake.ran.into_inner().unwrap().is_empty());
    assert_eq!(fake.outcomes.into_inner().unwrap(), BTreeMap::from([(3, Outcome::DefinitionHit)]));
}

#[test]
fn a_content_hit_skips_the_work_after_the_inputs_ran() {
    let mut fake = diamond();
    fake.by_content.insert("1(0[])".into(), "same".into());
    assert_eq!(solve(&fake, &[3], 2, &Cancel::new()).unwrap(), ["3[same 2[0[]]]"]);
    assert_eq!(fake.outcomes.into_inner().unwrap()[&1], Outcome::ContentHit);
}

#[test]
fn independent_vertices_run_at_once() {
    let mut fake = Fake { inputs: vec![vec![], vec![], vec![], vec![0, 1, 2]], ..Fake::default() };
    fake.pause = Duration::from_millis(50);
    solve(&fake, &[3], 3, &Cancel::new()).unwrap();
    assert_eq!(fake.most_running.into_inner(), 3);
}

#[test]
fn the_first_failure_stops_the_rest() {
    let mut fake = diamond();
    fake.failing.insert(1);
    match solve(&fake, &[3, 4], 1, &Cancel::new()) {
        Err(Failure::Vertex(1, message)) => assert_eq!(message, "1 fails"),
        other => panic!("{other:?}"),
    }
    assert!(!fake.ran.into_inner().unwrap().contains(&3));
}

#[test]
fn what_does_not_need_a_failure_goes_on() {
    for threads in [1, 4] {
        let mut fake = diamond();
        fake.failing.insert(1);
        let part = solve_what_can(&fake, &[3, 4, 2, 1], threads, &Cancel::new()).unwrap();
        let done = |text: &str| Ok(text.to_owned());
        assert_eq!(part.results, [Err(1), done("4[0[]]"), done("2[0[]]"), Err(1)]);
        assert_eq!(part.failures, BTreeMap::from([(1, "1 fails".to_owned())]));
        assert!(!fake.ran.into_inner().unwrap().contains(&3));
    }
}

#[test]
fn two_failures_are_both_told_and_each_user_names_one() {
    let mut fake = diamond();
    fake.failing.extend([1, 2]);
    let part = solve_what_can(&fake, &[3], 1, &Cancel::new()).unwrap();
    assert!(matches!(part.results[..], [Err(1 | 2)]), "{part:?}");
    assert_eq!(part.failures.len(), 2);
}

#[test]
fn a_cancelled_solve_that_goes_on_ends_too() {
    let cancel = Cancel::new();
    cancel.cancel();
    assert!(matches!(solve_what_can(&diamond(), &[3], 2, &cancel), Err(Failure::Cancelled)));
}

#[test]
fn a_cancelled_solve_ends() {
    let cancel = Cancel::new();
    cancel.cancel();
    assert!(matches!(solve(&diamond(), &[3], 2, &cancel), Err(Failure::Cancelled)));
}

#[test]
fn the_same_vertex_twice_as_input_and_target_is_fine() {
    let fake = Fake { inputs: vec![vec![], vec![0, 0]], ..Fake::default() };
    assert_eq!(
        solve(&fake, &[1, 1, 0], 2, &Cancel::new()).unwrap(),
        ["1[0[] 0[]]", "1[0[] 0[]]", "0[]"]
    );
}
