//! Ollama's `POST /api/embed`. It runs on modest machines: small requests keep each of them short.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, Ask, Provider, in_order, set};
use crate::dispatch::Auth;

pub(super) static OLLAMA: Provider = Provider {
    base_url: "http://127.0.0.1:11434",
    api_key_env: "",
    auth: Auth::Bearer,
    max_items: 32,
    max_batch_tokens: 16_000,
    max_tokens: 512,
    url: |base, _| format!("{base}/api/embed"),
    body,
    read,
};

fn body(ask: &Ask<'_>) -> Value {
    let mut body = json!({"model": ask.model, "input": ask.texts, "truncate": true});
    set(&mut body, "dimensions", ask.dimensions);
    body
}

#[derive(Deserialize)]
struct Embedded {
    embeddings: Vec<Vec<f32>>,
    prompt_eval_count: Option<u64>,
}

fn read(body: &[u8]) -> Result<Answer, serde_json::Error> {
    let embedded: Embedded = serde_json::from_slice(body)?;
    Ok(Answer { vectors: in_order(embedded.embeddings), tokens: embedded.prompt_eval_count })
}
