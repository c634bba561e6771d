//! What the operator can set about the HTTP service.

use std::time::Duration;

/// Limits and the key of the HTTP service. The values are taken as valid: counts and sizes of at least 1.
#[derive(Clone, Debug)]
pub struct ApiSettings {
    /// The bearer key clients must send; `None`: every request is let in.
    pub api_key: Option<String>,
    /// The longest body of a write, decompressed.
    pub body_limit_bytes: usize,
    /// Searches under way at once; more are answered 429.
    pub max_concurrent_searches: usize,
    /// Writes and deletes under way at once; more are answered 429.
    pub max_concurrent_writes: usize,
    /// Bytes of write bodies held in memory at once; more are answered 429.
    pub max_write_bytes: usize,
    /// Watchers of jobs at once; more are answered 429.
    pub max_watchers: usize,
    /// After this a request is answered 504.
    pub request_timeout: Duration,
    /// How long requests under way may take to finish once shutdown begins.
    pub shutdown_grace: Duration,
}

impl Default for ApiSettings {
    fn default() -> Self {
        Self {
            api_key: None,
            body_limit_bytes: 64 << 20,
            max_concurrent_searches: 64,
            max_concurrent_writes: 16,
            max_write_bytes: 256 << 20,
            max_watchers: 10_000,
            request_timeout: Duration::from_secs(60),
            shutdown_grace: Duration::from_secs(30),
        }
    }
}
