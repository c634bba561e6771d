//! A model's tokenizer, with errors that name it.

use std::sync::Arc;

use super::EmbedError;
use crate::chunk::HfTokenizer;

/// Reads the content of a `tokenizer.json`; `name` is what an error calls it.
pub(super) fn load(json: &[u8], name: &str) -> Result<Arc<HfTokenizer>, EmbedError> {
    HfTokenizer::from_bytes(json)
        .map(Arc::new)
        .map_err(|error| EmbedError::Config(format!("{name} cannot be used: {error}")))
}

/// The ids of `text`, special tokens left out.
pub(super) fn ids(tokenizer: &HfTokenizer, text: &str) -> Result<Vec<u32>, EmbedError> {
    tokenizer
        .ids(text)
        .map_err(|error| EmbedError::Provider(format!("a text could not be tokenized: {error}")))
}
