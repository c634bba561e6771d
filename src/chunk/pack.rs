//! Chooses where a document is cut.
//!
//! From the start of a chunk, the furthest end is the one that the token budget allows. Up to there:
//!
//! 1. a heading of the same or a higher level ends the chunk, unless that leaves it under a quarter of
//!    the budget: tiny sections go with what follows;
//! 2. a list, table or code block that would be cut but fits into a chunk of its own is left to the next;
//! 3. otherwise the strongest break (heading, block, list item or table row, code line) past a quarter of
//!    the budget ends it, the latest of equals;
//! 4. otherwise running text is cut: at a sentence, a word, a grapheme.
//!
//! A chunk under an eighth of the budget joins the one before where both fit.

use std::ops::Range;

use super::outline::{LINE, Outline};
use super::tokens::TokenMap;
use super::{Chunker, Tokenizer, prose};

/// By this much the count of an embedded text may differ from the document's pass where the chunk lies
/// between white space: the joints with the text around and with the prefix.
const SLACK: usize = 8;

/// Bytes of text that tell whether it starts with its heading: more than the longest heading kept.
const FIRST_LINE: usize = 4096;

/// Fewer tokens than this are always allowed for the text of a chunk.
const MIN_BUDGET: usize = 8;

pub(super) struct Packer<'a> {
    pub(super) chunker: &'a Chunker,
    pub(super) tokenizer: &'a dyn Tokenizer,
    pub(super) title: Option<&'a str>,
    pub(super) source: &'a str,
    pub(super) outline: &'a Outline,
    pub(super) tokens: &'a TokenMap,
}

/// An end of a chunk.
struct Cut {
    at: u32,
    kind: CutKind,
}

#[derive(PartialEq)]
enum CutKind {
    /// Between blocks, items or rows.
    Structure,
    /// Between lines of code.
    Line,
    /// Inside running text.
    Prose,
}

