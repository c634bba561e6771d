//! The commands, one file each, and what they share: the [`target`] they work on (a data directory or a
//! running server), logs, signals and output.

mod client;
mod definition;
mod eval;
mod import;
mod inspect;
mod logging;
mod models;
mod output;
mod quickstart;
mod search;
mod serve;
mod server;
mod signals;
mod target;
mod verify;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

use crate::config::{Config, LogFormat, RawConfig};

/// Retrieval for RAG in one binary: documents in, evidence out.
#[derive(Parser, Debug)]
#[command(
    name = "gleaner",
    version,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub struct Cli {
    /// TOML file with settings
    #[arg(long, env = "GLEANER_CONFIG", global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Settings given as flags or in the environment.
    #[command(flatten)]
    pub settings: RawConfig,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Serve the REST API until Ctrl-C or SIGTERM
    Serve,
    /// Serve gleaner's own documentation as a sample, and ask it a question
    Quickstart(quickstart::Arguments),
    /// Import files, folders, JSON Lines or Parquet into a collection
    Import(import::Arguments),
    /// Search a collection
    Search(search::Arguments),
    /// Measure retrieval quality on a BEIR folder
    Eval(eval::Arguments),
    /// List, check and add local models
    Models(models::Arguments),
    /// Check every byte of the data directory
    Verify(verify::Arguments),
    /// Show what the data directory holds and costs
    Inspect(inspect::Arguments),
}

/// How long threads may take to come back after the end of a command.
const LAST_STEPS: Duration = Duration::from_secs(1);

/// Runs a command to its end.
pub fn run(command: Command, config: Config) -> Result<()> {
    let is_server = matches!(command, Command::Serve);
    let (level, format) = if is_server { ("info", LogFormat::Json) } else { ("warn", LogFormat::Text) };
    logging::init(&config.log, level, format)?;
    // rustls comes without a default: an HTTPS client panics where none is installed. An error means that
    // there is one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(config.threads.clamp(2, 8))
        .enable_all()
        .build()
        .context("the async runtime could not be started")?;
    let result = runtime.block_on(async {
        match command {
            Command::Serve => serve::run(config).await,
            Command::Quickstart(arguments) => quickstart::run(arguments, config).await,
            Command::Import(arguments) => import::run(arguments, config).await,
            Command::Search(arguments) => search::run(arguments, config).await,
            Command::Eval(arguments) => eval::run(arguments, config).await,
            Command::Models(arguments) => models::run(arguments, config).await,
            Command::Verify(arguments) => verify::run(&arguments, &config),
            Command::Inspect(arguments) => inspect::run(&arguments, &config),
        }
    });
    // what is still under way was given up (a name that nobody resolves, a text in a network): nobody waits for it
    runtime.shutdown_timeout(LAST_STEPS);
    result
}

/// Whether `error` only says that nobody reads our output any more.
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn settings_may_stand_before_and_after_the_command() {
        for line in ["gleaner --data-dir d inspect --json", "gleaner inspect --data-dir d --json"] {
            let cli = Cli::try_parse_from(line.split(' ')).unwrap();
            assert_eq!(cli.settings.data_dir, Some("d".into()));
        }
        assert!(Cli::try_parse_from(["gleaner", "serve", "--api-key", "k"]).is_err());
    }
}
