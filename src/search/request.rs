//! A search as a client sends it.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::collection::definition::FusionDefinition;

/// The body of `POST /v1/collections/{collection}/search`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SearchRequest {
    /// The question or keywords. Words in double quotes must occur as that phrase.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// The query as a vector: used by the dense leg in place of an embedding of `query`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vector: Option<Vec<f32>>,
    /// Which legs recall candidates; absent: every leg the collection and the request can serve.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Hits a page, 1 to 1000 (10).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before. The other fields must be as they were for the first page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// How many candidates each leg recalls, and so the most hits over all pages, 1 to 10000
    /// (absent: 200, or `limit` if that is more).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<u32>,
    /// Only chunks of documents whose metadata pass (see `docs/searching.md`).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub filter: Option<Value>,
    /// In place of the collection's fusion.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fusion: Option<FusionDefinition>,
    /// `document`: at most one hit (the best chunk) a document.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_by: Option<GroupBy>,
    /// Adds neighbouring chunks of each hit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expand: Option<Expand>,
    /// Leaves out hits with a lower score.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score_threshold: Option<f32>,
    /// `false` leaves out the collection's reranker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rerank: Option<bool>,
    /// Compares the query with every row instead of walking the graph.
    pub exact: bool,
    /// Candidates the graph walk keeps, in place of the collection's `ef_search`, 1 to 10000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ef: Option<u32>,
    /// Adds rank, raw and normalised score of each leg to each hit.
    pub explain: bool,
    /// Answers an error where a leg or the reranker fails, instead of a degraded result.
    pub strict: bool,
}

/// Which legs recall candidates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Both legs, fused.
    Hybrid,
    /// Vectors only.
    Dense,
    /// Words only.
    Lexical,
}

/// What hits are grouped by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum GroupBy {
    /// At most one hit a document.
    Document,
}

/// How many neighbouring chunks a hit brings along.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Expand {
    /// Chunks before it, 0 to 20.
    pub before: u32,
    /// Chunks after it, 0 to 20.
    pub after: u32,
}
