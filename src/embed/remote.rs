//! A model behind an HTTP API: a provider's table, and the dispatcher that gets its requests through.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;

use super::estimate::EstimatedTokenizer;
use super::providers::{self, Ask, Provider};
use super::{Arrived, EmbedError, Embedder, Embeddings, Kind, Model};
use crate::chunk::Tokenizer;
use crate::collection::remote::{EmbeddingEncoding, EmbeddingProvider, RemoteEmbedding};
use crate::dispatch::{
    Backoff, Bulk, Caps, Endpoint, EndpointSettings, Endpoints, Failure, Fault, Http, KeySource, Limits,
    Post, Reply, Size, Urgent, bulk, urgent,
};
use crate::runtime::{Pools, Stop};

/// The most bytes of text in a request.
const MAX_BYTES: usize = 4 << 20;
/// How long documents wait for a provider that is down.
const PATIENCE: Duration = Duration::from_secs(60);

/// A remote embedder.
pub(super) struct Remote {
    model: Model,
    document_prefix: String,
    query_prefix: String,
    endpoints: Endpoints,
    clients: Vec<(Arc<Endpoint>, Arc<Client>)>,
    bulk: Bulk,
    urgent: Urgent,
}

/// What makes the requests to one endpoint.
struct Client {
    provider: &'static Provider,
    url: String,
    key: KeySource,
    model: String,
    dimensions: usize,
    send_dimensions: bool,
    encoding: EmbeddingEncoding,
    timeout: Duration,
    /// The server was found not to know base64.
    floats_only: AtomicBool,
    http: Http,
    pools: Pools,
}

/// What makes two endpoints the same: those that count requests against one budget.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct EndpointKey {
    settings: EndpointSettings,
    url: String,
    key: KeySource,
    model: String,
}

