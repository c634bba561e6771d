//! A token bucket: so much a minute, evenly.

use std::time::Duration;

use tokio::time::Instant;

/// How long a rate may be saved up. Little: providers that count by the second, by the minute or from the first
/// request on see no more than their limit.
const SAVED: f64 = 0.05;

/// So much a minute. A draw may be larger than what the bucket holds: it is then paid back before the next.
#[derive(Clone, Debug)]
pub(super) struct Bucket {
    /// A second.
    rate: f64,
    level: f64,
    at: Instant,
}

impl Bucket {
    /// A full bucket.
    pub fn new(per_minute: f64, now: Instant) -> Self {
        let rate = (per_minute / 60.0).max(1e-6);
        let mut bucket = Bucket { rate, level: 0.0, at: now };
        bucket.level = bucket.capacity();
        bucket
    }

    fn capacity(&self) -> f64 {
        (self.rate * SAVED).max(1.0)
    }

    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.level = (self.level + self.rate * passed).min(self.capacity());
        self.at = self.at.max(now);
    }

    /// When `amount` can be drawn.
    pub fn ready_at(&mut self, amount: f64, now: Instant) -> Instant {
        self.refill(now);
        let missing = amount.min(self.capacity()) - self.level;
        // a grain of rounding must not cost a tick of the clock
        if missing <= 1e-9 { now } else { now + seconds(missing / self.rate) }
    }

    /// Draws, whether it is there or not.
    pub fn draw(&mut self, amount: f64, now: Instant) {
        self.refill(now);
        self.level -= amount;
    }

    /// Puts back what was drawn and not used (takes more, where it is negative).
    pub fn correct(&mut self, amount: f64) {
        self.level = (self.level + amount).min(self.capacity());
    }

    /// Another rate from now on.
    pub fn set_rate(&mut self, per_minute: f64, now: Instant) {
        self.refill(now);
        self.rate = (per_minute / 60.0).max(1e-6);
        self.level = self.level.min(self.capacity());
    }

    #[cfg(test)]
    pub fn per_minute(&self) -> f64 {
        self.rate * 60.0
    }
}

/// `seconds`, at most a day.
fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds.clamp(0.0, 86_400.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_spread_evenly_over_the_minute() {
        let start = Instant::now();
        let mut bucket = Bucket::new(600.0, start);
        let (mut now, mut drawn) = (start, 0);
        while now < start + Duration::from_secs(60) {
            assert_eq!(bucket.ready_at(1.0, now), now);
            bucket.draw(1.0, now);
            drawn += 1;
            now = bucket.ready_at(1.0, now);
        }
        assert!((599..=602).contains(&drawn), "{drawn}");
    }

    #[test]
    fn a_large_draw_is_paid_back_and_a_long_rest_saves_little() {
        let start = Instant::now();
        let mut bucket = Bucket::new(60.0, start);
        bucket.draw(30.0, start);
        let wait = bucket.ready_at(30.0, start) - start;
        assert!((29.9..=30.1).contains(&wait.as_secs_f64()), "{wait:?}");
        bucket.correct(20.0); // 10 were enough
        let wait = bucket.ready_at(30.0, start) - start;
        assert!((9.9..=10.1).contains(&wait.as_secs_f64()), "{wait:?}");
        let later = start + Duration::from_secs(3600);
        assert_eq!(bucket.ready_at(1.0, later), later);
        bucket.draw(1.0, later);
        assert!(bucket.ready_at(1.0, later) > later + Duration::from_millis(900));
    }
}
