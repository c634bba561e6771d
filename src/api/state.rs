//! What every handler shares: settings, admission, metrics, and the engine once it is open.

use std::sync::{Arc, OnceLock};

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use tokio::sync::watch;

use super::admission::Admission;
use super::auth::KeyDigest;
use super::error::unavailable;
use super::metrics::Metrics;
use super::settings::ApiSettings;
use crate::engine::Engine;
use crate::error::Error;

/// Shared by all requests; cloning is cheap.
#[derive(Clone)]
pub struct ApiState(Arc<Shared>);

struct Shared {
    settings: ApiSettings,
    key: Option<KeyDigest>,
    engine: OnceLock<Arc<Engine>>,
    admission: Admission,
    metrics: Metrics,
    stopping: watch::Sender<bool>,
}

impl ApiState {
    /// A state without an engine: `/healthz` answers, the rest says `unavailable` until [`Self::set_engine`].
    pub fn new(settings: ApiSettings) -> Self {
        ApiState(Arc::new(Shared {
            key: settings.api_key.as_deref().map(KeyDigest::of),
            engine: OnceLock::new(),
            admission: Admission::new(&settings),
            metrics: Metrics::new(),
            stopping: watch::Sender::new(false),
            settings,
        }))
    }

    /// Serves requests with `engine` from now on. Only the first call counts.
    pub fn set_engine(&self, engine: Arc<Engine>) {
        let _ = self.0.engine.set(engine);
    }

    /// The engine, if it is open.
    pub fn engine(&self) -> Option<&Arc<Engine>> {
        self.0.engine.get()
    }

    /// The settings.
    pub fn settings(&self) -> &ApiSettings {
        &self.0.settings
    }

    /// Ends what would go on for as long as a client or a provider likes: shutdown has begun.
    pub(super) fn stop(&self) {
        self.0.stopping.send_replace(true);
        if let Some(engine) = self.engine() {
            engine.begin_shutdown();
        }
    }

    /// Tells when shutdown begins.
    pub(super) fn stopping(&self) -> watch::Receiver<bool> {
        self.0.stopping.subscribe()
    }

    pub(super) fn key(&self) -> Option<&KeyDigest> {
        self.0.key.as_ref()
    }

    pub(super) fn admission(&self) -> &Admission {
        &self.0.admission
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }
}

/// Extracts the engine; `unavailable` until it is open.
pub(super) struct OpenEngine(pub Arc<Engine>);

impl FromRequestParts<ApiState> for OpenEngine {
    type Rejection = Error;

    async fn from_request_parts(_: &mut Parts, state: &ApiState) -> Result<Self, Error> {
        state.engine().cloned().map(OpenEngine).ok_or_else(unavailable)
    }
}
