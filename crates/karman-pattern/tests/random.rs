//! Comparison with a reference that is slow and obviously right.

use karman_pattern::{Decision, MatchState, Matcher, Pattern};

const ROUNDS: usize = 40_000;

/// A small deterministic generator (xorshift), so that failures can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % (n as u64)).expect("small")
    }

    fn pick(&mut self, from: &[&str], max: usize) -> String {
        (0..=self.below(max)).map(|_| from[self.below(from.len())]).collect()
    }
}

/// moby's regular expression for a pattern, walked by recursion.
fn reference(pattern: &[char], path: &[char]) -> bool {
    match pattern {
        [] => path.is_empty(),
        ['*', '*', rest @ ..] => {
            let rest = rest.strip_prefix(&['/']).unwrap_or(rest);
            let after_slash = (1..=path.len())
                .filter(|n| path[n - 1] == '/')
                .any(|n| reference(rest, &path[n..]));
            rest.is_empty() || reference(rest, path) || after_slash
        }
        ['*', rest @ ..] => {
            let stop = path.iter().position(|c| *c == '/').unwrap_or(path.len());
            (0..=stop).any(|n| reference(rest, &path[n..]))
        }
        ['?', rest @ ..] => path.first().is_some_and(|c| *c != '/') && reference(rest, &path[1..]),
        [c, rest @ ..] => path.first() == Some(c) && reference(rest, &path[1..]),
    }
}

fn naive(pattern: &str, path: &str) -> bool {
    let plain = |t: &str| !t.contains(['*', '?']);
    // moby matches `**literal` by its ending alone, without regard to slashes.
    if let Some(rest) = pattern.strip_prefix("**")
        && plain(rest)
    {
        return path.ends_with(rest) || rest.strip_prefix('/') == Some(path);
    }
    let chars = |t: &str| t.chars().collect::<Vec<_>>();
    reference(&chars(pattern), &chars(path))
}

#[test]
fn single_patterns_agree_with_the_reference() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut hits = 0;
    for _ in 0..ROUNDS {
        let pattern = random.pick(&["a", "b", "/", "*", "**", "**/", "?"], 5);
        let path = random.pick(&["a", "b", "ab", "/", "c"], 6);
        let compiled = Pattern::compile(&pattern).expect("no brackets, so well-formed");
        let want = naive(&pattern, &path);
        hits += usize::from(want);
        assert_eq!(compiled.matches(&path), want, "{pattern} on {path}");
    }
    assert!(hits > ROUNDS / 20, "only {hits} matches: the generator is of no use");
}

#[test]
fn walking_and_asking_agree_and_no_kept_path_is_missed() {
    let mut random = Random(42);
    for _ in 0..ROUNDS / 4 {
        let count = 1 + random.below(4);
        let patterns: Vec<String> = (0..count)
            .map(|_| {
                let mark = ["", "", "!"][random.below(3)];
                let body = random.pick(&["a", "b", "*", "a/b", "**/a", "b/*", "a/**"], 1);
                format!("{mark}{body}")
            })
            .collect();
        let matcher = Matcher::new(&patterns).expect("well-formed");
        let parts: Vec<&str> = (0..=random.below(4)).map(|_| ["a", "b"][random.below(2)]).collect();
        let mut state = MatchState::default();
        let mut dropped = false;
        for depth in 1..=parts.len() {
            let path = parts[..depth].join("/");
            let (decision, below) = matcher.step(&path, true, &state);
            state = below;
            assert_eq!(decision, matcher.decide(&path, true), "{patterns:?} on {path}");
            if dropped {
                assert_ne!(decision, Decision::Keep, "{patterns:?} hides {path}");
            }
            dropped |= decision == Decision::Drop;
        }
    }
}

#[test]
fn a_hundred_thousand_paths_take_little_time() {
    let patterns = ["**/*.pyc", "**/node_modules", ".git", "docs/**/*.md", "!docs/README.md", "*~"];
    let matcher = Matcher::new(&patterns).expect("well-formed");
    let start = std::time::Instant::now();
    let kept = (0..100_000)
        .filter(|n| {
            !matcher.excluded(&format!("src/module{}/part{}/file{n}.py", n % 97, n % 7), false)
        })
        .count();
    assert_eq!(kept, 100_000);
    assert!(start.elapsed().as_secs() < 20, "took {:?} even for a debug build", start.elapsed());
}
