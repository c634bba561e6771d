//! Voyage AI: OpenAI's answers; at most 1000 texts and, for its largest models, 120,000 tokens.

use serde_json::{Value, json};

use super::{Ask, Provider, openai, set};
use crate::collection::remote::EmbeddingEncoding;
use crate::dispatch::Auth;
use crate::embed::Kind;

pub(super) static VOYAGE: Provider = Provider {
    base_url: "https://api.voyageai.com/v1",
    api_key_env: "VOYAGE_API_KEY",
    auth: Auth::Bearer,
    max_items: 128,
    max_batch_tokens: 100_000,
    max_tokens: 32_000,
    url: |base, _| format!("{base}/embeddings"),
    body,
    read: openai::read,
};

fn body(ask: &Ask<'_>) -> Value {
    let input_type = match ask.kind {
        Kind::Document => "document",
        Kind::Query => "query",
    };
    let mut body = json!({"model": ask.model, "input": ask.texts, "input_type": input_type});
    // numbers are what it sends when nothing is asked for
    let base64 = (ask.encoding == EmbeddingEncoding::Base64).then_some("base64");
    set(&mut body, "encoding_format", base64);
    set(&mut body, "output_dimension", ask.dimensions);
    body
}
