//! A job: accepted documents on their way into the index, and what became of them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::dispatch::Usage;
use crate::document::ItemResult;

/// Accepted documents on their way into the index.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Job {
    /// Its id; ids sort by time.
    pub id: String,
    /// The collection it writes to.
    pub collection: String,
    /// How far it is.
    pub state: JobState,
    /// Documents it was given (those that the write refused are not among them).
    pub documents: u64,
    /// Documents that are searchable (or were superseded by a later write).
    pub indexed: u64,
    /// Documents that failed.
    pub failed: u64,
    /// Chunks that its documents were cut into so far.
    #[serde(default)]
    pub chunks: u64,
    /// Chunks that have their vectors.
    #[serde(default)]
    pub embedded: u64,
    /// The first failures (at most 100), by position in the request; `GET /v1/jobs/{id}/failures` lists all.
    pub errors: Vec<ItemResult>,
    /// Names what is kept of the failed documents; absent: none failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_batch: Option<u64>,
    /// The job that retries its failed documents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retried_by: Option<String>,
    /// What embedding its documents cost, where a provider did it.
    #[serde(default, skip_serializing_if = "Usage::is_zero")]
    pub usage: Usage,
    /// When it was accepted, RFC 3339.
    pub created_at: String,
    /// When it ended, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<String>,
}

/// How far a job is, as its watchers are told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobProgress {
    /// Id of the job.
    pub id: String,
    /// How far it is.
    pub state: JobState,
    /// Documents it was given.
    pub documents: u64,
    /// Documents that are searchable.
    pub indexed: u64,
    /// Documents that failed.
    pub failed: u64,
    /// Chunks that its documents were cut into so far.
    pub chunks: u64,
    /// Chunks that have their vectors.
    pub embedded: u64,
}

impl From<&Job> for JobProgress {
    fn from(job: &Job) -> Self {
        JobProgress {
            id: job.id.clone(),
            state: job.state,
            documents: job.documents,
            indexed: job.indexed,
            failed: job.failed,
            chunks: job.chunks,
            embedded: job.embedded,
        }
    }
}

/// How far a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// On disk, waiting for its turn.
    Queued,
    /// Being chunked, embedded and committed.
    Running,
    /// Every document is searchable, apart from those counted as failed.
    Succeeded,
    /// No document could be indexed; `errors` says why.
    Failed,
    /// Cancelled; what was not indexed yet was dropped.
    Cancelled,
}

impl JobState {
    /// Whether nothing more will happen.
    pub fn ended(self) -> bool {
        matches!(self, JobState::Succeeded | JobState::Failed | JobState::Cancelled)
    }
}
