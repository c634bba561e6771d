//! A provider that answers on this machine as it is told.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use tokio::sync::Semaphore;

/// A running server.
pub struct Provider {
    /// Its address, e.g. `http://127.0.0.1:4711`.
    pub url: String,
    /// Each call waits for a permit and keeps it.
    pub gate: Arc<Semaphore>,
}

/// Answers each call by what `answer` makes of its path and body. The gate is open.
pub async fn start(answer: impl Fn(&str, &Value) -> Response + Send + Sync + 'static) -> Provider {
    let gate = Arc::new(Semaphore::new(Semaphore::MAX_PERMITS));
    let (answer, permits) = (Arc::new(answer), Arc::clone(&gate));
    let handler = move |uri: axum::http::Uri, body: Bytes| {
        let (answer, permits) = (Arc::clone(&answer), Arc::clone(&permits));
        async move {
            let body: Value = serde_json::from_slice(&body).unwrap();
            permits.acquire().await.unwrap().forget();
            answer(uri.path(), &body)
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().fallback(handler);
    tokio::spawn(async move { axum::serve(listener, router).await });
    Provider { url, gate }
}

/// An answer of `status` with `body` as JSON.
pub fn json(status: u16, body: Value) -> Response {
    (axum::http::StatusCode::from_u16(status).unwrap(), axum::Json(body)).into_response()
}
