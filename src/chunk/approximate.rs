//! A stand-in where the embedder's own tokenizer is not known.

use std::ops::Range;

use super::Tokenizer;

/// Counts at least as many tokens as the usual byte-pair vocabularies do for nearly every text:
/// words in pieces of four ASCII letters or three digits, punctuation singly, a run of line breaks
/// as one, two letters of Latin, Greek or Cyrillic script as one, other characters as two or three.
#[derive(Clone, Copy, Debug, Default)]
pub struct ApproximateTokenizer;

#[derive(Clone, Copy, PartialEq)]
enum Class {
    Letter,
    Digit,
    Break,
    Space,
    Two,
    Other,
}

fn class(character: char) -> Class {
    match character {
        '\n' | '\r' => Class::Break,
        character if character.is_ascii_alphabetic() => Class::Letter,
        character if character.is_ascii_digit() => Class::Digit,
        character if character.is_whitespace() => Class::Space,
        character if character.len_utf8() == 2 => Class::Two,
        _ => Class::Other,
    }
}

impl Tokenizer for ApproximateTokenizer {
    fn tokens(&self, text: &str, ranges: &mut Vec<Range<u32>>) {
        each(text, |range| ranges.push(range));
    }

    fn count(&self, text: &str) -> usize {
        let mut count = 0;
        each(text, |_| count += 1);
        count
    }
}

fn each(text: &str, mut emit: impl FnMut(Range<u32>)) {
    let mut characters =
        text.char_indices().map(|(at, character)| (at, character, class(character))).peekable();
    while let Some((start, character, kind)) = characters.next() {
        let longest = match kind {
            Class::Space => continue,
            Class::Letter => 4,
            Class::Digit => 3,
            Class::Two => 2,
            Class::Break => usize::MAX,
            Class::Other => 1,
        };
        let mut end = start + character.len_utf8();
        let mut length = 1;
        while length < longest
            && let Some((at, next, _)) = characters.next_if(|&(_, _, next)| next == kind)
        {
            end = at + next.len_utf8();
            length += 1;
        }
        // a character of n UTF-8 bytes takes up to n tokens where the vocabulary lacks it
        let times = if kind == Class::Other { (character.len_utf8() - 1).max(1) } else { 1 };
        for _ in 0..times {
            emit(start as u32..end as u32);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_cut_and_wide_characters_count_more() {
        let count = |text| ApproximateTokenizer.count(text);
        assert_eq!(count("international"), 4);
        assert_eq!(count("a, b"), 3);
        assert_eq!(count("2026-11"), 4);
        assert_eq!(count("a\n\n\nb"), 3);
        assert_eq!(count("привет"), 3);
        assert_eq!(count("日本"), 4);
        assert_eq!(count("😀"), 3);
        assert_eq!(count("   "), 0);
    }
}
