//! The jobs of the process, as the catalog keeps them.

use std::collections::{BTreeMap, HashSet};

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::collection::catalog::Edit;
use crate::document::ItemResult;
use crate::error::{Code, Error, Result};
use crate::ingest::job::{Job, JobState};

/// Ended jobs are forgotten, oldest first, past this many.
const KEPT: usize = 10_000;
/// Failures a job remembers.
const KEPT_ERRORS: usize = 100;

/// The jobs of the process.
#[derive(Debug)]
pub struct Jobs {
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct State {
    jobs: BTreeMap<String, Job>,
    cancelled: HashSet<String>,
}

impl Jobs {
    /// The jobs as recovery finds them.
    pub fn recover(mut jobs: BTreeMap<String, Job>) -> Jobs {
        for job in jobs.values_mut().filter(|job| job.state == JobState::Running) {
            job.state = JobState::Queued; // its batch is still in the inbox
        }
        let state = Mutex::new(State { jobs, cancelled: HashSet::new() });
        Jobs { state, changed: watch::channel(()).0 }
    }

    /// A job for `documents` accepted documents. It is not listed before [`insert`](Self::insert).
    pub fn make(collection: &str, documents: u64) -> Job {
        Job {
            id: uuid::Uuid::now_v7().to_string(),
            collection: collection.to_owned(),
            state: JobState::Queued,
            documents,
            indexed: 0,
            failed: 0,
            errors: Vec::new(),
            created_at: now(),
            ended_at: None,
        }
    }

    /// Lists a job; returns the edits that forget the oldest ended ones.
    pub fn insert(&self, job: Job) -> Vec<Edit> {
        let mut state = self.state.lock();
        state.jobs.insert(job.id.clone(), job);
        let over = state.jobs.len().saturating_sub(KEPT);
        let old: Vec<_> = state.jobs.values().filter(|job| job.state.ended()).take(over).collect();
        let old: Vec<_> = old.into_iter().map(|job| job.id.clone()).collect();
        for id in &old {
            state.jobs.remove(id);
        }
        old.into_iter().map(Edit::DropJob).collect()
    }

    /// The newest first.
    pub fn list(&self, collection: Option<&str>, limit: usize) -> Vec<Job> {
        let state = self.state.lock();
        let wanted = |job: &&Job| collection.is_none_or(|name| job.collection == name);
        state.jobs.values().rev().filter(wanted).take(limit).cloned().collect()
    }

    /// One job.
    pub fn get(&self, id: &str) -> Result<Job> {
        self.state.lock().jobs.get(id).cloned().ok_or_else(|| {
            let message =
                format!("there is no job `{id}` (ended jobs are forgotten after {KEPT} newer ones)");
            Error::new(Code::JobNotFound, message).with_param("id")
        })
    }

    /// Marks a job as running.
    pub fn start(&self, id: &str) {
        if let Some(job) = self.state.lock().jobs.get_mut(id) {
            job.state = JobState::Running;
        }
    }

    /// Asks for a job to be cancelled.
    pub fn cancel(&self, id: &str) -> Result<Job> {
        let job = self.get(id)?;
        if job.state.ended() {
            let message = format!("the job `{id}` has already ended");
            return Err(Error::new(Code::JobEnded, message).with_param("id"));
        }
        self.state.lock().cancelled.insert(id.to_owned());
        Ok(job)
    }

    /// Whether somebody asked for the job to be cancelled.
    pub fn is_cancelled(&self, id: &str) -> bool {
        self.state.lock().cancelled.contains(id)
    }

    /// The job as it ends with these outcomes; [`replace`](Self::replace) it once that is durable.
    pub fn ended(&self, id: &str, indexed: u64, errors: Vec<ItemResult>) -> Option<Job> {
        let state = self.state.lock();
        let mut job = state.jobs.get(id)?.clone();
        job.indexed += indexed;
        job.failed += errors.len() as u64;
        job.errors.extend(errors);
        job.errors.truncate(KEPT_ERRORS);
        job.state = if job.indexed == 0 && job.failed > 0 { JobState::Failed } else { JobState::Succeeded };
        job.ended_at = Some(now());
        Some(job)
    }

    /// The job as it ends when it is cancelled.
    pub fn ended_by_cancel(&self, id: &str) -> Option<Job> {
        let mut job = self.state.lock().jobs.get(id)?.clone();
        job.state = JobState::Cancelled;
        job.ended_at = Some(now());
        Some(job)
    }

    /// Shows a job's new state to everyone.
    pub fn replace(&self, job: Job) {
        let mut state = self.state.lock();
        state.cancelled.remove(&job.id);
        // one that is gone went with its collection
        if let Some(known) = state.jobs.get_mut(&job.id) {
            *known = job;
        }
        drop(state);
        self.changed.send_replace(());
    }

    /// Forgets jobs (of a deleted collection); returns the edits.
    pub fn forget(&self, gone: impl Fn(&Job) -> bool) -> Vec<Edit> {
        let mut state = self.state.lock();
        let ids: Vec<_> = state.jobs.values().filter(|job| gone(job)).map(|job| job.id.clone()).collect();
        for id in &ids {
            state.jobs.remove(id);
            state.cancelled.remove(id);
        }
        drop(state);
        self.changed.send_replace(()); // whoever waits for one of them hears that it is gone
        ids.into_iter().map(Edit::DropJob).collect()
    }

    /// Returns the job once it has ended.
    pub async fn wait(&self, id: &str) -> Result<Job> {
        let mut changed = self.changed.subscribe();
        loop {
            let job = self.get(id)?;
            if job.state.ended() {
                return Ok(job);
            }
            if changed.changed().await.is_err() {
                return Ok(job);
            }
        }
    }
}

/// The current time, RFC 3339 in UTC.
pub fn now() -> String {
    jiff::Timestamp::now().round(jiff::Unit::Millisecond).unwrap_or_default().to_string()
}
