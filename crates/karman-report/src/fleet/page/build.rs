//! The timeline of a build: one bar a step, the critical path marked.

use super::super::Timeline;
use super::super::timeline::Step;
use super::html::escape;

/// Steps that are drawn: the longest, and those of the critical path.
const MAX_STEPS: usize = 60;
const ROW: usize = 22;
const WIDTH: f64 = 1000.0;
/// Where bars begin; names are left of it.
const LEFT: f64 = 380.0;
/// The longest name that fits.
const MAX_NAME: usize = 54;

/// The timeline as a picture and in words.
pub(super) fn timeline(timeline: &Timeline) -> String {
    let total = timeline.milliseconds.max(1) as f64;
    let path: Vec<&Step> = timeline.steps.iter().filter(|s| s.critical).collect();
    let on_path: u64 = path.iter().map(|s| s.end - s.begin).sum();
    let mut out = format!(
        "<p>{:.1} s, {} steps ran, {} were cached. The critical path has {} steps and {:.1} s; its bars are dark.</p>\n",
        total / 1000.0,
        timeline.steps.len(),
        timeline.cached,
        path.len(),
        on_path as f64 / 1000.0
    );
    let mut chosen: Vec<usize> = (0..timeline.steps.len()).collect();
    chosen.sort_by_key(|at| {
        let step = &timeline.steps[*at];
        (!step.critical, std::cmp::Reverse(step.end - step.begin), *at)
    });
    chosen.truncate(MAX_STEPS);
    chosen.sort_unstable();
    let height = ROW * (chosen.len() + 1);
    out.push_str(&format!(
        "<div class=\"scroll\" tabindex=\"0\"><svg class=\"build\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"Timeline of the build\">\n"
    ));
    for (row, at) in chosen.iter().enumerate() {
        out.push_str(&bar(&timeline.steps[*at], row, total));
    }
    let y = height - 6;
    for tenth in [0.0, 0.5, 1.0] {
        let (x, anchor) =
            (LEFT + (WIDTH - LEFT) * tenth, if tenth > 0.9 { "end" } else { "start" });
        let time = total * tenth / 1000.0;
        out.push_str(&format!(
            "<text x=\"{x:.1}\" y=\"{y}\" text-anchor=\"{anchor}\">{time:.1} s</text>\n"
        ));
    }
    out + "</svg></div>\n"
}

fn bar(step: &Step, row: usize, total: f64) -> String {
    let scale = (WIDTH - LEFT) / total;
    let (x, width) = (LEFT + step.begin as f64 * scale, (step.end - step.begin) as f64 * scale);
    let y = row * ROW;
    let class = if step.critical { "critical" } else { "step" };
    let mut name: String = step.name.chars().take(MAX_NAME).collect();
    if name.len() < step.name.len() {
        name.push('…');
    }
    format!(
        "<g><title>{}: {:.2} s</title><text x=\"{:.0}\" y=\"{}\" text-anchor=\"end\">{}</text>\
         <rect class=\"{class}\" x=\"{x:.1}\" y=\"{}\" width=\"{:.1}\" height=\"{}\"/></g>\n",
        escape(&step.name),
        (step.end - step.begin) as f64 / 1000.0,
        LEFT - 8.0,
        y + 15,
        escape(&name),
        y + 3,
        width.max(1.5),
        ROW - 6
    )
}
