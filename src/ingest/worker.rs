//! Takes up the inbox batches of a collection, oldest first: prepare and build here, publish through the
//! publisher. The next batches are prepared while the ones before are built and committed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::collection::Collection;
use crate::collection::catalog::BatchRecord;
use crate::collection::inbox::{self, AcceptedDocument};
use crate::collection::publisher::{BuiltSegment, Operation, newest_of_each};
use crate::document::ItemResult;
use crate::error::{Code, Error, Result};
use crate::ingest::prepare::{self, Prepared};
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
}

impl PreparedBatch {
    /// Its documents among `documents` fail with `error`.
    fn fail(&mut self, documents: &[PreparedDocument], error: &Error) {
        let first = self.record.first_version;
        let own = documents.iter().filter(|document| {
            (first..first + self.record.documents).contains(&document.version)
        });
        let failed = own.map(|document| {
            failure((document.version - first) as usize, Some(document.id.clone()), error)
        });
        self.failures.extend(failed);
        self.indexed = 0;
    }
}

/// Batches on their way into one segment.
struct PreparedGroup {
    batches: Vec<PreparedBatch>,
    documents: Vec<PreparedDocument>,
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
    while let Some(records) = collection.take_batches(GROUP_BYTES).await {
        let Some(group) = prepare_group(&collection, records).await else { break };
        if sender.send(group).await.is_err() {
            break;
        }
    }
    drop(sender);
    let _ = publishing.await;
}

/// Reads and prepares batches; `None` when the collection closes.
async fn prepare_group(collection: &Arc<Collection>, records: Vec<BatchRecord>) -> Option<PreparedGroup> {
    let mut batches = Vec::new();
    let mut waiting: Vec<AcceptedDocument> = Vec::new();
    let mut batch_of: HashMap<u64, usize> = HashMap::new();
    for record in records {
        let mut failures = Vec::new();
        if !collection.shared.jobs.is_cancelled(&record.job) {
            collection.shared.jobs.start(&record.job);
            match read(collection, record.first_version).await {
                Ok(documents) => {
                    batch_of.extend(documents.iter().map(|document| (document.version, batches.len())));
                    waiting.extend(documents);
                }
                // the accepted text is lost: every document of the batch says so
                Err(error) => {
                    failures = (0..record.documents as usize).map(|at| failure(at, None, &error)).collect();
                }
            }
        }
        batches.push(PreparedBatch { record, indexed: 0, failures });
    }
    let prepared = prepare_each(collection, waiting).await?;
    for document in &prepared.documents {
        batches[batch_of[&document.version]].indexed += 1;
    }
    for (version, failed) in prepared.failures {
        batches[batch_of[&version]].failures.push(failed);
    }
    Some(PreparedGroup { batches, documents: prepared.documents })
}

async fn read(collection: &Arc<Collection>, first_version: u64) -> Result<Vec<AcceptedDocument>> {
    let dir = collection.dir.clone();
    tokio::task::spawn_blocking(move || Ok(inbox::read(&dir, first_version)?))
        .await
        .map_err(|_| Error::internal("reading a batch broke off"))?
}

/// Prepares documents together; where that breaks off, one by one, so that only the one at fault fails.
async fn prepare_each(collection: &Arc<Collection>, documents: Vec<AcceptedDocument>) -> Option<Prepared> {
    match prepare::prepare(collection, documents.clone()).await {
        Ok(prepared) => return Some(prepared),
        Err(_) if collection.is_closed() => return None,
        Err(error) => tracing::warn!(%error, "a group of documents is prepared again, one by one"),
    }
    let mut all = Prepared::default();
    for document in documents {
        let (version, index, id) = (document.version, document.index, document.id.clone());
        match prepare::prepare(collection, vec![document]).await {
            Ok(one) => {
                all.documents.extend(one.documents);
                all.failures.extend(one.failures);
            }
            Err(_) if collection.is_closed() => return None,
            Err(error) => all.failures.push((version, failure(index, Some(id), &error))),
        }
    }
    Some(all)
}

/// Builds a segment of the group and publishes it, trying again for as long as the disk refuses. Says whether
/// to go on: `false` when the collection closes first.
async fn publish(collection: &Arc<Collection>, group: PreparedGroup) -> bool {
    let PreparedGroup { mut batches, documents } = group;
    let mut documents = Arc::new(newest_of_each(documents));
    let mut wait = RETRY.0;
    loop {
        let error = match publish_once(collection, &batches, &documents).await {
            Ok(()) => return true,
            Err(error) => error,
        };
        if collection.is_closed() {
            return false;
        }
        if error.code == Code::CorruptData && !documents.is_empty() {
            // no later try can find out which documents of the damaged segment are to be replaced
            for batch in &mut batches {
                batch.fail(&documents, &error);
            }
            documents = Arc::default();
            continue;
        }
        tracing::error!(%error, collection = collection.record.name, "a batch could not be published; trying again");
        // a shutdown does not wait for the next try
        let _ = tokio::time::timeout(wait, collection.wait_until(|_| false)).await;
        wait = (wait * 2).min(RETRY.1);
    }
}

async fn publish_once(
    collection: &Arc<Collection>,
    batches: &[PreparedBatch],
    documents: &Arc<Vec<PreparedDocument>>,
) -> Result<()> {
    let cancelled: Vec<&BatchRecord> = batches
        .iter()
        .map(|batch| &batch.record)
        .filter(|record| collection.shared.jobs.is_cancelled(&record.job))
        .collect();
    let keep = |document: &PreparedDocument| {
        let of = |record: &&BatchRecord| {
            (record.first_version..record.first_version + record.documents).contains(&document.version)
        };
        !cancelled.iter().any(of)
    };
    let mut documents = Arc::clone(documents);
    if !cancelled.is_empty() {
        documents = Arc::new(documents.iter().filter(|document| keep(document)).cloned().collect());
    }
    let mut record = None;
    if !documents.is_empty() {
        let (builder, id) = (Arc::clone(collection), collection.shared.new_id());
        let job = move || build::build(&builder.place(), id, &documents);
        record = Some(collection.shared.pools.build.run(job).await??);
    }
    let jobs = batches.iter().filter_map(|batch| {
        let jobs = &collection.shared.jobs;
        match jobs.is_cancelled(&batch.record.job) {
            true => jobs.ended_by_cancel(&batch.record.job),
            false => jobs.ended(&batch.record.job, batch.indexed, batch.failures.clone()),
        }
    });
    let built = BuiltSegment {
        record,
        jobs: jobs.collect(),
        batches: batches.iter().map(|batch| batch.record.first_version).collect(),
    };
    collection.publish(|done| Operation::Segment(Box::new(built), done)).await
}
