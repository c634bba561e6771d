//! The immutable unit of a collection: n chunks as rows 0..n, held in parts over the same rows.

pub mod rows;

pub use rows::RowSet;
