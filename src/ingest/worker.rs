//! Takes up the inbox batches of a collection, oldest first: prepare and build here, publish through the
//! publisher. The next batches are prepared while the ones before are built and committed.

use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::collection::Collection;
use crate::collection::catalog::BatchRecord;
use crate::collection::failed;
use crate::collection::inbox::{self, AcceptedDocument};
use crate::collection::publisher::{BuiltSegment, Operation, newest_of_each};
use crate::dispatch::Usage;
use crate::document::ItemResult;
use crate::error::{Code, Error, Result};
use crate::ingest::job::Job;
use crate::ingest::jobs::Progress;
use crate::ingest::prepare::{self, OnProgress, Prepared, Step};
use crate::ingest::receive::failure;
use crate::segment::build::{self, PreparedDocument};

/// Batches of together at most this many bytes become one segment.
const GROUP_BYTES: u64 = 24 << 20;
/// First and longest wait before a batch is tried again after the disk refused.
const RETRY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));

/// A batch with what became of its documents.
struct PreparedBatch {
    record: BatchRecord,
    /// Documents that will be searchable (or give way to a later version).
    indexed: u64,
    failures: Vec<ItemResult>,
    /// What embedding them cost.
    usage: Usage,
}

impl PreparedBatch {
    /// Whether a version is one of its documents.
    fn has(&self, version: u64) -> bool {
        (self.record.first_version..self.record.first_version + self.record.documents).contains(&version)
    }
}

/// Batches on their way into one segment.
struct PreparedGroup {
    batches: Vec<PreparedBatch>,
    documents: Arc<Vec<PreparedDocument>>,
}

impl PreparedGroup {
    /// These documents fail with `error`; the others stay.
    fn fail(&mut self, versions: HashSet<u64>, error: &Error) {
        let (failed, kept): (Vec<_>, Vec<_>) =
            self.documents.iter().cloned().partition(|document| versions.contains(&document.version));
        for batch in &mut self.batches {
            let own = failed.iter().filter(|document| batch.has(document.version));
            let own: Vec<_> =
                own.map(|document| failure(document.index, Some(document.id.clone()), error)).collect();
            batch.indexed = batch.indexed.saturating_sub(own.len() as u64);
            batch.failures.extend(own);
        }
        self.documents = Arc::new(kept);
    }
}

/// Runs until the collection closes. What is not published by then stays in the inbox.
pub async fn run(collection: Arc<Collection>) {
    let (sender, mut receiver) = mpsc::channel::<PreparedGroup>(1);
    let publisher = Arc::clone(&collection);
    let publishing = tokio::spawn(async move {
        while let Some(group) = receiver.recv().await {
            if !publish(&publisher, group).await {
                return;
            }
        }
    });
    // a cap on what a job may cost is kept where each job is embedded by itself
    let capped = collection
        .definition()
        .embedding
        .remote()
        .is_some_and(|(_, remote)| remote.usd_cap_per_job.is_some());
    let bytes = if capped { 0 } else { GROUP_BYTES };
    while let Some(records) = collection.take_batches(bytes).await {
        let Some(group) = prepare_group(&collection, records).await else { break };
        if !group.batches.is_empty() && sender.send(group).await.is_err() {
            break;
        }
    }
    drop(sender);
    let _ = publishing.await;
}

/// Reads and prepares batches; `None` when the collection closes. Where a job is cancelled meanwhile, the others are
/// prepared anew without it: what was embedded is in the cache.
async fn prepare_group(collection: &Arc<Collection>, records: Vec<BatchRecord>) -> Option<PreparedGroup> {
    let jobs = &collection.shared.jobs;
    let mut batches = Vec::new();
    let mut waiting: Vec<AcceptedDocument> = Vec::new();
    let mut batch_of: HashMap<u64, usize> = HashMap::new();
    let mut progress: HashMap<u64, Arc<Progress>> = HashMap::new();
    let mut wanted = Vec::new();
    for record in records {
        let mut failures = Vec::new();
        let cancelled = jobs.is_cancelled(&record.job);
        // at once: the others may take long. Where the disk refuses, it is tried again with them
        if cancelled && drop_cancelled(collection, &record).await.is_ok() {
            continue;
        }
        if !cancelled {
            jobs.start(&record.job);
            wanted.push(record.job.clone());
            match read(collection, record.first_version).await {
                Ok(documents) => {
                    batch_of.extend(documents.iter().map(|document| (document.version, batches.len())));
                    if let Some(counted) = jobs.progress(&record.job) {
                        counted.restart();
                        progress.extend(documents.iter().map(|d| (d.version, Arc::clone(&counted))));
                    }
                    waiting.extend(documents);
                }
                // the accepted text is lost: every document of the batch says so
                Err(error) => failures = all_lost(collection, &record, &error).await,
            }
        }
        batches.push(PreparedBatch { record, indexed: 0, failures, usage: Usage::default() });
    }
    let on_progress = |version: u64, step: Step, chunks: u64| {
        if let Some(progress) = progress.get(&version) {
            match step {
                Step::Chunked => progress.chunked(chunks),
                Step::Embedded => progress.embedded(chunks),
            }
        }
    };
    let unwanted = || wanted.iter().any(|job| jobs.is_cancelled(job));
    let prepared = prepare_each(collection, waiting, &on_progress, &unwanted).await;
    let mut chunks = vec![0; batches.len()];
    for document in &prepared.documents {
        batches[batch_of[&document.version]].indexed += 1;
        chunks[batch_of[&document.version]] += document.chunks.len() as u64;
    }
    if chunks.iter().all(|count| *count == 0) {
        // all of them failed, or it is not known yet
        chunks = batches.iter().map(|batch| batch.record.documents).collect();
    }
    // batches that were embedded together share the cost by their chunks
    for (batch, usage) in batches.iter_mut().zip(prepared.usage.split(&chunks)) {
        batch.usage = usage;
    }
    if prepared.stopped {
        for batch in &batches {
            jobs.spend(&batch.record.job, batch.usage);
        }
        let records = batches.into_iter().map(|batch| batch.record).collect();
        return match collection.is_closed() {
            true => None,
            false => Box::pin(prepare_group(collection, records)).await,
        };
    }
    for (version, failed) in prepared.failures {
        batches[batch_of[&version]].failures.push(failed);
    }
    Some(PreparedGroup { batches, documents: Arc::new(prepared.documents) })
}

