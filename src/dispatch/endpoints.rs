//! The endpoints of one model: the first that can take a request gets it, the others stand in for it.

use std::sync::Arc;
use std::time::Duration;

use futures::future::select_all;
use tokio::time::Instant;

use super::breaker::Down;
use super::endpoint::{Admission, Endpoint, Permit};
use super::retry::random;
use super::{Failure, Fault};

/// A wait longer than this is a reason to ask an endpoint of the next priority.
const SPILL: Duration = Duration::from_secs(5);
/// Bulk work does not wait longer than this for a provider that wants to be left alone.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// How long bulk work waits for an endpoint that answers nonsense.
const NONSENSE: Duration = Duration::from_secs(5);

/// The endpoints of one model, those that are asked first first.
pub struct Endpoints(Vec<Arc<Endpoint>>);

impl Endpoints {
    /// These endpoints, which must serve the same model.
    pub fn new(mut all: Vec<Arc<Endpoint>>) -> Self {
        all.sort_by_key(|endpoint| endpoint.settings().priority);
        Endpoints(all)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        self.0.iter()
    }

    /// The fewest tokens a minute that any of them is known to take.
    pub(super) fn tokens_per_minute(&self) -> Option<u64> {
        self.0.iter().filter_map(|endpoint| endpoint.settings().limits.tokens).min()
    }

    /// Admits a request of `tokens` estimated tokens to one of them.
    fn try_admit(&self, tokens: u64, urgent: bool) -> Admission {
        let now = Instant::now();
        let (mut soonest, mut waits, mut down) = (None::<Instant>, false, None::<Down>);
        for tier in self.0.chunk_by(|a, b| a.settings().priority == b.settings().priority) {
            let mut alive = false;
            for endpoint in in_turn(tier) {
                match endpoint.admit(tokens, urgent, now) {
                    Admission::Granted(permit) => return Admission::Granted(permit),
                    Admission::Later(at) => {
                        alive |= at.is_none_or(|at| at < now + SPILL);
                        waits = true;
                        soonest = [soonest, at].into_iter().flatten().min();
                    }
                    // one that may be back soon says why; one that is set up wrongly does not
                    Admission::Down(other) => match &down {
                        Some(known) if other.fault == Fault::Setup || known.fault != Fault::Setup => {}
                        _ => down = Some(other),
                    },
                }
            }
            if alive {
                break;
            }
        }
        match down {
            Some(down) if !waits => Admission::Down(down),
            _ => Admission::Later(soonest),
        }
    }

    /// Waits until one of them takes a request; `patience`: how long it waits for one that is down.
    pub(super) async fn admit(&self, tokens: u64, patience: Duration) -> Result<Permit, Failure> {
        loop {
            let mut changes: Vec<_> = self.0.iter().map(|endpoint| endpoint.changes()).collect();
            let until = match self.try_admit(tokens, false) {
                Admission::Granted(permit) => return Ok(permit),
                Admission::Later(until) => {
                    let wait = until.map(|until| until.saturating_duration_since(Instant::now()));
                    if wait.is_some_and(|wait| wait > LONGEST_PAUSE) {
                        return Err(left_alone(wait.unwrap_or_default()));
                    }
                    until
                }
                Admission::Down(down) => {
                    let patience = match down.fault {
                        Fault::Setup => Duration::ZERO,
                        Fault::Answer => patience.min(NONSENSE),
                        _ => patience,
                    };
                    if down.since.elapsed() >= patience {
                        return Err(Failure::new(down.fault, down.message));
                    }
                    Some(down.since + patience)
                }
            };
            let changed = select_all(changes.iter_mut().map(|change| Box::pin(change.changed())));
            match until {
                Some(until) => {
                    let _ = tokio::time::timeout_at(until, changed).await;
                }
                None => {
                    let _ = changed.await;
                }
            }
        }
    }

    /// Admits a request that somebody waits for, before `end`; to `avoid` only where nobody else takes it at once.
    pub(super) async fn admit_urgent(
        &self,
        tokens: u64,
        avoid: Option<&Arc<Endpoint>>,
        end: Instant,
    ) -> Result<Permit, Failure> {
        for endpoint in self.iter().filter(|other| avoid.is_some_and(|avoid| !Arc::ptr_eq(avoid, other))) {
            if let Admission::Granted(permit) = endpoint.admit(tokens, true, Instant::now()) {
                return Ok(permit);
            }
        }
        loop {
            match self.try_admit(tokens, true) {
                Admission::Granted(permit) => return Ok(permit),
                Admission::Down(down) => {
                    let message = format!("{} (it is asked again when it answers a probe)", down.message);
                    return Err(Failure::new(down.fault, message));
                }
                Admission::Later(until) => {
                    let until = until.unwrap_or_else(Instant::now);
                    if until >= end {
                        return Err(left_alone(until - Instant::now()));
                    }
                    tokio::time::sleep_until(until).await;
                }
            }
        }
    }
}

fn left_alone(wait: Duration) -> Failure {
    let seconds = wait.as_secs_f64().ceil();
    Failure::new(Fault::Limited, format!("the provider takes no requests for the next {seconds} s (429)"))
}

/// Endpoints of one priority in an order drawn by weight.
fn in_turn(tier: &[Arc<Endpoint>]) -> Vec<&Arc<Endpoint>> {
    if let [only] = tier {
        return vec![only];
    }
    // whoever draws the shortest time comes first; a weight of two halves the times
    let draw =
        |endpoint: &Arc<Endpoint>| -(1.0 - random()).ln() / f64::from(endpoint.settings().weight.max(1));
    let mut drawn: Vec<_> = tier.iter().map(|endpoint| (draw(endpoint), endpoint)).collect();
    drawn.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    drawn.into_iter().map(|(_, endpoint)| endpoint).collect()
}
