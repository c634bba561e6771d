//! Cohere's `POST /v2/rerank`. It bills by searches, not by tokens.

use serde::Deserialize;
use serde_json::json;

use super::{Answer, Provider};

pub(super) static COHERE: Provider = Provider {
    base_url: "https://api.cohere.com",
    api_key_env: "COHERE_API_KEY",
    path: "/v2/rerank",
    max_items: 1000,
    body: |model, query, texts| json!({"model": model, "query": query, "documents": texts, "top_n": texts.len()}),
    read,
};

#[derive(Deserialize)]
struct Ranked {
    results: Vec<Item>,
    usage: Option<Usage>,
    #[serde(default)]
    meta: Meta,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Meta {
    billed_units: BilledUnits,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct BilledUnits {
    search_units: f64,
}

#[derive(Deserialize)]
pub(super) struct Item {
    index: usize,
    relevance_score: f32,
}

#[derive(Deserialize)]
pub(super) struct Usage {
    total_tokens: Option<u64>,
}

/// Also Jina's answer.
pub(super) fn read(body: &[u8]) -> Result<Answer, serde_json::Error> {
    let Ranked { results, usage, meta } = serde_json::from_slice(body)?;
    let search_units = meta.billed_units.search_units as u64;
    Ok(Answer { search_units, ..answer(results, usage) })
}

pub(super) fn answer(items: Vec<Item>, usage: Option<Usage>) -> Answer {
    let scores = items.into_iter().map(|item| (item.index, item.relevance_score)).collect();
    Answer { scores, tokens: usage.and_then(|usage| usage.total_tokens), search_units: 0 }
}
