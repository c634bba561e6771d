//! The tokenizer of a local model, read from its `tokenizer.json`.

use std::ops::Range;

use tokenizers::Tokenizer as Inner;

use super::Tokenizer;
use super::spaced_bpe::SpacedBpe;
use super::wordpiece::{Emit, WordPiece};

/// A `tokenizer.json` without truncation, padding and special tokens. Two common shapes, BERT's and
/// Llama 2's, have faster ways to the same tokens; all others are run by the `tokenizers` crate.
pub struct HfTokenizer {
    inner: Inner,
    way: Way,
}

enum Way {
    WordPiece(Box<WordPiece>),
    SpacedBpe(SpacedBpe),
    Whole,
}

impl HfTokenizer {
    /// Reads the content of a `tokenizer.json`; the error says what is wrong with it.
    pub fn from_bytes(bytes: &[u8]) -> Result<HfTokenizer, String> {
        let mut inner = Inner::from_bytes(bytes).map_err(|error| error.to_string())?;
        inner.with_truncation(None).map_err(|error| error.to_string())?;
        inner.with_padding(None);
        let way = if let Some(word_piece) = WordPiece::of(&inner) {
            Way::WordPiece(Box::new(word_piece))
        } else {
            SpacedBpe::of(&inner).map_or(Way::Whole, Way::SpacedBpe)
        };
        Ok(HfTokenizer { inner, way })
    }

    /// Gives `emit` id and byte range of each token of `text`, in order; special tokens are not added.
    /// Fails where the vocabulary has no token for a character, not even an unknown one.
    pub fn encode(&self, text: &str, mut emit: impl FnMut(u32, Range<usize>)) -> Result<(), String> {
        let result = match &self.way {
            Way::WordPiece(word_piece) => word_piece.encode(text, &mut emit, |range, emit| {
                self.encode_whole(&text[range.clone()], range.start, emit)
            }),
            Way::SpacedBpe(bpe) => match bpe.encode(&self.inner, text, &mut emit) {
                Ok(false) => self.encode_whole(text, 0, &mut emit),
                done => done.map(|_| ()),
            },
            Way::Whole => self.encode_whole(text, 0, &mut emit),
        };
        result.map_err(|error| error.to_string())
    }

    /// The ids of `text`, special tokens left out.
    pub fn ids(&self, text: &str) -> Result<Vec<u32>, String> {
        let mut ids = Vec::with_capacity(text.len() / 4);
        self.encode(text, |id, _| ids.push(id))?;
        Ok(ids)
    }

    /// How many tokens the vocabulary has, added ones included.
    pub fn vocabulary(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// The id of the token written `token`.
    pub fn id_of(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    fn encode_whole(&self, text: &str, base: usize, emit: &mut Emit<'_>) -> tokenizers::Result<()> {
        let encoding = self.inner.encode(text, false)?;
        for (&id, &(start, end)) in encoding.get_ids().iter().zip(encoding.get_offsets()) {
            emit(id, base + start..base + end);
        }
        Ok(())
    }
}

impl Tokenizer for HfTokenizer {
    fn tokens(&self, text: &str, ranges: &mut Vec<Range<u32>>) {
        let before = ranges.len();
        let encoded = self.encode(text, |_, range| ranges.push(range.start as u32..range.end as u32));
        if encoded.is_err() {
            // what can't be embedded must have a length nevertheless
            ranges.truncate(before);
            ranges.extend(text.char_indices().map(|(at, c)| at as u32..(at + c.len_utf8()) as u32));
        }
    }

    fn count(&self, text: &str) -> usize {
        let mut count = 0;
        let encoded = self.encode(text, |_, _| count += 1);
        encoded.map_or_else(|_| text.chars().count(), |()| count)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;

    static MINILM: LazyLock<HfTokenizer> = LazyLock::new(|| {
        HfTokenizer::from_bytes(include_bytes!("../../models/all-minilm-l6-v2/tokenizer.json")).unwrap()
    });

    /// A small vocabulary of Llama 2's shape.
    static LLAMA: LazyLock<HfTokenizer> = LazyLock::new(|| {
        let mut tokens: Vec<String> = ["<unk>", "<s>", "</s>"].map(String::from).to_vec();
        tokens.extend((0..=255).map(|byte: u8| format!("<{byte:#04X}>")));
        tokens.extend("▁abcdeé.".chars().map(String::from));
        let merges = ["▁ ▁", "▁ a", "a b", "▁a b", "▁▁ ▁▁", "b c", "c d", "ab c", "d e", "é a", ". a", "▁ é"];
        tokens.extend(merges.map(|merge| merge.replace(' ', "")));
        let mut vocabulary = serde_json::Map::new();
        for token in tokens {
            let next = vocabulary.len();
            vocabulary.entry(token).or_insert(next.into());
        }
        let special = |id: usize, content: &str| {
            serde_json::json!({"id": id, "content": content, "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false, "special": true})
        };
        let json = serde_json::json!({
            "version": "1.0", "truncation": null, "padding": null, "post_processor": null, "decoder": null,
            "pre_tokenizer": null, "added_tokens": [special(0, "<unk>"), special(1, "<s>"), special(2, "</s>")],
            "normalizer": {"type": "Sequence", "normalizers": [
                {"type": "Prepend", "prepend": "▁"},
                {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
            "model": {"type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
                "vocab": vocabulary, "merges": merges},
        });
        HfTokenizer::from_bytes(json.to_string().as_bytes()).unwrap()
    });

    type Tokens = Vec<(u32, Range<usize>)>;

    fn both(tokenizer: &HfTokenizer, text: &str) -> (Tokens, Tokens) {
        let (mut fast, mut whole) = (Vec::new(), Vec::new());
        tokenizer.encode(text, |id, range| fast.push((id, range))).unwrap();
        tokenizer.encode_whole(text, 0, &mut |id, range| whole.push((id, range))).unwrap();
        (fast, whole)
    }

    fn text() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            "[a-zA-Z]{1,12}",
            "[ -~]{0,20}",
            "[a-z]{95,105}",
            "[abcdeé .\n\t]{0,12}",
            any::<String>(),
            prop::sample::select(vec![
                " ",
                "  ",
                "\n",
                "\r\n",
                "\t",
                "\0",
                "\u{c}",
                "\u{85}",
                "\u{a0}",
                "\u{3000}",
                "[SEP]",
                "[sep]",
                "x[UNK]y",
                "</s>",
                "▁",
                "日本",
                "é",
                "e\u{301}",
                "İ",
                "ﬁ",
                "ß",
                "\u{200d}",
                "\u{fffd}",
                "don't",
                "“smart”",
                "한국",
                "\u{1d160}",
            ])
            .prop_map(String::from),
        ];
        prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn the_fast_ways_give_the_tokens_of_the_whole_tokenizer(text in text()) {
            let (fast, whole) = both(&MINILM, &text);
            prop_assert_eq!(fast, whole);
            let (fast, whole) = both(&LLAMA, &text);
            prop_assert_eq!(fast, whole);
        }
    }

    #[test]
    fn both_shapes_are_recognised() {
        assert!(matches!(MINILM.way, Way::WordPiece(_)));
        assert!(matches!(LLAMA.way, Way::SpacedBpe(_)));
        assert!(HfTokenizer::from_bytes(b"{}").is_err());
    }
}
