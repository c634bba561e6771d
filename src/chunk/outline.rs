//! The structure of a document: its sections and where it may be cut, best places first.

use std::ops::Range;

use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag, TagEnd};

/// Strength of a cut between two lines of code, HTML or front matter.
pub(super) const LINE: u8 = 1;
/// Strength of a cut between two blocks outside of lists, quotes and tables; one less for each
/// container around, but stronger than [`LINE`].
const BLOCK: u8 = 6;
/// A heading of level n has strength `HEADING - n`: all are stronger than [`BLOCK`].
const HEADING: u8 = 13;
/// Characters of a heading that are kept: a path is stored with every chunk.
const HEADING_CHARACTERS: usize = 200;

/// A place where a document may be cut.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Break {
    pub(super) at: u32,
    pub(super) strength: u8,
}

impl Break {
    /// Level (1 to 6) of the heading that starts here.
    pub(super) fn heading_level(self) -> Option<u8> {
        (self.strength > BLOCK).then(|| HEADING - self.strength)
    }
}

/// What a heading opens. A section ends where the next one starts, whatever their levels.
struct Section {
    at: u32,
    level: u8,
    title: String,
    parent: Option<usize>,
}

/// The structure of a document.
#[derive(Default)]
pub(super) struct Outline {
    /// Ascending, one per position.
    pub(super) breaks: Vec<Break>,
    /// Lists, tables and code outside of any container, ascending: kept whole where they fit.
    pub(super) wholes: Vec<Range<u32>>,
    sections: Vec<Section>,
}

impl Outline {
    /// Paragraphs only.
    pub(super) fn of_text(source: &str) -> Outline {
        let mut outline = Outline::default();
        let (mut at, mut blank) = (0, false);
        for line in source.split_inclusive('\n') {
            let empty = line.trim().is_empty();
            if blank && !empty {
                outline.push(at, BLOCK);
            }
            blank = empty;
            at += line.len();
        }
        outline
    }

    /// Sections, blocks, list items, table rows and code lines.
    pub(super) fn of_markdown(source: &str) -> Outline {
        let options = Options::ENABLE_TABLES
            | Options::ENABLE_FOOTNOTES
            | Options::ENABLE_STRIKETHROUGH
            | Options::ENABLE_TASKLISTS
            | Options::ENABLE_YAML_STYLE_METADATA_BLOCKS;
        let mut walk =
            Walk { source, outline: Outline::default(), line: 0..0, depth: 0, glued: false, begun: false };
        let mut heading: Option<(HeadingLevel, usize, String)> = None;
        for (event, range) in Parser::new_ext(source, options).into_offset_iter() {
            match event {
                Event::Start(Tag::Heading { level, .. }) if walk.depth == 0 => {
                    heading = Some((level, range.start, String::new()));
                }
                Event::End(TagEnd::Heading(_)) => {
                    if let Some((level, at, title)) = heading.take() {
                        walk.section(at, level as u8, &title);
                    }
                }
                Event::Text(text) | Event::Code(text) => {
                    if let Some((.., title)) = &mut heading
                        && title.len() <= 4 * HEADING_CHARACTERS
                    {
                        title.push_str(&text);
                    }
                }
                Event::SoftBreak | Event::HardBreak => {
                    if let Some((.., title)) = &mut heading {
                        title.push(' ');
                    }
                }
                Event::Start(tag) => walk.start(&tag, range),
                Event::End(tag) => walk.end(tag),
                Event::Rule => walk.block(range.start),
                _ => {}
            }
        }
        walk.outline
    }

    fn push(&mut self, at: usize, strength: u8) {
        let at = at as u32;
        if self.breaks.last().map_or(0, |last| last.at) < at {
            self.breaks.push(Break { at, strength });
        }
    }

    /// The breaks in `within`, ends included.
    pub(super) fn breaks_in(&self, within: Range<u32>) -> &[Break] {
        let first = self.breaks.partition_point(|other| other.at < within.start);
        let last = self.breaks.partition_point(|other| other.at <= within.end);
        &self.breaks[first.min(last)..last]
    }

    /// The list, table or code block that `at` would cut.
    pub(super) fn whole_around(&self, at: u32) -> Option<Range<u32>> {
        let next = self.wholes.partition_point(|whole| whole.end <= at);
        self.wholes.get(next).filter(|whole| whole.start < at).cloned()
    }

    fn section_at(&self, at: u32) -> Option<usize> {
        self.sections.partition_point(|section| section.at <= at).checked_sub(1)
    }

    /// Level of the section that holds `at`; 0 before the first heading.
    pub(super) fn level_at(&self, at: u32) -> u8 {
        self.section_at(at).map_or(0, |section| self.sections[section].level)
    }

