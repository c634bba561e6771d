//! The first step of a search: what the request asks for, checked against what the collection can do.

use xxhash_rust::xxh3::xxh3_64;

use crate::collection::Collection;
use crate::collection::definition::{EmbeddingDefinition, FusionMethod, Metric, Storage};
use crate::error::{Code, Error, Result};
use crate::ingest::receive::check_values;
use crate::search::request::{Expand, GroupBy, Mode, SearchRequest};
use crate::search::weight;
use crate::text::TextQuery;
use crate::text::filter::Filter;
use crate::vector::Effort;

/// Hits of a page where the request does not say.
const DEFAULT_LIMIT: u32 = 10;
/// Candidates of a leg where the request does not say.
const DEFAULT_WINDOW: usize = 200;
/// Longest query in bytes.
const MAX_QUERY_BYTES: usize = 64 * 1024;
/// Weight of client vectors, whose model gleaner does not know.
const CLIENT_DENSE_WEIGHT: f32 = 0.5;

/// Where the dense leg's query comes from.
#[derive(Clone, Debug)]
pub enum DenseQuery {
    /// To be embedded.
    Text(String),
    /// From the client.
    Vector(Vec<f32>),
}

/// How the legs are fused.
#[derive(Clone, Copy, Debug)]
pub struct Fusion {
    /// The method.
    pub method: FusionMethod,
    /// Weight of the dense leg.
    pub dense_weight: f32,
    /// Similarity that counts as zero.
    pub dense_floor: f32,
    /// The constant of `rrf`.
    pub rrf_k: f32,
}

/// A checked search.
#[derive(Debug)]
pub struct Plan {
    /// The dense leg, if it runs.
    pub dense: Option<DenseQuery>,
    /// The lexical leg, if it runs.
    pub lexical: Option<TextQuery>,
    /// The query as text, if there is one.
    pub query: Option<String>,
    /// The filter, if there is one.
    pub filter: Option<Filter>,
    /// How the legs are fused.
    pub fusion: Fusion,
    /// The metric of the dense leg.
    pub metric: Metric,
    /// Candidates of each leg.
    pub window: usize,
    /// Hits of a page.
    pub limit: usize,
    /// How far walks of graphs go.
    pub effort: Effort,
    /// Compare with every row.
    pub exact: bool,
    /// At most one hit a document.
    pub group_by_document: bool,
    /// Neighbours of each hit.
    pub expand: Expand,
    /// Lowest score of a hit.
    pub score_threshold: Option<f32>,
    /// Whether the collection's reranker runs.
    pub rerank: bool,
    /// Whether hits say how their score came about.
    pub explain: bool,
    /// Whether a failed stage is an error.
    pub strict: bool,
    /// The page to continue.
    pub cursor: Option<String>,
    /// Tells requests apart that must not share a cursor.
    pub fingerprint: u64,
}

impl Plan {
    /// Checks a request; the error names the field.
    pub fn new(collection: &Collection, request: SearchRequest) -> Result<Plan> {
        let definition = collection.definition();
        let range = |value: u32, low: u32, high: u32, param: &str| {
            if (low..=high).contains(&value) {
                return Ok(value as usize);
            }
            Err(Error::invalid(param, format!("{param} must be {low} to {high}, not {value}")))
        };
        let fingerprint = fingerprint(&request, collection.record.id);
        let limit = range(request.limit.unwrap_or(DEFAULT_LIMIT), 1, 1000, "limit")?;
        let window = match request.window {
            Some(window) => range(window, 1, 10_000, "window")?,
            None => limit.max(DEFAULT_WINDOW),
        };
        let effort = match request.ef.or(definition.vector.ef_search) {
            Some(ef) => Effort::Ef(range(ef, 1, 10_000, "ef")?),
            None => Effort::Recall(definition.vector.recall_target),
        };
        let expand = request.expand.unwrap_or_default();
        range(expand.before, 0, 20, "expand.before")?;
        range(expand.after, 0, 20, "expand.after")?;
        if let Some(threshold) = request.score_threshold
            && !(0.0..=1.0).contains(&threshold)
        {
            return Err(Error::invalid("score_threshold", "score_threshold must be 0 to 1"));
        }
        let query = request.query.as_ref().map(|query| query.trim()).filter(|query| !query.is_empty());
        if request.query.is_some() && query.is_none() {
            return Err(Error::invalid("query", "the query is empty"));
        }
        if query.is_some_and(|query| query.len() > MAX_QUERY_BYTES) {
            return Err(Error::invalid("query", format!("a query has at most {MAX_QUERY_BYTES} bytes")));
        }
        let (dense, lexical) = legs(collection, &request, query)?;
        let filter = request.filter.as_ref().map(Filter::parse).transpose()?;
        let fusion = fusion(collection, &request, query)?;
        Ok(Plan {
            dense,
            lexical: lexical.map(|query| TextQuery::parse(definition.text.analyzer, query)),
            query: query.map(str::to_owned),
            filter,
            fusion,
            metric: definition.vector.metric,
            window,
            limit,
            effort,
            exact: request.exact,
            group_by_document: request.group_by == Some(GroupBy::Document),
            expand,
            score_threshold: request.score_threshold,
            rerank: request.rerank.unwrap_or(true) && query.is_some(),
            explain: request.explain,
            strict: request.strict,
            cursor: request.cursor,
            fingerprint,
        })
    }
}

