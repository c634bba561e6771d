//! The first step of a write: checks each document, gives it a version, and either publishes it at once or
//! makes it durable in the inbox.

use std::sync::Arc;
use std::time::Duration;

use crate::collection::Collection;
use crate::collection::catalog::{BatchRecord, Edit, JobDocuments};
use crate::collection::definition::{EmbeddingDefinition, Metric, Storage, VectorDefinition};
use crate::collection::inbox::{self, AcceptedDocument};
use crate::collection::publisher::{Operation, Write};
use crate::dispatch::Usage;
use crate::document::{BatchItem, Document, ItemResult, ItemStatus, WriteResponse, check_id};
use crate::error::{Code, Error, Result};
use crate::ingest::job::Job;
use crate::ingest::jobs::Jobs;
use crate::ingest::prepare;
use crate::text::metadata;

/// Longest title and uri in bytes.
const MAX_TITLE_BYTES: usize = 16 * 1024;

/// Writes documents. `wait`: returns when they are searchable; otherwise, or where a shutdown begins first, when they
/// are on disk. Runs to its end once started, whatever becomes of the caller, except that preparing stops with a caller
/// that waits.
pub async fn write(collection: Arc<Collection>, items: Vec<BatchItem>, wait: bool) -> Result<WriteResponse> {
    let mut results: Vec<ItemResult> = Vec::with_capacity(items.len());
    let mut documents = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        let in_request = |error| of_document(index, error);
        let checked = item.and_then(|document| check(&collection, document).map_err(in_request));
        match checked {
            Ok((id, document)) => {
                results.push(ItemResult {
                    index,
                    id: Some(id.clone()),
                    status: ItemStatus::Accepted,
                    error: None,
                });
                documents.push(AcceptedDocument { version: 0, index, id, document });
            }
            Err(error) => results.push(failure(index, None, &error)),
        }
    }
    if documents.is_empty() {
        return Ok(response(None, results, Usage::default()));
    }
    if !wait {
        check_room(&collection)?;
    }
    let mut in_flight = InFlight::accept(&collection, &mut documents);
    let mut spent = Usage::default();
    if wait {
        // a copy, for where it stops: only an embedder is waited for
        let copy = if collection.embedder.is_some() { documents.clone() } else { Vec::new() };
        match publish_now(&collection, documents, in_flight).await? {
            Published::Now(outcomes, usage) => {
                for outcome in outcomes {
                    let index = outcome.index;
                    results[index] = outcome;
                }
                return Ok(response(None, results, usage));
            }
            Published::Stopped(..) if collection.is_closed() => {
                let message =
                    "the collection is closing, nothing was written: send the documents again later";
                return Err(Error::new(Code::Unavailable, message));
            }
            Published::Stopped(given_back, usage) => {
                (documents, in_flight, spent) = (copy, given_back, usage)
            }
        }
    }
    // a task of its own: once the batch is named by the catalog, the worker must hear of it
    let task = tokio::spawn(park(collection, documents, in_flight, spent));
    let job = task.await.map_err(|_| Error::internal("a write broke off"))??;
    Ok(response(Some(job), results, Usage::default()))
}

/// Refuses a batch where too much waits already: what is accepted must not grow without bound while a provider
/// is slow or down.
fn check_room(collection: &Collection) -> Result<()> {
    let (waiting, most) = (collection.waiting_bytes(), collection.shared.max_waiting_bytes);
    if waiting < most {
        return Ok(());
    }
    let message = format!(
        "{} MiB of accepted documents wait to be indexed in `{}`: try again later",
        waiting >> 20,
        collection.record.name
    );
    Err(Error::new(Code::Overloaded, message).with_retry_after(Duration::from_secs(5)))
}

fn response(job_id: Option<String>, results: Vec<ItemResult>, usage: Usage) -> WriteResponse {
    let failed = results.iter().filter(|result| result.status == ItemStatus::Failed).count();
    WriteResponse { job_id, accepted: results.len() - failed, failed, results, usage }
}

/// An item that failed.
pub fn failure(index: usize, id: Option<String>, error: &Error) -> ItemResult {
    ItemResult { index, id, status: ItemStatus::Failed, error: Some(error.into()) }
}

/// Names the field an error is about as the request has it.
pub fn of_document(index: usize, error: Error) -> Error {
    let param = error.param.map(|field| format!("documents[{index}].{field}"));
    Error { param, ..error }
}

/// Checks a document against its collection; makes an id where it has none. The error's field is relative to
/// the document.
fn check(collection: &Collection, mut document: Document) -> Result<(String, Document)> {
    let id = document.id.take().unwrap_or_else(|| uuid::Uuid::now_v7().to_string());
    check_id(&id)?;
    if document.text.trim().is_empty() {
        return Err(Error::invalid("text", "the text is empty: it must hold more than white space"));
    }
    for (name, value) in [("title", &document.title), ("uri", &document.uri)] {
        if value.as_ref().is_some_and(|value| value.len() > MAX_TITLE_BYTES) {
            return Err(Error::invalid(name, format!("a {name} has at most {MAX_TITLE_BYTES} bytes")));
        }
    }
    metadata::terms(&document.metadata)?;
    check_vector(collection, document.vector.as_deref())?;
    Ok((id, document))
}

