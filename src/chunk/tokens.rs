//! Where the tokens of a document start: one tokenization pass in bounded pieces.

use std::ops::Range;

use super::Tokenizer;

/// Most bytes given to the tokenizer at once: its memory is a hundred times its input.
const PIECE_BYTES: usize = 8 << 10;

/// Bytes that count as a token at least. White space costs some tokenizers nothing and a word of a
/// megabyte is one "unknown" to others; this bounds the bytes of a chunk nevertheless.
const STRIDE: usize = 64;

/// The start of each token of a document, ascending.
pub(super) struct TokenMap {
    starts: Vec<u32>,
    len: u32,
}

impl TokenMap {
    pub(super) fn new(tokenizer: &dyn Tokenizer, source: &str) -> TokenMap {
        let mut starts: Vec<u32> = Vec::with_capacity(source.len() / 4);
        let mut ranges: Vec<Range<u32>> = Vec::new();
        let mut last = 0;
        let mut push = |at: usize, starts: &mut Vec<u32>| {
            let at = source.floor_char_boundary(at).max(last);
            while at - last > STRIDE {
                last = source.ceil_char_boundary(last + STRIDE).min(at);
                starts.push(last as u32);
            }
            last = at;
            last
        };
        for piece in pieces(source) {
            ranges.clear();
            tokenizer.tokens(&source[piece.clone()], &mut ranges);
            for range in &ranges {
                let at = push(piece.start + range.start as usize, &mut starts);
                starts.push(at as u32);
            }
        }
        push(source.len(), &mut starts);
        TokenMap { starts, len: source.len() as u32 }
    }

    /// How many tokens start before `at`.
    pub(super) fn rank(&self, at: u32) -> usize {
        self.starts.partition_point(|&start| start < at)
    }

    /// Where the token of that rank starts; the document's end after the last one.
    pub(super) fn position(&self, rank: usize) -> u32 {
        self.starts.get(rank).copied().unwrap_or(self.len)
    }

    pub(super) fn count(&self, span: Range<u32>) -> usize {
        self.rank(span.end).saturating_sub(self.rank(span.start))
    }
}

/// Cuts `source` after white space (which keeps counts exact for WordPiece) into pieces of at most
/// [`PIECE_BYTES`]; a longer run without any is cut between characters.
fn pieces(source: &str) -> impl Iterator<Item = Range<usize>> + '_ {
    let mut start = 0;
    std::iter::from_fn(move || {
        if start == source.len() {
            return None;
        }
        let mut end = source.floor_char_boundary(start + PIECE_BYTES);
        if end < source.len() {
            let space = source.as_bytes()[start..end].iter().rposition(|byte| matches!(byte, b' ' | b'\n'));
            end = space.map_or(end, |space| start + space + 1);
        }
        let piece = start..end;
        start = end;
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::ApproximateTokenizer;

    #[test]
    fn pieces_are_bounded_and_cover_the_text() {
        for source in ["", "a b", &"word ".repeat(5000), &"é".repeat(9000)] {
            let joined: String = pieces(source).map(|piece| &source[piece]).collect();
            assert_eq!(joined, source);
            assert!(pieces(source).all(|piece| piece.len() <= PIECE_BYTES && !piece.is_empty()));
        }
        assert!(pieces(&"word ".repeat(5000)).all(|piece| piece.len() % 5 == 0), "cut at white space");
    }

    #[test]
    fn a_long_stretch_without_tokens_still_counts() {
        let source = format!("a{}b", " ".repeat(6400));
        let map = TokenMap::new(&ApproximateTokenizer, &source);
        let count = map.count(0..source.len() as u32);
        assert!((100..=104).contains(&count), "{count}");
        assert_eq!(map.position(count), source.len() as u32);
    }
}
