//! Calls to providers, so that none is lost and none is paid for twice: what all of them share.
//!
//! An [`Endpoint`] knows how fast it may be asked and whether it is worth asking; [`Endpoints`] of one model
//! stand in for each other. [`bulk`] sends many items: packed, paced, repeated, and halved where one of
//! them is at fault. [`urgent`] sends one request that somebody waits for. Both are told by a closure how one request
//! is made: over [`Http`], or, in tests, in this process.

mod address;
mod breaker;
mod bucket;
mod bulk;
mod endpoint;
mod endpoints;
mod http;
mod key;
mod pace;
mod pack;
mod retry;
mod through;
mod urgent;
mod usage;
mod window;

use std::time::Duration;

pub use address::{KEY_VARIABLES, Network, ProviderAccess, check_url};
pub use breaker::Down;
pub use bulk::{Bulk, bulk};
pub use endpoint::{Counts, Endpoint, EndpointSettings, Probe};
pub use endpoints::Endpoints;
pub use http::{Answer, Http, Post};
pub use key::{Auth, KeySource};
pub use pack::{Caps, Size};
pub use retry::Backoff;
pub use urgent::{Urgent, urgent};
pub use usage::Usage;

/// What a failed request says about what to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Too much was asked: later, the same.
    Limited,
    /// The endpoint cannot just now: try again.
    Passing,
    /// It answered something that is of no use: try again, it may be a single slip.
    Answer,
    /// It does not take what the request holds: some item is at fault.
    Items,
    /// It takes no request as things are set up (key, model, address): another endpoint may.
    Setup,
}

/// Why a request brought nothing.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What to do.
    pub fault: Fault,
    /// What happened, for people.
    pub message: String,
    /// The wait the provider asks for.
    pub wait: Option<Duration>,
    /// The limits it announces.
    pub limits: Box<RateLimits>,
}

impl Failure {
    /// A failure of which nothing more is known.
    pub fn new(fault: Fault, message: impl Into<String>) -> Self {
        Failure { fault, message: message.into(), wait: None, limits: Box::default() }
    }
}

/// What a request brought.
#[derive(Clone, Debug, Default)]
pub struct Reply<T> {
    /// The answer.
    pub value: T,
    /// Tokens, as the provider counts them.
    pub tokens: Option<u64>,
    /// The limits it announces.
    pub limits: RateLimits,
}

/// What may be asked a minute; `None`: not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Requests.
    pub requests: Option<u64>,
    /// Tokens.
    pub tokens: Option<u64>,
}

/// What an answer's headers announce.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateLimits {
    /// Of requests.
    pub requests: RateLimit,
    /// Of tokens.
    pub tokens: RateLimit,
}

/// What an answer's headers announce of one limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateLimit {
    /// So many a minute.
    pub limit: Option<u64>,
    /// So many are left.
    pub remaining: Option<u64>,
    /// So long until all of it is back.
    pub reset: Option<Duration>,
}

#[cfg(test)]
pub(crate) use http::fake;

#[cfg(test)]
mod tests;
