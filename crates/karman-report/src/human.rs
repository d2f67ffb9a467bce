//! Sizes, durations and ages as docker prints them.

use std::time::Duration;

const SIZE_UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];

/// Up to here a total counts things: nothing so small is fetched with progress.
const MAX_COUNT: u64 = 999;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const WEEK: u64 = 7 * DAY;
const MONTH: u64 = 30 * DAY;
const YEAR: u64 = 365 * DAY;

/// Bytes in powers of 1000 with three significant digits: `77.8MB`.
pub fn human_size(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < SIZE_UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let decimals = match value {
        _ if unit == 0 => 0,
        v if v >= 99.95 => 0,
        v if v >= 9.995 => 1,
        _ => 2,
    };
    let mut number = format!("{value:.decimals$}");
    if number.contains('.') {
        number.truncate(number.trim_end_matches('0').trim_end_matches('.').len());
    }
    format!("{number}{}", SIZE_UNITS[unit])
}

/// Bytes with one decimal, as progress shows them: `10.0MB`.
fn progress_size(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < SIZE_UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes}B") } else { format!("{value:.1}{}", SIZE_UNITS[unit]) }
}

/// Progress of a part: bytes, or a count where the whole is too small to be worth bytes (layers).
pub(crate) fn progress(current: u64, total: u64) -> String {
    match total {
        0 => progress_size(current),
        1..=MAX_COUNT => format!("{current} / {total}"),
        _ => format!("{} / {}", progress_size(current), progress_size(total)),
    }
}

/// Seconds with one decimal: `12.3s`.
pub fn human_duration(duration: Duration) -> String {
    format!("{:.1}s", duration.as_secs_f64())
}

/// Seconds in five characters, as buildx stamps log lines: `0.123`, `12.34`, `123.4`.
pub(crate) fn stamp(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    match seconds {
        s if s < 10.0 => format!("{s:.3}"),
        s if s < 100.0 => format!("{s:.2}"),
        s if s < 1000.0 => format!("{s:.1}"),
        s => format!("{s:.0}"),
    }
}

/// How long ago: `2 hours ago`.
pub fn human_age(age: Duration) -> String {
    let seconds = age.as_secs();
    let count = |n: u64, unit: &str| match n {
        1 => format!("1 {unit} ago"),
        n => format!("{n} {unit}s ago"),
    };
    match seconds {
        0 => "Less than a second ago".to_owned(),
        s if s < MINUTE => count(s, "second"),
        s if s < 2 * MINUTE => "About a minute ago".to_owned(),
        s if s < HOUR => count(s / MINUTE, "minute"),
        s if s < 2 * HOUR => "About an hour ago".to_owned(),
        s if s < 2 * DAY => count(s / HOUR, "hour"),
        s if s < 2 * WEEK => count(s / DAY, "day"),
        s if s < 2 * MONTH => count(s / WEEK, "week"),
        s if s < 2 * YEAR => count(s / MONTH, "month"),
        s => count(s / YEAR, "year"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits() {
        let cases = [
            (0, "0B"),
            (999, "999B"),
            (1000, "1kB"),
            (1234, "1.23kB"),
            (77_800_000, "77.8MB"),
            (124_432_111, "124MB"),
            (999_999_999, "1GB"),
        ];
        for (bytes, want) in cases {
            assert_eq!(human_size(bytes), want);
        }
    }

    #[test]
    fn stamps_have_five_characters() {
        let of = |ms| stamp(Duration::from_millis(ms));
        assert_eq!([of(123), of(12_340), of(123_400)], ["0.123", "12.34", "123.4"]);
    }

    #[test]
    fn ages_read_as_docker_writes_them() {
        let of = |s| human_age(Duration::from_secs(s));
        assert_eq!(of(5), "5 seconds ago");
        assert_eq!(of(3 * HOUR), "3 hours ago");
        assert_eq!(of(3 * DAY), "3 days ago");
    }
}
