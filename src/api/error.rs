//! The one error shape on the wire, and every way a request can be turned into it.

use std::any::Any;
use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::state::ApiState;
use crate::document::ErrorBody;
use crate::error::{Code, Error};

/// The body of every answer that is not a success.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ErrorResponse {
    /// What went wrong.
    pub error: ErrorBody,
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        if self.code.status() >= 500 && self.code != Code::Unavailable {
            let (code, param) = (self.code.name(), self.param.as_deref());
            tracing::error!(code, param, error = %self.message, "request failed");
        }
        let status = StatusCode::from_u16(self.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = Json(ErrorResponse { error: ErrorBody::from(&self) });
        let mut response = (status, body).into_response();
        if let Some(wait) = self.retry_after {
            let seconds = wait.as_secs_f64().ceil().max(1.0) as u64;
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// `unavailable`: the engine is not open yet, or no longer.
pub(super) fn unavailable() -> Error {
    Error::new(Code::Unavailable, "gleaner is starting or stopping: try again later")
        .with_retry_after(Duration::from_secs(1))
}

/// Answers a path that is none of ours.
pub(super) async fn route_not_found(uri: Uri) -> Error {
    Error::new(Code::RouteNotFound, format!("there is no path `{}`; see /openapi.yaml", uri.path()))
}

/// Answers a method the path does not have; the router adds `Allow`.
pub(super) async fn method_not_allowed(method: Method, uri: Uri) -> Error {
    Error::new(Code::MethodNotAllowed, format!("`{}` does not answer {method}; see `Allow`", uri.path()))
}

/// Answers a request whose handler panicked.
pub(super) fn panicked(_: Box<dyn Any + Send>) -> Response {
    Error::internal("a defect of gleaner broke this request off; the log says more").into_response()
}

/// Ends a request that takes longer than `request_timeout`.
pub(super) async fn time_limit(State(state): State<ApiState>, request: Request, next: Next) -> Response {
    let limit = state.settings().request_timeout;
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let message = format!("the request took longer than {} s and was given up", limit.as_secs_f64());
            Error::new(Code::Timeout, message).into_response()
        }
    }
}
