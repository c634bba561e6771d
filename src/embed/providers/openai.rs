//! OpenAI, and whoever speaks its `POST /embeddings`. Takes 2048 texts and 300,000 tokens; smaller requests fail small.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, Ask, Provider, Vector, set};
use crate::dispatch::Auth;

pub(super) static OPENAI: Provider = Provider {
    base_url: "https://api.openai.com/v1",
    api_key_env: "OPENAI_API_KEY",
    auth: Auth::Bearer,
    max_items: 128,
    max_batch_tokens: 150_000,
    max_tokens: 8191,
    url: |base, _| format!("{base}/embeddings"),
    body,
    read,
};

pub(super) fn body(ask: &Ask<'_>) -> Value {
    let mut body = json!({"model": ask.model, "input": ask.texts, "encoding_format": ask.encoding});
    set(&mut body, "dimensions", ask.dimensions);
    body
}

#[derive(Deserialize)]
struct List {
    data: Vec<Item>,
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Item {
    index: Option<usize>,
    embedding: Vector,
}

#[derive(Deserialize)]
struct Usage {
    total_tokens: Option<u64>,
}

pub(super) fn read(body: &[u8]) -> Result<Answer, serde_json::Error> {
    let list: List = serde_json::from_slice(body)?;
    let vectors = list.data.into_iter().map(|item| (item.index, item.embedding)).collect();
    Ok(Answer { vectors, tokens: list.usage.and_then(|usage| usage.total_tokens) })
}
