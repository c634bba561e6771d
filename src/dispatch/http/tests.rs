use std::time::Instant;

use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::fake::{Fake, KEY, http, json as answer};
use super::*;

async fn post(url: &str, timeout: Duration) -> Result<Answer, Failure> {
    let key = KeySource { env: KEY.into(), ..KeySource::default() };
    let post = Post { url, key: &key, auth: Auth::Bearer, body: b"1".to_vec(), timeout, max_bytes: 1000 };
    http().post(post).await
}

async fn fails(answer: impl Fn() -> Response + Send + Sync + 'static) -> Failure {
    let server = Fake::start(Duration::ZERO, move |_, _| answer()).await;
    let failure = post(&server.url, Duration::from_secs(5)).await.unwrap_err();
    assert_eq!(server.calls().len(), 1, "whether to repeat is for others to say");
    failure
}

#[tokio::test]
async fn a_status_says_what_to_do_next() {
    let body = |code: &str| json!({"error": {"message": "no", "code": code}});
    for (status, code, fault) in [
        (400, "", Fault::Items),
        (400, "API_KEY_INVALID", Fault::Setup),
        (401, "", Fault::Setup),
        (403, "", Fault::Setup),
        (404, "", Fault::Setup),
        (408, "", Fault::Passing),
        (409, "", Fault::Passing),
        (413, "", Fault::Items),
        (422, "", Fault::Items),
        (429, "", Fault::Limited),
        (429, "insufficient_quota", Fault::Setup),
        (500, "", Fault::Passing),
        (502, "", Fault::Passing),
        (503, "", Fault::Passing),
        (504, "", Fault::Passing),
        (529, "", Fault::Passing),
    ] {
        let failure = fails(move || answer(status, body(code))).await;
        assert_eq!(failure.fault, fault, "{status} {code}");
        assert!(failure.message.contains(&format!("answered {status}")), "{}", failure.message);
        assert!(failure.message.ends_with(": no"), "{}", failure.message);
    }
}

#[tokio::test]
async fn waits_and_limits_are_read_from_headers_and_bodies() {
    let limited = || {
        let headers = [
            ("retry-after", "3"),
            ("x-ratelimit-limit-requests", "2000"),
            ("x-ratelimit-remaining-requests", "0"),
            ("x-ratelimit-reset-requests", "1m30s"),
            ("x-ratelimit-limit-tokens", "1000000"),
            ("x-ratelimit-reset-tokens", "120ms"),
        ];
        (StatusCode::TOO_MANY_REQUESTS, headers, "slow down").into_response()
    };
    let failure = fails(limited).await;
    assert_eq!(failure.wait, Some(Duration::from_secs(3)));
    let RateLimits { requests, tokens } = *failure.limits;
    assert_eq!(
        (requests.limit, requests.remaining, requests.reset),
        (Some(2000), Some(0), Some(Duration::from_secs(90)))
    );
    assert_eq!((tokens.limit, tokens.reset), (Some(1_000_000), Some(Duration::from_millis(120))));
    let google = || {
        let details = json!([{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34s"}]);
        answer(429, json!({"error": {"code": 429, "message": "quota", "details": details}}))
    };
    assert_eq!(fails(google).await.wait, Some(Duration::from_secs(34)));
    assert_eq!(span("soon"), None);
}

#[tokio::test]
async fn a_request_is_bounded_in_time_and_bytes() {
    let slow = Fake::start(Duration::from_secs(60), |_, _| answer(200, true.into())).await;
    let failure = post(&slow.url, Duration::from_millis(30)).await.unwrap_err();
    assert!(
        failure.fault == Fault::Passing && failure.message.contains("within 0.03 s"),
        "{}",
        failure.message
    );
    let long = fails(|| " ".repeat(1 << 20).into_response()).await;
    assert!(long.message.contains("longer than 1000 bytes"), "{}", long.message);
}

#[tokio::test]
async fn an_answer_that_trickles_is_given_up() {
    use axum::body::Body;
    let begun = Instant::now();
    let failure = fails(|| {
        let drops = futures::stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            Some((Ok::<_, std::io::Error>(Bytes::from_static(b" ")), ()))
        });
        Body::from_stream(drops).into_response()
    })
    .await;
    assert!(failure.message.contains("not complete"), "{}", failure.message);
    assert!(begun.elapsed() < BODY + Duration::from_secs(10));
}

#[tokio::test]
async fn redirects_are_not_followed_and_the_key_is_in_no_error() {
    let moved =
        fails(|| (StatusCode::TEMPORARY_REDIRECT, [("location", "/elsewhere")]).into_response()).await;
    assert!(moved.fault == Fault::Setup && moved.message.contains("307"), "{}", moved.message);
    let key = std::env::var("CARGO_MANIFEST_DIR").unwrap();
    let echo = key.clone();
    let refused = fails(move || answer(401, json!({"message": format!("Incorrect key {echo}.")}))).await;
    assert!(refused.message.contains("Incorrect") && !refused.message.contains(&key), "{}", refused.message);
}

#[tokio::test]
async fn addresses_that_are_not_allowed_are_not_asked() {
    for url in ["http://169.254.169.254/latest/meta-data", "http://10.1.2.3/v1", "http://8.8.8.8/v1"] {
        let failure = post(url, Duration::from_secs(5)).await.unwrap_err();
        assert_eq!(failure.fault, Fault::Setup, "{url}: {}", failure.message);
    }
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let failure = post(&url, Duration::from_secs(5)).await.unwrap_err();
    assert!(
        failure.fault == Fault::Passing && failure.message.contains("could not be reached"),
        "{}",
        failure.message
    );
}