    /// The headings that hold for all of `span`, outermost first.
    pub(super) fn path(&self, span: Range<u32>) -> Vec<String> {
        let mut common = self.section_at(span.start);
        let after = self.sections.partition_point(|section| section.at < span.end);
        for mut section in common.map_or(0, |first| first + 1)..after {
            // parents precede their children: the larger index of the two can't be the common one
            while let Some(ancestor) = common
                && ancestor != section
            {
                if section > ancestor {
                    match self.sections[section].parent {
                        Some(parent) => section = parent,
                        None => common = None,
                    }
                } else {
                    common = self.sections[ancestor].parent;
                }
            }
        }
        let mut path = Vec::new();
        while let Some(section) = common {
            let section = &self.sections[section];
            if !section.title.is_empty() {
                path.push(section.title.clone());
            }
            common = section.parent;
        }
        path.reverse();
        path
    }
}

/// Turns the parser's events into breaks.
struct Walk<'a> {
    source: &'a str,
    outline: Outline,
    /// The line of the last event.
    line: Range<usize>,
    /// Containers around.
    depth: u8,
    /// Nothing may be cut off from a heading, front matter or a table's head just before it.
    glued: bool,
    /// Whether there was anything but front matter.
    begun: bool,
}

impl Walk<'_> {
    /// Start of the line that holds `at`; positions ascend, so all calls together read the text once.
    fn line_start(&mut self, at: usize) -> usize {
        while self.line.end <= at && self.line.end < self.source.len() {
            let start = self.line.end;
            let newline = self.source.as_bytes()[start..].iter().position(|&byte| byte == b'\n');
            self.line = start..newline.map_or(self.source.len(), |newline| start + newline + 1);
        }
        self.line.start
    }

    /// A block starts: the cut is before its line, so that no marker is left behind.
    fn block(&mut self, at: usize) {
        let at = self.line_start(at);
        self.begun = true;
        if !std::mem::take(&mut self.glued) {
            self.outline.push(at, BLOCK.saturating_sub(self.depth).max(LINE + 1));
        }
    }

    fn section(&mut self, at: usize, level: u8, title: &str) {
        let mut at = self.line_start(at);
        if !std::mem::replace(&mut self.glued, true) {
            self.outline.push(at, HEADING - level);
        }
        if !std::mem::replace(&mut self.begun, true) {
            at = 0;
        }
        let title = title.split_whitespace().collect::<Vec<_>>().join(" ");
        let title = title.chars().take(HEADING_CHARACTERS).collect();
        let sections = &mut self.outline.sections;
        let mut parent = sections.len().checked_sub(1);
        while let Some(index) = parent
            && sections[index].level >= level
        {
            parent = sections[index].parent;
        }
        sections.push(Section { at: at as u32, level, title, parent });
    }

    fn start(&mut self, tag: &Tag<'_>, range: Range<usize>) {
        match tag {
            Tag::Paragraph | Tag::Heading { .. } | Tag::TableRow => self.block(range.start),
            Tag::CodeBlock(_) | Tag::HtmlBlock => {
                self.block(range.start);
                if matches!(tag, Tag::CodeBlock(_)) {
                    self.whole(&range);
                }
                self.lines(range);
            }
            Tag::MetadataBlock(_) => self.lines(range),
            Tag::List(_) | Tag::Table(_) => {
                self.block(range.start);
                self.whole(&range);
                self.depth = self.depth.saturating_add(1);
            }
            Tag::BlockQuote(_) | Tag::Item | Tag::FootnoteDefinition(_) => {
                self.block(range.start);
                self.depth = self.depth.saturating_add(1);
            }
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::List(_)
            | TagEnd::Table
            | TagEnd::BlockQuote(_)
            | TagEnd::Item
            | TagEnd::FootnoteDefinition => self.depth = self.depth.saturating_sub(1),
            TagEnd::MetadataBlock(_) | TagEnd::TableHead => self.glued = true,
            _ => {}
        }
    }

    fn whole(&mut self, range: &Range<usize>) {
        if self.depth == 0 {
            let start = self.line_start(range.start);
            self.outline.wholes.push(start as u32..range.end as u32);
        }
    }

    /// Cuts between the lines of a block, but not after its first and not before its last: fences.
    fn lines(&mut self, range: Range<usize>) {
        let text = self.source[range.clone()].trim_end();
        let mut starts: Vec<usize> = text.match_indices('\n').map(|(at, _)| range.start + at + 1).collect();
        starts.pop();
        for &start in starts.iter().skip(1) {
            self.outline.push(start, LINE);
        }
    }
}
