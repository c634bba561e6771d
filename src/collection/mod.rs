//! A named set of documents with one definition: catalog, writer, snapshots, compaction, recovery.

pub mod definition;
