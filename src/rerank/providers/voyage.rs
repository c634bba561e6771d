//! Voyage AI's `POST /v1/rerank`.

use serde::Deserialize;
use serde_json::json;

use super::{Answer, Provider, cohere};

pub(super) static VOYAGE: Provider = Provider {
    base_url: "https://api.voyageai.com/v1",
    api_key_env: "VOYAGE_API_KEY",
    path: "/rerank",
    max_items: 1000,
    body: |model, query, texts| json!({"model": model, "query": query, "documents": texts, "top_k": texts.len(), "truncation": true}),
    read,
};

#[derive(Deserialize)]
struct Ranked {
    data: Vec<cohere::Item>,
    usage: Option<cohere::Usage>,
}

fn read(body: &[u8]) -> Result<Answer, serde_json::Error> {
    let Ranked { data, usage } = serde_json::from_slice(body)?;
    Ok(cohere::answer(data, usage))
}
