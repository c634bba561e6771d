//! Whether an endpoint is worth asking: one that fails again and again is left alone until a probe succeeds.

use tokio::time::Instant;

use super::Fault;

/// Failures in a row that open it.
const FAILURES: u32 = 5;

/// Why an endpoint is left alone.
#[derive(Clone, Debug)]
pub struct Down {
    /// What went wrong.
    pub fault: Fault,
    /// What went wrong, for people.
    pub message: String,
    /// Since when.
    pub since: Instant,
}

/// Closed: the endpoint is asked. Open: it is not.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: u32,
    down: Option<Down>,
}

impl Breaker {
    /// Why the endpoint is not asked, if it is not.
    pub fn down(&self) -> Option<&Down> {
        self.down.as_ref()
    }

    /// The endpoint is alive.
    pub fn close(&mut self) {
        *self = Breaker::default();
    }

    /// Counts a failure; true where that one opened it.
    pub fn failed(&mut self, fault: Fault, message: &str, now: Instant) -> bool {
        self.failures += 1;
        self.failures >= FAILURES && self.open(fault, message, now)
    }

    /// Opens it; false where it is open.
    pub fn open(&mut self, fault: Fault, message: &str, now: Instant) -> bool {
        let message = message.to_owned();
        match &mut self.down {
            Some(down) => {
                (down.fault, down.message) = (fault, message);
                false
            }
            None => {
                self.down = Some(Down { fault, message, since: now });
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_once_after_failures_in_a_row_and_closes_at_a_success() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        for round in 0..3 {
            for _ in 1..FAILURES {
                assert!(!breaker.failed(Fault::Passing, "500", now) && breaker.down().is_none());
            }
            if round < 2 {
                breaker.close();
            }
        }
        assert!(breaker.failed(Fault::Passing, "502", now));
        assert!(!breaker.failed(Fault::Passing, "503", now), "it is open already");
        assert_eq!(breaker.down().unwrap().message, "503");
        breaker.close();
        assert!(breaker.down().is_none());
        assert!(breaker.open(Fault::Setup, "401", now));
    }
}