impl Remote {
    /// The embedder of a definition. `share` finds an endpoint that another embedder uses, or takes the new one.
    pub fn new(
        provider: EmbeddingProvider,
        definition: &RemoteEmbedding,
        http: &Http,
        pools: &Pools,
        mut share: impl FnMut(EndpointKey, &mut dyn FnMut() -> Arc<Endpoint>) -> Arc<Endpoint>,
    ) -> Self {
        let table = providers::of(provider);
        let limits =
            Limits { requests: definition.requests_per_minute, tokens: definition.tokens_per_minute };
        let own = definition.base_url.clone().unwrap_or_else(|| table.base_url.into());
        let origin = format!("{provider:?} {}", own.trim_end_matches('/'));
        let mut addresses =
            vec![(provider, own, definition.deployment.clone(), definition.key(), limits, 0, 1)];
        addresses.extend(definition.endpoints.iter().map(|other| {
            let limits = Limits { requests: other.requests_per_minute, tokens: other.tokens_per_minute };
            let provider = other.provider.unwrap_or(provider);
            let (url, deployment) = (other.base_url.clone(), other.deployment.clone());
            (provider, url, deployment, definition.key_of(other), limits, other.priority, other.weight)
        }));
        let clients: Vec<_> = addresses
            .into_iter()
            .map(|(provider, base, deployment, key, limits, priority, weight)| {
                let provider = providers::of(provider);
                let model = deployment.unwrap_or_else(|| definition.model.clone());
                let url = (provider.url)(base.trim_end_matches('/'), &model);
                let client = Arc::new(Client {
                    provider,
                    url: url.clone(),
                    key: key.clone(),
                    model: definition.model.clone(),
                    dimensions: definition.dimensions as usize,
                    send_dimensions: definition.send_dimensions,
                    encoding: definition.encoding,
                    timeout: Duration::from_millis(definition.timeout_ms),
                    floats_only: AtomicBool::new(false),
                    http: http.clone(),
                    pools: pools.clone(),
                });
                let max_in_flight = definition.max_in_flight as usize;
                let name = format!("{} at {base}", definition.model);
                let settings = EndpointSettings { name, limits, max_in_flight, priority, weight };
                let identity = EndpointKey { settings: settings.clone(), url, key, model };
                let endpoint = share(identity, &mut || {
                    let prober = Arc::clone(&client);
                    let probe = move || -> futures::future::BoxFuture<'static, _> {
                        let prober = Arc::clone(&prober);
                        Box::pin(async move { prober.probe().await })
                    };
                    Endpoint::new(settings.clone(), Box::new(probe))
                });
                (endpoint, client)
            })
            .collect();
        let price = definition.usd_per_million_tokens.unwrap_or(0.0);
        Remote {
            model: model(definition, table.max_tokens, origin),
            document_prefix: definition.document_prefix.clone(),
            query_prefix: definition.query_prefix.clone(),
            endpoints: Endpoints::new(clients.iter().map(|(endpoint, _)| Arc::clone(endpoint)).collect()),
            bulk: Bulk {
                caps: caps(definition, clients.iter().map(|(_, client)| client.provider)),
                tries: 5,
                backoff: Backoff::default(),
                patience: PATIENCE,
                price,
                max_cost: definition.usd_cap_per_job,
            },
            urgent: Urgent {
                deadline: Duration::from_millis(definition.query_timeout_ms),
                tries: 3,
                backoff: Backoff { first: Duration::from_millis(100), ..Backoff::default() },
                hedge: definition.hedge_after_ms.map(Duration::from_millis),
                price,
            },
            clients,
        }
    }

    /// What makes the requests to `endpoint`.
    fn client(&self, endpoint: &Arc<Endpoint>) -> Option<Arc<Client>> {
        let own = self.clients.iter().find(|(known, _)| Arc::ptr_eq(known, endpoint));
        own.map(|(_, client)| Arc::clone(client))
    }

    /// One request of texts that have their prefix.
    async fn send(
        &self,
        endpoint: Arc<Endpoint>,
        texts: &[&str],
        kind: Kind,
    ) -> Result<Reply<Vec<Result<Vec<f32>, String>>>, Failure> {
        let Some(client) = self.client(&endpoint) else {
            return Err(Failure::new(Fault::Setup, "the endpoint belongs to another model"));
        };
        client.embed(texts, kind).await
    }

    async fn documents(&self, texts: &[String], arrived: &Arrived<'_>, stop: &Stop) -> Embeddings {
        let dimensions = self.model.dimensions;
        let mut values = vec![0.0; texts.len() * dimensions];
        // of a text that nothing was heard of when it stopped
        let mut errors = vec![Some(EmbedError::Cancelled); texts.len()];
        let size = |item: usize| {
            let text = texts[item].as_str();
            Size { tokens: EstimatedTokenizer.count(text) as u32, bytes: text.len() as u32 }
        };
        let send = |endpoint: Arc<Endpoint>, items: Vec<usize>| async move {
            let texts: Vec<&str> = items.iter().map(|&item| texts[item].as_str()).collect();
            self.send(endpoint, &texts, Kind::Document).await
        };
        let done = |item: usize, result: Result<Vec<f32>, Failure>| match result {
            Ok(vector) => {
                arrived(item, &vector);
                values[item * dimensions..][..dimensions].copy_from_slice(&vector);
                errors[item] = None;
            }
            Err(failure) => errors[item] = Some(failure.into()),
        };
        let usage = bulk(&self.endpoints, &self.bulk, texts.len(), size, send, done, stop).await;
        let failures =
            errors.into_iter().enumerate().filter_map(|(item, error)| Some((item, error?))).collect();
        Embeddings { dimensions, values, failures, usage }
    }

    /// Queries come one at a time; a search waits for each.
    async fn queries(&self, texts: &[String]) -> Result<Embeddings, EmbedError> {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let tokens = texts.iter().map(|text| EstimatedTokenizer.count(text) as u64).sum();
        let send = |endpoint: Arc<Endpoint>| {
            let texts = &texts;
            async move {
                let reply = self.send(endpoint, texts, Kind::Query).await?;
                let whole: Result<Vec<Vec<f32>>, String> = reply.value.into_iter().collect();
                let value = whole.map_err(|message| Failure::new(Fault::Answer, message))?;
                Ok(Reply { value, tokens: reply.tokens, limits: reply.limits })
            }
        };
        let (result, usage) = urgent(&self.endpoints, &self.urgent, tokens, send).await;
        let values = result?.concat();
        Ok(Embeddings { dimensions: self.model.dimensions, values, failures: Vec::new(), usage })
    }
}

/// What the collection needs to know of it.
fn model(definition: &RemoteEmbedding, max_tokens: u32, origin: String) -> Model {
    let mut id = format!("{}-{}", definition.model, definition.dimensions);
    if !(definition.document_prefix.is_empty() && definition.query_prefix.is_empty()) {
        let prefixes = format!("{}\0{}", definition.document_prefix, definition.query_prefix);
        id.push_str(&format!("-{:016x}", xxhash_rust::xxh3::xxh3_64(prefixes.as_bytes())));
    }
    Model {
        id,
        origin,
        dimensions: definition.dimensions as usize,
        max_tokens: definition.max_tokens.unwrap_or(max_tokens) as usize,
        dense_weight: 0.6,
        dense_floor: 0.1,
        english: false,
    }
}

/// What every one of the providers takes in a request, or less where the definition says so.
fn caps(definition: &RemoteEmbedding, providers: impl Iterator<Item = &'static Provider>) -> Caps {
    let most = Caps {
        items: definition.max_batch_items.unwrap_or(u32::MAX) as usize,
        tokens: definition.max_batch_tokens.unwrap_or(u64::MAX),
        bytes: MAX_BYTES,
    };
    providers.fold(most, |caps, provider| Caps {
        items: caps.items.min(provider.max_items),
        tokens: caps.tokens.min(provider.max_batch_tokens),
        ..caps
    })
}

