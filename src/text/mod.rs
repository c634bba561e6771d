//! The lexical leg: analyzers, the tantivy bundle of a segment, BM25 over a snapshot, and filters.
