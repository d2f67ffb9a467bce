//! The difference between two texts, line by line.

/// Lines of both texts together that are compared; more are shown as replaced altogether.
const MAX_CELLS: usize = 4_000_000;

/// The lines that went and came: `-` and `+`, in their order, without what stayed.
pub(super) fn changed_lines(old: &str, new: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let same = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let (old, new) = (&old[same..], &new[same..]);
    let tail = old.iter().rev().zip(new.iter().rev()).take_while(|(a, b)| a == b).count();
    let (old, new) = (&old[..old.len() - tail], &new[..new.len() - tail]);
    let mut out = String::new();
    let kept =
        if old.len().saturating_mul(new.len()) > MAX_CELLS { Vec::new() } else { common(old, new) };
    let (mut i, mut j) = (0, 0);
    for (a, b) in kept.into_iter().chain([(old.len(), new.len())]) {
        out.extend(old[i..a].iter().map(|line| format!("-{line}\n")));
        out.extend(new[j..b].iter().map(|line| format!("+{line}\n")));
        (i, j) = (a + 1, b + 1);
    }
    out
}

/// The longest common subsequence, as pairs of indexes.
fn common(old: &[&str], new: &[&str]) -> Vec<(usize, usize)> {
    let width = new.len() + 1;
    let mut lengths = vec![0u32; (old.len() + 1) * width];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            lengths[i * width + j] = if old[i] == new[j] {
                lengths[(i + 1) * width + j + 1] + 1
            } else {
                lengths[(i + 1) * width + j].max(lengths[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j, mut pairs) = (0, 0, Vec::new());
    while i < old.len() && j < new.len() {
        if old[i] == new[j] {
            pairs.push((i, j));
            (i, j) = (i + 1, j + 1);
        } else if lengths[(i + 1) * width + j] >= lengths[i * width + j + 1] {
            i += 1;
        } else {
            j += 1;
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_changed_is_shown() {
        assert_eq!(changed_lines("a\nb\nc\n", "a\nx\nc\ny\n"), "-b\n+x\n+y\n");
        assert_eq!(changed_lines("a\n", "a\n"), "");
        assert_eq!(changed_lines("", "a\nb\n"), "+a\n+b\n");
        assert_eq!(changed_lines("a\nb\na\n", "a\n"), "-b\n-a\n");
    }
}
