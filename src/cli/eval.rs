//! `gleaner eval`: retrieval quality on a BEIR folder.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::{definition, output, signals};
use crate::config::Config;
use crate::eval::{self, EvalOptions};

/// Arguments of `gleaner eval`.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Folder with corpus.jsonl, queries.jsonl and qrels.tsv
    dir: PathBuf,
    /// What the temporary collection (under TMPDIR) is made of, in TOML or JSON; otherwise the default
    #[arg(long, value_name = "FILE")]
    definition: Option<PathBuf>,
    /// Queries asked at once; each is timed by itself
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=256))]
    concurrency: u16,
    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
}

pub async fn run(arguments: Arguments, config: Config) -> Result<()> {
    let definition = arguments.definition.as_deref().map(definition::read).transpose()?.unwrap_or_default();
    let concurrency = usize::from(arguments.concurrency);
    let options =
        EvalOptions { definition, threads: config.threads, models_dir: config.models_dir, concurrency };
    let progress = |stage: &str| eprintln!("{stage}");
    let work = async { Ok(eval::run(&arguments.dir, options, progress).await?) };
    let report = signals::interruptible(work).await?;
    if arguments.json { output::json(&report) } else { Ok(output::line(report)?) }
}