impl Packer<'_> {
    /// The spans of the chunks, trimmed of white space.
    pub(super) fn spans(&self) -> Vec<Range<u32>> {
        let mut spans: Vec<Range<u32>> = Vec::new();
        let mut from = self.skip_space(0);
        let mut start = from;
        while from < self.len() {
            let budget = self.budget(start);
            let (end, cut) = match self.fitting_end(start, from, budget) {
                // nothing new fits behind the overlap
                None if start < from => {
                    start = from;
                    continue;
                }
                None => {
                    let cut = Cut { at: self.next_character(from), kind: CutKind::Prose };
                    (cut.at, cut)
                }
                Some(found) => found,
            };
            self.push(&mut spans, start..end);
            from = self.skip_space(cut.at);
            start = self.overlap_start(&cut, start, budget).unwrap_or(from).min(from);
        }
        spans
    }

    /// End (trimmed) and cut of the chunk from `start` that holds more than what is before `from` and
    /// whose embedded text fits.
    fn fitting_end(&self, start: u32, from: u32, mut budget: usize) -> Option<(u32, Cut)> {
        loop {
            let cut = self.cut(start, from, budget);
            let end = self.trim_end(start, cut.at);
            let over = if end > from { self.excess(start..end) } else { 0 };
            if end > from && over == 0 {
                return Some((end, cut));
            }
            if budget == 1 {
                return None;
            }
            budget = self.tokens.count(start..end).min(budget).saturating_sub(over.max(1)).max(1);
        }
    }

    /// Appends a chunk, or joins it to the last one if it is tiny and both fit.
    fn push(&self, spans: &mut Vec<Range<u32>>, span: Range<u32>) {
        if let Some(last) = spans.last_mut()
            && self.tokens.count(span.clone()) < self.chunker.max_tokens as usize / 8
        {
            let joined = last.start..span.end;
            if self.tokens.count(joined.clone()) <= self.budget(last.start)
                && self.excess(joined.clone()) == 0
            {
                *last = joined;
                return;
            }
        }
        spans.push(span);
    }

    /// Tokens that the text of a chunk from `start` may have.
    fn budget(&self, start: u32) -> usize {
        let headings = self.outline.path(start..start + 1);
        let end = self.source.floor_char_boundary(start as usize + FIRST_LINE);
        let prefix = self.prefix_tokens(&headings, &self.source[start as usize..end]);
        (self.chunker.max_tokens as usize).saturating_sub(prefix).max(MIN_BUDGET)
    }

    fn prefix_tokens(&self, headings: &[String], text: &str) -> usize {
        let prefix = self.chunker.prefix(self.tokenizer, self.title, headings, text);
        if prefix.is_empty() { 0 } else { self.tokenizer.count(&prefix) }
    }

    /// Tokens of the embedded text of `span` past the limit. It is tokenized only where the document's
    /// pass can't tell: near the limit, and where a word is cut.
    fn excess(&self, span: Range<u32>) -> usize {
        let most = self.chunker.max_tokens as usize;
        let bytes = self.source.as_bytes();
        let space = |at: usize| bytes.get(at).is_none_or(|byte| b" \n\t\r".contains(byte));
        let whole = (span.start == 0 || space(span.start as usize - 1)) && space(span.end as usize);
        let text = &self.source[span.start as usize..span.end as usize];
        let headings = self.outline.path(span.clone());
        if whole {
            let inside = self.tokens.count(span) + self.prefix_tokens(&headings, text);
            if inside + SLACK <= most {
                return 0;
            }
        }
        let embedded = self.chunker.embedded_text(self.tokenizer, self.title, &headings, text);
        self.tokenizer.count(&embedded).saturating_sub(most)
    }

    /// Where a chunk from `start` of at most `budget` tokens ends; past `from`.
    fn cut(&self, start: u32, from: u32, budget: usize) -> Cut {
        let first = self.tokens.rank(start);
        let beyond = self.next_character(from);
        let furthest = self.tokens.position(first + budget).max(beyond);
        let least = self.tokens.position(first + budget / 4).max(beyond).min(furthest);
        let breaks = self.outline.breaks_in(least..furthest);
        let level = self.outline.level_at(start);
        let sibling = |at: &&super::outline::Break| at.heading_level().is_some_and(|other| other <= level);
        if let Some(heading) = breaks.iter().find(sibling) {
            return Cut { at: heading.at, kind: CutKind::Structure };
        }
        if furthest == self.len() {
            return Cut { at: furthest, kind: CutKind::Structure };
        }
        let whole = self.outline.whole_around(furthest).filter(|whole| {
            whole.start > from
                && self.tokens.count(whole.clone()) <= budget
                && !self.outline.breaks_in(whole.start..whole.start).is_empty()
        });
        let limit = whole.as_ref().map_or(furthest, |whole| whole.start);
        if let Some(best) = breaks.iter().filter(|at| at.at <= limit).max_by_key(|at| (at.strength, at.at)) {
            let kind = if best.strength == LINE { CutKind::Line } else { CutKind::Structure };
            return Cut { at: best.at, kind };
        }
        if limit < furthest {
            return Cut { at: limit, kind: CutKind::Structure };
        }
        Cut { at: self.prose_cut(first, beyond, furthest, budget), kind: CutKind::Prose }
    }

    /// A cut inside running text at most at `furthest`. Where little would be left for the next chunk,
    /// the text is halved.
    fn prose_cut(&self, first: usize, beyond: u32, furthest: u32, budget: usize) -> u32 {
        let mut last = furthest;
        let next = self.outline.breaks_in(furthest + 1..self.tokens.position(first + budget * 5 / 4 + 1));
        let end = next.first().map_or(self.len(), |next| next.at);
        let total = self.tokens.rank(end).saturating_sub(first);
        if total <= budget * 5 / 4 {
            last = self.tokens.position(first + (total / 2 + budget / 8).min(budget)).clamp(beyond, furthest);
        }
        let least = |share: usize| self.tokens.position(first + budget / share).clamp(beyond, last) as usize;
        let cut = prose::last_cut(self.source, least(4)..last as usize, least(2));
        cut.unwrap_or_else(|| prose::last_cut_in_run(self.source, beyond as usize..furthest as usize)) as u32
    }

    /// Where the chunk after `cut` starts if it repeats some of the chunk before, which began at `start`.
    fn overlap_start(&self, cut: &Cut, start: u32, budget: usize) -> Option<u32> {
        let overlap = (self.chunker.overlap_tokens as usize).min(budget / 3);
        if overlap == 0 || cut.kind == CutKind::Structure {
            return None;
        }
        let breaks = self.outline.breaks_in(start + 1..cut.at);
        let leaf = breaks.iter().rev().find(|at| cut.kind == CutKind::Prose || at.strength > LINE);
        let earliest = leaf.map_or(start + 1, |leaf| leaf.at);
        let from = self.tokens.position(self.tokens.rank(cut.at).saturating_sub(overlap)).max(earliest);
        let from = self.source.ceil_char_boundary(from as usize);
        if from >= cut.at as usize {
            return None;
        }
        let found = match cut.kind {
            CutKind::Line => prose::first_line(self.source, from..cut.at as usize),
            _ => prose::first_start(self.source, from..cut.at as usize),
        };
        found.map(|at| self.skip_space(at as u32))
    }

    fn len(&self) -> u32 {
        self.source.len() as u32
    }

    fn next_character(&self, at: u32) -> u32 {
        self.source.ceil_char_boundary(at as usize + 1) as u32
    }

    fn skip_space(&self, at: u32) -> u32 {
        self.len() - self.source[at as usize..].trim_start().len() as u32
    }

    fn trim_end(&self, start: u32, end: u32) -> u32 {
        start + self.source[start as usize..end as usize].trim_end().len() as u32
    }
}
