//! `gleaner inspect`: what the data directory holds and costs.

use anyhow::Result;
use clap::Args;

use super::output;
use crate::collection::inspect::inspect;
use crate::config::Config;

/// Arguments of `gleaner inspect`.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments, config: &Config) -> Result<()> {
    let inspection = inspect(&config.data_dir)?;
    if arguments.json { output::json(&inspection) } else { Ok(output::line(&inspection)?) }
}
