//! A Hugging Face tokenizer, shared between a model (which wants ids) and the chunker (which wants spans).

use std::ops::Range;
use std::sync::Arc;

use super::EmbedError;
use crate::chunk;

/// A `tokenizer.json`, loaded with truncation and padding off.
#[derive(Clone)]
pub(super) struct JsonTokenizer {
    inner: Arc<tokenizers::Tokenizer>,
}

impl JsonTokenizer {
    /// Reads the text of a `tokenizer.json`; `name` is what an error calls it.
    pub fn new(json: &[u8], name: &str) -> Result<Self, EmbedError> {
        let fail = |error: tokenizers::Error| EmbedError::Config(format!("{name} cannot be used: {error}"));
        let mut inner = tokenizers::Tokenizer::from_bytes(json).map_err(fail)?;
        inner.with_truncation(None).map_err(fail)?;
        inner.with_padding(None);
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The ids of `text`, special tokens left out.
    pub fn ids(&self, text: &str) -> Result<Vec<u32>, EmbedError> {
        let encoding = self
            .inner
            .encode_fast(text, false)
            .map_err(|error| EmbedError::Provider(format!("a text could not be tokenized: {error}")))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// How many ids there are.
    pub fn vocabulary(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// The id of the token written `token`.
    pub fn id_of(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }
}

impl chunk::Tokenizer for JsonTokenizer {
    fn tokens(&self, text: &str, ranges: &mut Vec<Range<u32>>) {
        // the crate fails only on what its own files cannot hold; no tokens is then the honest answer
        if let Ok(encoding) = self.inner.encode(text, false) {
            ranges.extend(encoding.get_offsets().iter().map(|&(start, end)| start as u32..end as u32));
        }
    }

    fn count(&self, text: &str) -> usize {
        self.inner.encode_fast(text, false).map_or(0, |encoding| encoding.len())
    }
}
