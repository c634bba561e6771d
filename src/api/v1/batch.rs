//! Bodies of document writes: one document, an array, `{"documents": […]}` or one document a line. Each document
//! of a batch is parsed by itself, so that a bad one fails alone.

use serde::Deserialize;
use serde_json::value::RawValue;
use utoipa::openapi::schema::{
    AdditionalProperties, AnyOfBuilder, ArrayBuilder, ObjectBuilder, Schema, SchemaType,
};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{PartialSchema, ToSchema};

use crate::api::extract::{MediaType, from_json, of_another_kind, syntax_error};
use crate::document::{BatchItem, Document, check_id};
use crate::error::{Code, Error, Result};

/// The most documents of one write: what is kept of each bad one is bounded by it.
pub(in crate::api) const MAX_DOCUMENTS: usize = 50_000;

/// The documents of a body.
pub(in crate::api) struct Batch {
    /// Each document, or why it is not one.
    pub items: Vec<BatchItem>,
    /// Whether the body was one document, not a list with one.
    pub single: bool,
}

/// What a JSON body of documents may be, for the API's description.
pub(in crate::api) struct DocumentsBody;

impl PartialSchema for DocumentsBody {
    fn schema() -> RefOr<Schema> {
        let document = || Ref::from_schema_name(Document::name());
        // an element that is no document fails alone: the request stays valid
        let anything = || ObjectBuilder::new().schema_type(SchemaType::AnyValue);
        let element = || AnyOfBuilder::new().item(document()).item(anything());
        let list = || ArrayBuilder::new().items(element());
        let envelope = ObjectBuilder::new()
            .property("documents", list())
            .required("documents")
            .additional_properties(Some(AdditionalProperties::FreeForm(false)));
        AnyOfBuilder::new().item(document()).item(list()).item(envelope).into()
    }
}

impl ToSchema for DocumentsBody {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((Document::name().into_owned(), Document::schema()));
        Document::schemas(schemas);
    }
}

/// Parses a body. A body that is one bad document is an error; a bad document of a list is an item.
pub(in crate::api) fn parse(body: &[u8], media_type: MediaType) -> Result<Batch> {
    match media_type {
        MediaType::Json => parse_json(body),
        MediaType::JsonLines => Ok(Batch { items: parse_lines(body)?, single: false }),
    }
}

/// `{"documents": […]}`, or a document: its fields are not looked at.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    documents: Option<&'a RawValue>,
}

/// `{"documents": […]}` and nothing else.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Documents<'a> {
    #[serde(borrow)]
    documents: Vec<&'a RawValue>,
}

fn parse_json(body: &[u8]) -> Result<Batch> {
    let elements = match body.trim_ascii_start().first() {
        Some(b'[') => raw_elements(body)?,
        Some(b'{') => {
            let envelope: Envelope<'_> = serde_json::from_slice(body).map_err(|error| json_error(&error))?;
            if envelope.documents.is_none() {
                return Ok(Batch { items: vec![Ok(document(body, "")?)], single: true });
            }
            let documents: Result<Documents<'_>, _> = serde_json::from_slice(body);
            documents.map_err(|error| json_error(&error))?.documents
        }
        _ => return Err(of_another_kind(body, "send a document, an array of them, or {\"documents\": […]}")),
    };
    check_count(elements.len())?;
    let items = elements.iter().enumerate().map(|(index, element)| item(element.get().as_bytes(), index));
    Ok(Batch { items: items.collect(), single: false })
}

/// The elements of an array, their texts unread: an escape that stands for no character breaks its document only.
fn raw_elements(body: &[u8]) -> Result<Vec<&RawValue>> {
    serde_json::from_slice(body).map_err(|error| json_error(&error))
}

fn json_error(error: &serde_json::Error) -> Error {
    if error.is_data() {
        let message = "`documents` must be an array and the only field".to_owned();
        return Error::invalid("documents", format!("{message}: {error}"));
    }
    syntax_error(error)
}