/// Cancels a job: returns it as it has ended.
pub async fn cancel(collection: &Arc<Collection>, id: &str) -> Result<Job> {
    let jobs = &collection.shared.jobs;
    jobs.cancel(id)?;
    collection.signal(); // where it is under way, that stops
    if let Some(record) = collection.take_back(id) {
        let collection = Arc::clone(collection);
        // a task of its own: whoever asked may go away
        let task = tokio::spawn(async move {
            let dropped = drop_cancelled(&collection, &record).await;
            if dropped.is_err() {
                collection.enqueue(record); // the worker tries again
            }
            dropped
        });
        task.await.map_err(|_| Error::internal("cancelling broke off"))??;
    }
    jobs.wait(id).await
}

/// Ends the job of a batch of which nothing is published.
async fn drop_cancelled(collection: &Arc<Collection>, record: &BatchRecord) -> Result<()> {
    collection.order().withdraw(record.first_version);
    let jobs = collection.shared.jobs.ended_by_cancel(&record.job).into_iter().collect();
    let built = BuiltSegment { record: None, jobs, batches: vec![record.first_version] };
    collection.publish(|done| Operation::Segment(Box::new(built), done)).await
}

async fn read(collection: &Arc<Collection>, first_version: u64) -> Result<Vec<AcceptedDocument>> {
    let dir = collection.dir.clone();
    tokio::task::spawn_blocking(move || Ok(inbox::read(&dir, first_version)?))
        .await
        .map_err(|_| Error::internal("reading a batch broke off"))?
}

/// Every document of a batch that cannot be read fails; the catalog knows which they are.
async fn all_lost(collection: &Collection, record: &BatchRecord, error: &Error) -> Vec<ItemResult> {
    let (mut lost, mut from) = (Vec::with_capacity(record.documents as usize), 0);
    while let Ok(Some(list)) = collection.shared.catalog.job_documents(&record.job, from).await {
        for (index, id) in list.documents {
            from = index.saturating_add(1);
            lost.push(failure(index, Some(id), error));
        }
    }
    // and where it does not, that many failed
    let unknown = lost.len()..record.documents as usize;
    lost.extend(unknown.map(|at| failure(at, None, error)));
    lost
}

/// Prepares documents together; where that breaks off, one by one, so that only the one at fault fails.
async fn prepare_each(
    collection: &Arc<Collection>,
    documents: Vec<AcceptedDocument>,
    on_progress: &OnProgress<'_>,
    unwanted: &(dyn Fn() -> bool + Sync),
) -> Prepared {
    match prepare::prepare(collection, documents.clone(), on_progress, unwanted).await {
        Ok(prepared) => return prepared,
        Err(error) => tracing::warn!(%error, "a group of documents is prepared again, one by one"),
    }
    let mut all = Prepared::default();
    for document in documents {
        let (version, index, id) = (document.version, document.index, document.id.clone());
        // they were counted the first time
        match prepare::prepare(collection, vec![document], &|_, _, _| {}, unwanted).await {
            Ok(one) => {
                all.usage += one.usage;
                all.documents.extend(one.documents);
                all.failures.extend(one.failures);
                all.stopped |= one.stopped;
            }
            Err(error) => all.failures.push((version, failure(index, Some(id), &error))),
        }
        all.stopped |= collection.is_closed(); // what breaks off then is not the document's fault
        if all.stopped {
            break;
        }
    }
    all
}

