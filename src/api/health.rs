//! `/healthz` (the process lives) and `/readyz` (it serves requests).

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::error::unavailable;
use super::openapi::NotReady;
use super::state::ApiState;
use crate::error::Result;

/// That all is well.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// Always `ok`.
    #[schema(pattern = "^ok$")]
    pub status: String,
}

fn ok() -> Json<Health> {
    Json(Health { status: "ok".into() })
}

/// Whether the process lives. Needs no key.
#[utoipa::path(
    get,
    path = "/healthz",
    tag = "service",
    security(()),
    responses((status = 200, description = "It does", body = Health))
)]
pub(super) async fn healthz() -> Json<Health> {
    ok()
}

/// Whether requests are served. Needs no key.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "service",
    security(()),
    responses(
        (status = 200, description = "They are", body = Health),
        NotReady,
    )
)]
pub(super) async fn readyz(State(state): State<ApiState>) -> Result<Json<Health>> {
    match state.engine() {
        Some(engine) if engine.ready() => Ok(ok()),
        _ => Err(unavailable()),
    }
}
