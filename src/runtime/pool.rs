//! CPU pools: searches and builds never share a queue, and neither runs on a tokio thread.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::error::{Error, Result};

/// A named rayon pool.
#[derive(Clone, Debug)]
pub struct CpuPool {
    pool: Arc<rayon::ThreadPool>,
}

/// The process's pools.
#[derive(Clone, Debug)]
pub struct Pools {
    /// Searches and query embeddings.
    pub search: CpuPool,
    /// Chunking, document embeddings, segment and graph builds, compaction.
    pub build: CpuPool,
}

impl Pools {
    /// Pools of `threads` threads each (at least 1). They are separate so that a search is scheduled at
    /// once by the kernel instead of waiting behind builds in one queue; build threads run at low
    /// priority.
    pub fn new(threads: usize) -> Result<Pools> {
        Ok(Pools { search: CpuPool::new("search", threads)?, build: CpuPool::new("build", threads)? })
    }
}

impl CpuPool {
    /// A pool of `threads` threads named `name-N`.
    pub fn new(name: &'static str, threads: usize) -> Result<CpuPool> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads.max(1))
            .thread_name(move |index| format!("{name}-{index}"))
            .build()
            .map_err(|error| Error::internal(format!("the {name} threads could not be started: {error}")))?;
        Ok(CpuPool { pool: Arc::new(pool) })
    }

    /// Runs `work` on the pool and waits for it without blocking the async thread. A panic becomes
    /// an `internal` error; rayon inside `work` uses this pool.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        self.pool.spawn(move || {
            // a bare panic in a spawned rayon job would abort the process
            let _ = sender.send(guard(work));
        });
        receiver.await.map_err(|_| Error::internal("a CPU job was lost"))?
    }

    /// Runs `work` on the pool and blocks this (non-async) thread until it is done.
    pub fn run_blocking<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        self.pool.install(|| guard(work))
    }

    /// How many threads it has.
    pub fn threads(&self) -> usize {
        self.pool.current_num_threads()
    }
}

/// Runs `work`; a panic becomes an error that carries its message.
fn guard<T>(work: impl FnOnce() -> T) -> Result<T> {
    // AssertUnwindSafe: what the closure captured is dropped with it; shared state is behind locks that
    // do not poison and is replaced whole, never edited in place.
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let message = panic
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "no message".into());
        Error::internal(format!("a CPU job broke off: {message}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_error_and_the_pool_goes_on() {
        let pool = CpuPool::new("test", 1).unwrap();
        let error = pool.run(|| -> u32 { panic!("row {}", 7) }).await.unwrap_err();
        assert!(error.message.contains("row 7"), "{error}");
        assert_eq!(pool.run(|| 3).await.unwrap(), 3);
        assert_eq!(pool.run_blocking(|| 4).unwrap(), 4);
    }
}
