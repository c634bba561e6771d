//! Text Embeddings Inference's `POST /rerank`; it takes 32 texts as it is usually started.

use serde::Deserialize;
use serde_json::json;

use super::{Answer, Provider};

pub(super) static TEI: Provider = Provider {
    base_url: "http://127.0.0.1:8080",
    api_key_env: "",
    path: "/rerank",
    max_items: 32,
    body: |_, query, texts| json!({"query": query, "texts": texts, "raw_scores": false, "truncate": true}),
    read,
};

#[derive(Deserialize)]
struct Item {
    index: usize,
    score: f32,
}

fn read(body: &[u8]) -> Result<Answer, serde_json::Error> {
    let items: Vec<Item> = serde_json::from_slice(body)?;
    let scores = items.into_iter().map(|item| (item.index, item.score)).collect();
    Ok(Answer { scores, tokens: None, search_units: 0 })
}
