//! When to try again: what providers ask for, and waits of our own.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use reqwest::header::HeaderMap;

/// Waits between tries: `first`, doubled for each that follows up to `longest`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    /// The longest wait after the first failure.
    pub first: Duration,
    /// The longest wait of all.
    pub longest: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Backoff { first: Duration::from_millis(500), longest: Duration::from_secs(20) }
    }
}

impl Backoff {
    /// The wait after `failures` failures (from 1), anywhere between nothing and the longest ("full jitter"):
    /// callers that failed together do not come back together.
    pub fn wait(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(16);
        (self.first * 2_u32.pow(doublings)).min(self.longest).mul_f64(random())
    }
}

/// A number in [0, 1), from the standard library's seeds.
pub(super) fn random() -> f64 {
    (RandomState::new().hash_one(0_u8) >> 11) as f64 / (1_u64 << 53) as f64
}

/// The wait an answer asks for: `retry-after-ms`, or `retry-after` in seconds or as a date.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| Some(headers.get(name)?.to_str().ok()?.trim());
    let seconds = |text: &str| text.parse::<f64>().ok();
    let asked = match text("retry-after-ms").and_then(seconds) {
        Some(milliseconds) => milliseconds / 1000.0,
        None => {
            let text = text("retry-after")?;
            seconds(text).or_else(|| until(text))?
        }
    };
    Duration::try_from_secs_f64(asked).ok()
}

/// Seconds from now to an HTTP date; none for one that is past.
fn until(date: &str) -> Option<f64> {
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(date).ok()?;
    Some(date.duration_since(jiff::Timestamp::now()).as_secs_f64().max(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (reqwest::header::HeaderName::from_static(name), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn every_form_of_retry_after_is_read() {
        let ms = |pairs: &[(&'static str, &str)]| retry_after(&headers(pairs)).map(|wait| wait.as_millis());
        assert_eq!(ms(&[("retry-after", "2")]), Some(2000));
        assert_eq!(ms(&[("retry-after", " 0.25 ")]), Some(250));
        assert_eq!(ms(&[("retry-after-ms", "20"), ("retry-after", "9")]), Some(20));
        assert_eq!(ms(&[("retry-after-ms", "soon"), ("retry-after", "1")]), Some(1000));
        assert_eq!(ms(&[("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT")]), Some(0));
        for none in [&[][..], &[("retry-after", "soon")], &[("retry-after", "-1")], &[("retry-after", "NaN")]]
        {
            assert_eq!(ms(none), None, "{none:?}");
        }
        let later = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(90);
        let date = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&later).unwrap();
        let wait = retry_after(&headers(&[("retry-after", &date)])).unwrap();
        assert!((85..=90).contains(&wait.as_secs()), "{date}: {wait:?}");
    }

    #[test]
    fn waits_grow_to_their_bound_and_differ() {
        let backoff = Backoff { first: Duration::from_millis(100), longest: Duration::from_secs(1) };
        let longest = |failures| (0..300).map(|_| backoff.wait(failures)).max().unwrap();
        assert!(longest(1) <= Duration::from_millis(100));
        assert!(longest(2) > Duration::from_millis(100) && longest(2) <= Duration::from_millis(200));
        assert!(longest(50) > Duration::from_millis(500) && longest(50) <= Duration::from_secs(1));
        assert_ne!(backoff.wait(3), backoff.wait(3));
    }
}
