//! Analyzed text as one string: what analysis hands to the index, which only has to replay it.
//!
//! Each token is a marker byte and the token's text; markers are control characters, which no token
//! contains. So a title that counts three times is analyzed once, tokens cost no allocation, and the
//! exact number of tokens of a row is known to us.

use tantivy::tokenizer::{Token, TokenStream, Tokenizer};

/// How a token lies in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum TokenKind {
    /// The next word.
    Word = 1,
    /// A word of the language's stop list (told apart in questions only).
    Stop = 2,
    /// An identifier whole: it begins where the next word does, and its parts follow as words.
    Whole = 3,
}

/// A position that no word takes, so that phrases do not reach from one piece of text into the next.
const GAP: u8 = 4;
/// Bytes below this are markers.
const MARKERS: u8 = 8;

/// A reusable buffer of analyzed text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    encoded: String,
    len: u32,
}

impl Tokens {
    /// Number of tokens.
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Whether there is no token.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Forgets the tokens, keeps the memory.
    pub fn clear(&mut self) {
        self.encoded.clear();
        self.len = 0;
    }

    /// Appends a token.
    pub fn push(&mut self, kind: TokenKind, token: &str) {
        debug_assert!(token.bytes().all(|byte| byte >= MARKERS) && !token.is_empty());
        self.encoded.push(kind as u8 as char);
        self.encoded.push_str(token);
        self.len += 1;
    }

    /// Ends a piece of text.
    pub fn gap(&mut self) {
        self.encoded.push(GAP as char);
    }

    /// Appends all of `other`.
    pub fn append(&mut self, other: &Tokens) {
        self.encoded.push_str(&other.encoded);
        self.len += other.len;
    }

    /// Where the buffer ends now.
    pub(super) fn mark(&self) -> Mark {
        Mark { bytes: self.encoded.len(), len: self.len }
    }

    /// The tokens pushed since `mark` was taken.
    pub(super) fn since(&self, mark: &Mark) -> Tokens {
        Tokens { encoded: self.encoded[mark.bytes..].into(), len: self.len - mark.len }
    }

    /// The tokens in order.
    pub fn iter(&self) -> impl Iterator<Item = (TokenKind, &str)> {
        let mut rest = self.encoded.as_str();
        std::iter::from_fn(move || {
            loop {
                let (marker, token, after) = split_first(rest)?;
                rest = after;
                match marker {
                    1 => return Some((TokenKind::Word, token)),
                    2 => return Some((TokenKind::Stop, token)),
                    3 => return Some((TokenKind::Whole, token)),
                    _ => {}
                }
            }
        })
    }

    /// What [`Replay`] reads.
    pub(super) fn encoded(&self) -> &str {
        &self.encoded
    }
}

/// An end of a [`Tokens`] buffer in the making.
pub(super) struct Mark {
    bytes: usize,
    len: u32,
}

/// Marker, token, rest.
fn split_first(encoded: &str) -> Option<(u8, &str, &str)> {
    let (&marker, _) = encoded.as_bytes().split_first()?;
    let rest = &encoded[1..];
    let end = rest.bytes().position(|byte| byte < MARKERS).unwrap_or(rest.len());
    Some((marker, &rest[..end], &rest[end..]))
}

/// The index's tokenizer: replays what analysis encoded.
#[derive(Clone, Default)]
pub(super) struct Replay {
    token: Token,
}

impl Tokenizer for Replay {
    type TokenStream<'a> = ReplayStream<'a>;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> ReplayStream<'a> {
        self.token.reset();
        ReplayStream { rest: text, next: 0, token: &mut self.token }
    }
}

pub(super) struct ReplayStream<'a> {
    rest: &'a str,
    next: usize,
    token: &'a mut Token,
}

impl TokenStream for ReplayStream<'_> {
    fn advance(&mut self) -> bool {
        while let Some((marker, text, after)) = split_first(self.rest) {
            self.rest = after;
            let position = self.next;
            self.next += usize::from(marker != TokenKind::Whole as u8);
            if marker != GAP {
                self.token.position = position;
                self.token.text.clear();
                self.token.text.push_str(text);
                return true;
            }
        }
        false
    }

    fn token(&self) -> &Token {
        self.token
    }

    fn token_mut(&mut self) -> &mut Token {
        self.token
    }

    // in one virtual call, not two a token
    fn process(&mut self, sink: &mut dyn FnMut(&Token)) {
        while self.advance() {
            sink(self.token);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replay_gives_every_token_its_position() {
        let mut tokens = Tokens::default();
        tokens.push(TokenKind::Word, "a");
        tokens.gap();
        tokens.push(TokenKind::Whole, "b.c");
        tokens.push(TokenKind::Word, "b");
        tokens.push(TokenKind::Stop, "c");
        assert_eq!(tokens.len(), 4);
        let mut replay = Replay::default();
        let mut found = Vec::new();
        replay.token_stream(tokens.encoded()).process(&mut |t| found.push((t.text.clone(), t.position)));
        let expected = [("a", 0), ("b.c", 2), ("b", 2), ("c", 3)];
        assert_eq!(found, expected.map(|(text, position)| (text.to_owned(), position)));
    }
}
