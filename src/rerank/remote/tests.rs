use std::time::Instant;

use serde_json::{Value, json};

use super::*;
use crate::collection::definition::RerankDefinition;
use crate::dispatch::fake::{Fake, KEY, http, json as answer};

fn reranker(server: &Fake, timeout_ms: u64) -> Remote {
    let definition = json!({"provider": "cohere", "base_url": server.url, "model": "rerank-v3.5",
        "api_key_env": KEY, "timeout_ms": timeout_ms});
    let definition: RerankDefinition = serde_json::from_value(definition).unwrap();
    let (provider, remote) = super::super::of(&definition).unwrap();
    Remote::new(provider, remote, &http())
}

fn texts() -> Vec<String> {
    vec!["a".into(), "b".into(), "c".into()]
}

/// An answer for as many texts as were asked about.
fn well(body: &Value) -> Value {
    let count = body["documents"].as_array().unwrap().len();
    let result = |index: usize| json!({"index": index, "relevance_score": 0.25 * (index as f32 + 1.0)});
    let results: Vec<_> = (0..count).rev().map(result).collect();
    json!({"results": results, "meta": {"billed_units": {"search_units": 2}}})
}

#[test]
fn the_usual_keys_may_be_sent() {
    for provider in ["cohere", "jina", "voyage", "tei"] {
        let definition = json!({"provider": provider, "model": "m"});
        let definition: RerankDefinition = serde_json::from_value(definition).unwrap();
        let variable = super::super::of(&definition).unwrap().0.api_key_env;
        assert!(variable.is_empty() || crate::dispatch::KEY_VARIABLES.contains(&variable), "{variable}");
    }
}

#[tokio::test]
async fn scores_come_in_the_order_of_the_texts() {
    let server = Fake::start(Duration::ZERO, |_, body| answer(200, well(body))).await;
    let reranker = reranker(&server, 2000);
    let (scores, usage) = reranker.rerank("q", texts()).await;
    assert_eq!(scores.unwrap(), [Some(0.25), Some(0.5), Some(0.75)]);
    assert_eq!((usage.calls.requests, usage.calls.retries, usage.pairs, usage.search_units), (1, 0, 3, 2));
    let (scores, usage) = reranker.rerank("q", Vec::new()).await;
    assert!(scores.unwrap().is_empty() && usage.is_zero());
    let calls = server.calls();
    assert_eq!(calls.len(), 1, "nothing to rank is no call");
    assert_eq!(calls[0].path, "/v2/rerank");
    let key = std::env::var("CARGO_MANIFEST_DIR").unwrap();
    assert_eq!(calls[0].headers["authorization"], format!("Bearer {key}"));
}

#[tokio::test]
async fn a_passing_failure_is_retried_once() {
    for status in [429, 500, 529] {
        let server = Fake::start(Duration::ZERO, move |call, body| match call {
            0 => answer(status, json!({"message": "busy"})),
            _ => answer(200, well(body)),
        })
        .await;
        let (scores, usage) = reranker(&server, 2000).rerank("q", texts()).await;
        assert_eq!(scores.unwrap().len(), 3);
        assert_eq!((usage.calls.requests, usage.calls.retries, usage.pairs), (2, 1, 3));

        let dead = Fake::start(Duration::ZERO, move |_, _| answer(status, json!({"message": "busy"}))).await;
        let (scores, usage) = reranker(&dead, 2000).rerank("q", texts()).await;
        let error = scores.unwrap_err();
        assert!(error.to_string().contains("busy"), "{error}");
        assert_eq!(
            (usage.calls.requests, usage.calls.retries, usage.pairs),
            (2, 1, 0),
            "failures count, too"
        );
        assert_eq!(dead.calls().len(), 2);
    }
}

#[tokio::test]
async fn a_dead_reranker_costs_its_deadline_once_and_comes_back_by_itself() {
    let alive = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let now = Arc::clone(&alive);
    let server = Fake::start_with(move |_, body| {
        let alive = now.load(std::sync::atomic::Ordering::Relaxed);
        (if alive { Duration::ZERO } else { Duration::from_secs(60) }, answer(200, well(body)))
    })
    .await;
    let reranker = reranker(&server, 300);
    let begun = Instant::now();
    let (scores, usage) = reranker.rerank("q", texts()).await;
    assert!(scores.unwrap().iter().all(Option::is_none), "there was no time for any of them");
    assert_eq!((usage.calls.requests, usage.pairs), (1, 0));
    for _ in 0..50 {
        let error = reranker.rerank("q", texts()).await.0.unwrap_err().to_string();
        assert!(error.contains("within 300 ms"), "{error}");
    }
    assert!(begun.elapsed() < Duration::from_millis(600), "{:?}", begun.elapsed());
    alive.store(true, std::sync::atomic::Ordering::Relaxed);
    let begun = Instant::now();
    while reranker.rerank("q", texts()).await.0.is_err() {
        assert!(begun.elapsed() < Duration::from_secs(30));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
