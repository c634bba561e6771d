//! A provider for tests: a server on this machine that answers as it is told.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;
use serde_json::Value;

use super::{Http, ProviderAccess};

/// A variable that cargo sets for tests, and whose value is told from other text: the key of fake providers.
pub(crate) const KEY: &str = "CARGO_MANIFEST_DIR";

/// A client that may send that key.
pub(crate) fn http() -> Http {
    Http::new(ProviderAccess { key_env: vec![KEY.into()], ..ProviderAccess::default() })
}

/// A call the server got.
#[derive(Clone, Debug)]
pub(crate) struct Got {
    pub path: String,
    pub headers: HeaderMap,
    pub body: Value,
}

/// A running server.
pub(crate) struct Fake {
    /// Its address, e.g. `http://127.0.0.1:4711`.
    pub url: String,
    calls: Arc<Mutex<Vec<Got>>>,
}

impl Fake {
    /// Answers each call by what `answer` makes of its number (from 0) and body, after `delay`.
    pub async fn start(
        delay: Duration,
        answer: impl Fn(usize, &Value) -> Response + Send + Sync + 'static,
    ) -> Fake {
        Fake::start_with(move |call, body| (delay, answer(call, body))).await
    }

    /// Answers each call by what `answer` makes of its number (from 0) and body, after the time it says.
    pub async fn start_with(
        answer: impl Fn(usize, &Value) -> (Duration, Response) + Send + Sync + 'static,
    ) -> Fake {
        let calls = Arc::new(Mutex::new(Vec::new()));
        let (log, answer) = (calls.clone(), Arc::new(answer));
        let handler = move |uri: Uri, headers: HeaderMap, body: Bytes| {
            let body: Value = serde_json::from_slice(&body).unwrap();
            let call = {
                let mut log = log.lock();
                log.push(Got { path: uri.path().to_owned(), headers, body: body.clone() });
                log.len() - 1
            };
            let answer = answer.clone();
            async move {
                let (delay, response) = answer(call, &body);
                tokio::time::sleep(delay).await;
                response
            }
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(handler);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Fake { url, calls }
    }

    /// The calls it got so far.
    pub fn calls(&self) -> Vec<Got> {
        self.calls.lock().clone()
    }
}

/// An answer of `status` with `body` as JSON.
pub(crate) fn json(status: u16, body: Value) -> Response {
    (axum::http::StatusCode::from_u16(status).unwrap(), axum::Json(body)).into_response()
}
