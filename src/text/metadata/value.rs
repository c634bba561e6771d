//! Metadata values as bytes that sort like the values.

use super::Instant;

/// A JSON number as bytes that sort like it, exactly, across integers and doubles: the nearest double,
/// then how far the integer is from it. `1` and `1.0` are the same number, `0.0` and `-0.0` too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Number([u8; 10]);

impl Number {
    /// The number, or `None` where it is neither a 64-bit integer nor a finite double.
    pub fn new(number: &serde_json::Number) -> Option<Number> {
        let integer = number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from));
        let double = match integer {
            Some(integer) => integer as f64,
            None => number.as_f64().filter(|double| double.is_finite())?,
        };
        // Doubles near 2^64 are 2,048 apart, so an integer is at most 1,024 from the nearest.
        let rest = i16::try_from(integer.map_or(0, |integer| integer - double as i128)).ok()?;

        let bits = (double + 0.0).to_bits(); // -0.0 + 0.0 is 0.0
        let ordered = if bits >> 63 == 1 { !bits } else { bits | 1 << 63 };
        let mut bytes = [0; 10];
        bytes[..8].copy_from_slice(&ordered.to_be_bytes());
        bytes[8..].copy_from_slice(&(rest.cast_unsigned() ^ 1 << 15).to_be_bytes());
        Some(Number(bytes))
    }
}

/// One value a document can be filtered by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scalar {
    /// `true` or `false`.
    Bool(bool),
    /// A number.
    Number(Number),
    /// A string; one that [`Instant::parse`] reads is a point in time as well.
    String(String),
}

impl Scalar {
    /// The string, number or bool; `None` for null, arrays, objects and numbers out of range.
    pub fn from_json(value: &serde_json::Value) -> Option<Scalar> {
        match value {
            serde_json::Value::Bool(value) => Some(Scalar::Bool(*value)),
            serde_json::Value::Number(number) => Number::new(number).map(Scalar::Number),
            serde_json::Value::String(text) => Some(Scalar::String(text.clone())),
            _ => None,
        }
    }

    /// The forms it is indexed in: a string that is a point in time has two.
    pub(crate) fn forms(&self) -> impl Iterator<Item = Form<'_>> {
        let (form, instant) = match self {
            Scalar::Bool(value) => (Form::Bool(*value), None),
            Scalar::Number(number) => (Form::Number(*number), None),
            Scalar::String(text) => (Form::String(text), Instant::parse(text)),
        };
        std::iter::once(form).chain(instant.map(Form::Instant))
    }
}

/// What a term holds of a value: its kind and its bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Form<'a> {
    Bool(bool),
    Number(Number),
    Instant(Instant),
    String(&'a str),
}

impl Form<'_> {
    /// The bytes after the tag; they sort like the values of the kind.
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Form::Bool(false) => &[0],
            Form::Bool(true) => &[1],
            Form::Number(number) => &number.0,
            Form::Instant(instant) => instant.bytes(),
            Form::String(text) => text.as_bytes(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn number(value: Value) -> Number {
        Number::new(value.as_number().unwrap()).unwrap()
    }

    #[test]
    fn numbers_sort_exactly() {
        let ascending = [
            json!(f64::MIN),
            json!(-1e19),
            json!(i64::MIN),
            json!(i64::MIN + 1),
            json!(-9_007_199_254_740_993_i64),
            json!(-9_007_199_254_740_992_i64),
            json!(-1.5),
            json!(-1),
            json!(-f64::MIN_POSITIVE),
            json!(0),
            json!(5e-324),
            json!(1),
            json!(1.000_000_1),
            json!(9_007_199_254_740_991_i64),
            json!(9_007_199_254_740_992_i64),
            json!(9_007_199_254_740_993_i64),
            json!(9_007_199_254_740_994.0),
            json!(9_007_199_254_740_995_i64),
            json!(i64::MAX - 1),
            json!(i64::MAX),
            json!(9_223_372_036_854_775_808.0),
            json!(u64::MAX - 1),
            json!(u64::MAX),
            json!(18_446_744_073_709_551_616.0),
            json!(f64::MAX),
        ];
        let numbers = ascending.map(number);
        assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    }

    #[test]
    fn equal_numbers_are_equal_however_they_are_written() {
        assert_eq!(number(json!(1)), number(json!(1.0)));
        assert_eq!(number(json!(0)), number(json!(-0.0)));
        assert_eq!(number(json!(1_u64 << 63)), number(json!(9_223_372_036_854_775_808.0)));
        assert_eq!(number(json!(i64::MIN)), number(json!(-9_223_372_036_854_775_808.0)));
    }
}
