//! One log line and one measurement a request, and its `x-request-id`.

use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument;
use uuid::Uuid;

use super::metrics::RequestLabels;
use super::state::ApiState;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// nginx's status for a client that left before the answer; never sent.
const CLIENT_LEFT: u16 = 499;

/// Gives the request its id, and logs and measures how it ended. Neither bodies nor keys are logged.
pub(super) async fn observe(State(state): State<ApiState>, request: Request, next: Next) -> Response {
    let id = request_id(request.headers());
    let span = tracing::info_span!("request", request_id = id.to_str().unwrap_or_default());
    let path = request.extensions().get::<MatchedPath>();
    let labels = RequestLabels::new(request.method(), path.map(MatchedPath::as_str));
    state.metrics().requests_in_flight.inc();
    let mut ending = Ending { state, labels, id, status: CLIENT_LEFT, start: Instant::now() };
    let mut response = next.run(request).instrument(span).await;
    ending.status = response.status().as_u16();
    response.headers_mut().insert(REQUEST_ID, ending.id.clone());
    response
}

/// Logs and measures when it is dropped: also where a client leaves and the request's future is dropped.
struct Ending {
    state: ApiState,
    labels: RequestLabels,
    id: HeaderValue,
    status: u16,
    start: Instant,
}

impl Drop for Ending {
    fn drop(&mut self) {
        let took = self.start.elapsed();
        let metrics = self.state.metrics();
        metrics.requests_in_flight.dec();
        metrics.observe_request(&self.labels, self.status, took);
        tracing::info!(
            method = self.labels.method,
            route = self.labels.route,
            status = self.status,
            ms = took.as_micros() as f64 / 1e3,
            request_id = self.id.to_str().unwrap_or_default(),
            "request"
        );
    }
}

/// The client's id where it is sane (1 to 128 visible ASCII characters), otherwise a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let sane =
        |id: &&HeaderValue| (1..=128).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic);
    headers.get(REQUEST_ID).filter(sane).cloned().unwrap_or_else(|| {
        let mut text = Uuid::encode_buffer();
        let id = Uuid::now_v7().hyphenated().encode_lower(&mut text);
        HeaderValue::from_str(id).unwrap_or_else(|_| HeaderValue::from_static("-"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sane_id_is_kept_and_another_replaced() {
        let given = |id: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_bytes(id).unwrap());
            request_id(&headers).as_bytes() == id
        };
        assert!(given(b"abc-123"));
        assert!(given(&[b'x'; 128]));
        assert!(!given(&[b'x'; 129]));
        assert!(!given(b"two words"));
        assert!(!given("é".as_bytes()));
        assert!(!given(b""));
    }
}
