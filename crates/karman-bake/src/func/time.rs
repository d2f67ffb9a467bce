//! Times: RFC 3339 texts, `formatdate`, `timeadd`.

use std::collections::BTreeMap;

use super::{Args, Fault, Out, fault};
use crate::value::{Number, Value};

const DAY: i64 = 86_400;
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] =
    ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];

/// A moment with the offset it was written with, both in seconds.
#[derive(Clone, Copy)]
struct Moment {
    unix: i64,
    offset: i64,
}

struct Civil {
    year: i64,
    month: i64,
    day: i64,
    seconds: i64,
    weekday: i64,
}

impl Moment {
    fn civil(self) -> Civil {
        let local = self.unix + self.offset;
        let (days, seconds) = (local.div_euclid(DAY), local.rem_euclid(DAY));
        // Days to year, month and day in the proleptic Gregorian calendar, years starting in March.
        let z = days + 719_468;
        let era = z.div_euclid(146_097);
        let of_era = z.rem_euclid(146_097);
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted = (5 * of_year + 2) / 153;
        let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
        Civil {
            year: year_of_era + era * 400 + i64::from(month <= 2),
            month,
            day: of_year - (153 * shifted + 2) / 5 + 1,
            seconds,
            weekday: days.rem_euclid(7),
        }
    }

    fn parse(text: &str) -> Result<Self, Fault> {
        read_rfc3339(text).ok_or_else(|| Fault(format!("`{text}` is not an RFC 3339 time")))
    }

    fn text(self) -> String {
        let c = self.civil();
        let (h, m, s) = (c.seconds / 3600, c.seconds / 60 % 60, c.seconds % 60);
        let zone = self.zone(":", "Z");
        format!("{:04}-{:02}-{:02}T{h:02}:{m:02}:{s:02}{zone}", c.year, c.month, c.day)
    }

    fn zone(self, colon: &str, utc: &str) -> String {
        if self.offset == 0 && !utc.is_empty() {
            return utc.to_owned();
        }
        let sign = if self.offset < 0 { '-' } else { '+' };
        let minutes = self.offset.abs() / 60;
        format!("{sign}{:02}{colon}{:02}", minutes / 60, minutes % 60)
    }
}

/// Unix seconds as an RFC 3339 text in UTC.
pub(crate) fn rfc3339(unix: i64) -> String {
    Moment { unix, offset: 0 }.text()
}

fn read_rfc3339(text: &str) -> Option<Moment> {
    let number = |range: std::ops::Range<usize>| -> Option<i64> {
        let part = text.get(range)?;
        part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse().ok())?
    };
    let bytes = text.as_bytes();
    let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if bytes.len() < 20 || marks.iter().any(|(at, b)| bytes[*at] != *b) {
        return None;
    }
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (h, m, s) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let valid = (1..=12).contains(&month) && (1..=31).contains(&day) && h < 24 && m < 60 && s < 61;
    let mut at = 19;
    if bytes[at] == b'.' {
        at += 1;
        while bytes.get(at).is_some_and(u8::is_ascii_digit) {
            at += 1;
        }
    }
    let offset = match bytes.get(at)? {
        b'Z' if bytes.len() == at + 1 => 0,
        sign @ (b'+' | b'-') if bytes.len() == at + 6 && bytes[at + 3] == b':' => {
            let seconds = number(at + 1..at + 3)? * 3600 + number(at + 4..at + 6)? * 60;
            if *sign == b'-' { -seconds } else { seconds }
        }
        _ => return None,
    };
    let y = if month <= 2 { year - 1 } else { year };
    let of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let era = y.div_euclid(400);
    let yoe = y.rem_euclid(400);
    let days = era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + of_year - 719_468;
    valid.then_some(Moment { unix: days * DAY + h * 3600 + m * 60 + s - offset, offset })
}

/// Seconds of a Go duration such as `1h30m` or `-10s`.
fn duration(text: &str) -> Option<i64> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest.is_empty() {
        return None;
    }
    let mut total = 0.0;
    while !rest.is_empty() && rest != "0" {
        let digits = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let value: f64 = rest[..digits].parse().ok()?;
        let unit_end =
            rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |n| n + digits);
        let unit = match &rest[digits..unit_end] {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        total += value * unit;
        rest = &rest[unit_end..];
    }
    #[expect(clippy::cast_possible_truncation, reason = "the bound keeps it in range")]
    (total < 1e12).then_some((sign * total).trunc() as i64)
}

pub(super) fn timeadd(a: Args) -> Out {
    let mut at = Moment::parse(&a.text(0)?)?;
    let text = a.text(1)?;
    match duration(&text) {
        Some(seconds) => at.unix += seconds,
        None => return fault(format!("`{text}` is not a duration")),
    }
    Ok(Value::text(at.text()))
}

/// The parts of a unix time, in UTC.
pub(super) fn unixtimestampparse(a: Args) -> Out {
    let Ok(unix) = i64::try_from(a.int(0)?) else { return fault("the time is out of range") };
    if unix.abs() > 1_000_000_000_000 {
        return fault("the time is out of range");
    }
    let at = Moment { unix, offset: 0 };
    let mut map = parts(at);
    map.insert("rfc3339".to_owned(), Value::text(at.text()));
    Ok(Value::Object(map))
}

