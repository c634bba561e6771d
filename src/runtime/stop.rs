//! A word to work under way that nobody waits for it any more.

use tokio::sync::watch;

/// Said at most once, heard by all who ask, also later.
#[derive(Debug, Default)]
pub struct Stop(watch::Sender<bool>);

impl Stop {
    /// Nothing is said yet.
    pub fn new() -> Stop {
        Stop::default()
    }

    /// Nobody waits any more.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }

    /// Returns when nobody waits any more.
    pub async fn stopped(&self) {
        // the sender lives as long as `self`: it is no error
        let _ = self.0.subscribe().wait_for(|stopped| *stopped).await;
    }
}
