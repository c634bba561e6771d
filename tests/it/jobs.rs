//! Jobs: what they report, how they are listed, and what cancelling one drops.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use gleaner::document::{Document, ItemStatus};
use gleaner::engine::Engine;
use gleaner::ingest::job::{Job, JobState};
use gleaner::{Code, Error};
use serde_json::json;

use crate::support::fixture::{
    close, document, found, items, lexical, listed, metadata, open, openai, query,
};
use crate::support::provider::{self, Provider, json as answer};

/// A collection whose embedder waits until it is told to answer.
async fn gated(engine: &Engine) -> Provider {
    let provider = provider::start(|_, body| {
        let count = body["input"].as_array().unwrap().len();
        let data: Vec<_> = (0..count).map(|index| json!({"index": index, "embedding": [1.0, 0.5]})).collect();
        answer(200, json!({"data": data}))
    })
    .await;
    provider.gate.forget_permits(usize::MAX >> 3);
    engine.create_collection("c", openai(&provider.url)).await.unwrap();
    provider
}

async fn until(engine: &Engine, job: &str, state: JobState) {
    while engine.job(job).unwrap().state != state {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn parked(engine: &Engine, ids: &[&str]) -> String {
    let documents = ids.iter().map(|id| document(id, &format!("text of {id}")));
    engine.write("c", items(documents), false).await.unwrap().job_id.unwrap()
}

fn cancel(engine: &Arc<Engine>, job: &str) -> tokio::task::JoinHandle<Result<Job, Error>> {
    let (engine, job) = (Arc::clone(engine), job.to_owned());
    tokio::spawn(async move { engine.cancel_job(&job).await })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelling_drops_what_is_not_indexed() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path()).await;
    let provider = gated(&engine).await;
    let running = parked(&engine, &["a", "b"]).await;
    until(&engine, &running, JobState::Running).await;
    let queued = parked(&engine, &["b", "c"]).await;
    let kept = parked(&engine, &["d"]).await;
    assert_eq!(engine.job(&queued).unwrap().state, JobState::Queued);
    let (first, second) = (cancel(&engine, &queued), cancel(&engine, &running));
    tokio::time::sleep(Duration::from_millis(50)).await;
    provider.gate.add_permits(100);
    let cancelled = first.await.unwrap().unwrap();
    assert_eq!((cancelled.state, cancelled.indexed), (JobState::Cancelled, 0));
    assert!(cancelled.ended_at.is_some());
    assert_eq!(second.await.unwrap().unwrap().state, JobState::Cancelled);
    engine.settle("c", true).await.unwrap();
    let ids: Vec<_> = listed(&engine, "c", 10, None).await.unwrap().into_iter().map(|d| d.id).collect();
    assert_eq!(ids, ["d"]);
    assert_eq!(engine.job(&kept).unwrap().state, JobState::Succeeded);
    for (job, code) in [(queued.as_str(), Code::JobEnded), (&kept, Code::JobEnded), ("no", Code::JobNotFound)]
    {
        assert_eq!(engine.cancel_job(job).await.unwrap_err().code, code);
    }
    close(engine).await;
    let engine = open(dir.path()).await;
    assert_eq!(engine.job(&queued).unwrap().state, JobState::Cancelled);
    engine.settle("c", true).await.unwrap();
    assert_eq!(engine.stats("c").unwrap().documents, 1);
    close(engine).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_its_job_can_be_deleted_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path()).await;
    let provider = gated(&engine).await;
    let running = parked(&engine, &["a"]).await;
    until(&engine, &running, JobState::Running).await;
    parked(&engine, &["b", "c"]).await;
    parked(&engine, &["c", "d"]).await;
    // what runs is finished, the rest is left for the next start
    tokio::join!(close(engine), async { provider.gate.add_permits(1) });

    let engine = open(dir.path()).await;
    assert!(engine.stats("c").unwrap().pending_documents >= 4);
    for id in ["a", "b", "c"] {
        assert_eq!(engine.delete_document("c", id).await.unwrap().deleted, 1, "{id}");
    }
    for id in ["b", "c", "never"] {
        let error = engine.delete_document("c", id).await.unwrap_err();
        assert_eq!(error.code, Code::DocumentNotFound, "{id}");
    }
    let again = parked(&engine, &["b"]).await;
    provider.gate.add_permits(100);
    engine.settle("c", true).await.unwrap();
    assert_eq!(engine.job(&again).unwrap().state, JobState::Succeeded);
    let ids: Vec<_> = listed(&engine, "c", 10, None).await.unwrap().into_iter().map(|d| d.id).collect();
    assert_eq!(ids, ["b", "d"]);
    close(engine).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_are_listed_newest_first_and_go_with_their_collection() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path()).await;
    engine.create_collection("c", lexical()).await.unwrap();
    engine.create_collection("other", lexical()).await.unwrap();
    let mut jobs = Vec::new();
    for n in 0..5 {
        jobs.insert(0, parked(&engine, &[&format!("d{n}")]).await);
    }
    let other = engine.write("other", items([document("x", "x")]), false).await.unwrap().job_id.unwrap();
    let ids = |jobs: Vec<Job>| jobs.into_iter().map(|job| job.id).collect::<Vec<_>>();
    assert_eq!(ids(engine.jobs(Some("c"), 3).unwrap()), jobs[..3]);
    assert_eq!(ids(engine.jobs(None, 100).unwrap()), [std::slice::from_ref(&other), &jobs[..]].concat());
    assert_eq!(engine.jobs(Some("none"), 3).unwrap_err().code, Code::CollectionNotFound);
    engine.settle("c", false).await.unwrap();
    for job in engine.jobs(Some("c"), 100).unwrap() {
        assert_eq!((job.state, job.documents, job.indexed, job.failed), (JobState::Succeeded, 1, 1, 0));
    }
    engine.delete_collection("c").await.unwrap();
    assert_eq!(ids(engine.jobs(None, 100).unwrap()), std::slice::from_ref(&other));
    close(engine).await;
    let engine = open(dir.path()).await;
    assert_eq!(ids(engine.jobs(None, 100).unwrap()), [other]);
    close(engine).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleting_a_collection_ends_the_wait_for_its_jobs() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path()).await;
    let _provider = gated(&engine).await;
    let job = parked(&engine, &["a"]).await;
    // a job that asked its provider waits for the answer for some seconds when it is cancelled
    while engine.endpoints()[0].counts.requests.load(Ordering::Relaxed) == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let cancelling = cancel(&engine, &job);
    tokio::time::sleep(Duration::from_millis(20)).await;
    engine.delete_collection("c").await.unwrap();
    let error = tokio::time::timeout(Duration::from_secs(5), cancelling).await.unwrap().unwrap().unwrap_err();
    assert_eq!(error.code, Code::JobNotFound);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_items_fail_by_index_and_the_others_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path()).await;
    engine.create_collection("c", lexical()).await.unwrap();
    let deep = (0..40).fold(json!(1), |inner, _| json!({"k": inner}));
    for wait in [true, false] {
        let batch = vec![
            Ok(document("a", "apples")),
            Ok(document("blank", " \n\t ")),
            Err(Error::new(Code::InvalidJson, "line 3 is not JSON")),
            Ok(Document { vector: Some(vec![1.0]), ..document("v", "vector") }),
            Ok(Document { metadata: metadata(json!({"deep": deep})), ..document("m", "metadata") }),
            Ok(document(&"i".repeat(513), "id")),
            Ok(document("a", "apricots")),
            Ok(document(".", "no URL can hold this id")),
            Ok(Document { id: None, ..document("", "bananas") }),
        ];
        let response = engine.write("c", batch, wait).await.unwrap();
        assert_eq!((response.accepted, response.failed, response.results.len()), (3, 6, 9));
        let errors: Vec<_> = response
            .results
            .iter()
            .filter(|result| result.status == ItemStatus::Failed)
            .map(|result| (result.index, result.error.as_ref().unwrap().code.as_str()))
            .collect();
        let expected = [
            (1, "invalid_request"),
            (2, "invalid_json"),
            (3, "invalid_vector"),
            (4, "invalid_request"),
            (5, "invalid_request"),
            (7, "invalid_request"),
        ];
        assert_eq!(errors, expected);
        engine.settle("c", false).await.unwrap();
        if let Some(job) = &response.job_id {
            let job = engine.job(job).unwrap();
            // what the write refused never was the job's
            assert_eq!((job.state, job.documents, job.indexed, job.failed), (JobState::Succeeded, 3, 3, 0));
            assert!(job.errors.is_empty());
        }
        assert!(found(&engine, "c", query("apples")).await.unwrap().is_empty());
        assert_eq!(found(&engine, "c", query("apricots")).await.unwrap(), ["a"]);
        let made = response.results[8].id.clone().unwrap();
        assert!(found(&engine, "c", query("bananas")).await.unwrap().contains(&made));
    }
    let nothing = engine.write("c", vec![Ok(document("blank", " "))], false).await.unwrap();
    assert_eq!((nothing.accepted, nothing.failed, nothing.job_id), (0, 1, None));
    close(engine).await;
}
