//! Filters: the OpenAI vector-store grammar with `not`, `exists`, `contains` and `prefix`, parsed into
//! a canonical form and answered as the set of a segment's rows (see `docs/filters.md`).
//!
//! - `parse` turns JSON into a [`Filter`], or says what is wrong and where;
//! - `eval` asks a segment's metadata terms for the rows.

mod eval;
mod parse;

#[cfg(test)]
mod oracle;
#[cfg(test)]
mod tests;

use crate::text::metadata::Scalar;

/// The most levels of `and`, `or` and `not`, the innermost condition included.
pub const MAX_DEPTH: usize = 32;
/// The most conditions of a filter, each `and`, `or` and `not` included.
pub const MAX_CONDITIONS: usize = 1_024;
/// The most values of one `in` or `nin`.
pub const MAX_VALUES: usize = 10_000;

/// A condition on documents' metadata.
///
/// In canonical form: filters that differ only in order, repetition or spelling (`ne` against `not` of
/// `eq`, `1.0` against `1`) are equal and hash alike, so a filter is a cache key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Filter(Condition);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Condition {
    /// Every one holds; all documents where there is none.
    All(Vec<Condition>),
    /// At least one holds; no document where there is none.
    Any(Vec<Condition>),
    /// It does not hold.
    Not(Box<Condition>),
    /// The key has one of the values.
    In { key: String, values: Vec<Scalar> },
    /// The key has a value of the bound's kind on that side of it.
    Range { key: String, side: Side, bound: Scalar },
    /// The key, or one below it, has a value.
    Exists { key: String },
    /// The key is an array with that element, or a string with that substring.
    Contains { key: String, value: Scalar },
    /// The key has a string that begins so.
    Prefix { key: String, prefix: String },
}

/// Which side of a bound a range is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Side {
    Above,
    AtOrAbove,
    Below,
    AtOrBelow,
}

impl Condition {
    fn all(conditions: Vec<Condition>) -> Condition {
        single_or(conditions, Condition::All)
    }

    fn any(conditions: Vec<Condition>) -> Condition {
        single_or(conditions, Condition::Any)
    }

    fn negate(self) -> Condition {
        match self {
            Condition::Not(inner) => *inner,
            condition => Condition::Not(Box::new(condition)),
        }
    }

    fn one_of(key: String, mut values: Vec<Scalar>) -> Condition {
        values.sort_unstable();
        values.dedup();
        Condition::In { key, values }
    }
}

/// The one condition of a list of one, otherwise the list as a set.
fn single_or(mut conditions: Vec<Condition>, many: fn(Vec<Condition>) -> Condition) -> Condition {
    conditions.sort_unstable();
    conditions.dedup();
    match conditions.len() {
        1 => conditions.swap_remove(0),
        _ => many(conditions),
    }
}
