//! `gleaner serve`: the REST API until Ctrl-C or SIGTERM.

use anyhow::Result;

use super::{server, signals};
use crate::config::Config;

pub async fn run(config: Config) -> Result<()> {
    config.server.check_exposure()?;
    let listener = server::bind(config.server.listen).await?;
    tracing::info!(address = %listener.local_addr()?, version = env!("CARGO_PKG_VERSION"), "listening");
    server::run(&config, listener, signals::stop()).await?;
    tracing::info!("stopped");
    Ok(())
}
