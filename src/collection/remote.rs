//! The parts of a definition that are about providers on a network: where they are, where the key is, how fast they
//! may be asked.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::dispatch::{KeySource, Network, check_url};
use crate::embed::providers;
use crate::error::{Code, Error, Result};
use crate::rerank;

/// Which protocol an embedding provider speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EmbeddingProvider {
    /// OpenAI, and any server that speaks its `POST /embeddings`.
    Openai,
    /// Azure OpenAI.
    AzureOpenai,
    /// Cohere v2.
    Cohere,
    /// Voyage AI.
    Voyage,
    /// Jina AI.
    Jina,
    /// Mistral AI.
    Mistral,
    /// Google's Gemini API.
    Gemini,
    /// Ollama.
    Ollama,
    /// Text Embeddings Inference.
    Tei,
}

/// A model behind an HTTP API.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RemoteEmbedding {
    /// The provider's address, e.g. `https://api.openai.com/v1`; absent: the provider's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^https?://")]
    pub base_url: Option<String>,
    /// The model's name, e.g. `text-embedding-3-small`.
    #[schema(min_length = 1)]
    pub model: String,
    /// The environment variable that holds the key, one of the server's setting `provider_key_env`; empty: no key is sent;
    /// absent: the provider's usual one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key_env: Option<String>,
    /// Name of a file in the server's folder `provider_keys_dir` that holds the key, in place of the variable; read
    /// anew for each request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1)]
    pub api_key_file: Option<String>,
    /// Azure: the deployment; absent: named like the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1)]
    pub deployment: Option<String>,
    /// Length of the vectors.
    #[schema(minimum = 1, maximum = 8192)]
    pub dimensions: u32,
    /// Whether `dimensions` is sent (models that can shorten their vectors).
    #[serde(default)]
    pub send_dimensions: bool,
    /// How vectors travel, where the provider leaves the choice.
    #[serde(default)]
    pub encoding: EmbeddingEncoding,
    /// The most tokens the model takes in one text; absent: the provider's usual limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>, minimum = 16, maximum = 4_294_967_295u32)]
    pub max_tokens: Option<u32>,
    /// Put before each document text.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub document_prefix: String,
    /// Put before each query.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub query_prefix: String,
    /// Requests a minute; absent: as many as the provider takes, learned from what it announces and refuses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub requests_per_minute: Option<u64>,
    /// Tokens a minute; absent: likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub tokens_per_minute: Option<u64>,
    /// The most texts in a request; absent: the provider's limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 4096)]
    pub max_batch_items: Option<u32>,
    /// The most tokens in a request; absent: the provider's limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub max_batch_tokens: Option<u64>,
    /// The most requests under way at a time; fewer while the provider is slow or refuses.
    #[serde(default = "max_in_flight")]
    #[schema(minimum = 1, maximum = 1024)]
    pub max_in_flight: u32,
    /// The longest the provider may take to answer a request for documents.
    #[serde(default = "timeout_ms")]
    #[schema(minimum = 1, maximum = 600_000)]
    pub timeout_ms: u64,
    /// The longest a search waits for the embedding of its query; after that the lexical leg answers alone.
    #[serde(default = "query_timeout_ms")]
    #[schema(minimum = 1, maximum = 600_000)]
    pub query_timeout_ms: u64,
    /// A query that is not embedded after so long is sent a second time; absent: it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 600_000)]
    pub hedge_after_ms: Option<u64>,
    /// What a million tokens cost, in US dollars, for the estimates in jobs and stats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0)]
    pub usd_per_million_tokens: Option<f64>,
    /// What embedding the documents of one job (or of one write that is waited for) may cost at most, in US dollars:
    /// documents beyond it fail and say so. Needs a price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0)]
    pub usd_cap_per_job: Option<f64>,
    /// Other addresses that serve the same model, to share the load or to stand in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<EndpointDefinition>,
}

/// How a provider sends vectors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EmbeddingEncoding {
    /// Little-endian f32 in base64: a quarter of the bytes.
    #[default]
    Base64,
    /// JSON numbers.
    Float,
}

/// Another address that serves the same model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EndpointDefinition {
    /// The protocol it speaks; absent: the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<EmbeddingProvider>,
    /// Its address.
    #[schema(pattern = "^https?://")]
    pub base_url: String,
    /// The model it serves, if you want that checked: another model makes other vectors and is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Azure: the deployment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1)]
    pub deployment: Option<String>,
    /// The environment variable that holds its key; empty: no key is sent; absent: the same key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key_env: Option<String>,
    /// Name of a file of `provider_keys_dir` that holds its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1)]
    pub api_key_file: Option<String>,
    /// Lower comes first; the definition's own address has 0, and endpoints of one priority share the load.
    #[serde(default)]
    pub priority: u32,
    /// Its share among endpoints of its priority; the definition's own address has 1.
    #[serde(default = "weight")]
    #[schema(minimum = 1, maximum = 1000)]
    pub weight: u32,
    /// Requests a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub requests_per_minute: Option<u64>,
    /// Tokens a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub tokens_per_minute: Option<u64>,
}

