//! The steps of a build from the record that `--progress=rawjson` writes, and its critical path.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Steps read of one record; a fleet of forty images has some thousands.
const MAX_STEPS: usize = 100_000;

/// A build as it went.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Timeline {
    /// Milliseconds from the first step's begin to the last one's end.
    pub milliseconds: u64,
    /// The steps that ran, in the order in which they began. Cached ones are only counted.
    pub steps: Vec<Step>,
    /// How many steps were cached.
    pub cached: usize,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Its name.
    pub name: String,
    /// Milliseconds after the build began.
    pub begin: u64,
    /// Milliseconds after the build began.
    pub end: u64,
    /// Whether the build would have ended earlier without it: the steps back from the last one, each
    /// the one that ended last before the next began.
    pub critical: bool,
}

#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    vertexes: Vec<Vertex>,
}

#[derive(Deserialize)]
struct Vertex {
    digest: String,
    name: String,
    started: Option<f64>,
    completed: Option<f64>,
    #[serde(default)]
    cached: bool,
}

impl Timeline {
    /// Reads the lines of `--progress=rawjson`; other lines are passed over. `None` where no step is in them.
    pub fn parse(record: &str) -> Option<Self> {
        let mut vertexes: BTreeMap<String, Vertex> = BTreeMap::new();
        for line in record.lines() {
            let Ok(line) = serde_json::from_str::<Line>(line) else { continue };
            for vertex in line.vertexes {
                if vertexes.len() < MAX_STEPS || vertexes.contains_key(&vertex.digest) {
                    vertexes.insert(vertex.digest.clone(), vertex);
                }
            }
        }
        let cached = vertexes.values().filter(|v| v.cached).count();
        let mut steps: Vec<Step> = vertexes
            .into_values()
            .filter(|v| !v.cached)
            .filter_map(|v| {
                let (begin, end) = (milliseconds(v.started?), milliseconds(v.completed?));
                Some(Step { name: v.name, begin, end: end.max(begin), critical: false })
            })
            .collect();
        if steps.is_empty() && cached == 0 {
            return None;
        }
        let first = steps.iter().map(|s| s.begin).min().unwrap_or(0);
        for step in &mut steps {
            step.begin -= first;
            step.end -= first;
        }
        steps.sort_by(|a, b| (a.begin, a.end, &a.name).cmp(&(b.begin, b.end, &b.name)));
        mark_critical(&mut steps);
        let milliseconds = steps.iter().map(|s| s.end).max().unwrap_or(0);
        Some(Self { milliseconds, steps, cached })
    }
}

fn milliseconds(seconds: f64) -> u64 {
    // Saturates, and what is no number is zero.
    (seconds * 1000.0).round() as u64
}

fn mark_critical(steps: &mut [Step]) {
    let mut next = (0..steps.len()).max_by_key(|at| steps[*at].end);
    while let Some(at) = next {
        steps[at].critical = true;
        let begin = steps[at].begin;
        let before = (0..steps.len()).filter(|b| !steps[*b].critical && steps[*b].end <= begin);
        next = before.max_by_key(|b| (steps[*b].end, steps[*b].begin));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_critical_path_goes_back_from_the_last_step() {
        let record = r#"
not JSON
{"vertexes":[{"digest":"a","name":"base","started":1.0}]}
{"vertexes":[{"digest":"a","name":"base","started":1.0,"completed":2.0}]}
{"vertexes":[{"digest":"b","name":"short","started":2.0,"completed":2.5}]}
{"vertexes":[{"digest":"c","name":"long","started":2.0,"completed":6.0}]}
{"vertexes":[{"digest":"d","name":"export","started":6.1,"completed":7.0}]}
{"vertexes":[{"digest":"e","name":"old","started":1.0,"completed":1.0,"cached":true}]}
{"logs":[{"vertex":"a","data":"x"}]}
"#;
        let timeline = Timeline::parse(record).expect("steps");
        assert_eq!((timeline.milliseconds, timeline.cached), (6000, 1));
        let critical: Vec<&str> =
            timeline.steps.iter().filter(|s| s.critical).map(|s| s.name.as_str()).collect();
        assert_eq!(critical, ["base", "long", "export"]);
        assert_eq!(Timeline::parse("nothing\n{}\n"), None);
    }
}
