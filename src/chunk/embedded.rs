//! What the embedder sees of a chunk: title and heading path, then the text.

use std::ops::Range;

use super::{Chunker, Tokenizer};

/// The part of the tokens that title and headings may take.
const PREFIX_SHARE: usize = 4;

impl Chunker {
    /// Title, headings and text of a chunk, one a line. The title is left out where the first heading
    /// says the same, the last heading where the text begins with it; both together are cut to a quarter
    /// of `max_tokens`.
    pub fn embedded_text(
        &self,
        tokenizer: &dyn Tokenizer,
        title: Option<&str>,
        headings: &[String],
        text: &str,
    ) -> String {
        let mut embedded = self.prefix(tokenizer, title, headings, text);
        embedded.push_str(text);
        embedded
    }

    /// What comes before `text`, with its line end; empty if there is nothing to say.
    pub(super) fn prefix(
        &self,
        tokenizer: &dyn Tokenizer,
        title: Option<&str>,
        headings: &[String],
        text: &str,
    ) -> String {
        let title = title.map(str::trim).filter(|title| !title.is_empty());
        let first_line = text.lines().next().unwrap_or_default();
        let shown = match headings.split_last() {
            Some((last, outer)) if same_words(last, first_line) => outer,
            _ => headings,
        };
        let told = |title: &&str| !headings.first().is_some_and(|first| same_words(first, title));
        let mut prefix = String::new();
        for line in title.filter(told).into_iter().chain(shown.iter().map(String::as_str)) {
            prefix.push_str(line);
            prefix.push('\n');
        }
        let most = self.max_tokens as usize / PREFIX_SHARE;
        // a token has at least a byte in nearly every vocabulary
        if prefix.len() > most {
            // the rest of a huge title isn't worth a look
            prefix.truncate(prefix.floor_char_boundary(64 * most));
            let mut ranges: Vec<Range<u32>> = Vec::new();
            tokenizer.tokens(&prefix, &mut ranges);
            if let Some(over) = ranges.get(most) {
                prefix.truncate(prefix.floor_char_boundary(over.start as usize));
                prefix.truncate(prefix.trim_end().len());
                prefix.push('\n');
            }
        }
        prefix
    }
}

/// Whether two lines have the same letters and digits: they differ in markup at most.
fn same_words(heading: &str, line: &str) -> bool {
    // markup adds characters, but a line many times longer can't be the same
    if line.len() > 4 * heading.len() + 64 {
        return false;
    }
    let letters = |text: &'_ str| text.chars().filter(|c| c.is_alphanumeric()).collect::<String>();
    let heading = letters(heading);
    !heading.is_empty() && heading == letters(line)
}

#[cfg(test)]
mod tests {
    use crate::chunk::{ApproximateTokenizer, Chunker, Tokenizer};

    fn embedded(title: &str, headings: &[&str], text: &str) -> String {
        let chunker = Chunker { strategy: Default::default(), max_tokens: 64, overlap_tokens: 0 };
        let headings: Vec<_> = headings.iter().map(|heading| heading.to_string()).collect();
        chunker.embedded_text(&ApproximateTokenizer, Some(title), &headings, text)
    }

    #[test]
    fn nothing_is_said_twice() {
        assert_eq!(embedded("Guide", &["Install", "Linux"], "Run it."), "Guide\nInstall\nLinux\nRun it.");
        assert_eq!(embedded("Guide", &["Guide", "Linux"], "Run it."), "Guide\nLinux\nRun it.");
        assert_eq!(
            embedded("Guide", &["Install", "Linux"], "## **Linux**\nRun"),
            "Guide\nInstall\n## **Linux**\nRun"
        );
        assert_eq!(embedded(" ", &[], "Run it."), "Run it.");
    }

    #[test]
    fn a_huge_title_is_cut() {
        let text = embedded(&"word ".repeat(100_000), &[], "Run it.");
        assert!(text.ends_with("\nRun it.") && ApproximateTokenizer.count(&text) < 24, "{text}");
    }
}
