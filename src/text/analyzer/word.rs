//! One word to one token: lower case, stem, accents folded.

use tantivy::tokenizer::{
    Language, RawTokenizer, Stemmer, StopWordFilter, TextAnalyzer as Pipeline, TokenStream,
};
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

use super::script::is_word;
use crate::collection::definition::Analyzer;
use crate::text::tokens::{TokenKind, Tokens};

/// Longer tokens are cut to this many bytes and told apart by a hash.
const MAX_LEN: usize = 120;

/// English words that say how, not what, is asked. tantivy's English list has the other function words.
const QUESTION_WORDS: &[&str] = &[
    "about", "am", "been", "being", "can", "could", "did", "do", "does", "doing", "from", "had", "has",
    "have", "having", "he", "her", "him", "his", "how", "i", "its", "me", "my", "our", "she", "should", "so",
    "than", "them", "those", "us", "we", "were", "what", "when", "where", "which", "while", "who", "whom",
    "whose", "why", "would", "you", "your",
];

/// Normalises words.
pub(super) struct Words {
    stems: Stems,
    stops: Option<Pipeline>,
    question_words: bool,
    /// Whether accents go before the stem is taken.
    folds_first: bool,
    for_queries: bool,
    lower: String,
    stem: String,
    token: String,
}

/// Stemmers by script: most scripts say the language well enough.
#[derive(Default)]
struct Stems {
    latin: Option<Pipeline>,
    cyrillic: Option<Pipeline>,
    greek: Option<Pipeline>,
    arabic: Option<Pipeline>,
    tamil: Option<Pipeline>,
}

impl Words {
    pub(super) fn new(analyzer: Analyzer, for_queries: bool) -> Words {
        let language = language(analyzer);
        let stops = if for_queries { language.and_then(StopWordFilter::new) } else { None };
        Words {
            folds_first: language == Some(Language::English),
            for_queries,
            stems: language.map(Stems::new).unwrap_or_default(),
            question_words: stops.is_some() && language == Some(Language::English),
            stops: stops.map(|filter| Pipeline::builder(RawTokenizer::default()).filter(filter).build()),
            lower: String::new(),
            stem: String::new(),
            token: String::new(),
        }
    }

    /// Appends the token of `word` (an identifier whole may hold joiners).
    pub(super) fn push(&mut self, kind: TokenKind, word: &str, out: &mut Tokens) {
        self.lower.clear();
        if word.is_ascii() {
            self.lower.push_str(word);
            self.lower.make_ascii_lowercase();
        } else {
            self.lower.extend(word.chars().flat_map(char::to_lowercase));
        }
        let kind = if kind == TokenKind::Word && self.is_stop() { TokenKind::Stop } else { kind };

        // Vietnamese words differ by tone marks alone: they stay in questions, and rows have both forms
        if !word.is_ascii() && self.lower.contains(is_vietnamese) {
            if self.for_queries {
                return emit(kind, &self.lower, out);
            }
            emit(TokenKind::Whole, &self.lower, out);
        }
        // English has no accents a stemmer would need, so that `résumés` is `resumes` before it is a stem
        if !word.is_ascii() && self.folds_first && self.lower.starts_with(is_latin) {
            self.token.clear();
            fold(&self.lower, &mut self.token);
            std::mem::swap(&mut self.lower, &mut self.token);
        }
        let mut token = self.lower.as_str();
        if token.chars().all(|c| is_word(c) && !c.is_numeric()) && self.stems.stem(token, &mut self.stem) {
            token = &self.stem;
        }
        if !token.is_ascii() {
            self.token.clear();
            fold(token, &mut self.token);
            token = &self.token;
        }
        emit(kind, token, out);
    }

    fn is_stop(&mut self) -> bool {
        let Some(stops) = &mut self.stops else { return false };
        !stops.token_stream(&self.lower).advance()
            || (self.question_words && QUESTION_WORDS.binary_search(&self.lower.as_str()).is_ok())
    }
}

