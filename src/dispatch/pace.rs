//! How fast an endpoint is asked: requests and tokens a minute, as configured, as the provider announces them,
//! or as its refusals teach.

use std::time::Duration;

use tokio::time::Instant;

use super::bucket::Bucket;
use super::through::Through;
use super::{Limits, RateLimits};

/// What is used of a limit: the provider's clock and count are not ours.
const SHARE: f64 = 0.98;
/// A refusal teaches a rate: this much of what got through in the minute before it and the wait after it.
const LEARNED: f64 = 0.95;
/// After this long, and so many answers, without a refusal, more is tried: trying costs few refusals of many answers.
const CALM: (Duration, u32) = (Duration::from_secs(15), 60);
/// How much more is tried at first; each time twice as much, in case the lesson was far off.
const FIRST_RAISE: f64 = 0.02;
/// A pause without a word from the provider about how long.
const PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(20);

/// The pace of one endpoint.
#[derive(Debug)]
pub(super) struct Pace {
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
    /// Requests and tokens a minute, where they are known.
    limits: Limits,
    /// A rate of requests that refusals taught: of a limit that is not known, or not what it was said to be.
    learned: Option<f64>,
    /// How much more is tried next.
    raise: f64,
    /// Answers since the rate last changed.
    calm: u32,
    paused_until: Option<Instant>,
    /// Refused pauses in a row.
    refusals: u32,
    through: Through,
    last_change: Instant,
    /// The provider's count of tokens for each one that we estimate.
    calibration: f64,
}

impl Pace {
    pub fn new(limits: Limits, now: Instant) -> Self {
        let mut pace = Pace {
            requests: None,
            tokens: None,
            limits,
            learned: None,
            raise: FIRST_RAISE,
            calm: 0,
            paused_until: None,
            refusals: 0,
            through: Through::new(now),
            last_change: now,
            calibration: 1.0,
        };
        pace.set_rates(now);
        pace
    }

    /// When a request of `tokens` estimated tokens may be sent.
    pub fn ready_at(&mut self, tokens: u64, now: Instant) -> Instant {
        let cost = self.cost(tokens);
        let requests = self.requests.as_mut().map_or(now, |bucket| bucket.ready_at(1.0, now));
        let tokens = self.tokens.as_mut().map_or(now, |bucket| bucket.ready_at(cost, now));
        requests.max(tokens).max(self.paused_until.unwrap_or(now))
    }

    /// Until when the provider wants to hear nothing.
    pub fn paused_until(&self) -> Option<Instant> {
        self.paused_until
    }

    /// A request is sent. Returns what was taken from the tokens, for [`answered`](Self::answered).
    pub fn draw(&mut self, tokens: u64, now: Instant) -> f64 {
        let cost = self.cost(tokens);
        if let Some(bucket) = &mut self.requests {
            bucket.draw(1.0, now);
        }
        if let Some(bucket) = &mut self.tokens {
            bucket.draw(cost, now);
        }
        cost
    }

    fn cost(&self, tokens: u64) -> f64 {
        tokens as f64 * self.calibration
    }

    /// A request got through: `drawn` for `estimated` tokens, which the provider counts as `counted`.
    pub fn answered(&mut self, drawn: f64, estimated: u64, counted: Option<u64>, now: Instant) {
        self.refusals = 0;
        self.through.count(now);
        if let Some(counted) = counted {
            if let Some(bucket) = &mut self.tokens {
                bucket.correct(drawn - counted as f64);
            }
            if estimated > 0 {
                let ratio = (counted as f64 / estimated as f64).clamp(0.1, 10.0);
                self.calibration += 0.2 * (ratio - self.calibration);
            }
        }
        self.calm += 1;
        if let Some(rate) = self.learned
            && now.saturating_duration_since(self.last_change) > CALM.0
            && self.calm >= CALM.1
        {
            self.learned = Some(rate * (1.0 + self.raise));
            self.raise = (2.0 * self.raise).min(1.0);
            self.changed(now);
        }
    }

    /// The provider refused because of too much, and wants to be left alone for `wait`. `drawn` was not used.
    pub fn refused(&mut self, drawn: f64, wait: Option<Duration>, now: Instant) {
        if let Some(bucket) = &mut self.tokens {
            bucket.correct(drawn);
        }
        let again = self.paused_until.is_some_and(|until| now < until);
        if !again {
            self.refusals += 1;
        }
        let own = (PAUSE * 2_u32.pow(self.refusals.clamp(1, 16) - 1)).min(LONGEST_PAUSE);
        let until = now + wait.unwrap_or(own);
        if again {
            // requests that were under way together are refused together: one lesson
            self.paused_until = self.paused_until.max(Some(until));
            return;
        }
        self.paused_until = Some(until);
        self.learned =
            self.through.in_a_minute(now, until).map(|rate| (rate * LEARNED).max(1.0)).or(self.learned);
        self.raise = FIRST_RAISE;
        self.changed(now);
    }

    /// Goes on at another rate.
    fn changed(&mut self, now: Instant) {
        self.calm = 0;
        self.last_change = now;
        self.set_rates(now);
    }

