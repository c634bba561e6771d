//! Logs: one line an event on standard error.

use anyhow::{Context, Result};
use tracing_subscriber::EnvFilter;

use crate::config::{LogConfig, LogFormat};

/// Starts logging; `level` and `format` are for what the settings leave open. Panics become log lines too:
/// those that are caught would otherwise be loose text between JSON lines.
pub fn init(config: &LogConfig, level: &str, format: LogFormat) -> Result<()> {
    let level = config.level.as_deref().unwrap_or(level);
    let filter = EnvFilter::try_new(level).with_context(|| {
        format!("log_level = `{level}` is not a level such as info or warn, nor a directive")
    })?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match config.format.unwrap_or(format) {
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
        LogFormat::Text => builder.compact().try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("logging could not be started: {error}"))?;
    std::panic::set_hook(Box::new(|panic| {
        let message = panic.payload_as_str().unwrap_or("no message");
        let location = panic.location().map(ToString::to_string);
        tracing::error!(location, "panic: {message}");
    }));
    Ok(())
}
