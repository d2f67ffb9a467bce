//! Sizes and limits as Docker writes them.

use karman_llb::Ulimit;

/// Bytes of `64m`, `1.5g`, `65536`, `128MiB`: powers of 1024 (go-units' `RAMInBytes`).
pub(crate) fn parse_size(text: &str) -> Option<u64> {
    let lower = text.trim().to_ascii_lowercase();
    let at = lower.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(lower.len());
    let (number, unit) = lower.split_at(at);
    let shift = match unit.trim() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        "p" | "pb" | "pib" => 50,
        _ => return None,
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(1 << shift);
    }
    let bytes = number.parse::<f64>().ok()? * (1u64 << shift) as f64;
    // Every float below 2^53 has its integer part exactly.
    (bytes >= 0.0 && bytes < (1u64 << 53) as f64).then_some(bytes as u64)
}

/// `NAME=SOFT[:HARD]`; -1 is no limit.
pub(crate) fn parse_ulimit(text: &str) -> Option<Ulimit> {
    let (name, limits) = text.split_once('=')?;
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    let (soft, hard): (i64, i64) = (soft.parse().ok()?, hard.parse().ok()?);
    let fits = hard == -1 || (soft != -1 && soft <= hard);
    (fits && !name.is_empty()).then(|| Ulimit { name: name.to_owned(), soft, hard })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_1024() {
        for (text, want) in [
            ("65536", Some(65536)),
            ("64m", Some(64 << 20)),
            ("128MiB", Some(128 << 20)),
            ("1.5g", Some(3 << 29)),
            ("1 kb", Some(1024)),
            ("x", None),
            ("-1", None),
            ("1.2.3", None),
            ("99999999999p", None),
        ] {
            assert_eq!(parse_size(text), want, "{text}");
        }
    }

    #[test]
    fn limits_have_a_soft_and_a_hard_value() {
        let read = |t| parse_ulimit(t).map(|u| (u.name, u.soft, u.hard));
        assert_eq!(read("nofile=1024:2048"), Some(("nofile".into(), 1024, 2048)));
        assert_eq!(read("core=-1"), Some(("core".into(), -1, -1)));
        assert_eq!(read("nofile=5:4"), None);
        assert_eq!(read("nofile"), None);
    }
}
