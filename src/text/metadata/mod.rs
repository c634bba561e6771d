//! Metadata as terms: every value of a document's metadata becomes one byte string, which is indexed
//! with each of the document's rows and found again by filters.
//!
//! ```text
//! term  = key 00 form
//! key   = the key path, its names joined by '.', with 00 written as 01 01 and 01 as 01 02
//! form  = 01                        the key has a value
//!       | 02|03 (00 | 01)           false, true
//!       | 04|05 8 bytes, 2 bytes    a number: nearest double, distance from it
//!       | 06|07 8 bytes, 4 bytes    a point in time: seconds, nanoseconds
//!       | 08|09 UTF-8               a string
//! ```
//!
//! The lower of the two tags is a value that stands alone, the higher an element of an array. Within a
//! tag, terms sort like their values, so a range of values is a range of terms. Nothing is converted:
//! what a term cannot hold is refused when the document is posted.

mod instant;
mod value;

use serde_json::{Map, Value};

use crate::document::Metadata;
use crate::{Error, Result};

pub use instant::Instant;
pub(crate) use value::Form;
pub use value::{Number, Scalar};

/// The most bytes of a key path: the names down to a value, joined by `.`.
pub const MAX_KEY_BYTES: usize = 512;
/// The most bytes of a string value.
pub const MAX_STRING_BYTES: usize = 32_766;
/// The most values of one document.
pub const MAX_VALUES: usize = 1_000;
/// The most levels of objects and arrays, the metadata object included.
pub const MAX_DEPTH: usize = 20;

/// The terms of a document's metadata, ascending, each once.
///
/// # Errors
/// `invalid_request` for a key path, a string, a number of values or a depth over the limit; the
/// parameter is the path to it, e.g. `metadata.a.b[3]`.
pub fn terms(metadata: &Metadata) -> Result<Vec<Vec<u8>>> {
    let mut walk = Walk { key: String::new(), at: "metadata".into(), values: 0, terms: Vec::new() };
    walk.object(metadata, 1)?;
    walk.terms.sort_unstable();
    walk.terms.dedup();
    Ok(walk.terms)
}

/// Whether a value stands alone under its key or is an element of an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Alone,
    Element,
}

impl Place {
    pub(crate) const BOTH: [Place; 2] = [Place::Alone, Place::Element];
}

/// Writes the terms of one key path.
pub(crate) struct KeyTerms(Vec<u8>);

const HAS_VALUE: u8 = 0x01;

impl KeyTerms {
    /// The terms of the key path `key`.
    pub(crate) fn new(key: &str) -> KeyTerms {
        let mut bytes = escape(key);
        bytes.push(0);
        KeyTerms(bytes)
    }

    /// The term that says that the key has a value.
    pub(crate) fn has_value(&self) -> Vec<u8> {
        self.with(HAS_VALUE, &[])
    }

    /// The term of a value.
    pub(crate) fn value(&self, form: &Form<'_>, place: Place) -> Vec<u8> {
        self.with(tag(form, place), form.bytes())
    }

    /// Where the terms of the form's kind begin, and the first term after them.
    pub(crate) fn kind(&self, form: &Form<'_>, place: Place) -> (Vec<u8>, Vec<u8>) {
        let tag = tag(form, place);
        (self.with(tag, &[]), self.with(tag + 1, &[]))
    }

    fn with(&self, tag: u8, bytes: &[u8]) -> Vec<u8> {
        let mut term = Vec::with_capacity(self.0.len() + 1 + bytes.len());
        term.extend_from_slice(&self.0);
        term.push(tag);
        term.extend_from_slice(bytes);
        term
    }
}

/// Where the terms of the key paths below `key` begin, and the first term after them.
pub(crate) fn below(key: &str) -> (Vec<u8>, Vec<u8>) {
    let key = escape(key);
    let with = |last: u8| [key.as_slice(), &[last]].concat();
    (with(b'.'), with(b'.' + 1))
}

/// Whether `term` says that its key has a value.
pub(crate) fn says_has_value(term: &[u8]) -> bool {
    // The first 00 ends the key: a value may hold others.
    matches!(term.iter().position(|&byte| byte == 0), Some(end) if term[end + 1..] == [HAS_VALUE])
}

fn tag(form: &Form<'_>, place: Place) -> u8 {
    let alone = match form {
        Form::Bool(_) => 0x02,
        Form::Number(_) => 0x04,
        Form::Instant(_) => 0x06,
        Form::String(_) => 0x08,
    };
    alone + u8::from(place == Place::Element)
}

fn escape(key: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(key.len() + 1);
    for byte in key.bytes() {
        match byte {
            0 => bytes.extend([1, 1]),
            1 => bytes.extend([1, 2]),
            byte => bytes.push(byte),
        }
    }
    bytes
}

/// The way down a metadata object.
struct Walk {
    /// The key path so far.
    key: String,
    /// The same for people, with the positions in arrays.
    at: String,
    values: usize,
    terms: Vec<Vec<u8>>,
}

