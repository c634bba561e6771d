//! One address that serves a model: its pace, its window, its breaker.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use super::breaker::{Breaker, Down};
use super::pace::Pace;
use super::retry::random;
use super::window::Window;
use super::{Failure, Fault, Limits, RateLimits};

/// First and longest wait between the probes of an endpoint that is down.
const PROBES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(15));
/// The longest a probe may take.
const PROBE: Duration = Duration::from_secs(20);

/// Asks an endpoint for something small, to see whether it is back.
pub type Probe = Box<dyn Fn() -> BoxFuture<'static, Result<(), Failure>> + Send + Sync>;

/// What is known of an endpoint before it is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct EndpointSettings {
    /// What errors and metrics call it.
    pub name: String,
    /// What it may be asked a minute.
    pub limits: Limits,
    /// The most requests under way.
    pub max_in_flight: usize,
    /// Endpoints of a lower number come first; the others take over when those are down.
    pub priority: u32,
    /// Its share of the requests among those of its priority.
    pub weight: u32,
}

/// One address that serves a model. All that call it share it.
pub struct Endpoint {
    settings: EndpointSettings,
    state: Mutex<State>,
    /// Changes whenever one that waits may find room.
    changed: watch::Sender<()>,
    probe: Probe,
    /// What it was asked and how it answered.
    pub counts: Counts,
}

struct State {
    pace: Pace,
    window: Window,
    breaker: Breaker,
}

/// What an endpoint was asked and how it answered.
#[derive(Debug, Default)]
pub struct Counts {
    /// Requests sent.
    pub requests: AtomicU64,
    /// Requests that failed, refusals for too much included.
    pub failures: AtomicU64,
    /// Requests refused for too much (429).
    pub limited: AtomicU64,
    /// Tokens of requests that succeeded.
    pub tokens: AtomicU64,
}

/// Whether a request may be sent now.
pub(super) enum Admission {
    /// Now.
    Granted(Permit),
    /// Not before then, or not before something changes.
    Later(Option<Instant>),
    /// Not while it is down.
    Down(Down),
}

/// A request that may be sent; in flight until it is dropped.
pub(super) struct Permit {
    endpoint: Arc<Endpoint>,
    estimated: u64,
    drawn: f64,
    /// Urgent requests do not count against the window.
    windowed: bool,
    sent: Instant,
}

impl Endpoint {
    /// An endpoint nobody has asked yet.
    pub fn new(settings: EndpointSettings, probe: Probe) -> Arc<Self> {
        let state = State {
            pace: Pace::new(settings.limits, Instant::now()),
            window: Window::new(settings.max_in_flight),
            breaker: Breaker::default(),
        };
        let (changed, _) = watch::channel(());
        Arc::new(Endpoint { settings, state: Mutex::new(state), changed, probe, counts: Counts::default() })
    }

    /// What was known of it from the start.
    pub fn settings(&self) -> &EndpointSettings {
        &self.settings
    }

    /// Why it is not asked, if it is not.
    pub fn down(&self) -> Option<Down> {
        self.state.lock().breaker.down().cloned()
    }

    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Admits a request of `tokens` estimated tokens. An urgent one waits neither for others nor for their
    /// share of the pace (they wait for its), only while the provider wants to hear nothing.
    pub(super) fn admit(self: &Arc<Self>, tokens: u64, urgent: bool, now: Instant) -> Admission {
        let mut state = self.state.lock();
        if let Some(down) = state.breaker.down() {
            return Admission::Down(down.clone());
        }
        let ready = match urgent {
            true => state.pace.paused_until().unwrap_or(now),
            false => state.pace.ready_at(tokens, now),
        };
        if ready > now {
            return Admission::Later(Some(ready));
        }
        if !urgent {
            if !state.window.has_room() {
                return Admission::Later(None);
            }
            state.window.enter();
        }
        let drawn = state.pace.draw(tokens, now);
        self.counts.requests.fetch_add(1, Ordering::Relaxed);
        let endpoint = Arc::clone(self);
        Admission::Granted(Permit { endpoint, estimated: tokens, drawn, windowed: !urgent, sent: now })
    }

    /// Leaves it alone from now on, until a probe succeeds.
    pub(super) fn trip(self: &Arc<Self>, failure: &Failure) {
        let opened = self.state.lock().breaker.open(failure.fault, &failure.message, Instant::now());
        if opened {
            self.watch();
        }
    }

    /// Probes it until it is back or nobody uses it any more.
    fn watch(self: &Arc<Self>) {
        tracing::warn!(
            endpoint = self.settings.name,
            reason = self.down().map(|down| down.message),
            "a provider is left alone until it answers again"
        );
        self.changed.send_replace(());
        let endpoint = Arc::downgrade(self);
        tokio::spawn(async move {
            let mut wait = PROBES.0;
            loop {
                tokio::time::sleep(wait.mul_f64(0.5 + 0.5 * random())).await;
                wait = (wait * 2).min(PROBES.1);
                let Some(endpoint) = endpoint.upgrade() else { return };
                if endpoint.down().is_none() {
                    return;
                }
                let alive = match tokio::time::timeout(PROBE, (endpoint.probe)()).await {
                    Ok(Ok(())) => true,
                    // it has an opinion on requests: it is there
                    Ok(Err(failure)) => matches!(failure.fault, Fault::Limited | Fault::Items),
                    Err(_) => false,
                };
                if alive {
                    tracing::info!(endpoint = endpoint.settings.name, "a provider answers again");
                    endpoint.state.lock().breaker.close();
                    endpoint.changed.send_replace(());
                    return;
                }
            }
        });
    }
}

impl Permit {
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// The request was answered; `tokens` as the provider counts them. Returns the tokens it is taken to have had.
    pub fn answered(self, tokens: Option<u64>, said: &RateLimits) -> u64 {
        let now = Instant::now();
        let mut state = self.endpoint.state.lock();
        state.pace.announced(said, now);
        state.pace.answered(self.drawn, self.estimated, tokens, now);
        state.breaker.close();
        if self.windowed {
            state.window.answered(now - self.sent, now);
        }
        drop(state);
        let tokens = tokens.unwrap_or(self.drawn as u64);
        self.endpoint.counts.tokens.fetch_add(tokens, Ordering::Relaxed);
        tokens
    }

    /// The request failed.
    pub fn failed(self, failure: &Failure) {
        let now = Instant::now();
        let counts = &self.endpoint.counts;
        counts.failures.fetch_add(1, Ordering::Relaxed);
        let mut state = self.endpoint.state.lock();
        state.pace.announced(&failure.limits, now);
        let opened = match failure.fault {
            Fault::Limited => {
                counts.limited.fetch_add(1, Ordering::Relaxed);
                state.pace.refused(self.drawn, failure.wait, now);
                state.window.refused(now);
                false
            }
            Fault::Items => {
                state.breaker.close();
                false
            }
            Fault::Passing | Fault::Answer => {
                if failure.fault == Fault::Passing {
                    state.window.refused(now);
                }
                state.breaker.failed(failure.fault, &failure.message, now)
            }
            Fault::Setup => state.breaker.open(failure.fault, &failure.message, now),
        };
        drop(state);
        if opened {
            self.endpoint.watch();
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.windowed {
            self.endpoint.state.lock().window.leave();
        }
        self.endpoint.changed.send_replace(());
    }
}
