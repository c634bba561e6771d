//! Where networks run: `rten` works only inside thread pools of its own, some for queries and some for documents.

use std::sync::Arc;

use parking_lot::Mutex;
use rten::{RunOptions, ThreadPool};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Why a run brought nothing.
#[derive(Clone, Debug)]
pub(crate) enum Broken {
    /// gleaner is shutting down.
    Cancelled,
    /// It broke off.
    Off(String),
}

/// Threads for one kind of text. Each run has one thread: several runs side by side do more than one run
/// on several threads. What waits, waits in the order it came. A lane shares nothing with another, so a
/// long import never stands before a query.
pub(crate) struct Lane {
    idle: Arc<Mutex<Vec<Arc<ThreadPool>>>>,
    permits: Arc<Semaphore>,
}

/// A thread of a lane, lent to one run.
struct Lent {
    thread: Arc<ThreadPool>,
    idle: Arc<Mutex<Vec<Arc<ThreadPool>>>>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.idle.lock().push(self.thread.clone());
    }
}

impl Lane {
    /// A lane of `threads` threads.
    pub fn new(threads: usize) -> Self {
        let idle = (0..threads).map(|_| Arc::new(ThreadPool::with_num_threads(1))).collect();
        Self { idle: Arc::new(Mutex::new(idle)), permits: Arc::new(Semaphore::new(threads)) }
    }

    /// Runs `work` on one of the lane's threads. It is given the options that keep a network there.
    /// Dropping the future before the work's turn comes takes it out of the queue.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(RunOptions) -> T + Send + 'static,
    ) -> Result<T, Broken> {
        let permit = self.permits.clone().acquire_owned().await.map_err(|_| Broken::Cancelled)?;
        let thread = self.idle.lock().pop().ok_or(Broken::Cancelled)?;
        let lent = Lent { thread, idle: self.idle.clone(), _permit: permit };
        // A tokio thread for blocking calls does the waiting: a rayon worker that waits for another pool
        // steals jobs of its own meanwhile, and could come back from a short embedding minutes later.
        let job = tokio::task::spawn_blocking(move || {
            let options = RunOptions::default().with_thread_pool(Some(lent.thread.clone()));
            lent.thread.run(move || work(options))
        });
        job.await.map_err(|error| match error.is_cancelled() {
            true => Broken::Cancelled,
            false => Broken::Off(error.to_string()),
        })
    }

    /// Whether no run is under way.
    #[cfg(all(test, feature = "builtin-model"))]
    pub fn is_idle(&self, threads: usize) -> bool {
        self.permits.available_permits() == threads
    }
}
