//! A server that speaks Cohere's `POST /v2/rerank`.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{RerankError, Reranker};
use crate::embed::http::{Call, CallError, Http};

/// What a definition says of such a server.
pub(super) struct Cohere {
    pub base_url: String,
    pub model: String,
    pub api_key_env: String,
    pub candidates: usize,
    pub timeout_ms: u64,
    pub http: Http,
}

#[derive(Serialize)]
struct Request<'a> {
    model: &'a str,
    query: &'a str,
    documents: &'a [String],
    top_n: usize,
}

#[derive(Deserialize)]
struct Answer {
    results: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    index: usize,
    relevance_score: f32,
}

#[async_trait]
impl Reranker for Cohere {
    fn candidates(&self) -> usize {
        self.candidates
    }

    async fn rerank(&self, query: &str, texts: Vec<String>) -> Result<Vec<f32>, RerankError> {
        if texts.is_empty() {
            return Ok(Vec::new());
        }
        let request = Request { model: &self.model, query, documents: &texts, top_n: texts.len() };
        let body = serde_json::to_vec(&request).map_err(|error| RerankError::Provider(error.to_string()))?;
        let call = Call {
            url: format!("{}/v2/rerank", self.base_url.trim_end_matches('/')),
            api_key_env: self.api_key_env.clone(),
            timeout: Duration::from_millis(self.timeout_ms),
            tries: 2,
            backoff: Duration::from_millis(100),
            // some servers echo the documents
            max_bytes: 64 * 1024 + 2 * texts.iter().map(|text| text.len() + 256).sum::<usize>(),
        };
        let answer = self.http.post(&call, body).await.map_err(|error| match error {
            CallError::Timeout => RerankError::Timeout(self.timeout_ms),
            CallError::Config(message) | CallError::Failed(message) => RerankError::Provider(message),
            CallError::Refused { message, .. } => RerankError::Provider(message),
        })?;
        scores(&answer, texts.len()).map_err(RerankError::Provider)
    }
}

/// The scores of an answer in the order of the texts; the error says what is wrong with it.
fn scores(body: &[u8], count: usize) -> Result<Vec<f32>, String> {
    let answer: Answer = serde_json::from_slice(body)
        .map_err(|error| format!("the reranker's answer is not a list of results: {error}"))?;
    if answer.results.len() != count {
        return Err(format!("the reranker sent {} scores for {count} texts", answer.results.len()));
    }
    let mut scores = vec![None; count];
    for Item { index, relevance_score } in answer.results {
        match scores.get_mut(index) {
            Some(score @ None) if relevance_score.is_finite() => {
                *score = Some(relevance_score.clamp(0.0, 1.0))
            }
            Some(None) => return Err(format!("the reranker's score for text {index} is not finite")),
            _ => return Err(format!("the reranker scored text {index} of {count} unasked or twice")),
        }
    }
    // as many results as texts and none twice: every text has its score
    Ok(scores.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests;
