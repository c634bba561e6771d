//! A search's answer.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::dispatch::Usage;
use crate::document::Metadata;
use crate::rerank::RerankUsage;

/// The answer to a search.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct SearchResponse {
    /// The hits, best first.
    pub hits: Vec<Hit>,
    /// For the next page; absent where the window ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
    /// What each stage did, and whether the answer is degraded.
    pub status: Status,
    /// Where the time went.
    pub timings: Timings,
    /// What embedding the query cost, where a provider did it.
    #[serde(default, skip_serializing_if = "Usage::is_zero")]
    pub usage: Usage,
    /// What reranking the first hits cost.
    #[serde(default, skip_serializing_if = "RerankUsage::is_zero")]
    pub rerank_usage: RerankUsage,
}

/// A chunk that answers the query.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Hit {
    /// Id of its document.
    pub document_id: String,
    /// Number of the chunk in its document, from 0.
    pub chunk: u32,
    /// How many chunks the document has.
    pub chunks: u32,
    /// In [0, 1] (with the reranker's, where one ran).
    pub score: f32,
    /// The chunk: exactly `span` of the document's text.
    pub text: String,
    /// Title of the document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The headings above the chunk, outermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headings: Vec<String>,
    /// Where the document comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// Metadata of the document.
    #[schema(value_type = Object)]
    pub metadata: Metadata,
    /// Where the chunk lies in the document's text.
    pub span: Span,
    /// The chunks before it, in order, as asked for with `expand`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<Neighbour>,
    /// The chunks after it, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<Neighbour>,
    /// How the score came about, as asked for with `explain`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explain: Option<Explain>,
}

/// A chunk beside a hit.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Neighbour {
    /// Number of the chunk in its document.
    pub chunk: u32,
    /// Its text.
    pub text: String,
    /// Where it lies in the document's text.
    pub span: Span,
}

/// Where a chunk lies in its document's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Span {
    /// First byte (UTF-8).
    pub byte_start: u32,
    /// Byte after the last.
    pub byte_end: u32,
    /// First character (Unicode scalar value).
    pub char_start: u32,
    /// Character after the last.
    pub char_end: u32,
}

/// How a hit's score came about.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Explain {
    /// The dense leg; absent where it did not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dense: Option<LegScore>,
    /// The lexical leg; absent where it did not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lexical: Option<LegScore>,
    /// The fused score, before reranking.
    pub fused: f32,
    /// The reranker's score.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rerank: Option<f32>,
}

/// What one leg says of a hit.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
pub struct LegScore {
    /// Its rank among the leg's own candidates, from 1; absent where only the other leg recalled it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rank: Option<u32>,
    /// Cosine, dot product or Euclidean distance; BM25.
    pub raw: f32,
    /// The raw score brought to [0, 1].
    pub normalized: f32,
}

/// What each stage did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// True where a stage failed (in part) and the answer lacks what it would have added.
    pub degraded: bool,
    /// The dense leg.
    pub dense: StageStatus,
    /// The lexical leg.
    pub lexical: StageStatus,
    /// The reranker.
    pub rerank: StageStatus,
}

/// What one stage did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StageStatus {
    /// What it did.
    pub state: StageState,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What one stage did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StageState {
    /// Not part of this search.
    #[default]
    Skipped,
    /// Ran.
    Ok,
    /// Ran out of time: the answer has what it brought by then.
    Partial,
    /// Failed; the answer does without it.
    Failed,
}

/// Milliseconds by stage. The legs run side by side: the parts can add up to more than the total.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Timings {
    /// Embedding the query (model or provider, queue included).
    pub embed_ms: f32,
    /// Evaluating the filter.
    pub filter_ms: f32,
    /// Recall of the dense leg.
    pub dense_ms: f32,
    /// Recall of the lexical leg.
    pub lexical_ms: f32,
    /// Scoring the union of the candidates and fusing.
    pub fuse_ms: f32,
    /// Reranking.
    pub rerank_ms: f32,
    /// Reading texts and metadata.
    pub assemble_ms: f32,
    /// From request to answer.
    pub total_ms: f32,
}

impl Timings {
    /// Names and milliseconds of the stages that ran, in their order; without the total.
    pub fn stages(&self) -> impl Iterator<Item = (&'static str, f32)> {
        let stages = [
            ("embed", self.embed_ms),
            ("filter", self.filter_ms),
            ("dense", self.dense_ms),
            ("lexical", self.lexical_ms),
            ("fuse", self.fuse_ms),
            ("rerank", self.rerank_ms),
            ("assemble", self.assemble_ms),
        ];
        stages.into_iter().filter(|(_, milliseconds)| *milliseconds > 0.0)
    }
}
