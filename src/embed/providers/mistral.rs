//! Mistral AI: OpenAI's answers; a request has at most 16,384 tokens.

use serde_json::{Value, json};

use super::{Ask, Provider, openai, set};
use crate::dispatch::Auth;

pub(super) static MISTRAL: Provider = Provider {
    base_url: "https://api.mistral.ai/v1",
    api_key_env: "MISTRAL_API_KEY",
    auth: Auth::Bearer,
    max_items: 128,
    max_batch_tokens: 16_000,
    max_tokens: 8192,
    url: |base, _| format!("{base}/embeddings"),
    body,
    read: openai::read,
};

fn body(ask: &Ask<'_>) -> Value {
    let mut body = json!({"model": ask.model, "input": ask.texts, "encoding_format": "float"});
    set(&mut body, "output_dimension", ask.dimensions);
    body
}
