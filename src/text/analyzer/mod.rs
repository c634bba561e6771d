//! Text to tokens, the same way for rows and for questions.
//!
//! Text is cut into runs ([`script`]): of CJK characters, which become bigrams; of scripts written
//! without spaces, which a dictionary cuts into words; and of everything else, whose words and
//! identifiers are split by [`identifier`] and normalised by [`word`]. Most runs are words that were seen
//! before: what became of them is remembered.

mod identifier;
mod script;
mod word;

use std::collections::HashMap;

use icu_segmenter::options::WordBreakInvariantOptions;
use icu_segmenter::{WordSegmenter, WordSegmenterBorrowed};
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfkc_quick};

use self::script::{Run, next_run};
use self::word::Words;
use super::tokens::{TokenKind, Tokens};
use crate::collection::definition::Analyzer;

/// Runs up to this many bytes are remembered, …
const REMEMBERED_LEN: usize = 40;
/// … and this many of them.
const REMEMBERED: usize = 1 << 16;

/// Analyzes text. Not shared: it remembers words.
pub struct TextAnalyzer {
    words: Words,
    seen: HashMap<Box<str>, Tokens, hash::BuildHash>,
    segmenter: Option<WordSegmenterBorrowed<'static>>,
    scratch: String,
}

impl TextAnalyzer {
    /// For rows: stop words are words.
    pub fn for_rows(analyzer: Analyzer) -> TextAnalyzer {
        TextAnalyzer::new(Words::new(analyzer, false))
    }

    /// For questions: stop words are told apart.
    pub fn for_queries(analyzer: Analyzer) -> TextAnalyzer {
        TextAnalyzer::new(Words::new(analyzer, true))
    }

    fn new(words: Words) -> TextAnalyzer {
        TextAnalyzer { words, seen: HashMap::default(), segmenter: None, scratch: String::new() }
    }

    /// Appends the tokens of `text`. Any text will do.
    pub fn analyze(&mut self, text: &str, out: &mut Tokens) {
        let mut rest = text;
        while let Some((run, after)) = next_run(rest) {
            rest = after;
            match run {
                Run::Words(run) if run.len() <= REMEMBERED_LEN => self.remembered(run, out),
                Run::Words(run) => identifier::split(run, &mut self.words, out),
                Run::Cjk(run) => self.bigrams(run, out),
                Run::Unspaced(run) => self.segments(run, out),
            }
        }
    }

    fn remembered(&mut self, run: &str, out: &mut Tokens) {
        if let Some(tokens) = self.seen.get(run) {
            return out.append(tokens);
        }
        let mark = out.mark();
        identifier::split(run, &mut self.words, out);
        if self.seen.len() >= REMEMBERED {
            self.seen.clear();
        }
        self.seen.insert(run.into(), out.since(&mark));
    }

    /// Each two neighbouring characters; a character alone is a token of its own.
    fn bigrams(&mut self, run: &str, out: &mut Tokens) {
        if is_nfkc_quick(run.chars()) == IsNormalized::Yes {
            return push_bigrams(run, out);
        }
        self.scratch.clear();
        self.scratch.extend(run.nfkc().flat_map(char::to_lowercase).filter(|&c| script::is_word(c)));
        push_bigrams(&self.scratch, out);
    }

    /// Words of a script without spaces. (Dictionaries: on Thai questions better than the neural model,
    /// and several times faster.)
    fn segments(&mut self, run: &str, out: &mut Tokens) {
        let segmenter = *self
            .segmenter
            .get_or_insert_with(|| WordSegmenter::new_dictionary(WordBreakInvariantOptions::default()));
        let mut start = 0;
        for end in segmenter.segment_str(run).skip(1) {
            self.remembered(&run[start..end], out);
            start = end;
        }
    }
}

fn push_bigrams(run: &str, out: &mut Tokens) {
    let mut starts = run.char_indices().map(|(at, _)| at).chain([run.len()]);
    let (Some(mut first), Some(mut second)) = (starts.next(), starts.next()) else { return };
    if second == run.len() {
        return out.push(TokenKind::Word, run);
    }
    for third in starts {
        out.push(TokenKind::Word, &run[first..third]);
        (first, second) = (second, third);
    }
}

/// Hashes short strings fast. The table is private to one analyzer and bounded.
mod hash {
    use std::hash::{BuildHasherDefault, Hasher};

    pub(super) type BuildHash = BuildHasherDefault<Xxh3>;

    #[derive(Default)]
    pub(super) struct Xxh3(u64);

    impl Hasher for Xxh3 {
        fn write(&mut self, bytes: &[u8]) {
            self.0 = xxhash_rust::xxh3::xxh3_64_with_seed(bytes, self.0);
        }

        // str ends its hash with a byte, which tells a key of one string nothing
        fn write_u8(&mut self, _byte: u8) {}

        fn finish(&self) -> u64 {
            self.0
        }
    }
}

#[cfg(test)]
mod tests;
