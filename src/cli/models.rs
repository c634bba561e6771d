//! `gleaner models`: the models folder, what is in it, under which licence, and whether it runs.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use clap::{Args, Subcommand};

use super::output;
use crate::collection::definition::{EmbeddingDefinition, RerankDefinition};
use crate::config::Config;
use crate::dispatch::Http;
use crate::embed::{Embedders, EmbeddingCache, Kind};
use crate::local::{self, Manifest, ModelKind};
use crate::rerank;
use crate::runtime::Pools;
use crate::store::is_plain_name;

/// Arguments of `gleaner models`.
#[derive(Args, Debug)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// List the local models with their licences
    List,
    /// Run each model (or one) on a few texts
    Check {
        /// Name of the model's folder; otherwise all
        name: Option<String>,
    },
    /// Copy a model (a folder with model.onnx and tokenizer.json) into the models folder
    Add {
        /// The folder; without a gleaner.toml that describes it, its network must be one that gleaner knows
        path: PathBuf,
        /// Name in the models folder; otherwise the model's own
        #[arg(long)]
        name: Option<String>,
    },
}

pub async fn run(arguments: Arguments, config: Config) -> Result<()> {
    let dir = &config.models_dir;
    match arguments.action {
        Action::List => {
            for (name, manifest) in local::list(dir) {
                output::line(describe(&name, manifest.as_ref()))?;
            }
            Ok(())
        }
        Action::Check { name } => {
            let names: Vec<_> = match name {
                Some(name) => vec![name],
                None => local::list(dir).into_iter().map(|(name, _)| name).collect(),
            };
            let mut failed = 0;
            for name in names {
                let checked = check(dir, &name, config.threads).await;
                failed += usize::from(checked.is_err());
                let what = checked.unwrap_or_else(|error| format!("does not run: {error:#}"));
                output::line(format!("{name}: {what}"))?;
            }
            if failed > 0 { bail!("{failed} of the models do not run") } else { Ok(()) }
        }
        Action::Add { path, name } => {
            let (name, manifest) = add(dir, &path, name)?;
            output::line(describe(&name, Ok(&manifest)))?;
            Ok(output::line(check(dir, &name, config.threads).await?)?)
        }
    }
}

fn describe(name: &str, manifest: Result<&Manifest, &String>) -> String {
    match manifest {
        Ok(manifest) => {
            let kind = match manifest.kind {
                ModelKind::Embedder => format!("embedder of {} dimensions", manifest.dimensions),
                ModelKind::Reranker => "reranker".into(),
            };
            format!("{name}: {}, {kind}, licence {}", manifest.id, manifest.licence)
        }
        Err(error) => format!("{name}: cannot be used: {error}"),
    }
}

/// Copies what a model needs; an unfinished copy never has the model's name.
fn add(dir: &Path, path: &Path, name: Option<String>) -> Result<(String, Manifest)> {
    let manifest = Manifest::read(path).map_err(|error| anyhow!(error))?;
    let name = name.unwrap_or_else(|| manifest.id.clone());
    if !is_plain_name(&name) {
        bail!("`{name}` is no name for a model: use letters, digits, `_`, `.` and `-`, with no `.` first");
    }
    let folder = dir.join(&name);
    if folder.exists() {
        bail!("{} is there already: remove it first, or choose another --name", folder.display());
    }
    let unfinished = dir.join(format!(".{name}.unfinished"));
    let copy = || -> std::io::Result<()> {
        std::fs::create_dir_all(&unfinished)?;
        let network = local::manifest::network(path).map_err(std::io::Error::other)?;
        std::fs::copy(network, unfinished.join("model.onnx"))?;
        std::fs::copy(path.join("tokenizer.json"), unfinished.join("tokenizer.json"))?;
        let text = toml::to_string(&manifest).map_err(std::io::Error::other)?;
        std::fs::write(unfinished.join(local::manifest::FILE), text)?;
        std::fs::rename(&unfinished, &folder)
    };
    copy().with_context(|| format!("the model could not be copied to {}", folder.display()))?;
    Ok((name, manifest))
}

/// Runs a model on a question, a passage that answers it, and one that does not.
async fn check(dir: &Path, name: &str, threads: usize) -> Result<String> {
    const QUESTION: &str = "How do I reset my password?";
    const PASSAGES: [&str; 2] =
        ["To get a new password, choose Forgot password.", "The soup needs more salt."];
    let folder = local::find(dir, name).map_err(|error| anyhow!(error))?;
    let manifest = Manifest::read(&folder).map_err(|error| anyhow!(error))?;
    let pools = Pools::new(threads)?;
    let passages: Vec<String> = PASSAGES.map(str::to_owned).to_vec();
    let scores = match manifest.kind {
        ModelKind::Embedder => {
            let cache = EmbeddingCache::new(PathBuf::new(), 0);
            let embedders = Embedders::new(pools, Http::default(), cache, dir.to_owned());
            let embedder = embedders.open(&EmbeddingDefinition::Local { model: name.to_owned() })?;
            let embedder = embedder.ok_or_else(|| anyhow!("it is no embedder"))?;
            let query = embedder.embed(vec![QUESTION.to_owned()], Kind::Query).await?.values;
            let documents = embedder.embed(passages, Kind::Document).await?;
            let dot = |row: &[f32]| row.iter().zip(&query).map(|(one, other)| one * other).sum::<f32>();
            documents.rows().map(dot).collect::<Vec<_>>()
        }
        ModelKind::Reranker => {
            let definition = RerankDefinition::Local {
                model: name.to_owned(),
                candidates: 2,
                timeout_ms: 60_000,
                weight: None,
            };
            let reranker = rerank::open(&definition, &Http::default(), dir, threads);
            reranker.rerank(QUESTION, passages).await.0?.into_iter().flatten().collect()
        }
    };
    match scores[..] {
        [near, far] if near > far => {
            Ok(format!("runs: a fitting passage scores {near:.3}, another {far:.3}"))
        }
        _ => bail!("it runs, but scores a fitting passage no higher than another: {scores:?}"),
    }
}
