//! A question as the lexical leg reads it: words, and phrases in double quotes. Never a syntax error.

use super::analyzer::TextAnalyzer;
use super::statistics::{K1, Statistics, idf};
use super::tokens::{TokenKind, Tokens};
use crate::Result;
use crate::collection::definition::Analyzer;

/// How much an identifier whole counts beside its parts, which say most of it already.
const WHOLE_WEIGHT: f32 = 0.5;

/// Questions of at most this many words mean their quotes.
pub const QUOTING_WORDS: usize = 24;
/// Longer ones mean them where one word in this many is quoted.
const QUOTED_SHARE: usize = 4;

/// An analyzed question. Any row with one of the words matches, unless it lacks a phrase.
#[derive(Clone, Debug, PartialEq)]
pub struct TextQuery {
    pub(super) terms: Vec<QueryTerm>,
    /// Each must occur; the words of one in a row.
    pub(super) phrases: Vec<Vec<String>>,
}

/// A word of a question.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct QueryTerm {
    pub text: String,
    /// How often the question says it: long questions repeat what they are about.
    pub weight: f32,
    /// Whether it is an identifier whole, whose parts are terms as well.
    pub whole: bool,
}

impl TextQuery {
    /// Analyzes `text` as rows are analyzed. Stop words count only where there is nothing else; words
    /// in double quotes must occur as a phrase, and a quote without its pair is ignored. In a text of more
    /// than [`QUOTING_WORDS`] words of which few are quoted, quotes are punctuation: a passage used as a
    /// question often quotes a word in passing.
    pub fn parse(analyzer: Analyzer, text: &str) -> TextQuery {
        let mut analyzer = TextAnalyzer::for_queries(analyzer);
        let mut tokens = Tokens::default();
        analyzer.analyze(text, &mut tokens);
        let words = tokens.iter().filter(|&(kind, _)| kind != TokenKind::Whole).count();
        let only_stops = tokens.iter().all(|(kind, _)| kind == TokenKind::Stop);
        let mut terms: Vec<QueryTerm> = Vec::new();
        let mut seen = std::collections::HashMap::new();
        for (kind, token) in tokens.iter().filter(|&(kind, _)| only_stops || kind != TokenKind::Stop) {
            let at = *seen.entry(token).or_insert(terms.len());
            let whole = kind == TokenKind::Whole;
            let weight = if whole { WHOLE_WEIGHT } else { 1.0 };
            match terms.get_mut(at) {
                Some(term) => {
                    term.weight += weight;
                    term.whole &= whole;
                }
                None => terms.push(QueryTerm { text: token.to_owned(), weight, whole }),
            }
        }
        let mut phrases = Vec::new();
        for quoted in quoted(text) {
            tokens.clear();
            analyzer.analyze(quoted, &mut tokens);
            let words: Vec<String> = tokens
                .iter()
                .filter(|&(kind, _)| kind != TokenKind::Whole)
                .map(|(_, token)| token.to_owned())
                .collect();
            if !words.is_empty() && !phrases.contains(&words) {
                phrases.push(words);
            }
        }
        let quoted_words: usize = phrases.iter().map(Vec::len).sum();
        if words > QUOTING_WORDS && quoted_words * QUOTED_SHARE < words {
            phrases.clear();
        }
        TextQuery { terms, phrases }
    }

    /// Whether it has phrases, which must occur.
    pub fn has_phrases(&self) -> bool {
        !self.phrases.is_empty()
    }

    /// Whether the question has no word.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// No row of the snapshot can score more: the sum of `idf · (k1 + 1)` over the words. A word no row
    /// has counts too (a question it is part of is never fully answered), but not an identifier whole.
    pub fn max_score(&self, statistics: &Statistics) -> Result<f32> {
        let mut sum = 0.0;
        for term in &self.terms {
            let doc_freq = statistics.doc_freq(&term.text)?;
            if doc_freq > 0 || !term.whole {
                sum += term.weight * idf(doc_freq, statistics.rows()) * (K1 + 1.0);
            }
        }
        Ok(sum)
    }
}

/// What stands between pairs of double quotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    let pieces: Vec<&str> = text.split(['"', '“', '”', '„', '«', '»']).collect();
    let pairs = (pieces.len() - 1) / 2;
    (0..pairs).map(move |pair| pieces[2 * pair + 1])
}
