//! Calendar days.

use std::fmt;
use std::str::FromStr;

/// A day of the Gregorian calendar, written `YYYY-MM-DD`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date {
    year: u16,
    month: u8,
    day: u8,
}

/// Why a text is no [`Date`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DateError {
    /// Not of the form `YYYY-MM-DD`.
    #[error("`{0}` is not a date of the form `YYYY-MM-DD`")]
    Form(String),
    /// No such day.
    #[error("`{0}` is not a day of the calendar")]
    NoSuchDay(String),
}

impl Date {
    /// The last second of the day in RFC 3339. A bare date would be read in the time zone of the
    /// machine, and the same file would give different answers in different places.
    pub fn last_second(self) -> String {
        format!("{self}T23:59:59Z")
    }
}

impl Date {
    /// The day of a time in seconds since 1970 (UTC), as civil calendars count; `None` after 9999.
    pub fn of_unix_seconds(seconds: u64) -> Option<Self> {
        let mut days = seconds / 86_400;
        let mut year: u16 = 1970;
        loop {
            let length = (1..=12).map(|month| u64::from(days_in(year, month))).sum::<u64>();
            if days < length {
                break;
            }
            days -= length;
            year = Some(year + 1).filter(|y| *y <= 9999)?;
        }
        let mut month: u16 = 1;
        while days >= u64::from(days_in(year, month)) {
            days -= u64::from(days_in(year, month));
            month += 1;
        }
        Some(Self { year, month: u8::try_from(month).ok()?, day: u8::try_from(days + 1).ok()? })
    }

    /// The first second of the day in RFC 3339.
    pub fn first_second(self) -> String {
        format!("{self}T00:00:00Z")
    }
}

impl FromStr for Date {
    type Err = DateError;

    fn from_str(text: &str) -> Result<Self, DateError> {
        let form = || DateError::Form(text.to_owned());
        let bytes = text.as_bytes();
        let dashes = bytes.len() == 10 && bytes[4] == b'-' && bytes[7] == b'-';
        let digits = |range: std::ops::Range<usize>| {
            let part = text.get(range).filter(|p| p.bytes().all(|b| b.is_ascii_digit()));
            part.and_then(|p| p.parse::<u16>().ok()).ok_or_else(form)
        };
        if !dashes {
            return Err(form());
        }
        let (year, month, day) = (digits(0..4)?, digits(5..7)?, digits(8..10)?);
        if day == 0 || day > days_in(year, month) {
            return Err(DateError::NoSuchDay(text.to_owned()));
        }
        let narrow = |n: u16| u8::try_from(n).map_err(|_| form());
        Ok(Self { year, month: narrow(month)?, day: narrow(day)? })
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

fn days_in(year: u16, month: u16) -> u16 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_print_as_they_were_read_and_compare_by_day() {
        let date = |t: &str| t.parse::<Date>();
        assert_eq!(date("2026-04-15").expect("a date").to_string(), "2026-04-15");
        assert!(date("2026-04-15").ok() < date("2026-05-01").ok());
        assert_eq!(
            date("2026-04-15").expect("a date").last_second(),
            "2026-04-15T23:59:59Z".to_owned()
        );
    }

    #[test]
    fn seconds_since_1970_have_a_day() {
        for (seconds, day) in [
            (0, "1970-01-01"),
            (86_399, "1970-01-01"),
            (951_782_400, "2000-02-29"),
            (1_795_996_800, "2026-11-30"),
        ] {
            assert_eq!(Date::of_unix_seconds(seconds).expect("a day").to_string(), day);
        }
        assert_eq!(Date::of_unix_seconds(u64::MAX), None);
    }

    #[test]
    fn days_that_do_not_exist_are_refused() {
        for text in ["2026-02-29", "2026-13-01", "2026-00-10", "2026-04-31", "2026-04-00"] {
            assert_eq!(text.parse::<Date>(), Err(DateError::NoSuchDay(text.to_owned())));
        }
        assert!("2024-02-29".parse::<Date>().is_ok());
        assert!("2000-02-29".parse::<Date>().is_ok());
        assert!("1900-02-29".parse::<Date>().is_err());
    }

    #[test]
    fn other_forms_are_refused() {
        for text in
            ["", "2026-4-15", "15.04.2026", "2026-04-15T00:00:00Z", "2026-+4-15", "２０２６-1"]
        {
            assert_eq!(text.parse::<Date>(), Err(DateError::Form(text.to_owned())));
        }
    }
}
