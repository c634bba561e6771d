//! Text Embeddings Inference's `POST /embed`: at most 32 texts as it is usually started. The server knows one model;
//! queries and documents are told apart by prefixes.

use serde_json::{Value, json};

use super::{Answer, Ask, Provider, in_order, set};
use crate::dispatch::Auth;

pub(super) static TEI: Provider = Provider {
    base_url: "http://127.0.0.1:8080",
    api_key_env: "",
    auth: Auth::Bearer,
    max_items: 32,
    max_batch_tokens: 16_000,
    max_tokens: 512,
    url: |base, _| format!("{base}/embed"),
    body,
    read,
};

fn body(ask: &Ask<'_>) -> Value {
    let mut body = json!({"inputs": ask.texts, "normalize": true, "truncate": true});
    set(&mut body, "dimensions", ask.dimensions);
    body
}

fn read(body: &[u8]) -> Result<Answer, serde_json::Error> {
    let vectors: Vec<Vec<f32>> = serde_json::from_slice(body)?;
    Ok(Answer { vectors: in_order(vectors), tokens: None })
}
