//! Damaged copies of good inputs: deterministic, so that a finding can be repeated by its number.

/// A small generator of numbers (xorshift): the same seed gives the same numbers on every machine.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// A generator; seed 0 counts as 1.
    pub fn new(seed: u64) -> Self {
        Self(seed.max(1))
    }

    /// A number below `n`; 0 where `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % (n.max(1) as u64)).unwrap_or(0)
    }
}

/// Pieces that mean something in more than one of the languages read here.
const PIECES: [&[u8]; 24] = [
    b"\0",
    b"\n",
    b"\r\n",
    b" ",
    b"\\",
    b"\"",
    b"'",
    b"$",
    b"${",
    b"}",
    b":-",
    b"[",
    b"]",
    b"(",
    b")",
    b",",
    b"=",
    b"*",
    b"**/",
    b"!",
    b"../",
    b"-1",
    b"99999999999999999999",
    b"\xff\xfe",
];
/// The most changes to one input.
const MAX_CHANGES: usize = 4;
/// Repeating a piece doubles it at most so often.
const MAX_DOUBLINGS: usize = 6;
/// Mutated inputs do not grow beyond this many bytes.
const MAX_BYTES: usize = 64 << 10;

/// A damaged copy of `input`; `other` lends pieces.
pub fn mutate(input: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
    let mut out = input.to_vec();
    for _ in 0..=random.below(MAX_CHANGES) {
        change(&mut out, other, random);
    }
    out.truncate(MAX_BYTES);
    out
}

fn change(out: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    let (from, to) = range(out.len(), random);
    match random.below(7) {
        0 if !out.is_empty() => {
            let at = random.below(out.len());
            out[at] ^= 1 << random.below(8);
        }
        1 => drop(out.drain(from..to)),
        2 => {
            let mut piece = out[from..to].to_vec();
            for _ in 0..random.below(MAX_DOUBLINGS) {
                piece.extend_from_within(..);
            }
            piece.truncate(MAX_BYTES);
            drop(out.splice(to..to, piece));
        }
        3 => {
            let piece = out[from..to].to_vec();
            let at = random.below(out.len() + 1);
            drop(out.splice(at..at, piece));
        }
        4 => {
            let (first, last) = range(other.len(), random);
            drop(out.splice(from..to, other[first..last].iter().copied()));
        }
        5 => {
            let digits: Vec<usize> =
                (0..out.len()).filter(|at| out[*at].is_ascii_digit()).collect();
            if let Some(at) = digits.get(random.below(digits.len())) {
                out[*at] = b'0' + u8::try_from(random.below(10)).unwrap_or(0);
            }
        }
        _ => {
            let piece = PIECES[random.below(PIECES.len())];
            drop(out.splice(from..from, piece.iter().copied()));
        }
    }
}

/// Some part, mostly a short one.
fn range(length: usize, random: &mut Random) -> (usize, usize) {
    let from = random.below(length + 1);
    let most = if random.below(4) == 0 { length - from } else { (length - from).min(16) };
    (from, from + random.below(most + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_inputs_and_they_differ() {
        let run = |seed| {
            let mut random = Random::new(seed);
            (0..200).map(|_| mutate(b"FROM a1\nRUN b\n", b"other", &mut random)).collect::<Vec<_>>()
        };
        assert_eq!(run(3), run(3));
        assert_ne!(run(3), run(4));
        let different: std::collections::BTreeSet<_> = run(3).into_iter().collect();
        assert!(different.len() > 150, "only {} different inputs", different.len());
    }

    #[test]
    fn nothing_to_mutate_is_no_trouble_and_growth_ends() {
        let mut random = Random::new(9);
        let mut input = Vec::new();
        for _ in 0..2000 {
            input = mutate(&input, &[], &mut random);
            assert!(input.len() <= MAX_BYTES);
        }
    }
}
