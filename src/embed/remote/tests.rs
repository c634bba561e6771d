use std::time::Instant;

use axum::response::{IntoResponse, Response};
use base64::Engine;
use serde_json::{Value, json};

use super::*;
use crate::dispatch::fake::{Fake, KEY, http, json as answer};

fn definition(server: &Fake) -> RemoteEmbedding {
    RemoteEmbedding {
        base_url: Some(format!("{}/v1/", server.url)),
        api_key_env: Some(KEY.into()),
        ..RemoteEmbedding::new("small", 3)
    }
}

fn embedder(definition: &RemoteEmbedding) -> Remote {
    let pools = Pools::new(1).unwrap();
    let mut remote = Remote::new(EmbeddingProvider::Openai, definition, &http(), &pools, |_, make| make());
    let short = Backoff { first: Duration::from_millis(1), longest: Duration::from_millis(20) };
    (remote.bulk.backoff, remote.urgent.backoff) = (short, short);
    remote
}

/// The vector this provider has for a text.
fn vector(text: &str) -> [f32; 3] {
    [text.len() as f32, text.bytes().map(f32::from).sum(), 0.5]
}

/// A provider that works, in the encoding it is asked for.
fn well(body: &Value) -> Response {
    let base64 = body["encoding_format"] == "base64";
    let item = |(index, text): (usize, &Value)| {
        let vector = vector(text.as_str().unwrap());
        let bytes: Vec<u8> = vector.iter().flat_map(|value| value.to_le_bytes()).collect();
        let encoded = base64::engine::general_purpose::STANDARD.encode(bytes);
        let embedding = if base64 { json!(encoded) } else { json!(vector) };
        json!({"object": "embedding", "index": index, "embedding": embedding})
    };
    let data: Vec<Value> = body["input"].as_array().unwrap().iter().enumerate().map(item).collect();
    answer(200, json!({"object": "list", "data": data, "usage": {"total_tokens": 9}}))
}

fn texts(count: usize) -> Vec<String> {
    (0..count).map(|i| format!("text number {i}")).collect()
}

fn expected(texts: &[String], prefix: &str) -> Vec<f32> {
    texts.iter().flat_map(|text| vector(&format!("{prefix}{text}"))).collect()
}

#[tokio::test]
async fn both_encodings_give_the_vectors_in_order_and_what_they_cost() {
    let server = Fake::start(Duration::ZERO, |_, body| well(body)).await;
    for encoding in [EmbeddingEncoding::Base64, EmbeddingEncoding::Float] {
        let embedder = embedder(&RemoteEmbedding {
            encoding,
            send_dimensions: true,
            document_prefix: "passage: ".into(),
            query_prefix: "query: ".into(),
            usd_per_million_tokens: Some(1000.0),
            ..definition(&server)
        });
        let texts = texts(300);
        let embeddings = embedder.embed(texts.clone(), Kind::Document).await.unwrap();
        assert!(embeddings.failures.is_empty());
        assert_eq!(embeddings.values, expected(&texts, "passage: "));
        assert_eq!(
            (embeddings.usage.requests, embeddings.usage.retries, embeddings.usage.tokens),
            (3, 0, 27)
        );
        assert!((embeddings.usage.cost_usd - 0.027).abs() < 1e-9);
        let query = embedder.embed(vec!["why".into()], Kind::Query).await.unwrap();
        assert_eq!(query.values, vector("query: why"));
        assert_eq!(query.usage.requests, 1);
    }
    let calls = server.calls();
    assert_eq!(calls.len(), 2 * (3 + 1), "300 texts are three requests");
    let call = &calls[3];
    assert_eq!(call.path, "/v1/embeddings");
    assert_eq!(call.headers["authorization"], format!("Bearer {}", std::env::var(KEY).unwrap()));
    let body =
        json!({"model": "small", "input": ["query: why"], "encoding_format": "base64", "dimensions": 3});
    assert_eq!(call.body, body);
}

#[tokio::test]
async fn no_key_is_sent_where_none_is_named_and_a_missing_one_is_named() {
    let server = Fake::start(Duration::ZERO, |_, body| well(body)).await;
    let open = embedder(&RemoteEmbedding { api_key_env: Some(String::new()), ..definition(&server) });
    open.embed(texts(1), Kind::Query).await.unwrap();
    assert!(!server.calls()[0].headers.contains_key("authorization"));

    let missing = Some("GLEANER_NO_SUCH_KEY".into());
    let closed = embedder(&RemoteEmbedding { api_key_env: missing, ..definition(&server) });
    let document = closed.embed(texts(2), Kind::Document).await.unwrap().failures;
    assert_eq!(document.len(), 2);
    for error in [
        closed.embed(texts(1), Kind::Query).await.unwrap_err(),
        closed.warm().await.unwrap_err(),
        document[1].1.clone(),
    ] {
        assert!(
            matches!(&error, EmbedError::Config(message) if message.contains("GLEANER_NO_SUCH_KEY")),
            "{error:?}"
        );
    }
    assert_eq!(server.calls().len(), 1);
}

fn http_status(status: u16) -> axum::http::StatusCode {
    axum::http::StatusCode::from_u16(status).unwrap()
}

