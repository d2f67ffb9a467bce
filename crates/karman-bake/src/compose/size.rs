//! Sizes as docker reads and prints them.

const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

/// Bytes of `128m`, `1gb`, `64KiB` or a plain number; powers of 1024.
pub(super) fn parse(text: &str) -> Option<u64> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text[..end].parse().ok()?;
    let suffix = text[end..].trim_start().to_ascii_lowercase();
    let power = match suffix.trim_end_matches('b').trim_end_matches('i') {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return None,
    };
    let bytes = number * 1024_f64.powi(power);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the digits are of no negative number, and the bound keeps it in range"
    )]
    (bytes < 9e18).then_some(bytes as u64)
}

/// Four significant digits and a unit, as in `128MiB`.
pub(super) fn show(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "four digits are shown")]
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let whole = value.trunc().to_string().len();
    let text = format!("{value:.*}", 4usize.saturating_sub(whole));
    let text = match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => &text,
    };
    format!("{text}{}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_docker() {
        for (text, bytes, shown) in [
            ("128m", 134_217_728, "128MiB"),
            ("1.5gb", 1_610_612_736, "1.5GiB"),
            ("64KiB", 65536, "64KiB"),
            ("1000", 1000, "1000B"),
            ("1234567", 1_234_567, "1.177MiB"),
        ] {
            assert_eq!(parse(text), Some(bytes), "{text}");
            assert_eq!(show(bytes), shown);
        }
        assert_eq!(parse("x"), None);
        assert_eq!(parse("1q"), None);
    }
}
