//! The jobs of the process, as the catalog keeps them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::collection::catalog::Edit;
use crate::dispatch::Usage;
use crate::document::ItemResult;
use crate::error::{Code, Error, Result};
use crate::ingest::job::{Job, JobState};

/// Ended jobs are forgotten, oldest first, past this many.
const KEPT: usize = 10_000;
/// And past this many documents: the catalog lists each.
const KEPT_DOCUMENTS: u64 = 10_000_000;
/// Failures a job remembers.
const KEPT_ERRORS: usize = 100;

/// The jobs of the process.
#[derive(Debug)]
pub struct Jobs {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    jobs: BTreeMap<String, Job>,
    /// How many documents all jobs have.
    documents: u64,
    /// Of the jobs that have not ended.
    progress: HashMap<String, Arc<Progress>>,
    cancelled: HashSet<String>,
}

/// What is counted while a job runs. Goes with its end, which whoever waits for a change hears too.
#[derive(Debug)]
pub struct Progress {
    chunks: AtomicU64,
    embedded: AtomicU64,
    changed: watch::Sender<()>,
}

impl Progress {
    fn new() -> Arc<Progress> {
        let zero = AtomicU64::default;
        Arc::new(Progress { chunks: zero(), embedded: zero(), changed: watch::channel(()).0 })
    }

    /// Nothing is done (any more).
    pub fn restart(&self) {
        self.chunks.store(0, Ordering::Relaxed);
        self.embedded.store(0, Ordering::Relaxed);
        self.changed.send_replace(());
    }

    /// Chunks were made.
    pub fn chunked(&self, chunks: u64) {
        self.chunks.fetch_add(chunks, Ordering::Relaxed);
        self.changed.send_replace(());
    }

    /// Chunks were embedded.
    pub fn embedded(&self, chunks: u64) {
        self.embedded.fetch_add(chunks, Ordering::Relaxed);
        self.changed.send_replace(());
    }
}

impl State {
    /// A known job as it stands.
    fn shown(&self, job: &Job) -> Job {
        let mut job = job.clone();
        if let Some(progress) = self.progress.get(&job.id) {
            job.chunks = progress.chunks.load(Ordering::Relaxed);
            job.embedded = progress.embedded.load(Ordering::Relaxed);
        }
        job
    }

    /// Wakes whoever watches the job.
    fn signal(&self, id: &str) {
        if let Some(progress) = self.progress.get(id) {
            progress.changed.send_replace(());
        }
    }

    fn remove(&mut self, id: &str) -> Option<Job> {
        let job = self.jobs.remove(id)?;
        self.documents = self.documents.saturating_sub(job.documents);
        self.cancelled.remove(id);
        self.signal(id); // whoever waits for it hears that it is gone
        self.progress.remove(id);
        Some(job)
    }
}

