//! Texts in, vectors out.

#[cfg(feature = "builtin-model")]
mod builtin;
mod cache;
mod estimate;
mod onnx;
mod open;
pub mod providers;
mod remote;
mod static_model;
mod tokenizer;
mod unavailable;

use std::sync::Arc;

pub use cache::{CacheStats, EmbeddingCache, QueryStats, StoreStats};
pub use open::Embedders;
pub use unavailable::Unavailable;

use async_trait::async_trait;
use futures::{Stream, TryStreamExt};

use crate::chunk::Tokenizer;
use crate::dispatch::Usage;
use crate::runtime::Stop;

/// What the collection needs to know of a model before it runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// Names the vector space: vectors of different ids are never compared.
    pub id: String,
    /// Who computes its vectors: provider and address, empty for a model on this machine. Two servers may call
    /// different models by one name, so what one embedded is not taken for the other's.
    pub origin: String,
    /// Length of its vectors.
    pub dimensions: usize,
    /// The most tokens it reads of one text, without special tokens.
    pub max_tokens: usize,
    /// Default weight of the dense leg in `absolute` fusion.
    pub dense_weight: f32,
    /// Default similarity that counts as zero in `absolute` fusion.
    pub dense_floor: f32,
    /// Whether it was made for English: other scripts are foreign to it.
    pub english: bool,
}

/// What a text is: many models embed questions and passages differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A passage to be found. Bulk work: waits behind queries.
    Document,
    /// A question. Never waits behind documents.
    Query,
}

/// Vectors of equal length, one after the other.
#[derive(Clone, Debug, Default)]
pub struct Embeddings {
    /// Length of each vector.
    pub dimensions: usize,
    /// `texts × dimensions` values; zeros in the place of a text that failed.
    pub values: Vec<f32>,
    /// Texts that have no vector, ascending, and why.
    pub failures: Vec<(usize, EmbedError)>,
    /// What they cost.
    pub usage: Usage,
}

impl Embeddings {
    /// The vectors, in the order of the texts.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.values.chunks_exact(self.dimensions.max(1))
    }

    /// Joins what the parts of a job for `texts` texts bring, in order; ends at the first error. Parts that are missing
    /// at the end were cancelled.
    async fn join(
        dimensions: usize,
        texts: usize,
        parts: impl Stream<Item = Result<Vec<f32>, EmbedError>>,
    ) -> Result<Self, EmbedError> {
        let values = Vec::with_capacity(texts * dimensions);
        let mut values = parts
            .try_fold(values, |mut values, part| async move {
                values.extend_from_slice(&part);
                Ok(values)
            })
            .await?;
        let there = values.len() / dimensions.max(1);
        values.resize(texts * dimensions, 0.0);
        let failures = (there..texts).map(|text| (text, EmbedError::Cancelled)).collect();
        Ok(Self { dimensions, values, failures, ..Self::default() })
    }
}

/// Why texts could not be embedded.
#[derive(Clone, Debug, thiserror::Error)]
pub enum EmbedError {
    /// The model or provider is not set up; retrying is of no use until somebody changes that.
    #[error("{0}")]
    Config(String),
    /// The provider refused or failed, for good (retries included).
    #[error("{0}")]
    Provider(String),
    /// The caller went away or gleaner is shutting down.
    #[error("the embedding was cancelled")]
    Cancelled,
}

/// Is told the number of a text and the values of its vector and those that follow it.
pub type Arrived<'a> = dyn Fn(usize, &[f32]) + Send + Sync + 'a;

/// Turns texts into vectors.
#[async_trait]
pub trait Embedder: Send + Sync {
    /// The model; known without loading it.
    fn model(&self) -> &Model;

    /// The model's tokenizer (or the best stand-in for it). May load it: call off the async threads.
    fn tokenizer(&self) -> Result<Arc<dyn Tokenizer>, EmbedError>;

    /// One finite vector of `model().dimensions` for each text, in order. A text that cannot be embedded is one of
    /// the `failures`; an error means that none could be.
    async fn embed(&self, texts: Vec<String>, kind: Kind) -> Result<Embeddings, EmbedError>;

    /// Like [`embed`](Self::embed), and shows each vector to `arrived` as soon as it is there: it can be kept
    /// whatever becomes of the others. A text that failed is not shown. Returns within seconds of a `stop`, with what is
    /// there by then; the others were cancelled.
    async fn embed_each(
        &self,
        texts: Vec<String>,
        kind: Kind,
        arrived: &Arrived<'_>,
        _stop: &Stop,
    ) -> Result<Embeddings, EmbedError> {
        let embeddings = self.embed(texts, kind).await?;
        let mut failed = embeddings.failures.iter().map(|(text, _)| *text).peekable();
        for (text, row) in embeddings.rows().enumerate() {
            if failed.next_if_eq(&text).is_none() {
                arrived(text, row);
            }
        }
        Ok(embeddings)
    }

    /// Loads what is loaded at the first use, so that the first query need not wait for it.
    async fn warm(&self) -> Result<(), EmbedError> {
        Ok(())
    }
}

/// Scales `vector` to length 1; false, where it has no direction (zero or not finite).
fn normalize(vector: &mut [f32]) -> bool {
    let norm = vector.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt();
    let usable = norm.is_finite() && norm > 0.0;
    if usable {
        vector.iter_mut().for_each(|value| *value = (f64::from(*value) / norm) as f32);
    }
    usable
}

/// The start of `text`: at most `bytes` bytes, whole characters.
fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}