impl Stems {
    fn new(language: Language) -> Stems {
        let stemmer = |language| {
            Some(Pipeline::builder(RawTokenizer::default()).filter(Stemmer::new(language)).build())
        };
        let mut stems = Stems {
            latin: stemmer(Language::English),
            cyrillic: stemmer(Language::Russian),
            greek: stemmer(Language::Greek),
            arabic: stemmer(Language::Arabic),
            tamil: stemmer(Language::Tamil),
        };
        if !matches!(language, Language::Russian | Language::Greek | Language::Arabic | Language::Tamil) {
            stems.latin = stemmer(language);
        }
        stems
    }

    /// Writes the stem of `word`; false where there is no stemmer for its script.
    fn stem(&mut self, word: &str, stem: &mut String) -> bool {
        let stemmer = match word.chars().next().unwrap_or_default() {
            c if is_latin(c) => &mut self.latin,
            '\u{370}'..='\u{3ff}' | '\u{1f00}'..='\u{1fff}' => &mut self.greek,
            '\u{400}'..='\u{52f}' => &mut self.cyrillic,
            '\u{620}'..='\u{6ff}' => &mut self.arabic,
            '\u{b80}'..='\u{bff}' => &mut self.tamil,
            _ => return false,
        };
        let Some(stemmer) = stemmer else { return false };
        let mut stream = stemmer.token_stream(word);
        if !stream.advance() || stream.token().text.is_empty() {
            return false;
        }
        stem.clear();
        stem.push_str(&stream.token().text);
        true
    }
}

/// Appends `token`; cut, and told apart by a hash, if it is very long.
fn emit(kind: TokenKind, token: &str, out: &mut Tokens) {
    if token.len() > MAX_LEN {
        let hash = xxhash_rust::xxh3::xxh3_64(token.as_bytes());
        let start = &token[..token.floor_char_boundary(MAX_LEN - 17)];
        out.push(kind, &format!("{start}~{hash:016x}"));
    } else if !token.is_empty() {
        out.push(kind, token);
    }
}

/// Letters only Vietnamese has.
fn is_vietnamese(c: char) -> bool {
    matches!(c, '\u{1ea0}'..='\u{1ef9}' | 'ơ' | 'ư')
}

fn is_latin(c: char) -> bool {
    matches!(c, 'a'..='\u{24f}' | '\u{1e00}'..='\u{1eff}')
}

/// Appends `token` without accents. Vowel signs of Indic scripts are combining marks too, and stay.
fn fold(token: &str, out: &mut String) {
    let unmarked = token.nfd().filter(|&c| {
        !matches!(c, '\u{300}'..='\u{36f}' | '\u{591}'..='\u{5c7}' | '\u{610}'..='\u{61a}' | '\u{640}'
            | '\u{64b}'..='\u{65f}' | '\u{670}' | '\u{6d6}'..='\u{6ed}' | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}')
            || !is_combining_mark(c) && c != '\u{640}'
    });
    for c in unmarked.nfc() {
        match c {
            'ß' => out.push_str("ss"),
            'æ' => out.push_str("ae"),
            'œ' => out.push_str("oe"),
            'þ' => out.push_str("th"),
            'ø' => out.push('o'),
            'đ' | 'ð' => out.push('d'),
            'ł' => out.push('l'),
            'ı' => out.push('i'),
            'ς' => out.push('σ'),
            _ => out.push(c),
        }
    }
}

fn language(analyzer: Analyzer) -> Option<Language> {
    Some(match analyzer {
        Analyzer::Plain => return None,
        Analyzer::Default | Analyzer::English => Language::English,
        Analyzer::Arabic => Language::Arabic,
        Analyzer::Danish => Language::Danish,
        Analyzer::Dutch => Language::Dutch,
        Analyzer::Finnish => Language::Finnish,
        Analyzer::French => Language::French,
        Analyzer::German => Language::German,
        Analyzer::Greek => Language::Greek,
        Analyzer::Hungarian => Language::Hungarian,
        Analyzer::Italian => Language::Italian,
        Analyzer::Norwegian => Language::Norwegian,
        Analyzer::Portuguese => Language::Portuguese,
        Analyzer::Romanian => Language::Romanian,
        Analyzer::Russian => Language::Russian,
        Analyzer::Spanish => Language::Spanish,
        Analyzer::Swedish => Language::Swedish,
        Analyzer::Tamil => Language::Tamil,
        Analyzer::Turkish => Language::Turkish,
    })
}
