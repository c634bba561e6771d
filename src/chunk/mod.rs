//! Cuts a document into token-bounded spans.
//!
//! [`Chunker::chunk`] reads down: [`tokens`] finds where the document's tokens start in one pass,
//! [`outline`] where its structure allows a cut, [`pack`] chooses the cuts, [`prose`] finds them inside
//! running text, [`embedded`] puts title and headings before what the embedder sees.

mod approximate;
mod embedded;
mod huggingface;
mod outline;
mod pack;
mod prose;
mod spaced_bpe;
#[cfg(test)]
mod tests;
mod tokens;
mod wordpiece;

use std::ops::Range;

pub use approximate::ApproximateTokenizer;
pub use huggingface::HfTokenizer;

use crate::collection::definition::{ChunkingDefinition, ChunkingStrategy};
use outline::Outline;
use pack::Packer;
use tokens::TokenMap;

/// Most tokens of a chunk where neither the definition nor the model says less.
const DEFAULT_MAX_TOKENS: u32 = 256;

/// Knows where the tokens of a text lie. Implemented by the tokenizer of the collection's embedder.
pub trait Tokenizer: Send + Sync {
    /// Appends the byte range of each token of `text`, in order, special tokens left out. Ranges lie
    /// on character boundaries or are clipped to them by the caller.
    fn tokens(&self, text: &str, ranges: &mut Vec<Range<u32>>);

    /// How many tokens [`tokens`](Self::tokens) would give.
    fn count(&self, text: &str) -> usize;
}

/// A span of a document: the unit that is indexed and returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Where the chunk lies in the document, in bytes; `source[bytes]` is its text.
    pub bytes: Range<u32>,
    /// The same span in characters (Unicode scalar values).
    pub chars: Range<u32>,
    /// The headings that hold for all of the chunk, outermost first, without markup.
    pub headings: Vec<String>,
    /// Tokens of the text, title and headings not counted, as the document's tokenization sees them.
    pub tokens: u32,
}

/// How documents are cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunker {
    /// Which structure is respected.
    pub strategy: ChunkingStrategy,
    /// The most tokens in what is embedded, title and headings included; at least 16 can be kept.
    pub max_tokens: u32,
    /// Tokens repeated from the chunk before, where running text or code is cut; at most a third of
    /// the room for text.
    pub overlap_tokens: u32,
}

impl Chunker {
    /// The chunker of a collection whose embedder takes `model_tokens` (special tokens left out).
    pub fn new(definition: &ChunkingDefinition, model_tokens: Option<u32>) -> Chunker {
        let max_tokens = definition.max_tokens.unwrap_or(DEFAULT_MAX_TOKENS);
        Chunker {
            strategy: definition.strategy,
            max_tokens: max_tokens.min(model_tokens.unwrap_or(max_tokens)),
            overlap_tokens: definition.overlap_tokens,
        }
    }

    /// The chunks of `source` (under 4 GiB), in order. Each character that is not white space is in one
    /// of them; an empty document has none. What [`embedded_text`](Self::embedded_text) makes of a chunk
    /// has at most `max_tokens` tokens.
    pub fn chunk(&self, tokenizer: &dyn Tokenizer, title: Option<&str>, source: &str) -> Vec<Chunk> {
        let outline = match self.strategy {
            ChunkingStrategy::Markdown => Outline::of_markdown(source),
            ChunkingStrategy::Text => Outline::of_text(source),
        };
        let tokens = TokenMap::new(tokenizer, source);
        let spans =
            Packer { chunker: self, tokenizer, title, source, outline: &outline, tokens: &tokens }.spans();
        let (mut byte, mut character) = (0, 0);
        let mut characters_to = |at: u32| {
            character += source[byte as usize..at as usize].chars().count() as u32;
            byte = at;
            character
        };
        let chunk = |bytes: Range<u32>| {
            let start = characters_to(bytes.start);
            let length = source[bytes.start as usize..bytes.end as usize].chars().count() as u32;
            Chunk {
                chars: start..start + length,
                headings: outline.path(bytes.clone()),
                tokens: tokens.count(bytes.clone()) as u32,
                bytes,
            }
        };
        spans.into_iter().map(chunk).collect()
    }
}
