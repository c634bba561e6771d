//! Admission: how much may be under way at once. Past a bound a request is answered 429 at once instead of
//! making every other one slower.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::settings::ApiSettings;
use crate::error::{Code, Error, Result};

/// Bytes are counted in units of this size, because a semaphore gives out at most `u32::MAX` permits at a time.
const UNIT_BYTES: usize = 1 << 10;

/// The bounds and what is left of each.
pub(super) struct Admission {
    searches: Arc<Semaphore>,
    writes: Arc<Semaphore>,
    watchers: Arc<Semaphore>,
    write_bytes: Arc<Semaphore>,
    all_write_units: usize,
    max_watchers: usize,
}

/// Held while a search runs.
pub(super) struct SearchPermit(#[allow(dead_code, reason = "released when dropped")] OwnedSemaphorePermit);

/// Held while somebody watches a job.
pub(super) struct WatchPermit(#[allow(dead_code, reason = "released when dropped")] OwnedSemaphorePermit);

/// Held while a write runs.
pub(super) struct WritePermit {
    #[allow(dead_code, reason = "released when dropped")]
    slot: OwnedSemaphorePermit,
    bytes: OwnedSemaphorePermit,
}

impl Admission {
    pub(super) fn new(settings: &ApiSettings) -> Self {
        // a body of the greatest length must always fit once
        let all_write_units = units(settings.max_write_bytes.max(settings.body_limit_bytes));
        Admission {
            searches: Arc::new(Semaphore::new(settings.max_concurrent_searches)),
            writes: Arc::new(Semaphore::new(settings.max_concurrent_writes)),
            watchers: Arc::new(Semaphore::new(settings.max_watchers)),
            write_bytes: Arc::new(Semaphore::new(all_write_units)),
            all_write_units,
            max_watchers: settings.max_watchers,
        }
    }

    pub(super) fn search(&self) -> Result<SearchPermit> {
        let permit = self.searches.clone().try_acquire_owned();
        permit.map(SearchPermit).map_err(|_| overloaded("too many searches are under way"))
    }

    /// How many are watching a job.
    pub(super) fn watching(&self) -> usize {
        self.max_watchers.saturating_sub(self.watchers.available_permits())
    }

    pub(super) fn watch(&self) -> Result<WatchPermit> {
        let permit = self.watchers.clone().try_acquire_owned();
        permit.map(WatchPermit).map_err(|_| overloaded("too many watchers are connected"))
    }

    /// Admits a write whose body has at most `bytes` bytes.
    pub(super) fn write(&self, bytes: usize) -> Result<WritePermit> {
        let slot = self.writes.clone().try_acquire_owned();
        let slot = slot.map_err(|_| overloaded("too many writes are under way"))?;
        let wanted = u32::try_from(units(bytes).min(self.all_write_units)).unwrap_or(u32::MAX);
        let bytes = self.write_bytes.clone().try_acquire_many_owned(wanted);
        let bytes = bytes.map_err(|_| overloaded("the writes under way hold too many bytes"))?;
        Ok(WritePermit { slot, bytes })
    }
}

impl WritePermit {
    /// Gives back what was reserved beyond `bytes`, once the length of the body is known.
    pub(super) fn shrink_to(&mut self, bytes: usize) {
        let excess = self.bytes.num_permits().saturating_sub(units(bytes));
        drop(self.bytes.split(excess));
    }
}

fn units(bytes: usize) -> usize {
    bytes.div_ceil(UNIT_BYTES).min(Semaphore::MAX_PERMITS)
}

fn overloaded(what: &str) -> Error {
    Error::new(Code::Overloaded, format!("{what}: try again later")).with_retry_after(Duration::from_secs(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn past_a_bound_requests_are_refused_until_one_ends() {
        let settings = ApiSettings { max_concurrent_searches: 1, ..ApiSettings::default() };
        let admission = Admission::new(&settings);
        let held = admission.search().unwrap();
        let error = admission.search().err().unwrap();
        assert_eq!(error.code, Code::Overloaded);
        assert!(error.retry_after.is_some());
        drop(held);
        assert!(admission.search().is_ok());
    }

    #[test]
    fn bytes_reserved_for_an_unknown_length_are_given_back() {
        let settings =
            ApiSettings { body_limit_bytes: 4096, max_write_bytes: 6144, ..ApiSettings::default() };
        let admission = Admission::new(&settings);
        let mut first = admission.write(4096).unwrap();
        assert_eq!(admission.write(4096).err().unwrap().code, Code::Overloaded);
        first.shrink_to(100);
        assert!(admission.write(4096).is_ok());
        drop(first);
        assert!(
            admission.write(1 << 40).is_ok(),
            "more than there is waits for nothing: the body limit refuses it"
        );
    }
}
