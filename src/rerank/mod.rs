//! A second, slower look at the first hits.

mod cohere;

use std::sync::Arc;

use async_trait::async_trait;

use crate::collection::definition::RerankDefinition;
use crate::embed::Http;

/// Why a reranker gave no scores.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RerankError {
    /// It did not answer in time.
    #[error("the reranker did not answer within {0} ms")]
    Timeout(u64),
    /// It refused or failed.
    #[error("{0}")]
    Provider(String),
}

/// Scores texts against a query.
#[async_trait]
pub trait Reranker: Send + Sync {
    /// How many of the first hits are to be reranked.
    fn candidates(&self) -> usize;

    /// A score in [0, 1] for each text, in order.
    async fn rerank(&self, query: &str, texts: Vec<String>) -> Result<Vec<f32>, RerankError>;
}

/// The reranker of `definition`. Calls nobody; a missing key shows when it is used.
pub fn open(definition: &RerankDefinition, http: &Http) -> Arc<dyn Reranker> {
    match definition.clone() {
        RerankDefinition::Cohere { base_url, model, api_key_env, candidates, timeout_ms } => {
            let (candidates, http) = (candidates as usize, http.clone());
            Arc::new(cohere::Cohere { base_url, model, api_key_env, candidates, timeout_ms, http })
        }
    }
}
