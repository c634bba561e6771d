//! The open text part of a segment.

use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use tantivy::fieldnorm::FieldNormReader;
use tantivy::index::{InvertedIndexReader, SegmentReader};
use tantivy::postings::TermInfo;
use tantivy::schema::IndexRecordOption;
use tantivy::{Index, ReloadPolicy, Searcher, Segment};

use super::bundle::Bundle;
use super::error::{reading, reading_io};
use super::schema::{META, SCHEMA, TEXT};
use super::terms::TermRows;
use crate::Result;
use crate::rows::RowSet;
use crate::store::{PartFile, StoreError};

/// Postings of a segment's rows: read-only, cheap to clone.
#[derive(Clone)]
pub struct TextPart {
    part: Arc<PartFile>,
    bundle: Bundle,
    searcher: Searcher,
    index: Arc<InvertedIndexReader>,
    meta: Arc<InvertedIndexReader>,
}

impl std::fmt::Debug for TextPart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("TextPart").field(&self.part).finish()
    }
}

impl TextPart {
    /// Opens the part: reads the table of files and the term dictionaries' blocks, no postings.
    pub fn open(part: Arc<PartFile>) -> Result<TextPart> {
        let bundle = Bundle::open(&part)?;
        let bad = |what: &str| StoreError::corrupt(part.path(), what);
        let open = || {
            let index = Index::open(bundle.clone())?;
            let builder = index.reader_builder().reload_policy(ReloadPolicy::Manual);
            Ok(builder.doc_store_cache_num_blocks(0).try_into()?.searcher())
        };
        let searcher = open().map_err(reading(part.path()))?;
        let [reader] = searcher.segment_readers() else {
            return Err(bad("it does not hold exactly one index segment").into());
        };
        if *reader.schema() != *SCHEMA {
            return Err(bad("its fields are not those of a text part").into());
        }
        if reader.max_doc() != bundle.rows() || reader.has_deletes() {
            return Err(bad("the index has another number of rows than the part").into());
        }
        let index = reader.inverted_index(TEXT).map_err(reading(part.path()))?;
        let meta = reader.inverted_index(META).map_err(reading(part.path()))?;
        Ok(TextPart { bundle, searcher, index, meta, part })
    }

    /// The size of the segment.
    pub fn rows(&self) -> u32 {
        self.bundle.rows()
    }

    /// The number of tokens of all rows, deleted or not.
    pub fn tokens(&self) -> u64 {
        self.bundle.tokens()
    }

    /// The file.
    pub fn path(&self) -> &Path {
        self.part.path()
    }

    /// The number of rows, deleted or not, that have the analyzed word `term`.
    pub fn doc_freq(&self, term: &str) -> Result<u32> {
        Ok(self.term(term)?.map_or(0, |info| info.doc_freq))
    }

    pub(super) fn term(&self, term: &str) -> Result<Option<TermInfo>> {
        self.index.terms().get(term).map_err(|error| reading_io(self.path())(&error))
    }

    pub(super) fn index(&self) -> &InvertedIndexReader {
        &self.index
    }

    pub(super) fn lengths(&self) -> Result<Vec<u32>> {
        self.bundle.lengths()
    }

    pub(super) fn searcher(&self) -> &Searcher {
        &self.searcher
    }

    pub(super) fn reader(&self) -> &SegmentReader {
        self.searcher.segment_reader(0)
    }

    pub(super) fn segments(&self) -> Result<Vec<Segment>> {
        self.searcher.index().searchable_segments().map_err(reading(self.path()))
    }

    pub(super) fn norms(&self) -> Result<FieldNormReader> {
        self.reader().get_fieldnorms_reader(TEXT).map_err(reading(self.path()))
    }

    fn add_rows(&self, info: &TermInfo, into: &mut RowSet) -> Result<()> {
        let mut block = self
            .meta
            .read_block_postings_from_terminfo(info, IndexRecordOption::Basic)
            .map_err(|error| reading_io(self.path())(&error))?;
        while block.block_len() > 0 {
            block.docs()[..block.block_len()].iter().for_each(|&row| into.insert(row));
            block.advance();
        }
        Ok(())
    }
}

impl TermRows for TextPart {
    fn rows(&self) -> u32 {
        TextPart::rows(self)
    }

    fn add_term(&self, term: &[u8], into: &mut RowSet) -> Result<()> {
        match self.meta.terms().get(term).map_err(|error| reading_io(self.path())(&error))? {
            Some(info) => self.add_rows(&info, into),
            None => Ok(()),
        }
    }

    fn add_range(
        &self,
        lower: Bound<&[u8]>,
        upper: Bound<&[u8]>,
        keep: &mut dyn FnMut(&[u8]) -> bool,
        into: &mut RowSet,
    ) -> Result<()> {
        let range = self.meta.terms().range();
        let range = match lower {
            Bound::Included(bound) => range.ge(bound),
            Bound::Excluded(bound) => range.gt(bound),
            Bound::Unbounded => range,
        };
        let range = match upper {
            Bound::Included(bound) => range.le(bound),
            Bound::Excluded(bound) => range.lt(bound),
            Bound::Unbounded => range,
        };
        let mut terms = range.into_stream().map_err(|error| reading_io(self.path())(&error))?;
        while terms.advance() {
            if keep(terms.key()) {
                self.add_rows(terms.value(), into)?;
            }
        }
        Ok(())
    }
}
