//! Signal names as `STOPSIGNAL` takes them.

/// Names of Linux signals without `SIG`, as moby's `signal` package lists them.
const NAMES: &[&str] = &[
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL",
    "PIPE", "POLL", "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP",
    "TTIN", "TTOU", "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ", "RTMIN", "RTMAX",
];

/// `RTMIN+n` and `RTMAX-n` go up to this `n` (moby's table stops at 15 and 14).
const LAST_AFTER_RTMIN: u32 = 15;
const LAST_BEFORE_RTMAX: u32 = 14;

/// Whether a text is a signal: a number other than 0, or a name with or without `SIG`.
pub(super) fn is_signal(text: &str) -> bool {
    if let Ok(number) = text.parse::<i64>() {
        return number != 0;
    }
    let upper = text.to_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let offset = |rest: &str, last: u32| {
        rest.parse::<u32>().is_ok_and(|n| (1..=last).contains(&n) && !rest.starts_with(['0', '+']))
    };
    NAMES.contains(&name)
        || name.strip_prefix("RTMIN+").is_some_and(|n| offset(n, LAST_AFTER_RTMIN))
        || name.strip_prefix("RTMAX-").is_some_and(|n| offset(n, LAST_BEFORE_RTMAX))
}

/// The signal whose name is nearest to a text.
pub(super) fn nearest_signal(text: &str) -> Option<String> {
    let upper = text.to_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    karman_diag::nearest(name, NAMES.iter().copied()).map(|near| format!("SIG{near}"))
}

#[cfg(test)]
mod tests {
    use super::is_signal;

    #[test]
    fn names_and_numbers() {
        for good in ["9", "SIGKILL", "kill", "SIGRTMIN+3", "RTMAX-14", "sigterm", "SIGRTMIN"] {
            assert!(is_signal(good), "{good}");
        }
        for bad in ["0", "", "SIG", "SIGFOO", "RTMIN+16", "RTMAX-0", "SIGRTMIN+"] {
            assert!(!is_signal(bad), "{bad}");
        }
    }
}