#[tokio::test]
async fn passing_failures_are_passed_over() {
    let server = Fake::start(Duration::ZERO, |call, body| match call {
        0 => (http_status(429), [("retry-after", "0")], "slow down").into_response(),
        1 => answer(529, json!({"error": {"message": "overloaded"}})),
        2 => (http_status(500), "<html>oops</html>").into_response(),
        3 => (http_status(503), [("retry-after-ms", "20")], "").into_response(),
        4 => (http_status(200), "<html>Welcome</html>").into_response(),
        _ => well(body),
    })
    .await;
    let embeddings = embedder(&definition(&server)).embed(texts(2), Kind::Document).await.unwrap();
    assert_eq!(embeddings.values, expected(&texts(2), ""));
    assert_eq!((server.calls().len(), embeddings.usage.requests, embeddings.usage.retries), (6, 6, 5));
}

#[tokio::test]
async fn a_query_gives_up_where_waiting_is_of_no_use() {
    // longer than a query may take
    let far = |_: usize, _: &Value| (http_status(429), [("retry-after", "60")], "").into_response();
    let far = Fake::start(Duration::ZERO, far).await;
    let start = Instant::now();
    let embedder_of_far = embedder(&definition(&far));
    for _ in 0..2 {
        let error = embedder_of_far.embed(texts(1), Kind::Query).await.unwrap_err().to_string();
        assert!(error.contains("429"), "{error}");
    }
    assert_eq!(far.calls().len(), 1, "it wants to hear nothing for a minute");
    assert!(start.elapsed() < Duration::from_secs(2));

    let dead = Fake::start(Duration::ZERO, |_, _| answer(500, json!({"error": "down"}))).await;
    let error = embedder(&definition(&dead)).embed(texts(1), Kind::Query).await.unwrap_err().to_string();
    assert!(error.contains("down"), "{error}");
    assert_eq!(dead.calls().len(), 3);
}

#[tokio::test]
async fn a_server_that_refuses_base64_is_asked_for_floats_from_then_on() {
    let server = Fake::start(Duration::ZERO, |_, body| match body["encoding_format"] == "base64" {
        true => answer(400, json!({"error": {"message": "unknown encoding"}})),
        false => well(body),
    })
    .await;
    let embedder = embedder(&definition(&server));
    for _ in 0..2 {
        let embeddings = embedder.embed(texts(2), Kind::Document).await.unwrap();
        assert_eq!(embeddings.values, expected(&texts(2), ""));
    }
    assert_eq!(server.calls().len(), 3);
}

#[tokio::test]
async fn a_text_the_provider_refuses_fails_alone() {
    let server = Fake::start(Duration::ZERO, |_, body| {
        let poisoned = body["input"].as_array().unwrap().iter().any(|text| text == "text number 77");
        if poisoned { answer(400, json!({"error": {"message": "no 77, please"}})) } else { well(body) }
    })
    .await;
    let embeddings = embedder(&definition(&server)).embed(texts(200), Kind::Document).await.unwrap();
    let [(77, error)] = &embeddings.failures[..] else { panic!("{:?}", embeddings.failures) };
    assert!(error.to_string().contains("no 77, please"), "{error}");
    let mut all = expected(&texts(200), "");
    all[77 * 3..][..3].fill(0.0);
    assert_eq!(embeddings.values, all);
}

#[tokio::test]
async fn refusals_are_final_and_never_show_the_key() {
    let key = std::env::var(KEY).unwrap();
    let message = format!("Incorrect API key provided: {key}.");
    let refuse = move |_: usize, _: &Value| answer(401, json!({"error": {"message": message}}));
    let server = Fake::start(Duration::ZERO, refuse).await;
    let failures = embedder(&definition(&server)).embed(texts(500), Kind::Document).await.unwrap().failures;
    assert_eq!(failures.len(), 500);
    for (_, error) in failures {
        let error = error.to_string();
        assert!(error.contains("401") && error.contains("Incorrect") && !error.contains(&key), "{error}");
    }
    assert!(server.calls().len() <= 4, "{} requests", server.calls().len());
}

#[tokio::test]
async fn another_endpoint_stands_in_for_one_that_is_down() {
    let dead = Fake::start(Duration::ZERO, |_, _| answer(500, json!({"error": "down"}))).await;
    let spare = Fake::start(Duration::ZERO, |_, body| well(body)).await;
    let endpoint = json!({"base_url": spare.url, "priority": 1, "provider": "mistral"});
    let endpoints = vec![serde_json::from_value(endpoint).unwrap()];
    let embedder = embedder(&RemoteEmbedding { endpoints, ..definition(&dead) });
    let query = embedder.embed(vec!["why".into()], Kind::Query).await.unwrap();
    assert_eq!(query.values, vector("why"));
    let embeddings = embedder.embed(texts(2000), Kind::Document).await.unwrap();
    assert_eq!(embeddings.values, expected(&texts(2000), ""));
    assert!(dead.calls().len() < 20, "{} requests", dead.calls().len());
}

#[tokio::test]
async fn a_dropped_call_sends_no_further_requests() {
    let server = Fake::start(Duration::from_millis(50), |_, body| well(body)).await;
    let embedder = embedder(&definition(&server));
    let call = embedder.embed(texts(20 * 128), Kind::Document);
    assert!(tokio::time::timeout(Duration::from_millis(70), call).await.is_err());
    let sent = server.calls().len();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(sent > 0 && server.calls().len() <= sent + 1, "{} requests", server.calls().len());
}
