//! Google's Gemini API: at most 100 texts, each with its own `taskType`. It does not say how many tokens it counted.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, Ask, Provider, in_order, set};
use crate::dispatch::Auth;
use crate::embed::Kind;

pub(super) static GEMINI: Provider = Provider {
    base_url: "https://generativelanguage.googleapis.com/v1beta",
    api_key_env: "GEMINI_API_KEY",
    auth: Auth::Header("x-goog-api-key"),
    max_items: 100,
    max_batch_tokens: 20_000,
    max_tokens: 2048,
    url: |base, model| format!("{base}/{}:batchEmbedContents", path(model)),
    body,
    read,
};

fn path(model: &str) -> String {
    if model.starts_with("models/") { model.to_owned() } else { format!("models/{model}") }
}

fn body(ask: &Ask<'_>) -> Value {
    let task = match ask.kind {
        Kind::Document => "RETRIEVAL_DOCUMENT",
        Kind::Query => "RETRIEVAL_QUERY",
    };
    let model = path(ask.model);
    // later models are told by the text itself: use the prefixes
    let knows_tasks = !model.starts_with("models/gemini-embedding-2");
    let request = |text: &&str| {
        let mut request = json!({"model": model, "content": {"parts": [{"text": text}]}});
        set(&mut request, "taskType", knows_tasks.then_some(task));
        set(&mut request, "outputDimensionality", ask.dimensions);
        request
    };
    json!({"requests": ask.texts.iter().map(request).collect::<Vec<_>>()})
}

#[derive(Deserialize)]
struct Embedded {
    embeddings: Vec<Values>,
}

#[derive(Deserialize)]
struct Values {
    values: Vec<f32>,
}

fn read(body: &[u8]) -> Result<Answer, serde_json::Error> {
    let embedded: Embedded = serde_json::from_slice(body)?;
    let vectors = in_order(embedded.embeddings.into_iter().map(|one| one.values).collect());
    Ok(Answer { vectors, tokens: None })
}
