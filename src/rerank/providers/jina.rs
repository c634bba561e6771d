//! Jina AI's `POST /v1/rerank`, and who speaks it.

use serde_json::json;

use super::{Provider, cohere};

pub(super) static JINA: Provider = Provider {
    base_url: "https://api.jina.ai/v1",
    api_key_env: "JINA_API_KEY",
    path: "/rerank",
    max_items: 1000,
    body: |model, query, texts| json!({"model": model, "query": query, "documents": texts, "top_n": texts.len(), "return_documents": false}),
    read: cohere::read,
};
