//! Where running text may be cut: sentences, lines, words, graphemes.

use std::ops::Range;

use icu_segmenter::options::WordBreakInvariantOptions;
use icu_segmenter::{GraphemeClusterSegmenter, WordSegmenter};

/// Bytes looked at for a word or grapheme boundary in text without white space.
const WINDOW: usize = 256;

/// Bytes before a position that tell whether a sentence ended there.
const NEAR: usize = 32;

/// Whether a sentence or a line of its own starts at `at`, a character boundary. A line that goes on
/// with a small letter is wrapped, not new.
fn starts_sentence(source: &str, at: usize) -> bool {
    let Some(next) = source[at..].chars().next() else { return true };
    let near = &source[source.floor_char_boundary(at.saturating_sub(NEAR))..at];
    let before = near.trim_end();
    let space = &near[before.len()..];
    if next.is_whitespace() || next.is_lowercase() {
        return false;
    }
    if space.contains(['\n', '\r']) {
        return true;
    }
    let body = before.trim_end_matches(is_closer);
    let Some(last) = body.chars().next_back() else { return false };
    match last {
        '。' | '！' | '？' | '｡' => !is_closer(next) && !is_terminator(next),
        '.' => !space.is_empty() && !is_abbreviation(&body[..body.len() - 1]),
        _ => !space.is_empty() && is_terminator(last),
    }
}

fn is_closer(character: char) -> bool {
    matches!(character, '"' | '\'' | ')' | ']' | '*' | '_' | '`' | '”' | '’' | '»' | '」' | '』' | '）')
}

fn is_terminator(character: char) -> bool {
    matches!(
        character,
        '.' | '!'
            | '?'
            | '…'
            | '。'
            | '！'
            | '？'
            | '｡'
            | '।'
            | '॥'
            | '؟'
            | '۔'
            | '։'
            | '။'
            | '።'
            | '។'
    )
}

/// Whether the full stop after `text` belongs to an initial or a common abbreviation.
fn is_abbreviation(text: &str) -> bool {
    let start = text
        .rfind(|c: char| !c.is_alphanumeric() && c != '.')
        .map_or(0, |at| text.ceil_char_boundary(at + 1));
    let word = &text[start..];
    (word.chars().count() == 1 && word.chars().all(char::is_alphabetic))
        || matches!(
            word,
            "e.g" | "i.e" | "Mr" | "Mrs" | "Ms" | "Dr" | "Prof" | "St" | "vs" | "cf" | "No" | "Fig"
        )
}

/// The last good cut in `within` (ends included): of a sentence at or after `sentence_from`, otherwise
/// of a word; `None` where there is no white space.
pub(super) fn last_cut(source: &str, within: Range<usize>, sentence_from: usize) -> Option<usize> {
    let mut word = None;
    for (at, character) in source[within.clone()].char_indices().rev() {
        let cut = within.start + at + character.len_utf8();
        let space = character.is_whitespace();
        if !space && !is_closer(character) && !is_terminator(character) {
            continue;
        }
        if cut >= sentence_from && starts_sentence(source, cut) {
            return Some(cut);
        }
        if space && word.is_none() {
            word = Some(cut);
        }
        if cut < sentence_from && word.is_some() {
            break;
        }
    }
    word
}

/// The last cut in `within` that keeps words of scripts without spaces whole, otherwise graphemes,
/// otherwise characters.
pub(super) fn last_cut_in_run(source: &str, within: Range<usize>) -> usize {
    let start = source.floor_char_boundary(within.end.saturating_sub(WINDOW)).max(within.start);
    let text = &source[start..source.floor_char_boundary(within.end + WINDOW / 4)];
    let fits = |cut: &usize| *cut > 0 && start + cut <= within.end;
    let words = WordSegmenter::new_auto(WordBreakInvariantOptions::default());
    let graphemes = GraphemeClusterSegmenter::new();
    words
        .segment_str(text)
        .take_while(|cut| start + cut <= within.end)
        .filter(fits)
        .last()
        .or_else(|| {
            graphemes.segment_str(text).take_while(|cut| start + cut <= within.end).filter(fits).last()
        })
        .map_or(within.end, |cut| start + cut)
}

/// The first position in `within` where a sentence starts, otherwise a word; `None` where neither does.
pub(super) fn first_start(source: &str, within: Range<usize>) -> Option<usize> {
    let mut word = None;
    for (at, character) in source[within.clone()].char_indices() {
        let at = within.start + at;
        let Some(before) = source[..at].chars().next_back() else { continue };
        if character.is_whitespace() {
            continue;
        }
        if starts_sentence(source, at) {
            return Some(at);
        }
        if word.is_none() && (before.is_whitespace() || matches!(before, '，' | '、' | '；')) {
            word = Some(at);
        }
    }
    word
}

/// The first line start in `within`.
pub(super) fn first_line(source: &str, within: Range<usize>) -> Option<usize> {
    let from = within.start.checked_sub(1)?;
    let newline = source.as_bytes()[from..within.end].iter().position(|&byte| byte == b'\n')?;
    Some(from + newline + 1).filter(|at| *at < within.end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(source: &str) -> (&str, &str) {
        source.split_at(last_cut(source, 0..source.floor_char_boundary(source.len() - 1), 0).unwrap())
    }

    #[test]
    fn sentences_come_before_words() {
        assert_eq!(cut("One two. Three four"), ("One two. ", "Three four"));
        assert_eq!(cut("He said \"no.\" Then he"), ("He said \"no.\" ", "Then he"));
        assert_eq!(cut("Version 1.2 is e.g. Old"), ("Version 1.2 is e.g. ", "Old"));
        assert_eq!(cut("One. See J. Smith"), ("One. ", "See J. Smith"));
        assert_eq!(cut("你好。再见吧"), ("你好。", "再见吧"));
        assert_eq!(cut("a wrapped\nline\nNew one"), ("a wrapped\nline\n", "New one"));
    }

    #[test]
    fn runs_keep_words_and_graphemes_whole() {
        let family = "👩‍👩‍👧‍👦".repeat(3);
        let one = family.len() / 3;
        assert_eq!(last_cut_in_run(&family, 0..2 * one + 4), 2 * one);
        let thai = "ภาษาไทยภาษาไทย";
        assert!(last_cut_in_run(thai, 0..24) <= 24);
        assert_eq!(last_cut_in_run(&"a".repeat(1000), 0..500), 500);
    }
}
