//! The lexical leg: analyzers, the tantivy bundle of a segment, BM25 over a snapshot, and filters.
//!
//! - [`analyzer`]: here is text, give me tokens; the same ones for rows and for questions;
//! - [`builder`] and [`merge`] write a segment's text part, [`part`] opens it;
//! - [`statistics`] are a snapshot's; [`query`] is a question; [`recall`] scores the one with the other;
//! - [`terms`] is where filters look metadata terms up.

pub mod analyzer;
pub mod builder;
mod bundle;
mod error;
pub mod filter;
pub mod merge;
pub mod metadata;
pub mod part;
pub mod query;
pub mod recall;
mod row_scorer;
mod schema;
pub mod statistics;
pub mod terms;
pub mod tokens;

#[cfg(test)]
mod tests;

pub use builder::{TextBuilder, TextRow};
pub use merge::merge;
pub use part::TextPart;
pub use query::TextQuery;
pub use recall::{Scored, recall, score_rows};
pub use statistics::Statistics;
pub use terms::TermRows;
