//! How many requests may be under way at a time: more while they are answered as fast as before, half as many
//! when the provider refuses.

use std::time::Duration;

use tokio::time::Instant;

/// Requests under way at the start.
const FIRST: f64 = 4.0;
/// An answer that takes this many times the usual waited for others of ours.
const SLOW: f64 = 3.0;

/// The bound on requests under way.
#[derive(Debug)]
pub(super) struct Window {
    limit: f64,
    most: f64,
    in_flight: usize,
    /// The most that were under way since the last cut: an empty window tells nothing about a wider one.
    peak: usize,
    /// Nothing was refused yet: the bound doubles with each round.
    opening: bool,
    last_cut: Option<Instant>,
    /// The least an answer took lately, and what answers take now.
    usual: f64,
    recent: f64,
}

impl Window {
    pub fn new(most: usize) -> Self {
        let most = most.max(1) as f64;
        Window {
            limit: FIRST.min(most),
            most,
            in_flight: 0,
            peak: 0,
            opening: true,
            last_cut: None,
            usual: 0.0,
            recent: 0.0,
        }
    }

    pub fn has_room(&self) -> bool {
        (self.in_flight as f64) < self.limit.floor()
    }

    pub fn enter(&mut self) {
        self.in_flight += 1;
        self.peak = self.peak.max(self.in_flight);
    }

    pub fn leave(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// A request was answered after `took`.
    pub fn answered(&mut self, took: Duration, now: Instant) {
        let took = took.as_secs_f64().max(1e-4);
        self.recent = if self.recent == 0.0 { took } else { 0.8 * self.recent + 0.2 * took };
        // drifts upwards, so that a provider that became slower for good is not taken for a busy one for ever
        self.usual = if self.usual == 0.0 { took } else { (self.usual * 1.002).min(took) };
        if self.recent > SLOW * self.usual + 0.02 {
            self.cut(0.9, now);
        } else if self.peak as f64 + 1.0 >= self.limit.floor() {
            let more = if self.opening { 1.0 } else { 1.0 / self.limit };
            self.limit = (self.limit + more).min(self.most);
        }
    }

    /// The provider refused because of too much.
    pub fn refused(&mut self, now: Instant) {
        self.cut(0.5, now);
    }

    /// Requests that were under way together fail together: that is one cut.
    fn cut(&mut self, factor: f64, now: Instant) {
        let round = Duration::from_secs_f64(self.recent.clamp(0.05, 10.0));
        if self.last_cut.is_some_and(|last| now < last + round) {
            return;
        }
        self.opening = false;
        self.peak = self.in_flight;
        self.last_cut = Some(now);
        self.limit = (self.limit * factor).max(1.0);
    }

    #[cfg(test)]
    pub fn limit(&self) -> f64 {
        self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds(window: &mut Window, count: usize, took: Duration, now: &mut Instant) {
        for _ in 0..count {
            while window.has_room() {
                window.enter();
            }
            *now += took;
            for _ in 0..window.in_flight {
                window.leave();
                window.answered(took, *now);
            }
        }
    }

    #[test]
    fn it_opens_while_answers_are_fast_and_halves_once_a_round_when_refused() {
        let (mut window, mut now) = (Window::new(32), Instant::now());
        rounds(&mut window, 20, Duration::from_millis(50), &mut now);
        assert_eq!(window.limit(), 32.0);
        for _ in 0..32 {
            window.refused(now);
        }
        assert_eq!(window.limit(), 16.0, "one storm is one cut");
        rounds(&mut window, 4, Duration::from_millis(50), &mut now);
        assert!((17.0..=21.0).contains(&window.limit()), "{}", window.limit());
    }

    #[test]
    fn it_closes_when_answers_become_slow_and_never_below_one() {
        let (mut window, mut now) = (Window::new(32), Instant::now());
        rounds(&mut window, 20, Duration::from_millis(50), &mut now);
        rounds(&mut window, 5, Duration::from_secs(2), &mut now);
        assert!(window.limit() < 25.0, "{}", window.limit());
        for _ in 0..20 {
            now += Duration::from_secs(20);
            window.refused(now);
        }
        assert_eq!(window.limit(), 1.0);
        assert!(window.in_flight == 0 && window.has_room());
    }
}
