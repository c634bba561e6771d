//! The tokenizer of a local model, read from its `tokenizer.json`.

use std::ops::Range;

use tokenizers::Tokenizer as Inner;

use super::Tokenizer;

/// A `tokenizer.json` run by the `tokenizers` crate, without truncation, padding and special tokens.
pub struct HfTokenizer {
    inner: Inner,
}

impl HfTokenizer {
    /// Reads the content of a `tokenizer.json`; the error says what is wrong with it.
    pub fn from_bytes(bytes: &[u8]) -> Result<HfTokenizer, String> {
        let mut inner = Inner::from_bytes(bytes).map_err(|error| error.to_string())?;
        inner.with_truncation(None).map_err(|error| error.to_string())?;
        inner.with_padding(None);
        Ok(HfTokenizer { inner })
    }
}

impl Tokenizer for HfTokenizer {
    fn tokens(&self, text: &str, ranges: &mut Vec<Range<u32>>) {
        match self.inner.encode(text, false) {
            Ok(encoding) => {
                ranges.extend(encoding.get_offsets().iter().map(|&(start, end)| start as u32..end as u32));
            }
            // a vocabulary without an unknown token refuses some texts: count their characters
            Err(_) => ranges.extend(text.char_indices().map(|(at, c)| at as u32..(at + c.len_utf8()) as u32)),
        }
    }

    fn count(&self, text: &str) -> usize {
        self.inner.encode_fast(text, false).map_or_else(|_| text.chars().count(), |encoding| encoding.len())
    }
}
