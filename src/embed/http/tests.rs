use super::fake::{Fake, json};
use super::*;

fn call(server: &Fake, timeout: Duration) -> Call {
    Call {
        url: server.url.clone(),
        api_key_env: String::new(),
        timeout,
        tries: 5,
        backoff: Duration::from_millis(20),
        max_bytes: 1000,
    }
}

#[tokio::test]
async fn the_deadline_covers_all_tries() {
    let slow = Fake::start(Duration::from_secs(60), |_, _| json(200, true.into())).await;
    let answer = Http::new().post(&call(&slow, Duration::from_millis(30)), b"1".to_vec()).await;
    assert_eq!(answer, Err(CallError::Timeout));

    let dead = Fake::start(Duration::ZERO, |_, _| json(503, "down".into())).await;
    let start = Instant::now();
    // long waits: the time is up after a few tries, and the first answer is there in time on a busy machine
    let patient = Call { backoff: Duration::from_secs(2), ..call(&dead, Duration::from_secs(1)) };
    let answer = Http::new().post(&patient, b"1".to_vec()).await;
    assert!(matches!(answer, Err(CallError::Refused { status: 503, .. })), "{answer:?}");
    assert!(start.elapsed() < Duration::from_secs(10));
    assert!(dead.calls().len() < 5, "the tries do not fit into the time");
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let server = Fake::start(Duration::ZERO, |_, _| {
        use axum::response::IntoResponse;
        (axum::http::StatusCode::TEMPORARY_REDIRECT, [("location", "/elsewhere")]).into_response()
    })
    .await;
    let answer = Http::new().post(&call(&server, Duration::from_secs(5)), b"1".to_vec()).await;
    assert!(matches!(answer, Err(CallError::Refused { status: 307, .. })), "{answer:?}");
    assert_eq!(server.calls().len(), 1);
}
