//! What failed in a job: listed page by page, and tried again.

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::collection::Collection;
use crate::collection::catalog::Edit;
use crate::collection::failed;
use crate::document::{ItemResult, WriteResponse};
use crate::error::{Code, Error, Result};
use crate::ingest::job::{Job, JobState};
use crate::ingest::receive;

/// A page of the documents that failed in a job.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct FailurePage {
    /// In the order of the request.
    pub failures: Vec<ItemResult>,
    /// `after` of the next page; absent: this is the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<usize>,
}

/// At most `limit` failures of a job, from after the position `after` in its request.
pub async fn failures(
    collection: &Arc<Collection>,
    job: &Job,
    after: Option<usize>,
    limit: usize,
) -> Result<FailurePage> {
    let mut failures = all_failures(collection, job).await?;
    failures.retain(|failure| after.is_none_or(|after| failure.index > after));
    let more = failures.len() > limit;
    failures.truncate(limit);
    let next = failures.last().filter(|_| more).map(|last| last.index);
    Ok(FailurePage { failures, next })
}

/// All failures of a job, in the order of the request.
pub(super) async fn all_failures(collection: &Collection, job: &Job) -> Result<Vec<ItemResult>> {
    match job.failed_batch {
        Some(batch) => read(collection, batch, failed::read_results).await,
        None => Ok(Vec::new()),
    }
}

/// Writes the failed documents of a job again, as a new job. A document of which a later version was accepted
/// is left out. The job keeps its failures; it can be retried again where no job came of it, or one that was cancelled.
pub async fn retry(collection: Arc<Collection>, mut job: Job) -> Result<WriteResponse> {
    let nothing = |why: &str| Err(Error::new(Code::NothingToRetry, format!("the job `{}` {why}", job.id)));
    if !job.state.ended() {
        return nothing("has not ended");
    }
    let Some(batch) = job.failed_batch else { return nothing("has no failed documents") };
    if let Some(retry) = &job.retried_by
        && !collection.shared.jobs.get(retry).is_ok_and(|retry| retry.state == JobState::Cancelled)
    {
        return nothing(&format!("was retried already, by the job `{retry}`: retry that one"));
    }
    let failed = read(&collection, batch, failed::read).await?;
    let documents = failed.into_iter().filter_map(|failed| failed.document);
    let reader = Arc::clone(&collection);
    let documents: Vec<_> = documents.collect();
    let still_wanted = move || {
        let snapshot = reader.snapshot();
        let mut wanted = Vec::new();
        for failed in documents {
            let newer = snapshot.find(&failed.id)?.is_some_and(|(_, entry)| entry.version > failed.version);
            if !newer && !reader.order().has_newer(&failed.id, failed.version) {
                wanted.push(Ok(crate::document::Document { id: Some(failed.id), ..failed.document }));
            }
        }
        Ok::<_, Error>(wanted)
    };
    let items = collection.shared.pools.search.run(still_wanted).await??;
    let response = receive::write(Arc::clone(&collection), items, false).await?;
    job.retried_by = response.job_id.clone();
    let edit = Edit::PutJob(collection.record.id, Box::new(job.clone()));
    collection.shared.catalog.commit(vec![edit]).await?;
    collection.shared.jobs.replace(job);
    Ok(response)
}

async fn read<T: Send + 'static>(
    collection: &Collection,
    batch: u64,
    read: fn(&Path, u64) -> crate::store::Result<T>,
) -> Result<T> {
    let dir = collection.dir.clone();
    let read = tokio::task::spawn_blocking(move || read(&dir, batch)).await;
    Ok(read.map_err(|_| Error::internal("reading what failed broke off"))??)
}