/// Builds a segment of the group and publishes it, trying again for as long as the disk refuses. Says whether
/// to go on: `false` when the collection closes first.
async fn publish(collection: &Arc<Collection>, mut group: PreparedGroup) -> bool {
    let mut wait = RETRY.0;
    loop {
        let error = match publish_once(collection, &group).await {
            Ok(()) => return true,
            Err(error) => error,
        };
        if collection.is_closed() {
            return false;
        }
        tracing::error!(%error, collection = collection.record.name, "a batch could not be published");
        match error.code {
            Code::StorageFailed | Code::Unavailable => {
                // a shutdown does not wait for the next try
                let _ = tokio::time::timeout(wait, collection.wait_until(|_| false)).await;
                wait = (wait * 2).min(RETRY.1);
            }
            // no later try can find out what the documents would replace in a damaged segment
            Code::CorruptData => {
                let all = group.documents.iter().map(|document| document.version).collect();
                group.fail(all, &error);
            }
            _ => {
                let (reader, documents) = (Arc::clone(collection), Arc::clone(&group.documents));
                let sift = move || at_fault(&reader, &documents);
                let culprits = collection.shared.pools.build.run(sift).await.unwrap_or_default();
                if culprits.is_empty() {
                    let all = group.documents.iter().map(|document| document.version).collect();
                    group.fail(all, &error);
                }
                for (version, error) in culprits {
                    group.fail(HashSet::from([version]), &error);
                }
            }
        }
    }
}

/// The documents that no segment can be built with, found by halving.
fn at_fault(collection: &Collection, documents: &[PreparedDocument]) -> Vec<(u64, Error)> {
    let (place, id) = (collection.place(), collection.shared.new_id());
    let whole = documents.iter().collect::<Vec<_>>();
    let trial = catch_unwind(AssertUnwindSafe(|| build::build(&place, id, &newest_of_each(whole))));
    place.discard(id);
    match (trial, documents) {
        (Ok(Ok(_)), _) | (_, []) => Vec::new(),
        (Ok(Err(error)), [only]) => vec![(only.version, error)],
        (Err(_), [only]) => vec![(only.version, Error::internal("indexing this document broke off"))],
        (_, many) => {
            let (left, right) = many.split_at(many.len() / 2);
            let mut culprits = at_fault(collection, left);
            culprits.extend(at_fault(collection, right));
            culprits
        }
    }
}

async fn publish_once(collection: &Arc<Collection>, group: &PreparedGroup) -> Result<()> {
    let jobs = &collection.shared.jobs;
    let is_cancelled = |batch: &&PreparedBatch| jobs.is_cancelled(&batch.record.job);
    let cancelled: Vec<_> =
        group.batches.iter().filter(is_cancelled).map(|batch| batch.record.clone()).collect();
    let (builder, documents, id) =
        (Arc::clone(collection), Arc::clone(&group.documents), collection.shared.new_id());
    let dropped: Vec<_> = cancelled
        .iter()
        .map(|record| record.first_version..record.first_version + record.documents)
        .collect();
    let build = move || {
        let keep =
            |document: &&PreparedDocument| !dropped.iter().any(|range| range.contains(&document.version));
        // cancelled first: an older version of another job must not give way to one that is dropped
        let newest = newest_of_each(documents.iter().filter(keep));
        let some = !newest.is_empty();
        some.then(|| build::build(&builder.place(), id, &newest)).transpose()
    };
    let record = collection.shared.pools.build.run(build).await??;
    let mut ended = Vec::new();
    for batch in &group.batches {
        let id = &batch.record.job;
        if cancelled.iter().any(|record| record.job == *id) {
            ended.extend(jobs.ended_by_cancel(id));
        } else if let Some(mut job) = jobs.ended(id, batch.indexed, batch.failures.clone(), batch.usage) {
            job.failed_batch = keep_failed(collection, batch).await?;
            ended.push(job);
        }
    }
    let built = BuiltSegment {
        record,
        jobs: ended,
        batches: group.batches.iter().map(|batch| batch.record.first_version).collect(),
    };
    collection.publish(|done| Operation::Segment(Box::new(built), done)).await
}

/// Keeps what failed in a batch, for as long as its documents are in the inbox. Returns what names it.
async fn keep_failed(collection: &Arc<Collection>, batch: &PreparedBatch) -> Result<Option<u64>> {
    if batch.failures.is_empty() {
        return Ok(None);
    }
    let (writer, first, failures) =
        (Arc::clone(collection), batch.record.first_version, batch.failures.clone());
    let keep = move || failed::keep(&*writer.shared.disk, &writer.dir, first, &failures);
    tokio::task::spawn_blocking(keep)
        .await
        .map_err(|_| Error::internal("keeping what failed broke off"))??;
    Ok(Some(first))
}
