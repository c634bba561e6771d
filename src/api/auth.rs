//! The bearer key: every route asks for it, apart from `/healthz` and `/readyz`.

use axum::extract::{Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::state::ApiState;
use crate::error::{Code, Error};

/// SHA-256 of a key. Keys are compared by it: in constant time, and whatever their lengths.
pub(super) struct KeyDigest([u8; 32]);

impl KeyDigest {
    pub(super) fn of(key: &str) -> Self {
        KeyDigest(Sha256::digest(key.as_bytes()).into())
    }

    fn matches(&self, key: &str) -> bool {
        self.0.ct_eq(&KeyDigest::of(key).0).into()
    }
}

/// Lets a request through that carries the key, or needs none.
pub(super) async fn require_key(State(state): State<ApiState>, request: Request, next: Next) -> Response {
    let open = matches!(request.uri().path(), "/healthz" | "/readyz");
    let Some(key) = state.key().filter(|_| !open) else { return next.run(request).await };
    if bearer(request.headers()).is_some_and(|sent| key.matches(sent)) {
        return next.run(request).await;
    }
    let message = "send the API key as `Authorization: Bearer <key>`";
    let mut response = Error::new(Code::Unauthorized, message).into_response();
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, key) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}
