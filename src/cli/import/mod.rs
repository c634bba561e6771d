//! `gleaner import`: files, folders, JSON Lines and Parquet into a collection.

mod batches;
mod pipeline;
mod progress;
mod report;

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;

use super::target::{Target, TargetArguments};
use super::{definition, output, signals};
use crate::collection::definition::{Definition, EmbeddingDefinition};
use crate::config::Config;
use crate::import::{self, Columns, Format, Source};
use progress::Progress;

/// Arguments of `gleaner import`.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Name of the collection; created with the default definition if it is not there
    collection: String,
    /// Files and folders: text (.md .txt .rst .html …), JSON Lines (.jsonl), Parquet (.parquet)
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Create the collection from a built-in preset
    #[arg(long, value_name = "NAME", conflicts_with = "definition")]
    preset: Option<String>,
    /// Create the collection from a definition in TOML or JSON
    #[arg(long, value_name = "FILE")]
    definition: Option<PathBuf>,
    /// Wait until the vector graphs are built, too
    #[arg(long)]
    graph: bool,
    #[command(flatten)]
    target: TargetArguments,
    /// Print one JSON object at the end instead of progress
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    columns: ColumnArguments,
}

/// What the columns of Parquet files mean.
#[derive(Args, Debug)]
#[command(next_help_heading = "Columns of Parquet files")]
struct ColumnArguments {
    /// Document ids: strings or whole numbers [default: id, or file name and row]
    #[arg(long, value_name = "COLUMN")]
    id: Option<String>,
    /// Texts [default: text]
    #[arg(long, value_name = "COLUMN")]
    text: Option<String>,
    /// Titles [default: title, where there is one]
    #[arg(long, value_name = "COLUMN")]
    title: Option<String>,
    /// Vectors: lists of floats, or binary f32; a new collection then takes its vectors from the client
    #[arg(long, value_name = "COLUMN")]
    embedding: Option<String>,
    /// Metadata, e.g. --metadata lang,year
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',')]
    metadata: Vec<String>,
}

pub async fn run(arguments: Arguments, config: Config) -> Result<()> {
    let columns = Columns {
        id: arguments.columns.id.clone(),
        text: arguments.columns.text.clone(),
        title: arguments.columns.title.clone(),
        embedding: arguments.columns.embedding.clone(),
        metadata: arguments.columns.metadata.clone(),
    };
    let found = import::walk(&arguments.paths)?;
    if found.sources.is_empty() {
        bail!("nothing to import: no text, JSON Lines or Parquet file in the given folders");
    }
    let progress = Progress::new(&found.sources, arguments.json);
    if !found.skipped.is_empty() {
        progress.note(&left_out(&found.skipped));
    }
    let target = Target::open(&arguments.target, &config).await?;
    let work = async {
        prepare_collection(&arguments, &target, &found.sources, &columns, &progress).await?;
        let import = pipeline::Import {
            target: &target,
            collection: &arguments.collection,
            graphs: arguments.graph,
            progress: &progress,
        };
        import.run(found.sources.clone(), columns.clone()).await
    };
    let report = signals::interruptible(work).await;
    progress.end();
    target.close().await;
    let report = report.context("what was accepted so far is kept; run the import again for the rest")?;
    if arguments.json {
        output::json(&report)?;
    } else {
        output::line(&report)?;
    }
    if report.failed > 0 {
        bail!("{} of the documents could not be imported into `{}`", report.failed, arguments.collection);
    }
    Ok(())
}

/// Says how many files of which kinds are not imported.
fn left_out(paths: &[PathBuf]) -> String {
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for path in paths {
        let extension = path.extension().map(|extension| format!(".{}", extension.to_string_lossy()));
        *kinds.entry(extension.unwrap_or_else(|| "without extension".into())).or_default() += 1;
    }
    let kinds: Vec<_> = kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    format!("left out files that are no text, JSON Lines or Parquet by their names: {}", kinds.join(", "))
}

/// Sees to it that the collection is there, with the definition that was asked for.
async fn prepare_collection(
    arguments: &Arguments,
    target: &Target,
    sources: &[Source],
    columns: &Columns,
    progress: &Progress,
) -> Result<()> {
    let asked_for = match (&arguments.preset, &arguments.definition) {
        (Some(name), _) => Some(Definition::preset(name)?),
        (None, Some(path)) => Some(definition::read(path)?),
        (None, None) => None,
    };
    let exists = target.has_collection(&arguments.collection).await?;
    let definition = match asked_for {
        Some(definition) => definition,
        None if exists => return Ok(()),
        None => default_definition(sources, columns)?,
    };
    target.create_collection(&arguments.collection, &definition).await?;
    if !exists {
        progress.note(&format!("created the collection `{}`", arguments.collection));
    }
    Ok(())
}

/// The default definition; with vectors from the client where an embedding column is named.
fn default_definition(sources: &[Source], columns: &Columns) -> Result<Definition> {
    let Some(name) = &columns.embedding else {
        return Ok(Definition::default());
    };
    let dimensions = sources
        .iter()
        .filter(|source| source.format == Format::Parquet)
        .flat_map(|source| import::read(source, columns))
        .find_map(|row| Some(row.ok()?.document.vector?.len()));
    let dimensions = dimensions
        .and_then(|dimensions| u32::try_from(dimensions).ok())
        .with_context(|| format!("the column `{name}` holds no vector in any of the Parquet files"))?;
    Ok(Definition { embedding: EmbeddingDefinition::Client { dimensions }, ..Definition::default() })
}
