//! What reranking costs.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::dispatch::Usage;

/// What reranking cost: the calls to a provider as for embeddings, and what only rerankers count. A model on this
/// machine calls nobody, and counts its pairs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct RerankUsage {
    /// What was asked of the provider.
    #[serde(flatten)]
    pub calls: Usage,
    /// Pairs of a query and a text that were scored.
    pub pairs: u64,
    /// Searches the provider says it bills, where it bills by them (Cohere).
    pub search_units: u64,
}

impl RerankUsage {
    /// Whether nothing was asked and nothing scored.
    pub fn is_zero(&self) -> bool {
        *self == RerankUsage::default()
    }
}

impl AddAssign for RerankUsage {
    fn add_assign(&mut self, other: RerankUsage) {
        self.calls += other.calls;
        self.pairs += other.pairs;
        self.search_units += other.search_units;
    }
}
