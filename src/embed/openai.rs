//! Any server that speaks OpenAI's `POST /embeddings`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use futures::{StreamExt, stream};
use serde::{Deserialize, Serialize};

use super::estimate::EstimatedTokenizer;
use super::http::{Call, CallError, Http, check_key};
use super::{Arrived, EmbedError, Embedder, Embeddings, Kind, Model};
use crate::chunk::Tokenizer;
use crate::collection::definition::EmbeddingEncoding;
use crate::runtime::Pools;

/// The most texts in a request. OpenAI takes 2048; small requests fail small.
const MAX_ITEMS: usize = 128;
/// The most tokens in a request, by estimate. OpenAI takes 300,000.
const MAX_TOKENS: usize = 150_000;
/// Requests of one `embed` that are under way at a time.
const IN_FLIGHT: usize = 4;

/// What a definition says of such a server.
pub(super) struct Settings {
    pub base_url: String,
    pub model: String,
    pub api_key_env: String,
    pub dimensions: usize,
    pub send_dimensions: bool,
    pub encoding: EmbeddingEncoding,
    pub max_tokens: usize,
    pub document_prefix: String,
    pub query_prefix: String,
    /// The wait before a request is repeated for the first time.
    pub backoff: Duration,
}

/// A remote embedder.
pub(super) struct OpenAi {
    model: Model,
    settings: Settings,
    http: Http,
    pools: Pools,
    /// The server was found not to know base64.
    floats_only: AtomicBool,
}

#[derive(Serialize)]
struct Request<'a> {
    model: &'a str,
    input: &'a [String],
    encoding_format: EmbeddingEncoding,
    #[serde(skip_serializing_if = "Option::is_none")]
    dimensions: Option<usize>,
}

#[derive(Deserialize)]
struct Answer {
    data: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    /// Which input it belongs to; its position, where a server does not say.
    index: Option<usize>,
    embedding: Vector,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Vector {
    Base64(String),
    Floats(Vec<f32>),
}

impl OpenAi {
    pub fn new(settings: Settings, http: Http, pools: Pools) -> Self {
        let mut id = format!("{}-{}", settings.model, settings.dimensions);
        if !(settings.document_prefix.is_empty() && settings.query_prefix.is_empty()) {
            let prefixes = format!("{}\0{}", settings.document_prefix, settings.query_prefix);
            id.push_str(&format!("-{:016x}", xxhash_rust::xxh3::xxh3_64(prefixes.as_bytes())));
        }
        let model = Model {
            id,
            dimensions: settings.dimensions,
            max_tokens: settings.max_tokens,
            dense_weight: 0.6,
            dense_floor: 0.1,
            english: false,
        };
        Self { model, settings, http, pools, floats_only: AtomicBool::new(false) }
    }

    /// Embeds the texts of one request.
    async fn request(&self, texts: Vec<String>, kind: Kind) -> Result<Vec<f32>, EmbedError> {
        let encoding = match self.floats_only.load(Ordering::Relaxed) {
            true => EmbeddingEncoding::Float,
            false => self.settings.encoding,
        };
        let bytes = match self.post(&texts, kind, encoding).await {
            Err(CallError::Refused { status: 400 | 422, .. }) if encoding == EmbeddingEncoding::Base64 => {
                let bytes = self.post(&texts, kind, EmbeddingEncoding::Float).await?;
                self.floats_only.store(true, Ordering::Relaxed);
                bytes
            }
            answer => answer?,
        };
        let pool = match kind {
            Kind::Query => &self.pools.search,
            Kind::Document => &self.pools.build,
        };
        let (count, dimensions) = (texts.len(), self.settings.dimensions);
        let decoded = pool.run(move || decode(&bytes, count, dimensions)).await;
        decoded
            .map_err(|error| EmbedError::Provider(error.to_string()))?
            .map_err(|message| EmbedError::Provider(format!("{}: {message}", self.settings.model)))
    }

