//! Where a filter looks metadata terms up: terms to rows.

use std::ops::Bound;

use crate::Result;
use crate::rows::RowSet;

/// The rows of each metadata term of a segment. Terms are opaque bytes in byte order.
pub trait TermRows {
    /// The size of the segment.
    fn rows(&self) -> u32;

    /// Adds the rows that have exactly `term`.
    fn add_term(&self, term: &[u8], into: &mut RowSet) -> Result<()>;

    /// Adds the rows of every term between the bounds that `keep` accepts.
    fn add_range(
        &self,
        lower: Bound<&[u8]>,
        upper: Bound<&[u8]>,
        keep: &mut dyn FnMut(&[u8]) -> bool,
        into: &mut RowSet,
    ) -> Result<()>;
}
