//! The rows of a segment that a [`Filter`] lets through, from its metadata terms.

use std::ops::Bound::{self, Excluded, Included};

use super::{Condition, Filter, Side};
use crate::Result;
use crate::rows::RowSet;
use crate::text::metadata::{Form, KeyTerms, Place, Scalar, below, says_has_value};
use crate::text::terms::TermRows;

impl Filter {
    /// The rows of `part` whose documents the filter lets through.
    ///
    /// # Errors
    /// What reading the terms fails with.
    pub fn rows(&self, part: &impl TermRows) -> Result<RowSet> {
        rows(&self.0, part)
    }
}

fn rows(condition: &Condition, part: &impl TermRows) -> Result<RowSet> {
    let mut found = RowSet::empty(part.rows());
    add(condition, part, &mut found)?;
    Ok(found)
}

/// Adds the rows for which `condition` holds.
fn add(condition: &Condition, part: &impl TermRows, into: &mut RowSet) -> Result<()> {
    match condition {
        Condition::All(conditions) => {
            let mut all = RowSet::full(part.rows());
            for condition in conditions {
                if all.is_empty() {
                    break;
                }
                all.and(&rows(condition, part)?);
            }
            into.or(&all);
            Ok(())
        }
        Condition::Any(conditions) => conditions.iter().try_for_each(|condition| add(condition, part, into)),
        Condition::Not(condition) => {
            let mut rest = rows(condition, part)?;
            rest.invert();
            into.or(&rest);
            Ok(())
        }
        Condition::In { key, values } => {
            let key = KeyTerms::new(key);
            values.iter().try_for_each(|value| add_equal(&key, value, &Place::BOTH, part, into))
        }
        Condition::Range { key, side, bound } => add_range(&KeyTerms::new(key), *side, bound, part, into),
        Condition::Exists { key } => {
            part.add_term(&KeyTerms::new(key).has_value(), into)?;
            let (start, end) = below(key);
            part.add_range(Included(&start), Excluded(&end), &mut says_has_value, into)
        }
        Condition::Contains { key, value } => {
            let key = KeyTerms::new(key);
            add_equal(&key, value, &[Place::Element], part, into)?;
            match value {
                Scalar::String(text) => add_substring(&key, text, part, into),
                Scalar::Bool(_) | Scalar::Number(_) => Ok(()),
            }
        }
        Condition::Prefix { key, prefix } => add_prefix(&KeyTerms::new(key), prefix, part, into),
    }
}

/// A string that is a point in time equals every string of the same point in time.
fn add_equal(
    key: &KeyTerms,
    value: &Scalar,
    places: &[Place],
    part: &impl TermRows,
    into: &mut RowSet,
) -> Result<()> {
    for form in value.forms() {
        for &place in places {
            part.add_term(&key.value(&form, place), into)?;
        }
    }
    Ok(())
}

/// A string that is a point in time is compared with points in time only.
fn add_range(
    key: &KeyTerms,
    side: Side,
    bound: &Scalar,
    part: &impl TermRows,
    into: &mut RowSet,
) -> Result<()> {
    let Some(form) = bound.forms().last() else { return Ok(()) };
    for place in Place::BOTH {
        let (start, end) = key.kind(&form, place);
        let at = key.value(&form, place);
        let (lower, upper): (Bound<&[u8]>, Bound<&[u8]>) = match side {
            Side::Above => (Excluded(&at), Excluded(&end)),
            Side::AtOrAbove => (Included(&at), Excluded(&end)),
            Side::Below => (Included(&start), Excluded(&at)),
            Side::AtOrBelow => (Included(&start), Included(&at)),
        };
        part.add_range(lower, upper, &mut |_| true, into)?;
    }
    Ok(())
}

/// The strings, standing alone, of which `text` is a substring.
fn add_substring(key: &KeyTerms, text: &str, part: &impl TermRows, into: &mut RowSet) -> Result<()> {
    let (start, end) = key.kind(&Form::String(text), Place::Alone);
    let mut keep = |term: &[u8]| {
        let value = term.get(start.len()..).and_then(|value| std::str::from_utf8(value).ok());
        value.is_some_and(|value| value.contains(text))
    };
    part.add_range(Included(&start), Excluded(&end), &mut keep, into)
}

fn add_prefix(key: &KeyTerms, prefix: &str, part: &impl TermRows, into: &mut RowSet) -> Result<()> {
    for place in Place::BOTH {
        let start = key.value(&Form::String(prefix), place);
        let mut end = start.clone();
        if let Some(last) = end.last_mut() {
            *last += 1; // a byte of UTF-8 or a tag: never 0xff
        }
        part.add_range(Included(&start), Excluded(&end), &mut |_| true, into)?;
    }
    Ok(())
}
