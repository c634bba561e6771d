//! Forgets the oldest jobs that have ended, once there are too many, with what is kept of their documents.

use std::sync::Arc;

use crate::collection::catalog::Edit;
use crate::collection::{Collection, Shared, failed};

/// Runs until the engine stops. `collections` lists those that are open.
pub async fn run(shared: Arc<Shared>, collections: impl Fn() -> Vec<Arc<Collection>>) {
    loop {
        let changed = shared.maintenance.notified(); // also of jobs that end from here on
        if shared.is_stopping() {
            return;
        }
        let old = shared.jobs.forget_oldest();
        if old.is_empty() {
            changed.await;
            continue;
        }
        let edits = old.iter().map(|job| Edit::DropJob(job.id.clone())).collect();
        if let Err(error) = shared.catalog.commit(edits).await {
            tracing::warn!(%error, "old jobs could not be forgotten; the next start tries again");
            continue;
        }
        let open = collections();
        for job in old {
            let collection = open.iter().find(|collection| collection.record.name == job.collection);
            if let (Some(collection), Some(batch)) = (collection, job.failed_batch)
                && let Err(error) = shared.disk.remove(&failed::path(&collection.dir, batch))
            {
                tracing::warn!(%error, "a left-over file could not be removed; the next start tries again");
            }
        }
    }
}