/// The parts of a time as it is written, in its own zone.
pub(super) fn rfc3339parse(a: Args) -> Out {
    let at = Moment::parse(&a.text(0)?)?;
    let mut map = parts(at);
    map.insert("unix".to_owned(), Value::int(at.unix));
    Ok(Value::Object(map))
}

fn parts(at: Moment) -> BTreeMap<String, Value> {
    let c = at.civil();
    let (iso_year, iso_week) = iso_week(&c);
    let entries = [
        ("year", c.year),
        ("month", c.month),
        ("day", c.day),
        ("hour", c.seconds / 3600),
        ("minute", c.seconds / 60 % 60),
        ("second", c.seconds % 60),
        ("weekday", (c.weekday + 4) % 7),
        ("year_day", day_of_year(&c)),
        ("iso_year", iso_year),
        ("iso_week", iso_week),
    ];
    let mut map: BTreeMap<String, Value> = entries
        .into_iter()
        .map(|(k, v)| (k.to_owned(), Value::Number(Number::Int(i128::from(v)))))
        .collect();
    let name = |list: &[&str], i: i64| {
        Value::text(usize::try_from(i).ok().and_then(|i| list.get(i).copied()).unwrap_or_default())
    };
    map.insert("month_name".to_owned(), name(&MONTHS, c.month - 1));
    map.insert("weekday_name".to_owned(), name(&DAYS, c.weekday));
    map
}

/// The day of the year from 1.
fn day_of_year(c: &Civil) -> i64 {
    let before = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let month = usize::try_from(c.month - 1).unwrap_or(0);
    before.get(month).copied().unwrap_or(0) + c.day + i64::from(c.month > 2 && is_leap(c.year))
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// Year and week of ISO 8601: weeks begin on Monday, and belong to the year of their Thursday.
fn iso_week(c: &Civil) -> (i64, i64) {
    // Days are named from Thursday on, the day of the epoch.
    let from_monday = (c.weekday + 3) % 7;
    let thursday = day_of_year(c) + 3 - from_monday;
    let days = |year: i64| 365 + i64::from(is_leap(year));
    let (year, thursday) = if thursday < 1 {
        (c.year - 1, thursday + days(c.year - 1))
    } else if thursday > days(c.year) {
        (c.year + 1, thursday - days(c.year))
    } else {
        (c.year, thursday)
    };
    (year, (thursday - 1) / 7 + 1)
}

/// `formatdate(spec, time)`, the tokens of go-cty.
pub(super) fn formatdate(a: Args) -> Out {
    let (spec, at) = (a.text(0)?, Moment::parse(&a.text(1)?)?);
    let mut out = String::new();
    let mut rest = spec.as_str();
    while let Some(first) = rest.chars().next() {
        if first == '\'' {
            let Some(end) = quoted(&rest[1..], &mut out) else {
                return fault("a quoted text of the format has no end");
            };
            rest = &rest[1 + end..];
        } else if first.is_ascii_alphabetic() {
            let end = rest.find(|c| c != first).unwrap_or(rest.len());
            token(&rest[..end], at, &mut out)?;
            rest = &rest[end..];
        } else {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    Ok(Value::text(out))
}

/// Copies a quoted text (doubled quotes are one) and tells where it ends.
fn quoted(text: &str, out: &mut String) -> Option<usize> {
    let mut at = 0;
    loop {
        let stop = at + text[at..].find('\'')?;
        out.push_str(&text[at..stop]);
        if !text[stop + 1..].starts_with('\'') {
            return Some(stop + 1);
        }
        out.push('\'');
        at = stop + 2;
    }
}

fn token(token: &str, at: Moment, out: &mut String) -> Result<(), Fault> {
    let c = at.civil();
    let pick = |list: &'static [&'static str], i: i64| {
        usize::try_from(i).ok().and_then(|i| list.get(i).copied()).unwrap_or_default()
    };
    let (hour, minute, second) = (c.seconds / 3600, c.seconds / 60 % 60, c.seconds % 60);
    let twelve = if hour % 12 == 0 { 12 } else { hour % 12 };
    let text = match token {
        "YYYY" => format!("{:04}", c.year),
        "YY" => format!("{:02}", c.year % 100),
        "MMMM" => pick(&MONTHS, c.month - 1).to_owned(),
        "MMM" => pick(&MONTHS, c.month - 1).chars().take(3).collect(),
        "MM" => format!("{:02}", c.month),
        "M" => c.month.to_string(),
        "DD" => format!("{:02}", c.day),
        "D" => c.day.to_string(),
        "EEEE" => pick(&DAYS, c.weekday).to_owned(),
        "EEE" => pick(&DAYS, c.weekday).chars().take(3).collect(),
        "hh" => format!("{hour:02}"),
        "h" => hour.to_string(),
        "HH" => format!("{twelve:02}"),
        "H" => twelve.to_string(),
        "AA" => if hour < 12 { "AM" } else { "PM" }.to_owned(),
        "aa" => if hour < 12 { "am" } else { "pm" }.to_owned(),
        "mm" => format!("{minute:02}"),
        "m" => minute.to_string(),
        "ss" => format!("{second:02}"),
        "s" => second.to_string(),
        "ZZZZZ" => at.zone(":", ""),
        "ZZZZ" => at.zone("", ""),
        "ZZZ" => at.zone("", "UTC"),
        "Z" => at.zone(":", "Z"),
        other => return fault(format!("`{other}` is not a part of a date format")),
    };
    out.push_str(&text);
    Ok(())
}
