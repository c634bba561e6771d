//! A stand-in for tokenizers that providers do not publish.

use std::ops::Range;

use crate::chunk;

/// Cuts text about as finely as the byte-pair tokenizers of hosted models: a word is a token for every six
/// of its letters, a number for every three digits; any other character is one token, white space none.
/// Needs no files, and errs on the side of too many tokens.
pub(super) struct EstimatedTokenizer;

impl EstimatedTokenizer {
    fn each(text: &str, mut token: impl FnMut(usize, usize)) {
        let mut chars = text.char_indices().peekable();
        while let Some((start, first)) = chars.next() {
            if first.is_whitespace() {
                continue;
            }
            let most = longest(first);
            let mut end = start + first.len_utf8();
            for _ in 1..most {
                let Some((at, next)) = chars.next_if(|&(_, next)| longest(next) == most) else { break };
                end = at + next.len_utf8();
            }
            token(start, end);
        }
    }
}

/// How many characters like this one share a token.
fn longest(c: char) -> usize {
    match c {
        '0'..='9' => 3,
        'a'..='z' | 'A'..='Z' | 'À'..='ɏ' => 6,
        _ => 1,
    }
}

impl chunk::Tokenizer for EstimatedTokenizer {
    fn tokens(&self, text: &str, ranges: &mut Vec<Range<u32>>) {
        Self::each(text, |start, end| ranges.push(start as u32..end as u32));
    }

    fn count(&self, text: &str) -> usize {
        let mut count = 0;
        Self::each(text, |_, _| count += 1);
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::Tokenizer;

    #[test]
    fn tokens_are_pieces_of_words_and_numbers() {
        let text = "Internationalization costs 12345 €: 東京!";
        let mut ranges = Vec::new();
        EstimatedTokenizer.tokens(text, &mut ranges);
        let tokens: Vec<&str> = ranges.iter().map(|r| &text[r.start as usize..r.end as usize]).collect();
        let expected = ["Intern", "ationa", "lizati", "on", "costs", "123", "45", "€", ":", "東", "京", "!"];
        assert_eq!(tokens, expected);
        assert_eq!(EstimatedTokenizer.count(text), expected.len());
        assert_eq!(EstimatedTokenizer.count(" \n\t"), 0);
    }
}
