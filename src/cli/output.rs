//! Standard output. A closed pipe is an error here (`println!` would panic), which [`super::is_broken_pipe`]
//! makes a quiet end.

use std::fmt::Display;
use std::io::{self, Write};

use anyhow::Result;
use serde::Serialize;

/// Columns of text for people.
const WIDTH: usize = 80;

/// Prints a line.
pub fn line(text: impl Display) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{text}")
}

/// Prints an object on one line.
pub fn json(value: &impl Serialize) -> Result<()> {
    Ok(line(serde_json::to_string(value)?)?)
}

/// Breaks `text` at white space so that no line is wider than the terminal, each behind `indent` spaces.
pub fn wrap(text: &str, indent: usize) -> String {
    let mut lines = String::new();
    let mut width = 0;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if width == 0 || width + 1 + length > WIDTH {
            lines.push_str(if width == 0 { "" } else { "\n" });
            lines.extend(std::iter::repeat_n(' ', indent));
            width = indent;
        } else {
            lines.push(' ');
            width += 1;
        }
        lines.push_str(word);
        width += length;
    }
    lines
}

/// The first `limit` characters of `text` with white space folded, cut at a word, `…` where something is
/// left out.
pub fn excerpt(text: &str, limit: usize) -> String {
    let folded = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let Some((end, _)) = folded.char_indices().nth(limit) else {
        return folded;
    };
    let cut = folded[..end].rfind(' ').filter(|&space| space > 0).unwrap_or(end);
    format!("{} …", &folded[..cut])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrapped_lines_fit_and_keep_every_word() {
        let text = "word ".repeat(60);
        let wrapped = wrap(&text, 4);
        assert!(wrapped.lines().all(|line| line.starts_with("    word") && line.len() <= WIDTH));
        assert_eq!(wrapped.split_whitespace().count(), 60);
        assert_eq!(wrap("", 4), "");
    }

    #[test]
    fn excerpts_are_cut_at_words_and_inside_no_character() {
        assert_eq!(excerpt("a\n  b", 10), "a b");
        assert_eq!(excerpt("alpha beta gamma", 12), "alpha beta …");
        assert_eq!(excerpt("日本語の文章", 3), "日本語 …");
    }
}