impl Walk {
    fn object(&mut self, object: &Map<String, Value>, depth: usize) -> Result<()> {
        self.check_depth(depth)?;
        let (key, at) = (self.key.len(), self.at.len());
        for (name, value) in object {
            if depth > 1 {
                self.key.push('.');
            }
            self.key.push_str(name);
            if self.key.len() > MAX_KEY_BYTES {
                let shown: String = self.key.chars().take(40).collect();
                let message = format!(
                    "the key path {shown:?}… has {} bytes; a key path may have {MAX_KEY_BYTES}",
                    self.key.len()
                );
                return Err(self.refuse(message));
            }
            self.at.push('.');
            self.at.push_str(name);
            self.value(value, Place::Alone, depth)?;
            self.key.truncate(key);
            self.at.truncate(at);
        }
        Ok(())
    }

    fn value(&mut self, value: &Value, place: Place, depth: usize) -> Result<()> {
        match value {
            Value::Null => Ok(()),
            Value::Object(object) => self.object(object, depth + 1),
            Value::Array(elements) => {
                self.check_depth(depth + 1)?;
                let at = self.at.len();
                for (index, element) in elements.iter().enumerate() {
                    self.at.push_str(&format!("[{index}]"));
                    self.value(element, Place::Element, depth + 1)?;
                    self.at.truncate(at);
                }
                Ok(())
            }
            Value::Bool(_) | Value::Number(_) | Value::String(_) => self.scalar(value, place),
        }
    }

    fn scalar(&mut self, value: &Value, place: Place) -> Result<()> {
        self.values += 1;
        if self.values > MAX_VALUES {
            return Err(self.refuse(format!("a document's metadata may hold {MAX_VALUES} values")));
        }
        if let Value::String(text) = value
            && text.len() > MAX_STRING_BYTES
        {
            let message = format!(
                "the string has {} bytes; a metadata string may have {MAX_STRING_BYTES} (long text belongs into the document's text)",
                text.len()
            );
            return Err(self.refuse(message));
        }
        let Some(scalar) = Scalar::from_json(value) else {
            return Err(self.refuse("the number is neither a 64-bit integer nor a finite double"));
        };
        let key = KeyTerms::new(&self.key);
        self.terms.extend(scalar.forms().map(|form| key.value(&form, place)));
        self.terms.push(key.has_value());
        Ok(())
    }

    fn check_depth(&self, depth: usize) -> Result<()> {
        if depth > MAX_DEPTH {
            let message = format!("objects and arrays may be nested {MAX_DEPTH} deep");
            return Err(self.refuse(message));
        }
        Ok(())
    }

    fn refuse(&self, message: impl Into<String>) -> Error {
        Error::invalid(&self.at, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn metadata(value: Value) -> Metadata {
        value.as_object().unwrap().clone()
    }

    fn refused(value: Value) -> Error {
        let error = terms(&metadata(value)).unwrap_err();
        assert_eq!(error.code, crate::Code::InvalidRequest);
        error
    }

    #[test]
    fn terms_have_the_documented_bytes() {
        let got = terms(&metadata(json!({"k\u{0}": {"\u{1}": [true, "x"]}, "n": null, "s": "2000-01-01"})))
            .unwrap();
        let instant = [&b"s\0\x06"[..], &(946_684_800_u64 | 1 << 63).to_be_bytes(), &[0; 4]].concat();
        let want: Vec<Vec<u8>> = vec![
            b"k\x01\x01.\x01\x02\0\x01".to_vec(),
            b"k\x01\x01.\x01\x02\0\x03\x01".to_vec(),
            b"k\x01\x01.\x01\x02\0\x09x".to_vec(),
            b"s\0\x01".to_vec(),
            instant,
            b"s\0\x082000-01-01".to_vec(),
        ];
        assert_eq!(got, want);
    }

    #[test]
    fn a_value_said_twice_is_one_term() {
        let once = terms(&metadata(json!({"a": {"b": [1]}}))).unwrap();
        assert_eq!(terms(&metadata(json!({"a": {"b": [1, 1.0]}, "a.b": [1, null, []]}))).unwrap(), once);
    }

    #[test]
    fn limits_are_exact_and_name_the_path() {
        let at_limit = json!({
            "a": "x".repeat(MAX_STRING_BYTES),
            "k".repeat(MAX_KEY_BYTES): 1,
            "v": vec![1; MAX_VALUES - 2],
        });
        assert!(terms(&metadata(at_limit)).is_ok());

        let error = refused(json!({"a": {"b": [0, 1, 2, "x".repeat(MAX_STRING_BYTES + 1)]}}));
        assert_eq!(error.param.as_deref(), Some("metadata.a.b[3]"));
        let error = refused(json!({"a": {"k".repeat(MAX_KEY_BYTES - 1): 1}}));
        assert_eq!(error.param.as_deref(), Some("metadata.a"));
        let error = refused(json!({"v": vec![1; MAX_VALUES + 1]}));
        assert_eq!(error.param.as_deref(), Some("metadata.v[1000]"));
    }

    #[test]
    fn depth_counts_objects_and_arrays() {
        let nested = |levels: usize| {
            let wrap = |value, level| if level % 2 == 0 { json!([value]) } else { json!({"k": value}) };
            metadata(json!({"a": (1..levels).fold(json!(1), wrap)}))
        };
        assert!(terms(&nested(MAX_DEPTH)).is_ok());
        let error = terms(&nested(MAX_DEPTH + 1)).unwrap_err();
        assert!(error.message.contains("20 deep"), "{error}");
        assert!(terms(&nested(120)).is_err());
    }
}
