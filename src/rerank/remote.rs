//! A reranker behind an HTTP API.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::future::BoxFuture;

use super::providers::Provider;
use super::{RerankError, RerankUsage, Reranker, Scores};
use crate::collection::remote::RemoteRerank;
use crate::dispatch::{
    Auth, Backoff, Endpoint, EndpointSettings, Endpoints, Failure, Fault, Http, KeySource, Limits, Post,
    Reply, Urgent, urgent,
};

/// A remote reranker.
pub(super) struct Remote {
    candidates: usize,
    client: Arc<Client>,
    endpoints: Endpoints,
    urgent: Urgent,
}

/// Scores of texts in their order, and the searches the provider bills for them.
#[derive(Default)]
struct Scored {
    scores: Vec<f32>,
    search_units: u64,
}

/// What makes the requests.
struct Client {
    provider: &'static Provider,
    url: String,
    model: String,
    key: KeySource,
    timeout: Duration,
    http: Http,
}

impl Remote {
    pub fn new(provider: &'static Provider, definition: &RemoteRerank, http: &Http) -> Self {
        let base = definition.base_url.as_deref().unwrap_or(provider.base_url).trim_end_matches('/');
        let deadline = Duration::from_millis(definition.timeout_ms);
        let client = Arc::new(Client {
            provider,
            url: format!("{base}{}", provider.path),
            model: definition.model.clone(),
            key: definition.key(),
            timeout: deadline,
            http: http.clone(),
        });
        let prober = Arc::clone(&client);
        let probe = move || -> BoxFuture<'static, _> {
            let prober = Arc::clone(&prober);
            Box::pin(async move { prober.probe().await })
        };
        let settings = EndpointSettings {
            name: format!("{} at {base}", definition.model),
            limits: Limits::default(),
            max_in_flight: 64,
            priority: 0,
            weight: 1,
        };
        Remote {
            candidates: definition.candidates as usize,
            client,
            endpoints: Endpoints::new(vec![Endpoint::new(settings, Box::new(probe))]),
            urgent: Urgent {
                deadline,
                tries: 2,
                backoff: Backoff { first: Duration::from_millis(100), ..Backoff::default() },
                hedge: definition.hedge_after_ms.map(Duration::from_millis),
                price: 0.0,
            },
        }
    }
}

impl Client {
    async fn rerank(&self, query: &str, texts: &[String]) -> Result<Reply<Scored>, Failure> {
        let mut whole: Reply<Scored> = Reply::default();
        for texts in texts.chunks(self.provider.max_items) {
            let reply = self.request(query, texts).await?;
            whole.value.scores.extend(reply.value.scores);
            whole.value.search_units += reply.value.search_units;
            whole.tokens = reply.tokens.map(|more| whole.tokens.unwrap_or(0) + more);
            whole.limits = reply.limits;
        }
        Ok(whole)
    }

    async fn request(&self, query: &str, texts: &[String]) -> Result<Reply<Scored>, Failure> {
        let body = serde_json::to_vec(&(self.provider.body)(&self.model, query, texts))
            .map_err(|error| Failure::new(Fault::Items, format!("the texts cannot be sent: {error}")))?;
        // some servers echo the documents
        let max_bytes = 64 * 1024 + 2 * texts.iter().map(|text| text.len() + 256).sum::<usize>();
        let (url, key, auth) = (self.url.as_str(), &self.key, Auth::Bearer);
        let answer = self.http.post(Post { url, key, auth, body, timeout: self.timeout, max_bytes }).await?;
        let useless = |message| Failure::new(Fault::Answer, message);
        let read = (self.provider.read)(&answer.body)
            .map_err(|error| useless(format!("the reranker's answer is not a list of scores: {error}")))?;
        let (tokens, search_units) = (read.tokens, read.search_units);
        let scores = read.scores(texts.len()).map_err(useless)?;
        Ok(Reply { value: Scored { scores, search_units }, tokens, limits: answer.limits })
    }

    /// Whether it answers again: one short pair, with all checks.
    async fn probe(&self) -> Result<(), Failure> {
        self.request("gleaner", &["gleaner".to_owned()]).await.map(drop)
    }
}

#[async_trait]
impl Reranker for Remote {
    fn candidates(&self) -> usize {
        self.candidates
    }

    fn endpoints(&self) -> Vec<Arc<Endpoint>> {
        self.endpoints.iter().cloned().collect()
    }

    async fn rerank(&self, query: &str, texts: Vec<String>) -> (Result<Scores, RerankError>, RerankUsage) {
        if texts.is_empty() {
            return (Ok(Scores::new()), RerankUsage::default());
        }
        let tokens = texts.iter().map(|text| (text.len() + query.len()) as u64 / 4).sum();
        let send = |_| self.client.rerank(query, &texts);
        let end = Instant::now() + self.urgent.deadline;
        let (result, calls) = urgent(&self.endpoints, &self.urgent, tokens, send).await;
        let mut usage = RerankUsage { calls, ..RerankUsage::default() };
        if result.is_err() && Instant::now() >= end {
            return (Ok(vec![None; texts.len()]), usage); // no time for any of them
        }
        let scores = result.map_err(|failure| RerankError::Provider(failure.message)).map(|scored| {
            usage.pairs = scored.scores.len() as u64;
            usage.search_units = scored.search_units;
            scored.scores.into_iter().map(Some).collect()
        });
        (scores, usage)
    }
}

#[cfg(test)]
mod tests;