impl Client {
    /// One request, a second one where the server turns out not to know base64.
    async fn embed(
        &self,
        texts: &[&str],
        kind: Kind,
    ) -> Result<Reply<Vec<Result<Vec<f32>, String>>>, Failure> {
        let encoding = match self.floats_only.load(Ordering::Relaxed) {
            true => EmbeddingEncoding::Float,
            false => self.encoding,
        };
        let answer = match self.post(texts, kind, encoding).await {
            Err(failure) if failure.fault == Fault::Items && encoding == EmbeddingEncoding::Base64 => {
                let Ok(answer) = self.post(texts, kind, EmbeddingEncoding::Float).await else {
                    return Err(failure);
                };
                self.floats_only.store(true, Ordering::Relaxed);
                answer
            }
            answer => answer?,
        };
        let pool = match kind {
            Kind::Query => &self.pools.search,
            Kind::Document => &self.pools.build,
        };
        let (read, count, dimensions) = (self.provider.read, texts.len(), self.dimensions);
        let decode = move || {
            let read = read(&answer.body)
                .map_err(|error| format!("the provider's answer is not a list of embeddings: {error}"))?;
            let tokens = read.tokens;
            Ok((read.vectors(count, dimensions)?, tokens, answer.limits))
        };
        let decoded: Result<_, String> =
            pool.run(decode).await.map_err(|error| Failure::new(Fault::Answer, error.message))?;
        let (value, tokens, limits) = decoded.map_err(|message| Failure::new(Fault::Answer, message))?;
        Ok(Reply { value, tokens, limits })
    }

    async fn post(
        &self,
        texts: &[&str],
        kind: Kind,
        encoding: EmbeddingEncoding,
    ) -> Result<crate::dispatch::Answer, Failure> {
        let dimensions = self.send_dimensions.then_some(self.dimensions);
        let ask = Ask { model: &self.model, texts, kind, dimensions, encoding };
        let body = serde_json::to_vec(&(self.provider.body)(&ask))
            .map_err(|error| Failure::new(Fault::Items, format!("the texts cannot be sent: {error}")))?;
        // a float takes at most about 25 characters; some servers repeat the texts
        let texts_bytes: usize = texts.iter().map(|text| 2 * text.len() + 256).sum();
        let max_bytes = 64 * 1024 + texts.len() * self.dimensions * 32 + texts_bytes;
        let (url, key, auth) = (self.url.as_str(), &self.key, self.provider.auth);
        self.http.post(Post { url, key, auth, body, timeout: self.timeout, max_bytes }).await
    }

    /// Whether it embeds again: a word, with all checks.
    async fn probe(&self) -> Result<(), Failure> {
        let reply = self.embed(&["gleaner"], Kind::Query).await?;
        let usable = reply.value.into_iter().collect::<Result<Vec<_>, String>>();
        usable.map(drop).map_err(|message| Failure::new(Fault::Answer, message))
    }
}

impl From<Failure> for EmbedError {
    fn from(failure: Failure) -> Self {
        match failure.fault {
            Fault::Setup => EmbedError::Config(failure.message),
            _ => EmbedError::Provider(failure.message),
        }
    }
}

#[async_trait]
impl Embedder for Remote {
    fn model(&self) -> &Model {
        &self.model
    }

    fn tokenizer(&self) -> Result<Arc<dyn Tokenizer>, EmbedError> {
        Ok(Arc::new(EstimatedTokenizer))
    }

    async fn embed(&self, texts: Vec<String>, kind: Kind) -> Result<Embeddings, EmbedError> {
        self.embed_each(texts, kind, &|_, _| (), &Stop::new()).await
    }

    async fn embed_each(
        &self,
        mut texts: Vec<String>,
        kind: Kind,
        arrived: &Arrived<'_>,
        stop: &Stop,
    ) -> Result<Embeddings, EmbedError> {
        let prefix = match kind {
            Kind::Query => &self.query_prefix,
            Kind::Document => &self.document_prefix,
        };
        if !prefix.is_empty() {
            texts.iter_mut().for_each(|text| text.insert_str(0, prefix));
        }
        match kind {
            Kind::Query => {
                let embeddings = self.queries(&texts).await?;
                arrived(0, &embeddings.values);
                Ok(embeddings)
            }
            Kind::Document => Ok(self.documents(&texts, arrived, stop).await),
        }
    }

    async fn warm(&self) -> Result<(), EmbedError> {
        self.clients
            .iter()
            .try_for_each(|(_, client)| client.key.check(client.http.access()))
            .map_err(EmbedError::Config)
    }
}

#[cfg(test)]
mod tests;
