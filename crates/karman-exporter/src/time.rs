//! Which modification time a tar entry gets.

use karman_sys::fs::Time;

/// How the times of files become the times of tar entries. Entries carry whole seconds (rounded down): fractions
/// differ between file systems and would make the same tree two layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TimePolicy<'a> {
    /// Seconds since 1970 that replace times which must not be kept (`SOURCE_DATE_EPOCH`, otherwise 0).
    pub epoch: i64,
    /// When the build's own commands ran, in nanoseconds since 1970, both ends included. A file changed then has no
    /// time worth keeping and gets the epoch, so that building twice gives the same bytes.
    pub windows: &'a [(i64, i64)],
    /// Whether times later than the epoch become the epoch (`rewrite-timestamp`).
    pub clamp_later: bool,
}

impl TimePolicy<'_> {
    /// Keeps every time (whole seconds of it).
    pub const KEEP: Self = Self { epoch: 0, windows: &[], clamp_later: false };

    /// The seconds an entry gets for a file's time.
    #[must_use]
    pub fn apply(&self, time: Time) -> i64 {
        let nanos = time.as_nanos();
        let own = self.windows.iter().any(|(start, end)| (*start..=*end).contains(&nanos));
        if own || (self.clamp_later && time.sec > self.epoch) { self.epoch } else { time.sec }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_times_and_later_times_become_the_epoch() {
        let at = |sec| Time { sec, nsec: 5 };
        let second = 1_000_000_000;
        let own =
            TimePolicy { epoch: 7, windows: &[(100 * second, 200 * second)], clamp_later: false };
        assert_eq!(own.apply(at(99)), 99);
        assert_eq!(own.apply(at(150)), 7);
        assert_eq!(own.apply(at(200)), 200);
        let clamp = TimePolicy { epoch: 100, windows: &[], clamp_later: true };
        assert_eq!(
            [clamp.apply(at(99)), clamp.apply(at(100)), clamp.apply(at(101))],
            [99, 100, 100]
        );
        assert_eq!(TimePolicy::KEEP.apply(at(-5)), -5);
    }
}