fn parse_lines(body: &[u8]) -> Result<Vec<BatchItem>> {
    let lines = || {
        let lines = body.split(|byte| *byte == b'\n').enumerate();
        lines.map(|(number, line)| (number + 1, line.trim_ascii())).filter(|(_, line)| !line.is_empty())
    };
    check_count(lines().count())?;
    let items = lines().enumerate().map(|(index, (number, line))| {
        item(line, index).map_err(|error| {
            let message =
                format!("line {number}: {}", error.message.replace(" at line 1 column ", " at column "));
            Error { message, ..error }
        })
    });
    Ok(items.collect())
}

fn check_count(count: usize) -> Result<()> {
    if count <= MAX_DOCUMENTS {
        return Ok(());
    }
    let message =
        format!("{count} documents are more than the {MAX_DOCUMENTS} of one write: send them in parts");
    Err(Error::invalid("documents", message))
}

fn item(text: &[u8], index: usize) -> BatchItem {
    document(text, &format!("documents[{index}]"))
}

/// Parses and checks one document; errors name its fields under `prefix`.
fn document(text: &[u8], prefix: &str) -> BatchItem {
    from_json(text).and_then(check).map_err(|error| {
        let param = match error.param.as_deref() {
            Some(field) if prefix.is_empty() => Some(field.to_owned()),
            Some(field) => Some(format!("{prefix}.{field}")),
            None if prefix.is_empty() => None,
            None => Some(prefix.to_owned()),
        };
        Error { param, ..error }
    })
}

