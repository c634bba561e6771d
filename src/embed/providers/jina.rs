//! Jina AI: OpenAI's answers; from its third models on queries and documents are told apart by `task`.

use serde_json::{Value, json};

use super::{Ask, Provider, openai, set};
use crate::dispatch::Auth;
use crate::embed::Kind;

pub(super) static JINA: Provider = Provider {
    base_url: "https://api.jina.ai/v1",
    api_key_env: "JINA_API_KEY",
    auth: Auth::Bearer,
    max_items: 128,
    max_batch_tokens: 100_000,
    max_tokens: 8192,
    url: |base, _| format!("{base}/embeddings"),
    body,
    read: openai::read,
};

fn body(ask: &Ask<'_>) -> Value {
    let task = match ask.kind {
        Kind::Document => "retrieval.passage",
        Kind::Query => "retrieval.query",
    };
    let mut body = json!({
        "model": ask.model,
        "input": ask.texts,
        "embedding_type": ask.encoding,
        "normalized": true,
    });
    let knows_tasks = !ask.model.starts_with("jina-embeddings-v2");
    set(&mut body, "task", knows_tasks.then_some(task));
    set(&mut body, "dimensions", ask.dimensions);
    body
}