fn check_vector(collection: &Collection, vector: Option<&[f32]>) -> Result<()> {
    let invalid = |message: String| Err(Error::new(Code::InvalidVector, message).with_param("vector"));
    let EmbeddingDefinition::Client { dimensions } = collection.definition().embedding else {
        return match vector {
            Some(_) => invalid(
                "this collection makes its own vectors: leave `vector` out, or create a collection whose \
                 embedding provider is `client`"
                    .into(),
            ),
            None => Ok(()),
        };
    };
    let Some(vector) = vector else {
        return invalid(format!(
            "this collection takes its vectors from you: send one of {dimensions} numbers"
        ));
    };
    let VectorDefinition { metric, storage, .. } = collection.definition().vector;
    check_values(vector, dimensions, metric, storage).or_else(invalid)
}

/// Whether a vector from a client can be stored and compared: length, finite, not too large, not zero where only its
/// direction counts.
pub fn check_values(vector: &[f32], dimensions: u32, metric: Metric, storage: Storage) -> Result<(), String> {
    if vector.len() != dimensions as usize {
        return Err(format!("the vector has {} numbers, the collection's have {dimensions}", vector.len()));
    }
    if let Some(at) = vector.iter().position(|value| !value.is_finite()) {
        return Err(format!("the vector's number {at} is not finite"));
    }
    crate::vector::check(metric, storage, vector).map_err(|error| error.message)
}

/// Versions that were given to a write; given back when it is published, fails or is dropped.
#[derive(Debug)]
struct InFlight {
    collection: Arc<Collection>,
    first: Option<u64>,
}

impl InFlight {
    fn accept(collection: &Arc<Collection>, documents: &mut [AcceptedDocument]) -> InFlight {
        let ids = documents.iter().map(|document| document.id.clone()).collect();
        let first = collection.order().accept(ids);
        for (offset, document) in documents.iter_mut().enumerate() {
            document.version = first + offset as u64;
        }
        InFlight { collection: Arc::clone(collection), first: Some(first) }
    }

    /// The batch is durable: whoever publishes it ends it.
    fn hand_over(mut self) {
        self.first = None;
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if let Some(first) = self.first {
            self.collection.finish(first);
        }
    }
}

/// How far a write came.
enum Published {
    /// The outcome of each document, and what embedding them cost.
    Now(Vec<ItemResult>, Usage),
    /// Preparing stopped, after it had cost this much.
    Stopped(InFlight, Usage),
}

/// Prepares and publishes, or stops where a shutdown begins or the collection closes.
async fn publish_now(
    collection: &Arc<Collection>,
    documents: Vec<AcceptedDocument>,
    in_flight: InFlight,
) -> Result<Published> {
    let mut places: Vec<_> =
        documents.iter().map(|document| (document.version, document.index, document.id.clone())).collect();
    let leaving = || collection.shared.is_leaving();
    let prepared = prepare::prepare(collection, documents, &|_, _, _| {}, &leaving).await?;
    if prepared.stopped {
        return Ok(Published::Stopped(in_flight, prepared.usage));
    }
    let mut outcomes: Vec<_> = prepared.failures.into_iter().map(|(_, failed)| failed).collect();
    places.retain(|(_, index, _)| !outcomes.iter().any(|failed| failed.index == *index));
    if !prepared.documents.is_empty() {
        let versions: Vec<u64> = prepared.documents.iter().map(|document| document.version).collect();
        let collection = Arc::clone(collection);
        let documents = Arc::new(prepared.documents);
        // a task of its own: the versions are given back after the publication, not with the caller
        let task = tokio::spawn(async move {
            let live = collection.publish(|done| Operation::Write(Write { documents, done })).await;
            drop(in_flight);
            live
        });
        let live = task.await.map_err(|_| Error::internal("a write broke off"))??;
        for (version, index, id) in places {
            let at = versions.iter().position(|other| *other == version);
            let indexed = at.is_some_and(|at| live[at]);
            let status = if indexed { ItemStatus::Indexed } else { ItemStatus::Superseded };
            outcomes.push(ItemResult { index, id: Some(id), status, error: None });
        }
    }
    Ok(Published::Now(outcomes, prepared.usage))
}

/// Makes the batch and its job, which has cost that much already, durable and gives them to the worker. Returns the job's
/// id.
async fn park(
    collection: Arc<Collection>,
    documents: Vec<AcceptedDocument>,
    in_flight: InFlight,
    spent: Usage,
) -> Result<String> {
    let count = documents.len() as u64;
    let first_version = documents.first().map_or(0, |document| document.version);
    let job = Job { usage: spent, ..Jobs::make(&collection.record.name, count) };
    let listed: Vec<_> = documents.iter().map(|document| (document.index, document.id.clone())).collect();
    let writer = Arc::clone(&collection);
    let bytes = tokio::task::spawn_blocking(move || {
        inbox::write(&*writer.shared.disk, &writer.dir, first_version, &documents)
    })
    .await
    .map_err(|_| Error::internal("writing a batch broke off"))??;
    let batch = BatchRecord { first_version, documents: count, bytes, job: job.id.clone() };
    let id = job.id.clone();
    let owner = collection.record.id;
    let mut edits = vec![Edit::PutBatch(owner, batch.clone()), Edit::PutJob(owner, Box::new(job.clone()))];
    edits.extend(JobDocuments::edits(owner, &id, first_version, &listed));
    collection.shared.catalog.commit(edits).await?;
    in_flight.hand_over();
    collection.shared.jobs.insert(job);
    collection.enqueue(batch);
    if collection.is_dropped() {
        let forgotten = collection.shared.jobs.forget(|job| job.id == id);
        collection.shared.catalog.commit(forgotten).await?;
        return Err(Error::new(Code::Unavailable, "the collection was deleted meanwhile"));
    }
    Ok(id)
}
