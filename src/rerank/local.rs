//! Cross-encoders on this machine: a network reads question and text together and gives one number.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::{StreamExt, stream};
use rten::RunOptions;
use tokio::time::Instant;

use super::{RerankError, RerankUsage, Reranker, Scores};
use crate::local::lane::{Broken, Lane};
use crate::local::{Files, LocalModel, Manifest, ModelKind};

/// `[CLS]` and two `[SEP]`.
const SPECIAL_TOKENS: usize = 3;
/// A question gets at most this part of the tokens.
const QUERY_SHARE: usize = 4;
/// Beyond so many bytes a token a text is cut before it is tokenized.
const BYTES_PER_TOKEN: usize = 128;

/// A cross-encoder. Loaded at the first use.
pub(super) struct Local {
    inner: Arc<Inner>,
    lane: Lane,
    threads: usize,
    candidates: usize,
    weight: f32,
    deadline: Duration,
}

struct Inner {
    network: LocalModel,
    max_tokens: usize,
}

impl Local {
    /// The model in `folder`; the error says what is wrong with it.
    pub fn open(
        folder: &Path,
        threads: usize,
        candidates: usize,
        weight: Option<f32>,
        deadline: Duration,
    ) -> Result<Local, String> {
        let manifest = Manifest::read(folder)?;
        if manifest.kind != ModelKind::Reranker {
            return Err(format!("the local model {} is an embedder: name it under `embedding`", manifest.id));
        }
        let network = LocalModel::new(Files::Folder(folder.to_owned()));
        let inner = Arc::new(Inner { network, max_tokens: manifest.max_tokens - SPECIAL_TOKENS });
        let weight = weight.unwrap_or(manifest.weight);
        Ok(Local { inner, lane: Lane::new(threads), threads, candidates, weight, deadline })
    }
}

impl Inner {
    /// How likely it is that `text` answers the question of these tokens, in [0, 1].
    fn score(&self, query: &[u32], text: &str, options: RunOptions) -> Result<f32, String> {
        let tokenizer = self.network.tokenizer()?;
        let room = self.max_tokens - query.len();
        let mut ids = tokenizer.ids(&text[..text.floor_char_boundary(room * BYTES_PER_TOKEN)])?;
        ids.truncate(room);
        let output = self.network.network()?.run(query, Some(&ids), options)?;
        let (_, values) = output.into_shape_vec::<f32, 2>().map_err(|error| error.to_string())?;
        match values.as_slice() {
            &[logit] if logit.is_finite() => Ok(1.0 / (1.0 + (-logit).exp())),
            values => Err(format!("it gave {} numbers, not one that is finite", values.len())),
        }
    }

    fn query(&self, query: &str) -> Result<Vec<u32>, String> {
        let most = self.max_tokens / QUERY_SHARE;
        let mut ids =
            self.network.tokenizer()?.ids(&query[..query.floor_char_boundary(most * BYTES_PER_TOKEN)])?;
        ids.truncate(most);
        Ok(ids)
    }
}

fn failed(error: String) -> RerankError {
    RerankError::Provider(format!("the local reranker: {error}"))
}

fn broken(broken: Broken) -> RerankError {
    match broken {
        Broken::Cancelled => failed("gleaner is shutting down".into()),
        Broken::Off(error) => failed(error),
    }
}

#[async_trait]
impl Reranker for Local {
    fn candidates(&self) -> usize {
        self.candidates
    }

    fn weight(&self) -> f32 {
        self.weight
    }

    async fn rerank(&self, query: &str, texts: Vec<String>) -> (Result<Scores, RerankError>, RerankUsage) {
        let scores = self.scores(query, texts).await;
        let pairs = scores.iter().flatten().flatten().count() as u64;
        (scores, RerankUsage { pairs, ..RerankUsage::default() })
    }
}

impl Local {
    /// In the order of the texts, best first stage first: what is not scored when the time is over was the least
    /// likely to rise.
    async fn scores(&self, query: &str, texts: Vec<String>) -> Result<Scores, RerankError> {
        let until = Instant::now() + self.deadline;
        let mut scores = vec![None; texts.len()];
        let (inner, asked) = (Arc::clone(&self.inner), query.to_owned());
        let query = match tokio::time::timeout_at(until, self.lane.run(move |_| inner.query(&asked))).await {
            Err(_) => return Ok(scores),
            Ok(query) => Arc::new(query.map_err(broken)?.map_err(failed)?),
        };
        let score = |(at, text): (usize, String)| {
            let (inner, query) = (Arc::clone(&self.inner), Arc::clone(&query));
            async move {
                let run = self.lane.run(move |options| inner.score(&query, &text, options));
                (at, run.await)
            }
        };
        let mut runs = stream::iter(texts).enumerate().map(score).buffer_unordered(self.threads);
        while let Ok(Some((at, run))) = tokio::time::timeout_at(until, runs.next()).await {
            scores[at] = Some(run.map_err(broken)?.map_err(failed)?);
        }
        Ok(scores)
    }
}