    async fn post(
        &self,
        texts: &[String],
        kind: Kind,
        encoding: EmbeddingEncoding,
    ) -> Result<Vec<u8>, CallError> {
        let Settings { base_url, model, dimensions, send_dimensions, .. } = &self.settings;
        let request = Request {
            model,
            input: texts,
            encoding_format: encoding,
            dimensions: send_dimensions.then_some(*dimensions),
        };
        let body = serde_json::to_vec(&request).map_err(|error| CallError::Config(error.to_string()))?;
        // somebody waits for a query; a document is worth some patience
        let (seconds, tries) = match kind {
            Kind::Query => (5, 3),
            Kind::Document => (120, 6),
        };
        let call = Call {
            url: format!("{}/embeddings", base_url.trim_end_matches('/')),
            api_key_env: self.settings.api_key_env.clone(),
            timeout: Duration::from_secs(seconds),
            tries,
            backoff: self.settings.backoff,
            // a float takes at most about 25 characters
            max_bytes: 64 * 1024 + texts.len() * (dimensions * 32 + 256),
        };
        self.http.post(&call, body).await
    }
}

impl From<CallError> for EmbedError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Config(message) => EmbedError::Config(message),
            CallError::Refused { message, .. } | CallError::Failed(message) => EmbedError::Provider(message),
            CallError::Timeout => {
                EmbedError::Provider("the embedding provider did not answer in time".into())
            }
        }
    }
}

#[async_trait]
impl Embedder for OpenAi {
    fn model(&self) -> &Model {
        &self.model
    }

    fn tokenizer(&self) -> Result<Arc<dyn Tokenizer>, EmbedError> {
        Ok(Arc::new(EstimatedTokenizer))
    }

    async fn embed(&self, texts: Vec<String>, kind: Kind) -> Result<Embeddings, EmbedError> {
        self.embed_each(texts, kind, &|_, _| {}).await
    }

    async fn embed_each(
        &self,
        texts: Vec<String>,
        kind: Kind,
        arrived: &Arrived<'_>,
    ) -> Result<Embeddings, EmbedError> {
        let prefix = match kind {
            Kind::Query => &self.settings.query_prefix,
            Kind::Document => &self.settings.document_prefix,
        };
        let count = texts.len();
        let mut next = 0;
        let requests = stream::iter(pack(texts, prefix)).map(|texts| {
            let first = next;
            next += texts.len();
            async move { self.request(texts, kind).await.inspect(|values| arrived(first, values)) }
        });
        let parts = requests.buffered(IN_FLIGHT);
        Embeddings::join(self.settings.dimensions, count, parts).await
    }

    async fn warm(&self) -> Result<(), EmbedError> {
        Ok(check_key(&self.settings.api_key_env)?)
    }
}

/// Cuts the texts, prefixed, into requests.
fn pack(texts: Vec<String>, prefix: &str) -> Vec<Vec<String>> {
    let (mut requests, mut tokens) = (Vec::<Vec<String>>::new(), 0);
    for mut text in texts {
        text.insert_str(0, prefix);
        let more = EstimatedTokenizer.count(&text);
        match requests.last_mut() {
            Some(request) if request.len() < MAX_ITEMS && tokens + more <= MAX_TOKENS => {
                request.push(text);
                tokens += more;
            }
            _ => {
                requests.push(vec![text]);
                tokens = more;
            }
        }
    }
    requests
}

/// The vectors of an answer in the order of the inputs; the error says what is wrong with it.
fn decode(body: &[u8], count: usize, dimensions: usize) -> Result<Vec<f32>, String> {
    let answer: Answer = serde_json::from_slice(body)
        .map_err(|error| format!("the provider's answer is not an embedding list: {error}"))?;
    if answer.data.len() != count {
        return Err(format!("the provider sent {} vectors for {count} texts", answer.data.len()));
    }
    let mut values = vec![f32::NAN; count * dimensions];
    let mut seen = vec![false; count];
    for (position, item) in answer.data.into_iter().enumerate() {
        let index = item.index.unwrap_or(position);
        if seen.get(index) != Some(&false) {
            return Err(format!("the provider sent a vector for text {index} of {count} unasked or twice"));
        }
        seen[index] = true;
        let vector = match item.embedding {
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
                "the provider's vectors have {} values, but the collection's definition says {dimensions}",
                vector.len()
            ));
        }
        if !vector.iter().all(|value| value.is_finite()) {
            return Err(format!("the provider's vector for text {index} has a value that is not finite"));
        }
        values[index * dimensions..][..dimensions].copy_from_slice(&vector);
    }
    Ok(values)
}

#[cfg(test)]
mod tests;
