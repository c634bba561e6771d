//! A second, slower look at the first hits.

mod local;
mod providers;
mod remote;
mod usage;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub use providers::{Provider, of};
pub use usage::RerankUsage;

use async_trait::async_trait;

use crate::collection::definition::RerankDefinition;
use crate::dispatch::{Endpoint, Http};

/// Why a reranker gave no scores.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RerankError {
    /// It did not answer in time, refused or failed.
    #[error("{0}")]
    Provider(String),
}

/// Scores texts against a query.
#[async_trait]
pub trait Reranker: Send + Sync {
    /// How many of the first hits are to be reranked.
    fn candidates(&self) -> usize;

    /// The part of a hit's final score that is the reranker's, in [0, 1]; the rest is the first stage's.
    fn weight(&self) -> f32 {
        1.0
    }

    /// The addresses it asks.
    fn endpoints(&self) -> Vec<Arc<Endpoint>> {
        Vec::new()
    }

    /// A score in [0, 1] for each text, in order, as far as there was time for it, and what that cost, success or not.
    async fn rerank(&self, query: &str, texts: Vec<String>) -> (Result<Scores, RerankError>, RerankUsage);
}

/// One score a text; `None`: the time was over.
pub type Scores = Vec<Option<f32>>;

/// The reranker of `definition`: calls nobody; a missing key shows when it is used. Local models are in
/// `models_dir`; one that cannot be opened says so whenever it is asked.
pub fn open(
    definition: &RerankDefinition,
    http: &Http,
    models_dir: &Path,
    threads: usize,
) -> Arc<dyn Reranker> {
    if let Some((provider, remote)) = of(definition) {
        return Arc::new(remote::Remote::new(provider, remote, http));
    }
    match open_local(definition, models_dir, threads) {
        Ok(local) => Arc::new(local),
        Err(error) => Arc::new(Unavailable(error)),
    }
}

fn open_local(
    definition: &RerankDefinition,
    models_dir: &Path,
    threads: usize,
) -> Result<local::Local, String> {
    let RerankDefinition::Local { model, candidates, timeout_ms, weight } = definition else {
        return Err("the reranker is not a local one".into());
    };
    let folder = crate::local::find(models_dir, model)?;
    let deadline = Duration::from_millis(*timeout_ms);
    local::Local::open(&folder, threads, *candidates as usize, *weight, deadline)
}

/// Whether the reranker of `definition` can be opened; the error says why not.
pub fn check(definition: &RerankDefinition, models_dir: &Path) -> Result<(), String> {
    match of(definition) {
        Some(_) => Ok(()),
        None => open_local(definition, models_dir, 1).map(drop),
    }
}

/// Stands in for a local model that cannot be opened (its folder is gone).
struct Unavailable(String);

#[async_trait]
impl Reranker for Unavailable {
    fn candidates(&self) -> usize {
        1
    }

    async fn rerank(&self, _query: &str, _texts: Vec<String>) -> (Result<Scores, RerankError>, RerankUsage) {
        (Err(RerankError::Provider(self.0.clone())), RerankUsage::default())
    }
}
