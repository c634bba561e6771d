//! Cuts text into runs of characters that are analyzed alike.

use unicode_normalization::char::is_combining_mark;

/// A maximal run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Run<'a> {
    /// Letters, digits and the characters that join them in identifiers.
    Words(&'a str),
    /// Han, Hiragana, Katakana, Hangul, Bopomofo, Yi.
    Cjk(&'a str),
    /// Thai, Lao, Khmer, Myanmar and their like: words without spaces.
    Unspaced(&'a str),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Break,
    Word,
    Joiner,
    Cjk,
    Unspaced,
}

/// The first run of `text` and what follows it; `None` where there is nothing but spaces and punctuation.
pub(super) fn next_run(text: &str) -> Option<(Run<'_>, &str)> {
    let mut start = 0;
    let first = loop {
        let (class, len) = class_at(text, start)?;
        if class != Class::Break {
            break class;
        }
        start += len;
    };
    let words = |class| class == Class::Word || class == Class::Joiner;
    let mut end = start;
    while let Some((class, len)) = class_at(text, end) {
        if class != first && !(words(class) && words(first)) {
            break;
        }
        end += len;
    }
    let run = &text[start..end];
    let run = match first {
        Class::Cjk => Run::Cjk(run),
        Class::Unspaced => Run::Unspaced(run),
        _ => Run::Words(run),
    };
    Some((run, &text[end..]))
}

#[inline]
fn class_at(text: &str, at: usize) -> Option<(Class, usize)> {
    let byte = *text.as_bytes().get(at)?;
    if byte < 128 {
        return Some((ASCII[byte as usize], 1));
    }
    let c = text[at..].chars().next()?;
    Some((class(c), c.len_utf8()))
}

static ASCII: [Class; 128] = {
    let mut table = [Class::Break; 128];
    let mut byte = 0;
    while byte < 128 {
        if (byte as u8).is_ascii_alphanumeric() {
            table[byte] = Class::Word;
        }
        byte += 1;
    }
    let joiners = b"_-./:@\\#&+~=?%'";
    let mut i = 0;
    while i < joiners.len() {
        table[joiners[i] as usize] = Class::Joiner;
        i += 1;
    }
    table
};

fn class(c: char) -> Class {
    match c as u32 {
        // Hangul jamo, syllables; radicals to kana, Bopomofo, CJK extension A; ideographs, Yi; compatibility
        // ideographs; half-width kana and Hangul; kana supplements; supplementary ideographs
        0x1100..=0x11ff
        | 0x2e80..=0x2fdf
        | 0x3005..=0x3007
        | 0x3021..=0x302f
        | 0x3031..=0x3035
        | 0x303b..=0x303c
        | 0x3041..=0x309f
        | 0x30a1..=0x30fa
        | 0x30fc..=0x318f
        | 0x31a0..=0x31bf
        | 0x31f0..=0x31ff
        | 0x3400..=0x4dbf
        | 0x4e00..=0xa48c
        | 0xa960..=0xa97c
        | 0xac00..=0xd7fb
        | 0xf900..=0xfaff
        | 0xff66..=0xffdc
        | 0x1aff0..=0x1b16f
        | 0x20000..=0x323af => Class::Cjk,
        // Thai and Lao, Myanmar, Khmer, Tai Le, New Tai Lue, Tai Tham, Myanmar extended
        0x0e01..=0x0e3a
        | 0x0e40..=0x0e4e
        | 0x0e81..=0x0ece
        | 0x0edc..=0x0edf
        | 0x1000..=0x103f
        | 0x1050..=0x109f
        | 0x1780..=0x17d3
        | 0x17dc..=0x17dd
        | 0x1950..=0x19c9
        | 0x1a20..=0x1a7c
        | 0xa9e0..=0xa9ef
        | 0xaa60..=0xaa7f => Class::Unspaced,
        // apostrophe, hyphens
        0x2019 | 0x2010 | 0x2011 => Class::Joiner,
        _ if c.is_alphanumeric() || is_combining_mark(c) || is_invisible(c) => Class::Word,
        _ => Class::Break,
    }
}

/// Characters within words that are not seen: soft hyphen, zero-width joiners, word joiner.
pub(super) fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200c}' | '\u{200d}' | '\u{2060}')
}

/// Whether `c` is a character of words, of any script.
pub(super) fn is_word(c: char) -> bool {
    !matches!(if c.is_ascii() { ASCII[c as usize] } else { class(c) }, Class::Break | Class::Joiner)
}

/// Whether `c` separates words within an identifier.
pub(super) fn is_joiner(c: char) -> bool {
    (if c.is_ascii() { ASCII[c as usize] } else { class(c) }) == Class::Joiner
}
