//! What became of each document of a job, page by page.
//!
//! The catalog lists a job's documents from the transaction that accepts it to the one that forgets it. What became of
//! them is not kept beside that but looked up: in how the job stands, in what failed of it, and in the view that searches
//! have. So it cannot contradict them, also after a crash.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::collection::Collection;
use crate::collection::catalog::JobDocuments;
use crate::collection::snapshot::Snapshot;
use crate::document::{ErrorBody, ItemResult, ItemStatus};
use crate::error::Result;
use crate::ingest::job::{Job, JobState};
use crate::ingest::retry;

/// Documents looked up for one page: where a status is rare, a page may hold fewer than were asked for.
const LOOKED_UP: usize = 10_000;

/// A page of the documents of a job.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct OutcomePage {
    /// In the order of the request.
    pub documents: Vec<ItemResult>,
    /// `after` of the next page; absent: this is the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<usize>,
}

/// At most `limit` documents of a job, from after the position `after` in its request, of that status or all.
pub async fn outcomes(
    collection: &Arc<Collection>,
    job: Job,
    after: Option<usize>,
    limit: usize,
    status: Option<ItemStatus>,
) -> Result<OutcomePage> {
    let failures = retry::all_failures(collection, &job).await?;
    let view = Arc::new(View {
        // taken after the job was looked up: what an ended job indexed is in it
        snapshot: collection.snapshot(),
        collection: Arc::clone(collection),
        reasons: failures.into_iter().map(|failure| (failure.index, failure.error)).collect(),
        job,
    });
    let mut page = OutcomePage::default();
    let (mut from, mut looked_up) = (after.map_or(0, |after| after.saturating_add(1)), 0);
    while let Some(mut list) = collection.shared.catalog.job_documents(&view.job.id, from).await? {
        if status.is_none() {
            list.documents.truncate(limit - page.documents.len() + 1); // one more tells that there is a next page
        }
        let own = Arc::clone(&view);
        for outcome in collection.shared.pools.search.run(move || own.outcomes(list)).await?? {
            if page.documents.len() == limit || looked_up == LOOKED_UP {
                page.next = Some(from - 1);
                return Ok(page);
            }
            (from, looked_up) = (outcome.index.saturating_add(1), looked_up + 1);
            if status.is_none_or(|status| outcome.status == status) {
                page.documents.push(outcome);
            }
        }
    }
    Ok(page)
}

/// A job and its collection as they stand.
struct View {
    job: Job,
    /// Why documents of the job failed, by position in its request.
    reasons: HashMap<usize, Option<ErrorBody>>,
    collection: Arc<Collection>,
    snapshot: Arc<Snapshot>,
}

impl View {
    fn outcomes(&self, list: JobDocuments) -> Result<Vec<ItemResult>> {
        let of_document = |(version, (index, id)): (u64, (usize, String))| {
            let status = self.status(index, &id, version)?;
            let error = self.reasons.get(&index).cloned().flatten();
            Ok(ItemResult { index, id: Some(id), status, error })
        };
        (list.first_version..).zip(list.documents).map(of_document).collect()
    }

    fn status(&self, index: usize, id: &str, version: u64) -> Result<ItemStatus> {
        let waits = match self.job.state {
            JobState::Cancelled => return Ok(ItemStatus::Cancelled),
            JobState::Failed => return Ok(ItemStatus::Failed),
            JobState::Succeeded if self.reasons.contains_key(&index) => return Ok(ItemStatus::Failed),
            JobState::Succeeded => None,
            JobState::Running => Some(ItemStatus::Indexing),
            JobState::Queued => Some(ItemStatus::Accepted),
        };
        Ok(match (self.snapshot.find(id)?, waits) {
            (Some((_, entry)), _) if entry.version == version => ItemStatus::Indexed,
            (Some((_, entry)), _) if entry.version > version => ItemStatus::Superseded,
            // an older version is searchable, or none
            (_, Some(waits)) if !self.collection.order().is_buried(id, version) => waits,
            _ => ItemStatus::Deleted,
        })
    }
}
