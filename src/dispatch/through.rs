//! What got through lately: what a refusal teaches a rate from.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

const MINUTE: Duration = Duration::from_secs(60);

/// The requests of the last minute that got through.
#[derive(Debug)]
pub(super) struct Through {
    /// How many in each second.
    seconds: VecDeque<(Instant, u64)>,
    start: Instant,
}

impl Through {
    pub fn new(now: Instant) -> Self {
        Through { seconds: VecDeque::new(), start: now }
    }

    /// One more.
    pub fn count(&mut self, now: Instant) {
        match self.seconds.back_mut() {
            Some((second, count)) if now.saturating_duration_since(*second) < Duration::from_secs(1) => {
                *count += 1
            }
            _ => self.seconds.push_back((now, 1)),
        }
        while self.seconds.front().is_some_and(|(second, _)| now.saturating_duration_since(*second) > MINUTE)
        {
            self.seconds.pop_front();
        }
    }

    /// How many get through in a minute: as many as did in the last one (or since the start), and none until `until`.
    pub fn in_a_minute(&self, now: Instant, until: Instant) -> Option<f64> {
        let recent = |second: Instant| now.saturating_duration_since(second) <= MINUTE;
        let count: u64 =
            self.seconds.iter().filter(|(second, _)| recent(*second)).map(|(_, count)| count).sum();
        let silent = until.saturating_duration_since(now).min(MINUTE);
        let span = now.saturating_duration_since(self.start).min(MINUTE) + silent;
        (count > 0).then(|| count as f64 / span.as_secs_f64().max(1.0) * 60.0)
    }
}
