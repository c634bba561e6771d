use std::time::Instant;

use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::super::http::fake::{Fake, json as answer};
use super::*;

/// A variable that cargo sets for tests, and whose value is told from other text.
const KEY: &str = "CARGO_MANIFEST_DIR";

fn settings(server: &Fake) -> Settings {
    Settings {
        base_url: format!("{}/v1/", server.url),
        model: "small".into(),
        api_key_env: KEY.into(),
        dimensions: 3,
        send_dimensions: false,
        encoding: EmbeddingEncoding::Base64,
        max_tokens: 512,
        document_prefix: String::new(),
        query_prefix: String::new(),
        backoff: Duration::from_millis(1),
    }
}

fn embedder(settings: Settings) -> OpenAi {
    OpenAi::new(settings, Http::new(), Pools::new(1).unwrap())
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

async fn fails(server: &Fake, kind: Kind) -> String {
    let error = embedder(settings(server)).embed(texts(2), kind).await.unwrap_err();
    assert!(matches!(error, EmbedError::Provider(_)), "{error:?}");
    error.to_string()
}

#[tokio::test]
async fn both_encodings_give_the_vectors_in_order_and_the_request_is_openais() {
    let server = Fake::start(Duration::ZERO, |_, body| well(body)).await;
    for encoding in [EmbeddingEncoding::Base64, EmbeddingEncoding::Float] {
        let settings = Settings {
            encoding,
            send_dimensions: true,
            document_prefix: "passage: ".into(),
            query_prefix: "query: ".into(),
            ..settings(&server)
        };
        let embedder = embedder(settings);
        let texts = texts(300);
        let embeddings = embedder.embed(texts.clone(), Kind::Document).await.unwrap();
        assert_eq!(embeddings.values, expected(&texts, "passage: "));
        let query = embedder.embed(vec!["why".into()], Kind::Query).await.unwrap();
        assert_eq!(query.values, vector("query: why"));
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
async fn a_request_holds_no_more_tokens_than_the_limit() {
    let long = "12345 ".repeat(40_000);
    let packed = pack(vec![long.clone(), long.clone(), "x".into(), long], "");
    assert_eq!(packed.iter().map(Vec::len).collect::<Vec<_>>(), [1, 2, 1]);
}

#[tokio::test]
async fn no_key_is_sent_where_none_is_named_and_a_missing_one_is_named() {
    let server = Fake::start(Duration::ZERO, |_, body| well(body)).await;
    let open = embedder(Settings { api_key_env: String::new(), ..settings(&server) });
    open.embed(texts(1), Kind::Query).await.unwrap();
    assert!(!server.calls()[0].headers.contains_key("authorization"));

    let closed = embedder(Settings { api_key_env: "GLEANER_NO_SUCH_KEY".into(), ..settings(&server) });
    for error in [closed.embed(texts(1), Kind::Query).await.unwrap_err(), closed.warm().await.unwrap_err()] {
        assert!(matches!(&error, EmbedError::Config(message) if message.contains("GLEANER_NO_SUCH_KEY")));
    }
    assert_eq!(server.calls().len(), 1);
}

#[tokio::test]
async fn passing_failures_are_retried() {
    let server = Fake::start(Duration::ZERO, |call, body| match call {
        0 => (http_status(429), [("retry-after", "0")], "slow down").into_response(),
        1 => answer(529, json!({"error": {"message": "overloaded"}})),
        2 => (http_status(500), "<html>oops</html>").into_response(),
        3 => (http_status(503), [("retry-after-ms", "20")], "").into_response(),
        _ => well(body),
    })
    .await;
    let embeddings = embedder(settings(&server)).embed(texts(2), Kind::Document).await.unwrap();
    assert_eq!(embeddings.values, expected(&texts(2), ""));
    assert_eq!(server.calls().len(), 5);
}

fn http_status(status: u16) -> axum::http::StatusCode {
    axum::http::StatusCode::from_u16(status).unwrap()
}

#[tokio::test]
async fn retry_after_is_waited_for_and_tries_are_bounded() {
    let server = Fake::start(Duration::ZERO, |call, body| match call {
        0 => (http_status(429), [("retry-after", "0.2")], "").into_response(),
        _ => well(body),
    })
    .await;
    let start = Instant::now();
    embedder(settings(&server)).embed(texts(1), Kind::Query).await.unwrap();
    assert!(start.elapsed() >= Duration::from_millis(200));

    let dead = Fake::start(Duration::ZERO, |_, _| answer(500, json!({"error": "down"}))).await;
    assert!(fails(&dead, Kind::Query).await.contains("down"));
    assert_eq!(dead.calls().len(), 3);
    fails(&dead, Kind::Document).await;
    assert_eq!(dead.calls().len(), 3 + 6);

    // longer than a query may take: there is no use in waiting
    let far = |_: usize, _: &Value| (http_status(429), [("retry-after", "60")], "").into_response();
    let far = Fake::start(Duration::ZERO, far).await;
    let start = Instant::now();
    fails(&far, Kind::Query).await;
    assert!(start.elapsed() < Duration::from_secs(4));
}

#[tokio::test]
async fn an_unreachable_provider_is_an_error() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://user:secret@{}", listener.local_addr().unwrap());
    drop(listener);
    let settings =
        Settings { base_url: url, ..settings(&Fake::start(Duration::ZERO, |_, body| well(body)).await) };
    let error = embedder(settings).embed(texts(1), Kind::Query).await.unwrap_err().to_string();
    assert!(error.contains("could not be reached") && !error.contains("secret"), "{error}");
}

#[tokio::test]
async fn refusals_are_final_and_never_show_the_key() {
    let key = std::env::var(KEY).unwrap();
    let message = format!("Incorrect API key provided: {key}.");
    let refuse = move |_: usize, _: &Value| answer(401, json!({"error": {"message": message}}));
    let server = Fake::start(Duration::ZERO, refuse).await;
    let error = fails(&server, Kind::Document).await;
    assert!(error.contains("401") && error.contains("Incorrect") && !error.contains(&key), "{error}");
    assert_eq!(server.calls().len(), 1);

    let quota =
        |_: usize, _: &Value| answer(429, json!({"error": {"message": "pay", "code": "insufficient_quota"}}));
    let quota = Fake::start(Duration::ZERO, quota).await;
    fails(&quota, Kind::Document).await;
    assert_eq!(quota.calls().len(), 1);
}

#[tokio::test]
async fn a_server_that_refuses_base64_is_asked_for_floats_from_then_on() {
    let server = Fake::start(Duration::ZERO, |_, body| match body["encoding_format"] == "base64" {
        true => answer(400, json!({"error": {"message": "unknown encoding"}})),
        false => well(body),
    })
    .await;
    let embedder = embedder(settings(&server));
    for _ in 0..2 {
        let embeddings = embedder.embed(texts(2), Kind::Document).await.unwrap();
        assert_eq!(embeddings.values, expected(&texts(2), ""));
    }
    assert_eq!(server.calls().len(), 3);
}

#[tokio::test]
async fn answers_are_matched_by_index() {
    let server = Fake::start(Duration::ZERO, |_, body| {
        let item = |i: usize| json!({"index": i, "embedding": vector(body["input"][i].as_str().unwrap())});
        answer(200, json!({"data": [item(2), item(0), item(1)]}))
    })
    .await;
    let embeddings = embedder(settings(&server)).embed(texts(3), Kind::Document).await.unwrap();
    assert_eq!(embeddings.values, expected(&texts(3), ""));
}

#[tokio::test]
async fn wrong_answers_are_errors_that_say_what_is_wrong() {
    let data = |data: Value| json!({ "data": data }).to_string();
    let cases = [
        (data(json!([{"index": 0, "embedding": [1, 2]}, {"index": 1, "embedding": [1, 2]}])), "2 values"),
        (data(json!([{"index": 0, "embedding": [1, 2, 3]}])), "1 vectors for 2 texts"),
        (data(json!([{"index": 0, "embedding": [1, 2, 3]}, {"index": 0, "embedding": [1, 2, 3]}])), "twice"),
        (
            data(json!([{"index": 0, "embedding": [1, 2, 3]}, {"index": 9, "embedding": [1, 2, 3]}])),
            "unasked",
        ),
        (
            data(json!([{"index": 0, "embedding": [1, 2, null]}, {"index": 1, "embedding": [1, 2, 3]}])),
            "list",
        ),
        (
            data(json!([{"index": 0, "embedding": [1, 2, 1e39]}, {"index": 1, "embedding": [1, 2, 3]}])),
            "finite",
        ),
        // NaN, NaN, NaN
        (data(json!([{"index": 0, "embedding": "AADAfwAAwH8AAMB/"}, {"embedding": [1, 2, 3]}])), "finite"),
        (data(json!([{"index": 0, "embedding": "AADAfw!"}, {"embedding": [1, 2, 3]}])), "base64"),
        (data(json!([{"index": 0, "embedding": "AADAf38="}, {"embedding": [1, 2, 3]}])), "5 bytes"),
        (r#"{"data":[{"index":0,"embedding":[1,2,"#.to_owned(), "not an embedding list"),
        ("<html><body>Welcome</body></html>".to_owned(), "not an embedding list"),
        (" ".repeat(1 << 20), "longer than"),
    ];
    for (body, reason) in cases {
        let server = Fake::start(Duration::ZERO, move |_, _| body.clone().into_response()).await;
        let error = fails(&server, Kind::Document).await;
        assert!(error.contains(reason), "{error} does not say {reason}");
    }
}

#[tokio::test]
async fn a_dropped_call_sends_no_further_requests() {
    let server = Fake::start(Duration::from_millis(50), |_, body| well(body)).await;
    let embedder = embedder(settings(&server));
    let call = embedder.embed(texts(20 * MAX_ITEMS), Kind::Document);
    assert!(tokio::time::timeout(Duration::from_millis(70), call).await.is_err());
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(server.calls().len() <= 3 * IN_FLIGHT, "{} requests", server.calls().len());
}
