//! Stands in for a model that cannot be opened (its folder is gone): the lexical leg of its collections goes
//! on, and what needs the model says why it cannot be had.

use std::sync::Arc;

use async_trait::async_trait;

use super::{EmbedError, Embedder, Embeddings, Kind, Model};
use crate::chunk::Tokenizer;

/// A model that cannot be opened.
#[derive(Debug)]
pub struct Unavailable {
    model: Model,
    error: EmbedError,
}

impl Unavailable {
    /// The model with that id and vectors of that length, which failed with `error`.
    pub fn new(id: String, dimensions: usize, error: EmbedError) -> Unavailable {
        let model = Model {
            id,
            origin: String::new(),
            dimensions,
            max_tokens: 256,
            dense_weight: 0.5,
            dense_floor: 0.0,
            english: false,
        };
        Unavailable { model, error }
    }
}

#[async_trait]
impl Embedder for Unavailable {
    fn model(&self) -> &Model {
        &self.model
    }

    fn tokenizer(&self) -> Result<Arc<dyn Tokenizer>, EmbedError> {
        Err(self.error.clone())
    }

    async fn embed(&self, _texts: Vec<String>, _kind: Kind) -> Result<Embeddings, EmbedError> {
        Err(self.error.clone())
    }
}
