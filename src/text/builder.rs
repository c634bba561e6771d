//! Builds the text part of a new segment: rows in, one bundle out.

use tantivy::directory::RamDirectory;
use tantivy::tokenizer::TokenizerManager;
use tantivy::{Index, SingleSegmentIndexWriter, TantivyDocument};

use super::analyzer::TextAnalyzer;
use super::bundle;
use super::error::indexing;
use super::schema::{META, SCHEMA, TEXT, TOKENIZER, settings};
use super::tokens::{Replay, Tokens};
use crate::collection::definition::TextDefinition;
use crate::store::PartWriter;
use crate::{Error, Result};

/// The longest metadata term, in bytes.
pub const MAX_TERM_LEN: usize = 65_529;

/// Sizes tantivy's first hash table only: the writer grows as it needs.
const MEMORY_BUDGET: usize = 4 << 20;

/// What is indexed of a chunk.
#[derive(Clone, Copy, Debug)]
pub struct TextRow<'a> {
    /// The document's title.
    pub title: Option<&'a str>,
    /// The headings the chunk lies under, outermost first.
    pub headings: &'a [String],
    /// The chunk's text.
    pub text: &'a str,
    /// The document's metadata terms: opaque, each shorter than 65,530 bytes.
    pub terms: &'a [Vec<u8>],
}

/// Collects the rows of one segment in memory. The n-th row pushed is row n.
pub struct TextBuilder {
    writer: SingleSegmentIndexWriter,
    directory: RamDirectory,
    analyzer: TextAnalyzer,
    title_weight: u32,
    heading_weight: u32,
    lengths: Vec<u32>,
    row: Tokens,
    piece: Tokens,
}

impl TextBuilder {
    /// A builder for rows of a collection with that definition.
    pub fn new(definition: &TextDefinition) -> Result<TextBuilder> {
        let directory = RamDirectory::create();
        let tokenizers = TokenizerManager::default();
        tokenizers.register(TOKENIZER, Replay::default());
        let writer = Index::builder()
            .schema(SCHEMA.clone())
            .settings(settings())
            .tokenizers(tokenizers)
            .single_segment_index_writer(directory.clone(), MEMORY_BUDGET)
            .map_err(indexing)?;
        Ok(TextBuilder {
            writer,
            directory,
            analyzer: TextAnalyzer::for_rows(definition.analyzer),
            title_weight: definition.title_weight,
            heading_weight: definition.heading_weight,
            lengths: Vec::new(),
            row: Tokens::default(),
            piece: Tokens::default(),
        })
    }

    /// Adds the next row.
    pub fn push(&mut self, row: &TextRow) -> Result<()> {
        self.row.clear();
        self.piece(row.title.unwrap_or_default(), self.title_weight);
        for heading in row.headings {
            self.piece(heading, self.heading_weight);
        }
        self.piece(row.text, 1);

        let mut document = TantivyDocument::default();
        document.add_text(TEXT, self.row.encoded());
        for term in row.terms {
            if term.len() > MAX_TERM_LEN {
                return Err(Error::internal(format!("a metadata term has {} bytes", term.len())));
            }
            document.add_bytes(META, term);
        }
        self.lengths.push(self.row.len());
        self.writer.add_document(document).map_err(indexing)
    }

    /// Rows pushed so far.
    pub fn rows(&self) -> u32 {
        self.lengths.len() as u32
    }

    /// An estimate of the memory held, in bytes.
    pub fn memory(&self) -> usize {
        self.writer.mem_usage()
    }

    /// Writes the part and fsyncs it. Returns its length in bytes.
    pub fn finish(self, writer: PartWriter) -> Result<u64> {
        let index = self.writer.finalize().map_err(indexing)?;
        bundle::write(&index, &self.directory, &self.lengths, writer)
    }

    /// Appends the tokens of one piece of text `weight` times.
    fn piece(&mut self, text: &str, weight: u32) {
        if weight == 0 || text.is_empty() {
            return;
        }
        self.piece.clear();
        self.analyzer.analyze(text, &mut self.piece);
        for _ in 0..weight {
            self.row.append(&self.piece);
            self.row.gap();
        }
    }
}
