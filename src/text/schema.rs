//! The two indexed fields of a text part. Nothing is stored.

use std::sync::LazyLock;

use tantivy::schema::{BytesOptions, Field, IndexRecordOption, Schema, TextFieldIndexing, TextOptions};
use tantivy::store::Compressor;
use tantivy::{IndexSettings, Term};

/// The name of the tokenizer that replays analyzed rows.
pub(super) const TOKENIZER: &str = "gleaner";

/// Title, headings and body as one stream of tokens, with positions.
pub(super) const TEXT: Field = Field::from_field_id(0);
/// Metadata terms: opaque bytes, rows only.
pub(super) const META: Field = Field::from_field_id(1);

/// The schema of every text part.
pub(super) static SCHEMA: LazyLock<Schema> = LazyLock::new(|| {
    let mut builder = Schema::builder();
    let indexing = TextFieldIndexing::default()
        .set_tokenizer(TOKENIZER)
        .set_index_option(IndexRecordOption::WithFreqsAndPositions)
        .set_fieldnorms(true);
    let text = builder.add_text_field("text", TextOptions::default().set_indexing_options(indexing));
    let meta = builder.add_bytes_field("meta", BytesOptions::default().set_indexed());
    debug_assert_eq!((text, meta), (TEXT, META));
    builder.build()
});

/// No dedicated compression thread: there is nothing to compress but empty documents.
pub(super) fn settings() -> IndexSettings {
    IndexSettings {
        docstore_compression: Compressor::Lz4,
        docstore_compress_dedicated_thread: false,
        ..IndexSettings::default()
    }
}

/// The term of an analyzed word.
pub(super) fn text_term(word: &str) -> Term {
    Term::from_field_text(TEXT, word)
}
