//! Cuts a document into token-bounded spans.

use std::ops::Range;

/// Knows where the tokens of a text lie. Implemented by the tokenizer of the collection's embedder.
pub trait Tokenizer: Send + Sync {
    /// Appends the byte range of each token of `text`, in order, special tokens left out. Ranges lie
    /// on character boundaries or are clipped to them by the caller.
    fn tokens(&self, text: &str, ranges: &mut Vec<Range<u32>>);

    /// How many tokens [`tokens`](Self::tokens) would give.
    fn count(&self, text: &str) -> usize;
}