fn check(document: Document) -> BatchItem {
    document.id.as_deref().map_or(Ok(()), check_id)?;
    if document.text.trim().is_empty() {
        return Err(Error::invalid("text", "text must hold at least one character that is not white space"));
    }
    let mut vector = document.vector.iter().flatten();
    if let Some(place) = vector.position(|value| !value.is_finite()) {
        let message = "a value of the vector is too large for 32-bit floating point";
        return Err(Error::new(Code::InvalidVector, message).with_param(format!("vector[{place}]")));
    }
    Ok(document)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(body: &str) -> Result<Batch> {
        parse(body.as_bytes(), MediaType::Json)
    }

    /// What became of each item: its text, or code and param of its error.
    fn outcome(batch: Batch) -> Vec<String> {
        let outcome = |item: BatchItem| match item {
            Ok(document) => document.text,
            Err(error) => format!("{} {}", error.code.name(), error.param.unwrap_or_default()),
        };
        batch.items.into_iter().map(outcome).collect()
    }

    #[test]
    fn the_four_shapes_are_read() {
        let one = json(r#" {"id":"a","text":"x","metadata":{"documents":[1]}} "#).unwrap();
        assert!(one.single);
        assert_eq!(outcome(one), ["x"]);
        for body in [r#"[{"text":"x"},{"text":"y"}]"#, r#"{"documents":[{"text":"x"},{"text":"y"}]}"#] {
            let batch = json(body).unwrap();
            assert!(!batch.single);
            assert_eq!(outcome(batch), ["x", "y"]);
        }
        let lines = b"{\"text\":\"x\"}\r\n\n{\"text\":\"y\"}";
        assert_eq!(outcome(parse(lines, MediaType::JsonLines).unwrap()), ["x", "y"]);
        assert!(outcome(json("[]").unwrap()).is_empty());
    }

    #[test]
    fn a_bad_item_fails_alone() {
        let bad = [
            (r#"{"text":"\ud800"}"#, "invalid_json documents[1].text"),
            (r#"{"text":"a","metadata":{"k":"\udc00"}}"#, "invalid_json documents[1].metadata.k"),
            (r#"{"text":"a","\ud800":1}"#, "invalid_json documents[1]"),
            (r#"{"text":""}"#, "invalid_request documents[1].text"),
            (r#"{"text":" \n\u3000"}"#, "invalid_request documents[1].text"),
            (r#"{"text":5}"#, "invalid_request documents[1].text"),
            (r#"{}"#, "invalid_request documents[1].text"),
            (r#"{"text":"a","titel":"b"}"#, "invalid_request documents[1].titel"),
            (r#"{"text":"a","id":""}"#, "invalid_request documents[1].id"),
            (r#"{"text":"a","id":".."}"#, "invalid_request documents[1].id"),
            (r#"{"text":"a","metadata":[]}"#, "invalid_request documents[1].metadata"),
            (r#"{"text":"a","vector":[0,1e39]}"#, "invalid_vector documents[1].vector[1]"),
            (r#"["id","text"]"#, "invalid_request documents[1]"),
            ("null", "invalid_request documents[1]"),
            ("7", "invalid_request documents[1]"),
        ];
        for (bad, expected) in bad {
            let batch = json(&format!(r#"[{{"text":"x"}}, {bad} , {{"text":"y"}}]"#)).unwrap();
            assert_eq!(outcome(batch), ["x", expected, "y"], "{bad}");
            let lines = format!("{{\"text\":\"x\"}}\n{bad}\n{{\"text\":\"y\"}}\n");
            let batch = parse(lines.as_bytes(), MediaType::JsonLines).unwrap();
            assert_eq!(outcome(batch), ["x", expected, "y"], "{bad}");
            let single = format!("{:?}", json(bad).err().map(|error| error.code.status()));
            assert_eq!(single, if bad.starts_with('[') { "None" } else { "Some(400)" }, "{bad}");
        }
        let long = format!(r#"[{{"text":"x","id":"{}"}}]"#, "é".repeat(257));
        assert_eq!(outcome(json(&long).unwrap()), ["invalid_request documents[0].id"]);
    }

    #[test]
    fn a_line_that_is_not_json_fails_alone_and_is_named() {
        let batch = parse(b"{\"text\":\"x\"}\n\n{\"text\"\n\xff\n", MediaType::JsonLines).unwrap();
        let message = &batch.items[1].as_ref().unwrap_err().message;
        assert!(message.starts_with("line 3: not JSON: ") && message.ends_with(" at column 7"), "{message}");
        assert_eq!(outcome(batch), ["x", "invalid_json documents[1]", "invalid_json documents[2]"]);
    }

    #[test]
    fn a_bad_body_is_one_error() {
        for (body, code, param) in [
            ("", Code::InvalidJson, None),
            ("[{\"text\":\"x\"},", Code::InvalidJson, None),
            ("[{\"text\":\"x\"}] x", Code::InvalidJson, None),
            ("\"text\"", Code::InvalidRequest, None),
            (r#"{"documents":7}"#, Code::InvalidRequest, Some("documents")),
            (r#"{"documents":[],"wait":true}"#, Code::InvalidRequest, Some("documents")),
            (r#"{"text":" "}"#, Code::InvalidRequest, Some("text")),
        ] {
            let error = json(body).err().unwrap();
            assert_eq!((error.code, error.param.as_deref()), (code, param), "{body}");
        }
        let error = json("[\n {]").err().unwrap();
        assert!(error.message.contains("line 2 column 3"), "{}", error.message);
        let many = format!("[{}0]", "0,".repeat(MAX_DOCUMENTS));
        assert_eq!(json(&many).err().unwrap().param.as_deref(), Some("documents"));
    }

    #[test]
    fn depth_is_bounded() {
        let deep = format!(
            "[{{\"text\":\"x\",\"metadata\":{{\"k\":{}1{}}}}}]",
            "[".repeat(100_000),
            "]".repeat(100_000)
        );
        let [outcome] = outcome(json(&deep).unwrap()).try_into().unwrap();
        assert!(outcome.starts_with("invalid_json documents[0].metadata.k[0]"), "{outcome}");
        assert!(outcome.len() < 500, "{outcome}");
    }
}
