//! CPU pools: searches, writes and background work never share a queue, and none runs on a tokio thread.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::error::{Error, Result};

/// A named rayon pool.
#[derive(Clone, Debug)]
pub struct CpuPool {
    pool: Arc<rayon::ThreadPool>,
}

/// A merge writes three parts side by side.
const MERGE_THREADS: usize = 3;

/// The process's pools.
#[derive(Clone, Debug)]
pub struct Pools {
    /// Searches and query embeddings.
    pub search: CpuPool,
    /// What a write waits for: chunking, embedding documents, building segments.
    pub build: CpuPool,
    /// Merges that may take long.
    pub merge: CpuPool,
    /// Small merges.
    pub small_merge: CpuPool,
    /// Graphs.
    pub graph: CpuPool,
}

impl Pools {
    /// Pools of `threads` threads each (at least 1). They are separate so that the kernel schedules a search
    /// at once, instead of its waiting behind builds in one queue; it gives writes less time than searches,
    /// and merges and graphs, which nobody waits for, less than both.
    pub fn new(threads: usize) -> Result<Pools> {
        Ok(Pools {
            search: CpuPool::new("search", threads, 0)?,
            build: CpuPool::new("build", threads, 4)?,
            merge: CpuPool::new("merge", threads.min(MERGE_THREADS), 10)?,
            small_merge: CpuPool::new("small-merge", threads.min(MERGE_THREADS), 10)?,
            graph: CpuPool::new("graph", threads, 10)?,
        })
    }
}

impl CpuPool {
    /// A pool of `threads` threads named `name-N` at niceness `nice` (where the system has it by thread, as
    /// Linux does).
    pub fn new(name: &'static str, threads: usize, nice: i32) -> Result<CpuPool> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads.max(1))
            .thread_name(move |index| format!("{name}-{index}"))
            .start_handler(move |_| {
                // elsewhere it would be the whole process; a system that refuses is only less polite
                #[cfg(target_os = "linux")]
                let _ = rustix::process::nice(nice);
                let _ = nice;
            })
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
        let pool = CpuPool::new("test", 1, 0).unwrap();
        let error = pool.run(|| -> u32 { panic!("row {}", 7) }).await.unwrap_err();
        assert!(error.message.contains("row 7"), "{error}");
        assert_eq!(pool.run(|| 3).await.unwrap(), 3);
        assert_eq!(pool.run_blocking(|| 4).unwrap(), 4);
    }
}
