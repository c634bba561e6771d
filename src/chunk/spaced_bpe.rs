//! SentencePiece-like byte-pair encoding, word by word.
//!
//! Such a `tokenizer.json` (Llama 2 and its kin) turns spaces into `▁`, has no pre-tokenizer and merges
//! over all of the text at once. Where no token of the vocabulary has a `▁` after another character, and
//! none has a line break, no merge reaches across the start of a word or a line break: the words one by
//! one give the same tokens, and the model's own cache then answers most of them.

use std::ops::Range;

use serde_json::json;
use tokenizers::{Model, ModelWrapper, Tokenizer as Inner};

use super::wordpiece::Emit;

const SPACE: &str = "▁";

/// What else is to know of such a vocabulary.
pub(super) struct SpacedBpe {
    /// Text that is a token whatever is around, e.g. `</s>`.
    added: Vec<String>,
}

impl SpacedBpe {
    /// `None` unless all of the file is of that shape.
    pub(super) fn of(inner: &Inner) -> Option<SpacedBpe> {
        let normalizer = json!({"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": SPACE},
            {"type": "Replace", "pattern": {"String": " "}, "content": SPACE},
        ]});
        let ModelWrapper::BPE(model) = inner.get_model() else { return None };
        let simple = inner.get_pre_tokenizer().is_none()
            && serde_json::to_value(inner.get_normalizer()).is_ok_and(|value| value == normalizer)
            && model.byte_fallback
            && !model.ignore_merges
            && model.dropout.is_none()
            && model.continuing_subword_prefix.is_none()
            && model.end_of_word_suffix.is_none();
        let vocabulary = model.get_vocab();
        let all_bytes = (0..=255).all(|byte: u8| vocabulary.contains_key(&format!("<{byte:#04X}>")));
        let within_words = vocabulary.keys().all(|token| {
            !token.trim_start_matches(SPACE).contains(SPACE)
                && !token.contains('\n')
                && (token.len() == 6 || !token.contains("<0x"))
        });
        let added: Vec<_> =
            inner.get_added_tokens_decoder().into_values().map(|token| token.content).collect();
        (simple && all_bytes && within_words).then_some(SpacedBpe { added })
    }

    /// Gives `emit` id and byte range of each token of `text`, in order; `false`, and nothing given, if
    /// the text needs the whole tokenizer.
    pub(super) fn encode(&self, inner: &Inner, text: &str, emit: &mut Emit<'_>) -> tokenizers::Result<bool> {
        if text.contains(SPACE) || self.added.iter().any(|token| text.contains(token.as_str())) {
            return Ok(false);
        }
        let mut word = String::new();
        for range in words(text) {
            let first = range.start == 0;
            let body = text[range.clone()].trim_start_matches(' ');
            let spaces = range.len() - body.len() + usize::from(first);
            word.clear();
            word.extend(std::iter::repeat_n(SPACE, spaces));
            word.push_str(body);
            let original = |at: usize| {
                let at = if at < spaces * SPACE.len() {
                    at / SPACE.len()
                } else {
                    at - spaces * (SPACE.len() - 1)
                };
                (range.start + at).saturating_sub(usize::from(first)).max(range.start)
            };
            for token in inner.get_model().tokenize(&word)? {
                // whole characters, as in the whole tokenizer; the first space stands with the first of them
                let start = text.floor_char_boundary(original(token.offsets.0));
                let end = text.ceil_char_boundary(original(token.offsets.1).max(start + 1));
                emit(token.id, start..end);
            }
        }
        Ok(true)
    }
}

/// Spaces with the word after them, and line breaks singly.
fn words(text: &str) -> impl Iterator<Item = Range<usize>> + '_ {
    let bytes = text.as_bytes();
    let mut start = 0;
    std::iter::from_fn(move || {
        if start == bytes.len() {
            return None;
        }
        let mut end = start + 1;
        if bytes[start] != b'\n' {
            while end < bytes.len() && bytes[end] != b'\n' && (bytes[end] != b' ' || bytes[end - 1] == b' ') {
                end += 1;
            }
        }
        let word = start..end;
        start = end;
        Some(word)
    })
}