/// A reranker behind an HTTP API.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RemoteRerank {
    /// The provider's address, e.g. `https://api.cohere.com`; absent: the provider's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^https?://")]
    pub base_url: Option<String>,
    /// The model's name, e.g. `rerank-v3.5`.
    #[schema(min_length = 1)]
    pub model: String,
    /// The environment variable that holds the key, one of the server's setting `provider_key_env`; empty: no key is sent;
    /// absent: the provider's usual one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key_env: Option<String>,
    /// Name of a file in the server's folder `provider_keys_dir` that holds the key, in place of the variable; read
    /// anew for each request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1)]
    pub api_key_file: Option<String>,
    /// How many hits are reranked (1 to 1000).
    #[serde(default = "rerank_candidates")]
    #[schema(minimum = 1, maximum = 1000)]
    pub candidates: u32,
    /// After this the hits keep their first order and `status` says so.
    #[serde(default = "rerank_timeout_ms")]
    #[schema(minimum = 1, maximum = 600_000)]
    pub timeout_ms: u64,
    /// An answer that takes longer is asked for a second time; absent: it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 600_000)]
    pub hedge_after_ms: Option<u64>,
}

fn max_in_flight() -> u32 {
    32
}

fn timeout_ms() -> u64 {
    60_000
}

fn query_timeout_ms() -> u64 {
    3000
}

fn weight() -> u32 {
    1
}

fn rerank_candidates() -> u32 {
    30
}

pub(super) fn rerank_timeout_ms() -> u64 {
    3000
}

impl RemoteEmbedding {
    /// `model` with vectors of that length, everything else by default.
    pub fn new(model: impl Into<String>, dimensions: u32) -> Self {
        RemoteEmbedding {
            model: model.into(),
            dimensions,
            max_in_flight: max_in_flight(),
            timeout_ms: timeout_ms(),
            query_timeout_ms: query_timeout_ms(),
            ..RemoteEmbedding::default()
        }
    }

    /// Fills in what `provider` has a default for.
    pub(super) fn fill(&mut self, provider: EmbeddingProvider) {
        let table = providers::of(provider);
        fill_address(&mut self.base_url, table.base_url);
        fill_key(&mut self.api_key_env, &self.api_key_file, table.api_key_env);
        self.max_tokens.get_or_insert(table.max_tokens);
    }

    /// The key of its own address.
    pub fn key(&self) -> KeySource {
        key(&self.api_key_env, &self.api_key_file)
    }

    /// The key of one of its endpoints.
    pub fn key_of(&self, endpoint: &EndpointDefinition) -> KeySource {
        match (&endpoint.api_key_env, &endpoint.api_key_file) {
            (None, None) => self.key(),
            (env, file) => key(env, file),
        }
    }

    /// Checks what can be without asking anybody.
    pub(super) fn validate(&self) -> Result<()> {
        let positive = |value: Option<u64>, field: &str| {
            check(value != Some(0), &format!("embedding.{field}"), "it must be at least 1")
        };
        check(
            self.base_url.is_some(),
            "embedding.base_url",
            "this provider has no address of its own: name it",
        )?;
        check(!self.model.is_empty(), "embedding.model", "model must not be empty")?;
        let max_tokens = self.max_tokens.unwrap_or(16);
        check(max_tokens >= 16, "embedding.max_tokens", "max_tokens must be at least 16")?;
        positive(self.requests_per_minute, "requests_per_minute")?;
        positive(self.tokens_per_minute, "tokens_per_minute")?;
        positive(self.max_batch_tokens, "max_batch_tokens")?;
        let items = self.max_batch_items.is_none_or(|items| (1..=4096).contains(&items));
        check(items, "embedding.max_batch_items", "max_batch_items must be 1 to 4096")?;
        let in_flight = (1..=1024).contains(&self.max_in_flight);
        check(in_flight, "embedding.max_in_flight", "max_in_flight must be 1 to 1024")?;
        for (field, value) in [
            ("timeout_ms", Some(self.timeout_ms)),
            ("query_timeout_ms", Some(self.query_timeout_ms)),
            ("hedge_after_ms", self.hedge_after_ms),
        ] {
            check_milliseconds(value, &format!("embedding.{field}"))?;
        }
        let price = self.usd_per_million_tokens.is_none_or(|price| price.is_finite() && price >= 0.0);
        check(price, "embedding.usd_per_million_tokens", "a price is not negative")?;
        let priced = self.usd_per_million_tokens.is_some_and(|price| price > 0.0);
        let cap = self.usd_cap_per_job.is_none_or(|cap| cap.is_finite() && cap >= 0.0 && priced);
        check(cap, "embedding.usd_cap_per_job", "a cap is not negative and needs usd_per_million_tokens")?;
        for (index, endpoint) in self.endpoints.iter().enumerate() {
            let at = format!("embedding.endpoints[{index}]");
            if let Some(model) = endpoint.model.as_ref().filter(|model| **model != self.model) {
                let message = format!(
                    "this endpoint serves `{model}`, the collection's model is `{}`: vectors of different models \
                     cannot be compared, so one cannot stand in for the other",
                    self.model
                );
                return Err(Error::new(Code::InvalidDefinition, message).with_param(format!("{at}.model")));
            }
            let weight = (1..=1000).contains(&endpoint.weight);
            check(weight, &format!("{at}.weight"), "weight must be 1 to 1000")?;
            positive(endpoint.requests_per_minute, &format!("endpoints[{index}].requests_per_minute"))?;
            positive(endpoint.tokens_per_minute, &format!("endpoints[{index}].tokens_per_minute"))?;
        }
        self.check_addresses(Network::Private)
    }