impl Jobs {
    /// The jobs as recovery finds them.
    pub fn recover(mut jobs: BTreeMap<String, Job>) -> Jobs {
        for job in jobs.values_mut().filter(|job| job.state == JobState::Running) {
            job.state = JobState::Queued; // its batch is still in the inbox
        }
        let open = jobs.values().filter(|job| !job.state.ended());
        let progress = open.map(|job| (job.id.clone(), Progress::new())).collect();
        let documents = jobs.values().map(|job| job.documents).sum();
        Jobs { state: Mutex::new(State { jobs, documents, progress, cancelled: HashSet::new() }) }
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
            chunks: 0,
            embedded: 0,
            errors: Vec::new(),
            failed_batch: None,
            retried_by: None,
            usage: Usage::default(),
            created_at: now(),
            ended_at: None,
        }
    }

    /// Lists a job.
    pub fn insert(&self, job: Job) {
        let mut state = self.state.lock();
        state.progress.insert(job.id.clone(), Progress::new());
        state.documents += job.documents;
        state.jobs.insert(job.id.clone(), job);
    }

    /// Forgets the oldest jobs that have ended, where there are too many; returns them.
    pub fn forget_oldest(&self) -> Vec<Job> {
        let mut state = self.state.lock();
        let (mut count, mut documents) = (state.jobs.len(), state.documents);
        let mut old = Vec::new();
        for job in state.jobs.values().filter(|job| job.state.ended()) {
            if count <= KEPT && documents <= KEPT_DOCUMENTS {
                break;
            }
            (count, documents) = (count - 1, documents.saturating_sub(job.documents));
            old.push(job.id.clone());
        }
        old.iter().filter_map(|id| state.remove(id)).collect()
    }

    /// The newest first.
    pub fn list(&self, collection: Option<&str>, limit: usize) -> Vec<Job> {
        let state = self.state.lock();
        let wanted = |job: &&Job| collection.is_none_or(|name| job.collection == name);
        state.jobs.values().rev().filter(wanted).take(limit).map(|job| state.shown(job)).collect()
    }

    /// One job.
    pub fn get(&self, id: &str) -> Result<Job> {
        let state = self.state.lock();
        state.jobs.get(id).map(|job| state.shown(job)).ok_or_else(|| {
            let message = format!(
                "there is no job `{id}` (the newest {KEPT} are remembered, of together {KEPT_DOCUMENTS} documents)"
            );
            Error::new(Code::JobNotFound, message).with_param("id")
        })
    }

    /// Marks a job as running, with nothing done yet.
    pub fn start(&self, id: &str) {
        let mut state = self.state.lock();
        if let Some(job) = state.jobs.get_mut(id) {
            job.state = JobState::Running;
        }
        state.signal(id);
    }

    /// Where the progress of a job that has not ended is counted.
    pub fn progress(&self, id: &str) -> Option<Arc<Progress>> {
        self.state.lock().progress.get(id).cloned()
    }

    /// Tells of each change of a job, its end included; `None` where it has ended (or is not known).
    pub fn changes(&self, id: &str) -> Option<watch::Receiver<()>> {
        self.state.lock().progress.get(id).map(|progress| progress.changed.subscribe())
    }

    /// Asks for a job to be cancelled.
    pub fn cancel(&self, id: &str) -> Result<()> {
        let job = self.get(id)?;
        if job.state.ended() {
            let message = format!("the job `{id}` has already ended");
            return Err(Error::new(Code::JobEnded, message).with_param("id"));
        }
        self.state.lock().cancelled.insert(id.to_owned());
        Ok(())
    }

    /// Whether somebody asked for the job to be cancelled.
    pub fn is_cancelled(&self, id: &str) -> bool {
        self.state.lock().cancelled.contains(id)
    }

    /// Notes what a job cost so far, where that does not show in how it ends.
    pub fn spend(&self, id: &str, usage: Usage) {
        if let Some(job) = self.state.lock().jobs.get_mut(id) {
            job.usage += usage;
        }
    }

    /// Jobs that have not ended and cost something already.
    pub fn begun(&self) -> Vec<Job> {
        let state = self.state.lock();
        let begun = |job: &&Job| !job.state.ended() && !job.usage.is_zero();
        state.jobs.values().filter(begun).cloned().collect()
    }

    /// The job as it ends with these outcomes; [`replace`](Self::replace) it once that is durable.
    pub fn ended(&self, id: &str, indexed: u64, errors: Vec<ItemResult>, usage: Usage) -> Option<Job> {
        let state = self.state.lock();
        let mut job = state.shown(state.jobs.get(id)?);
        job.indexed += indexed;
        job.failed += errors.len() as u64;
        job.usage += usage;
        job.errors.extend(errors);
        job.errors.truncate(KEPT_ERRORS);
        job.state = if job.indexed == 0 && job.failed > 0 { JobState::Failed } else { JobState::Succeeded };
        job.ended_at = Some(now());
        Some(job)
    }

    /// The job as it ends when it is cancelled.
    pub fn ended_by_cancel(&self, id: &str) -> Option<Job> {
        let state = self.state.lock();
        let mut job = state.shown(state.jobs.get(id)?);
        job.state = JobState::Cancelled;
        job.ended_at = Some(now());
        Some(job)
    }

    /// Shows a job's new state to everyone.
    pub fn replace(&self, job: Job) {
        let mut state = self.state.lock();
        state.cancelled.remove(&job.id);
        state.signal(&job.id);
        if job.state.ended() {
            state.progress.remove(&job.id);
        }
        // one that is gone went with its collection
        if let Some(known) = state.jobs.get_mut(&job.id) {
            *known = job;
        }
    }

    /// Forgets jobs (of a deleted collection); returns the edits.
    pub fn forget(&self, gone: impl Fn(&Job) -> bool) -> Vec<Edit> {
        let mut state = self.state.lock();
        let ids: Vec<_> = state.jobs.values().filter(|job| gone(job)).map(|job| job.id.clone()).collect();
        for id in &ids {
            state.remove(id);
        }
        ids.into_iter().map(Edit::DropJob).collect()
    }

    /// Returns the job once it has ended.
    pub async fn wait(&self, id: &str) -> Result<Job> {
        let mut changes = self.changes(id);
        loop {
            let job = self.get(id)?;
            let Some(changes) = changes.as_mut().filter(|_| !job.state.ended()) else { return Ok(job) };
            // an error says that it has ended
            let _ = changes.changed().await;
        }
    }
}

/// The current time, RFC 3339 in UTC.
pub fn now() -> String {
    jiff::Timestamp::now().round(jiff::Unit::Millisecond).unwrap_or_default().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Jobs of these documents each, of which those before `open` have ended.
    fn jobs(documents: &[u64], open: usize) -> Jobs {
        let jobs = Jobs::recover(BTreeMap::new());
        for (at, &documents) in documents.iter().enumerate() {
            let mut job = Job { id: format!("{at:06}"), ..Jobs::make("c", documents) };
            jobs.insert(job.clone());
            if at < open {
                job.state = JobState::Succeeded;
                jobs.replace(job);
            }
        }
        jobs
    }

    fn forgotten(jobs: &Jobs) -> Vec<String> {
        jobs.forget_oldest().into_iter().map(|job| job.id).collect()
    }

    #[test]
    fn the_oldest_jobs_are_forgotten_where_they_are_too_many_or_have_too_many_documents() {
        assert!(forgotten(&jobs(&[KEPT_DOCUMENTS / 4; 4], 4)).is_empty());
        let large = jobs(&[4_000_000, 1, 4_000_000, 4_000_000], 3);
        assert_eq!(forgotten(&large), ["000000"]);
        assert!(forgotten(&large).is_empty());
        assert_eq!(large.get("000000").unwrap_err().code, Code::JobNotFound);
        large.insert(Job { id: "000004".into(), ..Jobs::make("c", 2_500_000) });
        assert_eq!(forgotten(&large), ["000001", "000002"]);
        let many = jobs(&[1; KEPT + 2], KEPT + 2);
        assert_eq!(forgotten(&many), ["000000", "000001"]);
    }

    #[test]
    fn a_job_that_has_not_ended_is_not_forgotten() {
        let open = jobs(&[KEPT_DOCUMENTS; 3], 0);
        assert!(forgotten(&open).is_empty());
        assert_eq!(open.forget(|job| job.id == "000001").len(), 1);
        assert_eq!(open.list(None, 10).len(), 2);
    }
}
