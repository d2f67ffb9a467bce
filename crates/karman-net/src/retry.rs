//! When to try again, and how long to wait before.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::config::Retry;

/// Statuses that may pass: request timeout, too early, too many requests, and the server's own trouble.
pub(crate) fn is_retryable(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 500 | 502 | 503 | 504)
}

/// Statuses by which a server says that it did not act, so that any method may be repeated.
pub(crate) fn is_refusal(status: u16) -> bool {
    matches!(status, 425 | 429 | 503)
}

/// The pause after the `attempt`th failure (counted from 1), or `None` when the server wants more
/// patience than is allowed.
pub(crate) fn pause(
    retry: &Retry,
    attempt: u32,
    retry_after: Option<Duration>,
) -> Option<Duration> {
    match retry_after {
        Some(wanted) if wanted > retry.max_retry_after => None,
        Some(wanted) => Some(wanted),
        None => {
            let doubled = retry.base_delay.saturating_mul(1 << attempt.saturating_sub(1).min(16));
            Some(jitter(doubled.min(retry.max_delay)))
        }
    }
}

/// Reads `Retry-After`: seconds or an HTTP date (RFC 9110 §10.2.3).
pub(crate) fn parse_retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

/// Spreads a delay over its upper half, so that parallel downloads do not come back in step.
fn jitter(delay: Duration) -> Duration {
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.subsec_nanos());
    let half = delay / 2;
    half + half.mul_f64(f64::from(nanos % 1000) / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_777 - 30);
        assert_eq!(parse_retry_after(" 7 ", now), Some(Duration::from_secs(7)));
        assert_eq!(
            parse_retry_after("Sun, 06 Nov 1994 08:49:37 GMT", now),
            Some(Duration::from_secs(30))
        );
        assert_eq!(parse_retry_after("soon", now), None);
    }

    #[test]
    fn pauses_grow_and_are_bounded() {
        let retry = Retry::default();
        assert!(pause(&retry, 1, None).unwrap() <= retry.base_delay);
        assert!(pause(&retry, 30, None).unwrap() <= retry.max_delay);
        assert!(pause(&retry, 30, None).unwrap() >= retry.max_delay / 2);
        assert_eq!(pause(&retry, 1, Some(Duration::from_secs(3600))), None);
    }
}
