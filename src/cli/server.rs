//! Runs the HTTP service: the port first, then the data directory, so that `/healthz` answers at once.

use std::io;
use std::net::SocketAddr;

use anyhow::{Context, Result, anyhow};
use tokio::net::TcpListener;

use super::target::open_engine;
use crate::api::{self, ApiSettings, ApiState};
use crate::config::{Config, ServerConfig};

/// Takes the port.
pub async fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => anyhow!(
            "the address {address} is in use: another gleaner or another program has the port; \
             stop it, or pick another with --listen ADDRESS:PORT"
        ),
        _ => anyhow!("can't listen on {address}: {error}; pick another address with --listen ADDRESS:PORT"),
    })
}

/// Serves until `stop` is done and the requests under way are answered, then closes the data directory.
pub async fn run(
    config: &Config,
    listener: TcpListener,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<()> {
    let state = ApiState::new(settings(&config.server));
    let server = tokio::spawn(api::serve(listener, state.clone(), stop));
    let engine = open_engine(config).await?;
    state.set_engine(engine.clone());
    tracing::info!(data_dir = %config.data_dir.display(), "ready");
    let served = server.await.context("the server broke off")?;
    engine.shutdown().await;
    served.context("the server failed")
}

fn settings(config: &ServerConfig) -> ApiSettings {
    ApiSettings {
        api_key: config.api_key.as_ref().map(|key| key.expose().to_owned()),
        body_limit_bytes: config.max_body_bytes,
        max_concurrent_searches: config.max_searches,
        max_concurrent_writes: config.max_writes,
        request_timeout: config.request_timeout,
        shutdown_grace: config.shutdown_grace,
        ..ApiSettings::default()
    }
}
