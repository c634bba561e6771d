//! BERT's tokenizer for ASCII words, exactly as the `tokenizers` crate does it but many times faster.
//!
//! WordPiece (Schuster and Nakajima, "Japanese and Korean Voice Search", 2012) takes the longest piece of
//! the vocabulary again and again. Nothing that BERT's normalizer and pre-tokenizer do reaches across white
//! space, so text may be cut there; stretches with other than printable ASCII are left to the caller.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Range;

use tokenizers::{Model, ModelWrapper, NormalizerWrapper, PreTokenizerWrapper, Tokenizer as Inner};

/// A vocabulary of a `tokenizer.json` of BERT's shape.
pub(super) struct WordPiece {
    /// Pieces that start a word.
    starts: Pieces,
    /// Pieces that go on, without their prefix.
    continuations: Pieces,
    /// Bytes of the longest piece.
    longest: usize,
    unknown: u32,
    /// Words of more characters are unknown.
    max_word: usize,
    lowercase: bool,
    /// Text that is a token whatever is around, e.g. `[SEP]`.
    added: Vec<String>,
    /// The bytes that such a text starts with.
    added_first: [bool; 256],
}

/// Takes id and byte range of a token.
pub(super) type Emit<'a> = dyn FnMut(u32, Range<usize>) + 'a;

type Pieces = HashMap<Box<[u8]>, u32, BuildHasherDefault<PieceHasher>>;

impl WordPiece {
    /// `None` unless all of the file is of BERT's shape.
    pub(super) fn of(inner: &Inner) -> Option<WordPiece> {
        let Some(NormalizerWrapper::BertNormalizer(normalizer)) = inner.get_normalizer() else { return None };
        let Some(PreTokenizerWrapper::BertPreTokenizer(_)) = inner.get_pre_tokenizer() else { return None };
        let ModelWrapper::WordPiece(model) = inner.get_model() else { return None };
        let added = inner.get_added_tokens_decoder();
        let plain = |token: &tokenizers::AddedToken| {
            let odd = token.normalized || token.single_word || token.lstrip || token.rstrip;
            !odd && !token.content.contains(char::is_whitespace)
        };
        if !normalizer.clean_text || !added.values().all(plain) {
            return None;
        }
        let vocabulary = model.get_vocab();
        let mut word_piece = WordPiece {
            starts: Pieces::default(),
            continuations: Pieces::default(),
            longest: 0,
            unknown: *vocabulary.get(&model.unk_token)?,
            max_word: model.max_input_chars_per_word,
            lowercase: normalizer.lowercase,
            added: added.into_values().map(|token| token.content).filter(|text| !text.is_empty()).collect(),
            added_first: [false; 256],
        };
        for token in &word_piece.added {
            word_piece.added_first[token.as_bytes()[0] as usize] = true;
        }
        for (piece, id) in &vocabulary {
            word_piece.starts.insert(piece.as_bytes().into(), *id);
            if let Some(rest) = piece.strip_prefix(&model.continuing_subword_prefix) {
                word_piece.continuations.insert(rest.as_bytes().into(), *id);
            }
            word_piece.longest = word_piece.longest.max(piece.len());
        }
        Some(word_piece)
    }

    /// Gives `emit` id and byte range of each token of `text`, in order. Stretches between white space
    /// that hold other than printable ASCII or an added token are given to `other` instead.
    pub(super) fn encode<E>(
        &self,
        text: &str,
        emit: &mut Emit<'_>,
        other: impl Fn(Range<usize>, &mut Emit<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let bytes = text.as_bytes();
        let mut word = Vec::new();
        let mut left: Option<Range<usize>> = None;
        let mut at = 0;
        while at < bytes.len() {
            let start = at;
            let (mut plain, mut suspect) = (true, false);
            while at < bytes.len() && !is_space(bytes[at]) {
                plain &= bytes[at].is_ascii_graphic();
                suspect |= self.added_first[bytes[at] as usize];
                at += 1;
            }
            let run = &text[start..at];
            at += 1;
            if run.is_empty() {
                continue;
            }
            if plain && !(suspect && self.added.iter().any(|token| run.contains(token.as_str()))) {
                if let Some(left) = left.take() {
                    other(left, emit)?;
                }
                self.run(start, run.as_bytes(), &mut word, emit);
            } else {
                left = Some(left.map_or(start, |left| left.start)..start + run.len());
            }
        }
        left.map_or(Ok(()), |left| other(left, emit))
    }

    /// Printable ASCII: words and single punctuation marks.
    fn run(&self, start: usize, run: &[u8], word: &mut Vec<u8>, emit: &mut Emit<'_>) {
        let mut at = 0;
        while at < run.len() {
            let from = at;
            at += 1;
            if !run[from].is_ascii_punctuation() {
                while at < run.len() && !run[at].is_ascii_punctuation() {
                    at += 1;
                }
            }
            word.clear();
            word.extend_from_slice(&run[from..at]);
            if self.lowercase {
                word.make_ascii_lowercase();
            }
            self.word(start + from, word, emit);
        }
    }

    /// The longest piece that fits, again and again; all of the word is unknown if there is none.
    fn word(&self, start: usize, word: &[u8], emit: &mut Emit<'_>) {
        if word.len() <= self.max_word {
            if let Some(&id) = self.starts.get(word) {
                return emit(id, start..start + word.len());
            }
            if self.split(word, |_, _| ()) {
                self.split(word, |id, piece| emit(id, start + piece.start..start + piece.end));
                return;
            }
        }
        emit(self.unknown, start..start + word.len());
    }

    /// Whether the word is all pieces of the vocabulary.
    fn split(&self, word: &[u8], mut piece: impl FnMut(u32, Range<usize>)) -> bool {
        let mut at = 0;
        while at < word.len() {
            let pieces = if at == 0 { &self.starts } else { &self.continuations };
            let longest = word.len().min(at + self.longest);
            let found = (at + 1..=longest).rev().find_map(|end| Some((*pieces.get(&word[at..end])?, end)));
            let Some((id, end)) = found else { return false };
            piece(id, at..end);
            at = end;
        }
        true
    }
}

/// White space that BERT's normalizer keeps; other control characters vanish.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// Multiplies and rotates eight bytes at a time; the keys are the vocabulary's, not an attacker's.
#[derive(Default)]
pub(super) struct PieceHasher(u64);

impl Hasher for PieceHasher {
    fn write(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..part.len()].copy_from_slice(part);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_usize(&mut self, value: usize) {
        self.write_u64(value as u64);
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0.rotate_left(5) ^ value).wrapping_mul(0x517c_c1b7_2722_0a95);
    }

    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }
}
