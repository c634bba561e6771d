//! The `gleaner` binary: parse → config → run.

use std::process::ExitCode;

use clap::Parser;
use gleaner::cli::{self, Cli};
use gleaner::config::Config;

fn main() -> ExitCode {
    let Cli { config, settings, command } = Cli::parse();
    let result = Config::load(settings, config.as_deref())
        .map_err(anyhow::Error::from)
        .and_then(|config| cli::run(command, config));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // the reader of our output has seen enough, as in `gleaner search … | head`
        Err(error) if cli::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("gleaner: {error:#}");
            ExitCode::FAILURE
        }
    }
}
