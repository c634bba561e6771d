//! Splits a run without spaces into words and the identifiers they are parts of.
//!
//! `foo.bar`, `snake_case`, `https://a.b/c`, `camelCase` are indexed whole and in parts. Hyphens and
//! underscores are left out of the whole, so that `e-mail` finds `email` and `snake_case` `snakeCase`,
//! but not between digits.

use std::borrow::Cow;

use unicode_normalization::UnicodeNormalization;

use super::script::{is_invisible, is_joiner, is_word};
use super::word::Words;
use crate::text::tokens::{TokenKind, Tokens};

/// Appends the tokens of a run of words and joiners.
pub(super) fn split(run: &str, words: &mut Words, out: &mut Tokens) {
    let run: Cow<str> = if run.is_ascii() {
        run.into()
    } else {
        run.nfkc().filter(|&c| !is_invisible(c)).collect::<String>().into()
    };
    let run = if run.contains(['\'', '’']) { without_apostrophes(&run).into() } else { run };
    for piece in run.split(|c| !is_word(c) && !is_joiner(c)) {
        split_piece(piece, words, out);
    }
}

/// Possessives go, contractions close up, and what else an apostrophe parts becomes two words.
fn without_apostrophes(run: &str) -> String {
    let mut cleaned = String::with_capacity(run.len());
    let mut rest = run;
    while let Some(at) = rest.find(['\'', '’']) {
        cleaned.push_str(&rest[..at]);
        rest = rest[at..].trim_start_matches(['\'', '’']);
        let end = rest.find(|c: char| !c.is_alphanumeric()).unwrap_or(rest.len());
        match rest[..end].to_ascii_lowercase().as_str() {
            "s" => rest = &rest[end..],
            "t" | "re" | "ve" | "ll" | "d" | "m" => {}
            _ => cleaned.push(' '),
        }
    }
    cleaned.push_str(rest);
    cleaned
}

fn split_piece(piece: &str, words: &mut Words, out: &mut Tokens) {
    let core = piece.trim_matches(is_joiner);
    if core.is_empty() {
        return;
    }
    // c++, f#
    let end = core.as_ptr() as usize - piece.as_ptr() as usize + core.len();
    let suffix = &piece[end..];
    if (suffix.starts_with("++") || suffix.starts_with('#')) && core.chars().all(char::is_alphabetic) {
        let signs = suffix.find(|c| c != '+' && c != '#').unwrap_or(suffix.len());
        words.push(TokenKind::Whole, &piece[end - core.len()..end + signs.min(2)], out);
    }
    split_at_hard_joiners(core, words, out);
}

/// Joiners that part what are identifiers themselves: the steps of a path, the fields of a URL.
fn is_hard_joiner(c: char) -> bool {
    is_joiner(c) && !matches!(c, '_' | '-' | '.' | '+' | '‐' | '‑')
}

fn split_at_hard_joiners(core: &str, words: &mut Words, out: &mut Tokens) {
    if core.contains(is_hard_joiner) {
        push_whole(core, words, out);
    }
    for part in core.split(is_hard_joiner) {
        let part = part.trim_matches(is_joiner);
        if part.contains(is_joiner) {
            push_whole(part, words, out);
        }
        for word in part.split(is_joiner).filter(|word| !word.is_empty()) {
            split_camel_case(word, words, out);
        }
    }
}

fn push_whole(whole: &str, words: &mut Words, out: &mut Tokens) {
    let acronym = whole.split('.').all(|part| part.chars().count() == 1 && !part.starts_with(is_digit));
    let mut joined = String::with_capacity(whole.len());
    let mut chars = whole.chars().peekable();
    let mut before = None;
    while let Some(c) = chars.next() {
        let between_digits = before.is_some_and(is_digit) && chars.peek().copied().is_some_and(is_digit);
        let silent = match c {
            '-' | '_' | '‐' | '‑' => !between_digits,
            '.' => acronym,
            _ => false,
        };
        if !silent {
            joined.push(c);
        }
        before = Some(c);
    }
    // v1.2.3 is 1.2.3
    let version =
        joined.strip_prefix(['v', 'V']).filter(|rest| rest.starts_with(is_digit) && rest.contains('.'));
    words.push(TokenKind::Whole, version.unwrap_or(&joined), out);
}

fn is_digit(c: char) -> bool {
    c.is_ascii_digit()
}

/// `camelCase` is `camelcase`, `camel`, `case`; parts of one letter stay with the next.
fn split_camel_case(word: &str, words: &mut Words, out: &mut Tokens) {
    let mut start = 0;
    let mut split = false;
    let mut before: [Option<char>; 2] = [None, None];
    for (at, c) in word.char_indices() {
        // one before the last: XMLHttp ends XML where the lower-case letter after H is seen
        let boundary = match before {
            [_, Some(last)] if last.is_lowercase() && c.is_uppercase() => Some(at),
            [Some(first), Some(last)] if first.is_uppercase() && last.is_uppercase() && c.is_lowercase() => {
                Some(at - last.len_utf8())
            }
            _ => None,
        };
        before = [before[1], Some(c)];
        if let Some(boundary) = boundary
            && word[start..boundary].chars().nth(1).is_some()
            && word[boundary..].chars().nth(1).is_some()
        {
            if !split {
                words.push(TokenKind::Whole, word, out);
                split = true;
            }
            words.push(TokenKind::Word, &word[start..boundary], out);
            start = boundary;
        }
    }
    words.push(TokenKind::Word, &word[start..], out);
}