    /// Takes over limits that an answer announces; configured ones are never raised.
    pub fn announced(&mut self, said: &RateLimits, now: Instant) {
        let known = self.limits;
        let lower = |own: Option<u64>, said: Option<u64>| match (own, said.filter(|&said| said > 0)) {
            (Some(own), Some(said)) => Some(own.min(said)),
            (own, said) => own.or(said),
        };
        self.limits.requests = lower(known.requests, said.requests.limit);
        self.limits.tokens = lower(known.tokens, said.tokens.limit);
        if self.limits != known {
            self.learned = None;
            self.set_rates(now);
        }
        let spent = [&said.requests, &said.tokens].into_iter().filter(|said| said.remaining == Some(0));
        // when all of it is back is not when the next request may come: wait a little, not for all of it
        if let Some(reset) = spent.filter_map(|said| said.reset).max() {
            self.paused_until = self.paused_until.max(Some(now + reset.min(Duration::from_secs(1))));
        }
    }

    fn set_rates(&mut self, now: Instant) {
        let set = |bucket: &mut Option<Bucket>, rate: Option<f64>| match (bucket, rate) {
            (Some(bucket), Some(rate)) => bucket.set_rate(rate, now),
            (bucket, rate) => *bucket = rate.map(|rate| Bucket::new(rate, now)),
        };
        let known = self.limits.requests.map(|limit| limit as f64 * SHARE);
        let requests = [known, self.learned].into_iter().flatten().reduce(f64::min);
        set(&mut self.requests, requests);
        set(&mut self.tokens, self.limits.tokens.map(|limit| limit as f64 * SHARE));
    }

    #[cfg(test)]
    pub fn requests_per_minute(&self) -> Option<f64> {
        self.requests.as_ref().map(Bucket::per_minute)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::RateLimit;

    fn minutes(count: f64) -> Duration {
        Duration::from_secs_f64(60.0 * count)
    }

    #[test]
    fn announced_limits_are_kept_and_never_raise_configured_ones() {
        let now = Instant::now();
        let said = |limit| RateLimits {
            requests: RateLimit { limit: Some(limit), ..RateLimit::default() },
            ..RateLimits::default()
        };
        let mut pace = Pace::new(Limits::default(), now);
        assert_eq!(pace.requests_per_minute(), None);
        pace.announced(&said(600), now);
        assert!((pace.requests_per_minute().unwrap() - 588.0).abs() < 0.01);
        let mut pace = Pace::new(Limits { requests: Some(100), tokens: None }, now);
        pace.announced(&said(600), now);
        assert!((pace.requests_per_minute().unwrap() - 98.0).abs() < 0.01);
        pace.announced(&said(50), now);
        assert!((pace.requests_per_minute().unwrap() - 49.0).abs() < 0.01);
    }

    #[test]
    fn a_refusal_teaches_a_rate_where_none_is_known() {
        let mut now = Instant::now();
        let mut pace = Pace::new(Limits::default(), now);
        for _ in 0..500 {
            let drawn = pace.draw(10, now);
            pace.answered(drawn, 10, None, now);
        }
        let learned = |pace: &Pace| pace.requests_per_minute().unwrap().round();
        now += minutes(0.5);
        pace.refused(10.0, Some(minutes(0.5)), now);
        pace.refused(10.0, Some(minutes(0.4)), now);
        assert_eq!(pace.ready_at(10, now), now + minutes(0.5));
        // 500 in half a minute, and then nothing for the other half
        assert_eq!(learned(&pace), 475.0);
        now += minutes(0.5);
        pace.refused(10.0, Some(minutes(0.25)), now);
        assert_eq!(learned(&pace), 380.0);
    }

    #[test]
    fn a_lesson_that_was_far_off_is_forgotten_in_minutes() {
        let mut now = Instant::now();
        let mut pace = Pace::new(Limits { requests: Some(6000), tokens: None }, now);
        let ask = |pace: &mut Pace, now: &mut Instant| {
            *now = pace.ready_at(10, *now);
            let drawn = pace.draw(10, *now);
            pace.answered(drawn, 10, None, *now);
        };
        ask(&mut pace, &mut now);
        pace.refused(10.0, None, now);
        let (begun, learned) = (now, pace.requests_per_minute().unwrap());
        assert!(learned < 100.0, "{learned}");
        while now < begun + minutes(10.0) {
            ask(&mut pace, &mut now);
        }
        let limit = pace.requests_per_minute().unwrap();
        assert!(limit > 5000.0, "{limit}");
    }

    #[test]
    fn the_providers_count_of_tokens_replaces_the_estimate() {
        let now = Instant::now();
        let mut pace = Pace::new(Limits { requests: None, tokens: Some(60_000) }, now);
        for _ in 0..50 {
            let drawn = pace.draw(1000, now);
            pace.answered(drawn, 1000, Some(500), now);
        }
        let before = pace.ready_at(1000, now);
        assert!((pace.draw(1000, now) - 500.0).abs() < 5.0);
        let more = (pace.ready_at(1000, now) - before).as_secs_f64();
        assert!((0.48..=0.54).contains(&more), "{more}: half the estimate is half the wait");
    }
}
