//! Cohere's `POST /v2/embed`: at most 96 texts; queries and documents are told apart by `input_type`.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, Ask, Provider, in_order, set};
use crate::dispatch::Auth;
use crate::embed::Kind;

pub(super) static COHERE: Provider = Provider {
    base_url: "https://api.cohere.com",
    api_key_env: "COHERE_API_KEY",
    auth: Auth::Bearer,
    max_items: 96,
    max_batch_tokens: 128_000,
    max_tokens: 512,
    url: |base, _| format!("{base}/v2/embed"),
    body,
    read,
};

fn body(ask: &Ask<'_>) -> Value {
    let input_type = match ask.kind {
        Kind::Document => "search_document",
        Kind::Query => "search_query",
    };
    let mut body = json!({
        "model": ask.model,
        "texts": ask.texts,
        "input_type": input_type,
        "embedding_types": ["float"],
    });
    set(&mut body, "output_dimension", ask.dimensions);
    body
}

#[derive(Deserialize)]
struct Embedded {
    embeddings: Embeddings,
    meta: Option<Meta>,
}

#[derive(Deserialize)]
struct Embeddings {
    float: Vec<Vec<f32>>,
}

#[derive(Deserialize)]
struct Meta {
    billed_units: Option<BilledUnits>,
}

#[derive(Deserialize)]
struct BilledUnits {
    input_tokens: Option<f64>,
}

fn read(body: &[u8]) -> Result<Answer, serde_json::Error> {
    let embedded: Embedded = serde_json::from_slice(body)?;
    let billed = embedded.meta.and_then(|meta| meta.billed_units);
    let tokens = billed.and_then(|billed| billed.input_tokens).map(|tokens| tokens as u64);
    Ok(Answer { vectors: in_order(embedded.embeddings.float), tokens })
}
