//! `gleaner verify`: checks every byte of the data directory.

use anyhow::{Result, bail};
use clap::Args;

use super::output;
use crate::collection::verify::verify;
use crate::config::Config;

/// Arguments of `gleaner verify`.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments, config: &Config) -> Result<()> {
    let report = verify(&config.data_dir)?;
    if arguments.json {
        output::json(&report)?;
    } else {
        output::line(&report)?;
    }
    if !report.problems.is_empty() {
        bail!("{} is damaged: {} problems found", config.data_dir.display(), report.problems.len());
    }
    Ok(())
}
