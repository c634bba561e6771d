//! What is left when a provider fails: the other leg answers and the status says so.

use gleaner::Code;
use gleaner::collection::definition::{Definition, RerankDefinition};
use gleaner::ingest::job::JobState;
use gleaner::search::request::{Mode, SearchRequest};
use gleaner::search::response::StageState;
use serde_json::json;

use crate::support::fixture::{close, document, items, lexical, open, openai, query};
use crate::support::provider::{self, json as answer};

/// An address where nobody answers.
async fn nobody() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_embedder_a_collection_answers_by_words() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path()).await;
    // answers until the gate is closed
    let provider = provider::start(|_, body| {
        let texts = body["input"].as_array().unwrap();
        let data: Vec<_> =
            (0..texts.len()).map(|index| json!({"index": index, "embedding": [1.0, 0.5]})).collect();
        if texts.iter().any(|text| text.as_str().unwrap().contains("poison")) {
            return answer(400, json!({"error": {"message": "no poison, please"}}));
        }
        answer(200, json!({"data": data}))
    })
    .await;
    engine.create_collection("c", openai(&provider.url)).await.unwrap();
    let response = engine.write("c", items([document("a", "apples"), document("p", "pears")]), true).await;
    assert_eq!(response.unwrap().failed, 0);
    let whole = engine.search("c", query("apples")).await.unwrap();
    assert!(!whole.status.degraded && whole.status.dense.state == StageState::Ok);
    assert_eq!(whole.hits.len(), 2);

    let response = engine.write("c", items([document("x", "poison")]), true).await.unwrap();
    let error = response.results[0].error.as_ref().unwrap();
    assert_eq!((response.failed, error.code.as_str()), (1, "provider_failed"));
    assert!(error.message.contains("no poison, please"), "{}", error.message);

    let poisoned = query("apples poison");
    let response = engine.search("c", poisoned.clone()).await.unwrap();
    assert!(response.status.degraded);
    assert_eq!(response.status.dense.state, StageState::Failed);
    assert!(response.status.dense.error.unwrap().contains("no poison, please"));
    assert_eq!(response.status.lexical.state, StageState::Ok);
    assert_eq!(response.hits.iter().map(|hit| hit.document_id.as_str()).collect::<Vec<_>>(), ["a"]);
    for request in [
        SearchRequest { strict: true, ..poisoned.clone() },
        SearchRequest { mode: Some(Mode::Dense), ..poisoned.clone() },
    ] {
        let error = engine.search("c", request).await.unwrap_err();
        assert_eq!(error.code, Code::ProviderFailed);
        assert!(error.message.contains("no poison, please"), "{error}");
    }
    let lexical = SearchRequest { mode: Some(Mode::Lexical), strict: true, ..poisoned };
    assert!(!engine.search("c", lexical).await.unwrap().status.degraded);
    close(engine).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_embedder_that_cannot_be_reached_fails_the_documents_and_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path()).await;
    engine.create_collection("c", openai(&nobody().await)).await.unwrap();
    let posted = items([document("a", "apples"), document("p", "pears")]);
    let job = engine.write("c", posted, false).await.unwrap().job_id.unwrap();
    let degraded = engine.search("c", query("apples")).await.unwrap();
    assert!(degraded.status.degraded && degraded.hits.is_empty());
    assert_eq!(degraded.status.dense.state, StageState::Failed);
    let strict = SearchRequest { strict: true, ..query("apples") };
    assert_eq!(engine.search("c", strict).await.unwrap_err().code, Code::ProviderFailed);
    engine.settle("c", true).await.unwrap();
    let job = engine.job(&job).unwrap();
    assert_eq!((job.state, job.documents, job.indexed, job.failed), (JobState::Failed, 2, 0, 2));
    for (index, item) in job.errors.iter().enumerate() {
        let error = item.error.as_ref().unwrap();
        assert_eq!((item.index, error.code.as_str()), (index, "provider_failed"));
        assert!(error.message.contains("could not be reached"), "{}", error.message);
    }
    assert_eq!(engine.stats("c").unwrap().documents, 0);
    close(engine).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reranker_reorders_and_one_that_fails_leaves_the_order() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path()).await;
    // the longer the text, the better
    let working = provider::start(|path, body| {
        assert_eq!(path, "/v2/rerank");
        let texts = body["documents"].as_array().unwrap().iter().enumerate();
        let results: Vec<_> = texts
            .map(|(index, text)| json!({"index": index, "relevance_score": text.as_str().unwrap().len() as f64 / 1000.0}))
            .collect();
        answer(200, json!({"results": results, "meta": {"billed_units": {"search_units": 1}}}))
    })
    .await;
    let broken = provider::start(|_, _| answer(500, json!({"message": "out of order"}))).await;
    let document_of = |n: usize| document(&format!("d{n}"), &format!("apple{}", " and".repeat(n)));
    let documents: Vec<_> = (0..5).map(document_of).collect();
    for (name, url) in [("working", &working.url), ("broken", &broken.url)] {
        let rerank = json!({"provider": "cohere", "base_url": url, "model": "test", "api_key_env": ""});
        let rerank: RerankDefinition = serde_json::from_value(rerank).unwrap();
        engine.create_collection(name, Definition { rerank: Some(rerank), ..lexical() }).await.unwrap();
        engine.write(name, items(documents.clone()), true).await.unwrap();
    }
    let ids = |response: gleaner::search::response::SearchResponse| {
        response.hits.into_iter().map(|hit| hit.document_id).collect::<Vec<_>>()
    };
    let plain = SearchRequest { rerank: Some(false), ..query("apple") };
    let by_words = engine.search("working", plain).await.unwrap();
    assert_eq!(by_words.status.rerank.state, StageState::Skipped);
    let by_words = ids(by_words);
    assert_eq!(by_words, ["d0", "d1", "d2", "d3", "d4"]);

    let reranked = engine.search("working", query("apple")).await.unwrap();
    assert_eq!(reranked.status.rerank.state, StageState::Ok);
    assert!(!reranked.status.degraded);
    let cost = reranked.rerank_usage;
    assert_eq!((cost.calls.requests, cost.calls.retries, cost.pairs, cost.search_units), (1, 0, 5, 1));
    assert_eq!(
        engine.stats("working").unwrap().rerank_usage,
        cost,
        "a search without reranking adds nothing"
    );
    assert!(reranked.hits.windows(2).all(|pair| pair[0].score >= pair[1].score));
    assert_eq!(ids(reranked), ["d4", "d3", "d2", "d1", "d0"]);

    let failed = engine.search("broken", query("apple")).await.unwrap();
    assert!(failed.status.degraded);
    assert_eq!(failed.status.rerank.state, StageState::Failed);
    assert!(failed.status.rerank.error.as_ref().unwrap().contains("out of order"));
    let cost = failed.rerank_usage;
    assert_eq!((cost.calls.requests, cost.calls.retries, cost.pairs), (2, 1, 0));
    assert_eq!(ids(failed), by_words);
    let strict = SearchRequest { strict: true, ..query("apple") };
    assert_eq!(engine.search("broken", strict).await.unwrap_err().code, Code::ProviderFailed);
    close(engine).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delete_by_filter_says_so_where_a_provider_keeps_documents_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path()).await;
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    engine.create_collection("c", openai(&url)).await.unwrap();
    engine.write("c", items([document("a", "apples")]), false).await.unwrap();
    let filter = json!({"type": "exists", "key": "x"});
    let error = engine.delete_by_filter("c", &filter).await.unwrap_err();
    assert_eq!(error.code, Code::Overloaded);
    assert!(error.retry_after.is_some() && error.message.contains("nothing was deleted"), "{error}");
    drop(silent); // closing waits for calls under way
    close(engine).await;
}
