//! The HTTP API: one router over an [`Engine`](crate::engine::Engine). Handlers are in [`v1`]; what every request
//! passes through (request id, log, key, time limit, compression, panics) is put around them here.

mod admission;
mod auth;
mod error;
mod extract;
mod health;
mod log;
mod metrics;
mod openapi;
mod settings;
mod state;
#[cfg(test)]
mod tests;
mod v1;

use std::future::Future;

use axum::Router;
use axum::middleware::from_fn_with_state;
use tokio::net::TcpListener;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::decompression::RequestDecompressionLayer;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouterExt};
use utoipa_axum::routes;

pub use error::ErrorResponse;
pub use health::Health;
pub use openapi::openapi;
pub use settings::ApiSettings;
pub use state::ApiState;

use crate::error::{Code, Error, Result};

/// Every route, and its description.
fn routes() -> (Router<ApiState>, utoipa::openapi::OpenApi) {
    let (router, api) = OpenApiRouter::new()
        .routes(routes!(v1::collections::create, v1::collections::list))
        .routes(routes!(v1::collections::show, v1::collections::delete))
        .routes(routes!(v1::collections::stats))
        .routes(routes!(v1::documents::write, v1::documents::list))
        .routes(
            routes!(v1::documents::delete_by_filter).map(|route| route.fallback(v1::documents::named_delete)),
        )
        .routes(routes!(v1::documents::show, v1::documents::delete))
        .routes(routes!(v1::search::search))
        .routes(routes!(v1::jobs::list))
        .routes(routes!(v1::jobs::show))
        .routes(routes!(v1::jobs::cancel))
        .routes(routes!(v1::jobs::documents))
        .routes(routes!(v1::jobs::failures))
        .routes(routes!(v1::jobs::retry))
        .routes(routes!(v1::job_events::events))
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
        .routes(routes!(metrics::metrics))
        .routes(routes!(openapi::openapi_yaml))
        .split_for_parts();
    (router, openapi::complete(api))
}

/// The whole service.
pub fn router(state: ApiState) -> Router {
    around(routes().0, state)
}

/// Puts around `router` what every request passes through.
fn around(router: Router<ApiState>, state: ApiState) -> Router {
    // the last layer is the outermost
    router
        .fallback(error::route_not_found)
        .method_not_allowed_fallback(error::method_not_allowed)
        .layer(RequestDecompressionLayer::new().pass_through_unaccepted(true))
        .layer(from_fn_with_state(state.clone(), auth::require_key))
        .layer(from_fn_with_state(state.clone(), error::time_limit))
        .layer(CatchPanicLayer::custom(error::panicked))
        .layer(CompressionLayer::new())
        .layer(from_fn_with_state(state.clone(), log::observe))
        .with_state(state)
}

/// Serves `state` on `listener` until `shutdown` completes; requests then under way may finish within
/// `shutdown_grace`.
pub async fn serve(
    listener: TcpListener,
    state: ApiState,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<()> {
    let grace = state.settings().shutdown_grace;
    let stopped_state = state.clone();
    let (stopping, stopped) = tokio::sync::oneshot::channel();
    let shutdown = async move {
        shutdown.await;
        stopped_state.stop();
        let _ = stopping.send(());
    };
    let served = axum::serve(listener, router(state)).with_graceful_shutdown(shutdown);
    let grace_over = async move {
        if stopped.await.is_ok() {
            tokio::time::sleep(grace).await;
        } else {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        result = served => result.map_err(|error| Error::new(Code::Unavailable, format!("serving failed: {error}"))),
        () = grace_over => {
            tracing::warn!(seconds = grace.as_secs_f64(), "requests did not end in time and are broken off");
            Ok(())
        }
    }
}
