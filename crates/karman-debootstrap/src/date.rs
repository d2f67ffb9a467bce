//! Dates of archives: `Sat, 21 Nov 2026 09:15:44 UTC` in Release files, `20261121T091544Z` in snapshots.

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Seconds in a day.
pub(crate) const DAY: u64 = 86_400;

/// Seconds since 1970 of a `Date` or `Valid-Until` field. Only UTC is legal there.
pub(crate) fn parse_release(text: &str) -> Option<u64> {
    let after_weekday = text.split_once(',').map_or(text, |(_, rest)| rest);
    let mut words = after_weekday.split_ascii_whitespace();
    let day = words.next()?.parse().ok()?;
    let name = words.next()?;
    let month = MONTHS.iter().position(|month| *month == name)? as u64 + 1;
    let year = words.next()?.parse().ok()?;
    let mut clock = words.next()?.split(':').map(|part| part.parse::<u64>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    let zone = words.next()?;
    let utc = matches!(zone, "UTC" | "GMT" | "Z" | "+0000");
    if !utc || clock.next().is_some() || words.next().is_some() {
        return None;
    }
    seconds(year, month, day, [hour, minute, second])
}

/// Seconds since 1970 of a snapshot's time, `YYYYMMDDTHHMMSSZ`.
pub(crate) fn parse_snapshot(text: &str) -> Option<u64> {
    let bytes = text.as_bytes();
    let digits = |from: usize, to: usize| -> Option<u64> {
        let part = bytes.get(from..to)?;
        part.iter().all(u8::is_ascii_digit).then_some(())?;
        std::str::from_utf8(part).ok()?.parse().ok()
    };
    if bytes.len() != 16 || bytes[8] != b'T' || bytes[15] != b'Z' {
        return None;
    }
    let time = [digits(9, 11)?, digits(11, 13)?, digits(13, 15)?];
    seconds(digits(0, 4)?, digits(4, 6)?, digits(6, 8)?, time)
}

/// `2026-11-21 09:15:44 UTC`, for messages.
pub(crate) fn format_utc(time: u64) -> String {
    let (days, clock) = (time / DAY + 719_468, time % DAY);
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (clock / 3600, clock / 60 % 60, clock % 60);
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

/// Days-from-civil: <https://howardhinnant.github.io/date_algorithms.html#days_from_civil>.
fn seconds(year: u64, month: u64, day: u64, [hour, minute, second]: [u64; 3]) -> Option<u64> {
    let in_range = (1970..10_000).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    if !in_range {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year / 400, year % 400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year;
    let days = days.checked_sub(719_468)?;
    Some(days * DAY + hour * 3600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn release_dates_as_debian_and_ubuntu_write_them() {
        assert_eq!(parse_release("Sat, 21 Nov 2026 09:15:44 UTC"), Some(1_795_252_544));
        assert_eq!(parse_release("Sun, 22 Nov 2026  0:19:16 UTC"), Some(1_795_306_756));
        assert_eq!(parse_release("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(parse_release("Thu, 29 Feb 2024 00:00:00 +0000"), Some(1_709_164_800));
    }

    #[test]
    fn anything_else_is_refused() {
        for text in
            ["", "Sat, 21 Nov 2026 09:15:44 +0200", "21 Nov 2026", "Sat, 21 Nov 2026 25:15:44 UTC"]
        {
            assert_eq!(parse_release(text), None, "{text}");
        }
    }

    #[test]
    fn dates_are_printed_as_they_were_read() {
        assert_eq!(format_utc(1_795_252_544), "2026-11-21 09:15:44 UTC");
        assert_eq!(format_utc(1_709_164_800), "2024-02-29 00:00:00 UTC");
    }

    #[test]
    fn snapshot_times() {
        assert_eq!(parse_snapshot("20261121T091544Z"), Some(1_795_252_544));
        assert_eq!(parse_snapshot("20261121T091544"), None);
        assert_eq!(parse_snapshot("20261321T091544Z"), None);
        assert_eq!(parse_snapshot("2026112\u{e9}091544Z"), None);
    }
}
