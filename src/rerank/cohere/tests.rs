use std::time::Duration;

use axum::response::IntoResponse;
use serde_json::{Value, json};

use super::*;
use crate::embed::http::fake::{Fake, json as answer};

fn reranker(server: &Fake, timeout_ms: u64) -> Cohere {
    Cohere {
        base_url: server.url.clone(),
        model: "rerank-v3.5".into(),
        api_key_env: "CARGO_MANIFEST_DIR".into(),
        candidates: 30,
        timeout_ms,
        http: Http::new(),
    }
}

fn texts() -> Vec<String> {
    vec!["a".into(), "b".into(), "c".into()]
}

fn well() -> Value {
    json!({"id": "1", "results": [
        {"index": 2, "relevance_score": 1.5},
        {"index": 0, "relevance_score": 0.25},
        {"index": 1, "relevance_score": -0.5},
    ]})
}

#[tokio::test]
async fn scores_come_in_the_order_of_the_texts_within_0_and_1() {
    let server = Fake::start(Duration::ZERO, |_, _| answer(200, well())).await;
    let reranker = reranker(&server, 2000);
    assert_eq!(reranker.rerank("q", texts()).await.unwrap(), [0.25, 0.0, 1.0]);
    assert_eq!(reranker.rerank("q", Vec::new()).await.unwrap(), [0.0; 0]);
    let calls = server.calls();
    assert_eq!(calls.len(), 1, "nothing to rank is no call");
    assert_eq!(calls[0].path, "/v2/rerank");
    let body = json!({"model": "rerank-v3.5", "query": "q", "documents": ["a", "b", "c"], "top_n": 3});
    assert_eq!(calls[0].body, body);
    let key = std::env::var("CARGO_MANIFEST_DIR").unwrap();
    assert_eq!(calls[0].headers["authorization"], format!("Bearer {key}"));
}

#[tokio::test]
async fn a_passing_failure_is_retried_once() {
    for status in [429, 500, 529] {
        let server = Fake::start(Duration::ZERO, move |call, _| match call {
            0 => answer(status, json!({"message": "busy"})),
            _ => answer(200, well()),
        })
        .await;
        assert_eq!(reranker(&server, 2000).rerank("q", texts()).await.unwrap().len(), 3);

        let dead = Fake::start(Duration::ZERO, move |_, _| answer(status, json!({"message": "busy"}))).await;
        let error = reranker(&dead, 2000).rerank("q", texts()).await.unwrap_err();
        assert!(matches!(&error, RerankError::Provider(message) if message.contains("busy")), "{error}");
        assert_eq!(dead.calls().len(), 2);
    }
}

#[tokio::test]
async fn a_slow_reranker_is_given_up_at_its_deadline() {
    let server = Fake::start(Duration::from_secs(60), |_, _| answer(200, well())).await;
    let error = reranker(&server, 30).rerank("q", texts()).await.unwrap_err();
    assert!(matches!(error, RerankError::Timeout(30)), "{error}");
}

#[tokio::test]
async fn wrong_answers_are_errors_that_say_what_is_wrong() {
    let results = |scores: [(u64, Value); 3]| {
        let result = |(index, score)| json!({"index": index, "relevance_score": score});
        json!({ "results": scores.map(result) }).to_string()
    };
    let cases = [
        (results([(0, json!(0.1)), (1, json!(0.1)), (3, json!(0.1))]), "unasked"),
        (results([(0, json!(0.1)), (1, json!(0.1)), (1, json!(0.1))]), "twice"),
        (results([(0, json!(0.1)), (1, json!(0.1)), (2, json!(1e39))]), "finite"),
        (results([(0, json!(0.1)), (1, json!(0.1)), (2, Value::Null)]), "list of results"),
        (json!({"results": [{"index": 0, "relevance_score": 0.5}]}).to_string(), "1 scores for 3"),
        (r#"{"results":[{"index":0,"#.to_owned(), "list of results"),
        ("<html></html>".to_owned(), "list of results"),
    ];
    for (body, reason) in cases {
        let server = Fake::start(Duration::ZERO, move |_, _| body.clone().into_response()).await;
        let error = reranker(&server, 2000).rerank("q", texts()).await.unwrap_err().to_string();
        assert!(error.contains(reason), "{error} does not say {reason}");
    }
}
