//! What sets embedding providers apart, one small table each: address, key, limits, the request and the answer.
//!
//! Pacing, repeating and failing over is the [`dispatch`](crate::dispatch)er's business.

mod azure_openai;
mod cohere;
mod gemini;
mod jina;
mod mistral;
mod ollama;
mod openai;
mod tei;
mod voyage;

use base64::Engine;
use serde::Deserialize;
use serde_json::Value;

use super::Kind;
use crate::collection::remote::{EmbeddingEncoding, EmbeddingProvider};
use crate::dispatch::Auth;

/// What sets a provider apart.
pub struct Provider {
    /// Its address; empty: every user has their own.
    pub base_url: &'static str,
    /// The environment variable its key is usually in; empty: it needs none.
    pub api_key_env: &'static str,
    /// How the key travels.
    pub auth: Auth,
    /// The most texts in a request.
    pub max_items: usize,
    /// The most tokens in a request.
    pub max_batch_tokens: u64,
    /// The most tokens in a text.
    pub max_tokens: u32,
    /// The URL under a base URL, for a model (a deployment).
    pub url: fn(base: &str, model: &str) -> String,
    /// The request.
    pub body: fn(&Ask<'_>) -> Value,
    /// The answer; the error says what is wrong with it.
    pub read: fn(&[u8]) -> Result<Answer, serde_json::Error>,
}

/// What is asked of a provider.
pub struct Ask<'a> {
    /// The model's name.
    pub model: &'a str,
    /// The texts.
    pub texts: &'a [&'a str],
    /// What they are.
    pub kind: Kind,
    /// The length of vectors that is asked for.
    pub dimensions: Option<usize>,
    /// How vectors are to travel.
    pub encoding: EmbeddingEncoding,
}

/// What a provider answers.
pub struct Answer {
    /// The vectors, with the text each belongs to where that is said (its position otherwise).
    pub vectors: Vec<(Option<usize>, Vector)>,
    /// Tokens, as it counts them.
    pub tokens: Option<u64>,
}

/// A vector on its way.
#[derive(Deserialize)]
#[serde(untagged)]
pub enum Vector {
    /// Little-endian f32.
    Base64(String),
    /// Numbers.
    Floats(Vec<f32>),
}

/// The table of a provider.
pub fn of(provider: EmbeddingProvider) -> &'static Provider {
    match provider {
        EmbeddingProvider::Openai => &openai::OPENAI,
        EmbeddingProvider::AzureOpenai => &azure_openai::AZURE_OPENAI,
        EmbeddingProvider::Cohere => &cohere::COHERE,
        EmbeddingProvider::Voyage => &voyage::VOYAGE,
        EmbeddingProvider::Jina => &jina::JINA,
        EmbeddingProvider::Mistral => &mistral::MISTRAL,
        EmbeddingProvider::Gemini => &gemini::GEMINI,
        EmbeddingProvider::Ollama => &ollama::OLLAMA,
        EmbeddingProvider::Tei => &tei::TEI,
    }
}

/// A list of vectors in the order of the texts.
fn in_order(vectors: Vec<Vec<f32>>) -> Vec<(Option<usize>, Vector)> {
    vectors.into_iter().map(|vector| (None, Vector::Floats(vector))).collect()
}

/// Adds a field that is only sometimes sent.
fn set(body: &mut Value, field: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        body[field] = value.into();
    }
}

impl Answer {
    /// The vectors of `count` texts in their order, each of them a vector of `dimensions` finite values or what is wrong
    /// with it; the error says what is wrong with all of them.
    pub fn vectors(self, count: usize, dimensions: usize) -> Result<Vec<Result<Vec<f32>, String>>, String> {
        if self.vectors.len() != count {
            return Err(format!("the provider sent {} vectors for {count} texts", self.vectors.len()));
        }
        let mut placed: Vec<Option<Result<Vec<f32>, String>>> = (0..count).map(|_| None).collect();
        for (position, (index, vector)) in self.vectors.into_iter().enumerate() {
            let index = index.unwrap_or(position);
            match placed.get_mut(index) {
                Some(place @ None) => *place = Some(vector.read(dimensions)),
                _ => {
                    return Err(format!(
                        "the provider sent a vector for text {index} of {count} unasked or twice"
                    ));
                }
            }
        }
        // as many as texts and none twice: every place is taken
        Ok(placed.into_iter().flatten().collect())
    }
}

impl Vector {
    fn read(self, dimensions: usize) -> Result<Vec<f32>, String> {
        let vector = match self {
            Vector::Floats(floats) => floats,
            Vector::Base64(text) => {
                let bytes = base64::engine::general_purpose::STANDARD
                    .decode(text)
                    .map_err(|error| format!("the provider sent a vector that is not base64: {error}"))?;
                let (floats, rest) = bytes.as_chunks::<4>();
                if !rest.is_empty() {
                    return Err(format!("the provider sent a vector of {} bytes", bytes.len()));
                }
                floats.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
            }
        };
        if vector.len() != dimensions {
            return Err(format!(
                "the provider sent a vector of {} values, but the collection's definition says {dimensions}",
                vector.len()
            ));
        }
        if !vector.iter().all(|value| value.is_finite()) {
            return Err("the provider sent a vector with a value that is not finite".into());
        }
        Ok(vector)
    }
}

#[cfg(test)]
mod tests;