    /// Checks that its addresses are allowed.
    pub(super) fn check_addresses(&self, network: Network) -> Result<()> {
        let own = self.base_url.iter().map(|url| ("embedding.base_url".to_owned(), url));
        let others = self.endpoints.iter().enumerate();
        let others = others
            .map(|(index, endpoint)| (format!("embedding.endpoints[{index}].base_url"), &endpoint.base_url));
        for (param, url) in own.chain(others) {
            check_address(url, network, &param)?;
        }
        Ok(())
    }

    /// The keys it needs, with the field each is named in.
    pub(super) fn keys(&self) -> Vec<(String, KeySource)> {
        let field = |file: bool| if file { "api_key_file" } else { "api_key_env" };
        let own = (format!("embedding.{}", field(self.api_key_file.is_some())), self.key());
        let others = self.endpoints.iter().enumerate().map(|(index, endpoint)| {
            let field = field(endpoint.api_key_file.is_some());
            (format!("embedding.endpoints[{index}].{field}"), self.key_of(endpoint))
        });
        std::iter::once(own).chain(others).collect()
    }
}

impl RemoteRerank {
    /// Fills in what `provider` has a default for.
    pub(super) fn fill(&mut self, provider: &rerank::Provider) {
        fill_address(&mut self.base_url, provider.base_url);
        fill_key(&mut self.api_key_env, &self.api_key_file, provider.api_key_env);
    }

    /// Its key.
    pub fn key(&self) -> KeySource {
        key(&self.api_key_env, &self.api_key_file)
    }

    pub(super) fn validate(&self) -> Result<()> {
        check(!self.model.is_empty(), "rerank.model", "model must not be empty")?;
        check_rerank(self.candidates, self.timeout_ms)?;
        check_milliseconds(self.hedge_after_ms, "rerank.hedge_after_ms")?;
        self.check_addresses(Network::Private)
    }

    pub(super) fn check_addresses(&self, network: Network) -> Result<()> {
        self.base_url.iter().try_for_each(|url| check_address(url, network, "rerank.base_url"))
    }
}

fn fill_address(address: &mut Option<String>, default: &str) {
    if address.is_none() && !default.is_empty() {
        *address = Some(default.into());
    }
}

fn fill_key(env: &mut Option<String>, file: &Option<String>, default: &str) {
    if env.is_none() && file.is_none() {
        *env = Some(default.into());
    }
}

fn key(env: &Option<String>, file: &Option<String>) -> KeySource {
    KeySource { env: env.clone().unwrap_or_default(), file: file.clone().unwrap_or_default() }
}

fn check_address(url: &str, network: Network, param: &str) -> Result<()> {
    check_url(url, network).map_err(|message| Error::new(Code::InvalidDefinition, message).with_param(param))
}

fn check_milliseconds(value: Option<u64>, param: &str) -> Result<()> {
    check(value.is_none_or(|value| (1..=600_000).contains(&value)), param, "it must be 1 to 600000")
}

/// Checks what every reranker is given.
pub(super) fn check_rerank(candidates: u32, timeout_ms: u64) -> Result<()> {
    check((1..=1000).contains(&candidates), "rerank.candidates", "candidates must be 1 to 1000")?;
    check_milliseconds(Some(timeout_ms), "rerank.timeout_ms")
}

/// `invalid_definition` about the field `param`, unless it is `ok`.
pub(super) fn check(ok: bool, param: &str, message: &str) -> Result<()> {
    if ok { Ok(()) } else { Err(Error::new(Code::InvalidDefinition, message).with_param(param)) }
}