/// Requests that differ in more than page size and cursor have different fingerprints.
fn fingerprint(request: &SearchRequest, collection: u64) -> u64 {
    let same = SearchRequest { cursor: None, limit: None, ..request.clone() };
    let json = serde_json::to_vec(&(collection, same)).unwrap_or_default(); // always serialises
    xxh3_64(&json)
}

/// The legs that run.
fn legs<'a>(
    collection: &Collection,
    request: &SearchRequest,
    query: Option<&'a str>,
) -> Result<(Option<DenseQuery>, Option<&'a str>)> {
    let name = &collection.record.name;
    let unavailable = |message: String| Err(Error::new(Code::ModeUnavailable, message).with_param("mode"));
    if query.is_none() && request.vector.is_none() {
        return Err(Error::invalid("query", "send a `query` (text) or a `vector` to search for"));
    }
    let dense = match (&request.vector, collection.record.dimensions) {
        (Some(_), None) => {
            let message = format!("the collection `{name}` is lexical only: leave `vector` out");
            return Err(Error::new(Code::InvalidVector, message).with_param("vector"));
        }
        (Some(vector), Some(dimensions)) => {
            // a query is never stored
            check_values(vector, dimensions, collection.definition().vector.metric, Storage::Float32)
                .map_err(|message| Error::new(Code::InvalidVector, message).with_param("vector"))?;
            Some(DenseQuery::Vector(vector.clone()))
        }
        (None, Some(_)) if collection.embedder.is_some() => {
            query.map(|query| DenseQuery::Text(query.to_owned()))
        }
        (None, _) => None,
    };
    let why_not_dense = || match collection.definition().embedding {
        EmbeddingDefinition::None {} => {
            format!("the collection `{name}` is lexical only: use mode `lexical`")
        }
        _ => format!("the collection `{name}` takes its vectors from you: send `vector`"),
    };
    let why_not_lexical = "the lexical leg needs words: send `query`";
    match request.mode {
        None => Ok((dense, query)),
        Some(Mode::Dense) if dense.is_none() => unavailable(why_not_dense()),
        Some(Mode::Dense) => Ok((dense, None)),
        Some(Mode::Lexical) if query.is_none() => unavailable(why_not_lexical.into()),
        Some(Mode::Lexical) => Ok((None, query)),
        Some(Mode::Hybrid) if dense.is_none() => unavailable(why_not_dense()),
        Some(Mode::Hybrid) if query.is_none() => unavailable(why_not_lexical.into()),
        Some(Mode::Hybrid) => Ok((dense, query)),
    }
}

/// The request's fusion over the collection's over the model's own. A weight that nobody stated falls where
/// the query is foreign to the model.
fn fusion(collection: &Collection, request: &SearchRequest, query: Option<&str>) -> Result<Fusion> {
    let of_collection = &collection.definition().fusion;
    let of_request = request.fusion.clone();
    if let Some(fusion) = &of_request {
        fusion.validate("fusion")?;
    }
    let chosen = of_request.unwrap_or_else(|| of_collection.clone());
    let model = collection.embedder.as_ref().map(|embedder| embedder.model());
    let stated_weight = chosen.dense_weight.or(of_collection.dense_weight);
    let own_weight = match model {
        Some(model) => model.dense_weight * weight::familiarity(model, query.unwrap_or_default()),
        None => CLIENT_DENSE_WEIGHT,
    };
    Ok(Fusion {
        method: chosen.method,
        dense_weight: stated_weight.unwrap_or(own_weight),
        dense_floor: chosen
            .dense_floor
            .or(of_collection.dense_floor)
            .or(model.map(|model| model.dense_floor))
            .unwrap_or(0.0),
        rrf_k: chosen.rrf_k.or(of_collection.rrf_k).unwrap_or(60) as f32,
    })
}
