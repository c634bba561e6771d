//! Extractors that refuse in our error shape: JSON bodies, query strings and path parameters, each error
//! naming the field it is about.

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use http_body_util::LengthLimitError;
use serde::de::DeserializeOwned;
use serde_json::error::Category;

use super::admission::WritePermit;
use super::state::ApiState;
use crate::error::{Code, Error, Result};

/// The longest body of requests that carry no documents.
const SMALL_BODY_BYTES: usize = 4 << 20;

/// A JSON body.
pub(super) struct Json<T>(pub T);

impl<T: DeserializeOwned> FromRequest<ApiState> for Json<T> {
    type Rejection = Error;

    async fn from_request(request: Request, state: &ApiState) -> Result<Self> {
        if media_type(request.headers())? != MediaType::Json {
            return Err(unsupported("send `Content-Type: application/json`"));
        }
        let limit = SMALL_BODY_BYTES.min(state.settings().body_limit_bytes);
        from_json(&read_body(request, limit).await?).map(Json)
    }
}

/// The body of a write of documents, with the permit it was admitted with.
pub(super) struct WriteBody {
    pub bytes: Bytes,
    pub media_type: MediaType,
    pub permit: WritePermit,
}

impl FromRequest<ApiState> for WriteBody {
    type Rejection = Error;

    async fn from_request(request: Request, state: &ApiState) -> Result<Self> {
        let media_type = media_type(request.headers())?;
        let limit = state.settings().body_limit_bytes;
        // absent for chunked and compressed bodies: those reserve the limit until they are read
        let stated = request.headers().get(header::CONTENT_LENGTH);
        let stated = stated.and_then(|length| length.to_str().ok()?.parse().ok()).unwrap_or(limit);
        let mut permit = state.admission().write(stated.min(limit))?;
        let bytes = read_body(request, limit).await?;
        permit.shrink_to(bytes.len());
        Ok(WriteBody { bytes, media_type, permit })
    }
}

/// What a body is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MediaType {
    /// One JSON value.
    Json,
    /// One JSON value a line.
    JsonLines,
}

fn media_type(headers: &HeaderMap) -> Result<MediaType> {
    if let Some(encoding) = headers.get(header::CONTENT_ENCODING).filter(|encoding| *encoding != "identity") {
        let message = format!("the content encoding {encoding:?} is not known: send gzip or none");
        return Err(unsupported(message));
    }
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(MediaType::Json) };
    let text = value.to_str().unwrap_or_default();
    let essence = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match essence.as_str() {
        "application/json" => Ok(MediaType::Json),
        "application/x-ndjson" | "application/jsonl" => Ok(MediaType::JsonLines),
        _ => Err(unsupported(format!("the content type {value:?} is not read here: send application/json"))),
    }
}

fn unsupported(message: impl Into<String>) -> Error {
    Error::new(Code::UnsupportedMediaType, message)
}

async fn read_body(request: Request, limit: usize) -> Result<Bytes> {
    axum::body::to_bytes(request.into_body(), limit).await.map_err(|error| {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        while let Some(inner) = cause {
            if inner.is::<LengthLimitError>() {
                let message = format!("the body is longer than {limit} bytes: send it in parts");
                return Error::new(Code::BodyTooLarge, message);
            }
            cause = inner.source();
        }
        Error::new(Code::InvalidRequest, format!("the body could not be read: {error}"))
    })
}

/// Parses the object `text`; an error names the line and column, or the field.
pub(super) fn from_json<T: DeserializeOwned>(text: &[u8]) -> Result<T> {
    // a derived reader would also take an array of the fields' values
    if text.trim_ascii_start().first() != Some(&b'{') {
        return Err(of_another_kind(text, "expected a JSON object"));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| json_error(&error))?;
    deserializer.end().map_err(|error| syntax_error(&error))?;
    Ok(value)
}

/// The error of a text that does not begin as it should: JSON of another kind, or no JSON.
pub(super) fn of_another_kind(text: &[u8], expected: &str) -> Error {
    match serde_json::from_slice::<serde::de::IgnoredAny>(text) {
        Ok(_) => Error::new(Code::InvalidRequest, expected),
        Err(error) => syntax_error(&error),
    }
}

/// Makes `value` a `T`; an error names the field.
pub(super) fn from_value<T: DeserializeOwned>(value: serde_json::Value) -> Result<T> {
    serde_path_to_error::deserialize(value).map_err(|error| json_error(&error))
}

fn json_error(error: &serde_path_to_error::Error<serde_json::Error>) -> Error {
    let inner = error.inner();
    match inner.classify() {
        Category::Data => field_error(error.path(), &without_position(inner)),
        _ => Error {
            param: Some(param_of(error.path())).filter(|param| !param.is_empty()),
            ..syntax_error(inner)
        },
    }
}

/// `invalid_json` with the line and column.
pub(super) fn syntax_error(error: &serde_json::Error) -> Error {
    let (line, column) = (error.line(), error.column());
    let message = format!("not JSON: {} at line {line} column {column}", without_position(error));
    Error::new(Code::InvalidJson, message)
}

/// serde_json's message without its own ` at line L column C`.
fn without_position(error: &serde_json::Error) -> String {
    let mut message = error.to_string();
    if let Some(at) = message.rfind(" at line ") {
        message.truncate(at);
    }
    message
}

/// `path` as users write it; empty for the whole value.
fn param_of(path: &serde_path_to_error::Path) -> String {
    let path = path.to_string();
    // a key that is no text is `?`, the whole value is `.`
    let path = path.strip_suffix('?').unwrap_or(&path);
    shortened(path.trim_end_matches('.')).to_owned()
}

/// The beginning of a text that quotes the request: answers must not grow with what was sent.
fn shortened(text: &str) -> &str {
    &text[..text.floor_char_boundary(400)]
}

/// `invalid_request` about the field at `path`. Where serde speaks of a field that is missing, doubled or not known,
/// that field is the one named.
fn field_error(path: &serde_path_to_error::Path, message: &str) -> Error {
    let message = shortened(message);
    let mut param = param_of(path);
    let named = ["missing", "unknown", "duplicate"]
        .into_iter()
        .find_map(|fault| message.strip_prefix(fault)?.strip_prefix(" field `"));
    if let Some(name) = named.and_then(|rest| rest.split('`').next()) {
        let last = param.rsplit('.').next().unwrap_or_default();
        if last != name {
            param = if param.is_empty() { name.to_owned() } else { format!("{param}.{name}") };
        }
    }
    let error = Error::new(Code::InvalidRequest, message);
    if param.is_empty() { error } else { error.with_param(param) }
}

/// Parameters of the query string.
pub(super) struct Query<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<ApiState> for Query<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &ApiState) -> Result<Self> {
        let query = axum::extract::Query::try_from_uri(&parts.uri).map_err(|rejection| {
            let mut cause = std::error::Error::source(&rejection);
            while let Some(inner) = cause {
                type UrlError = serde_path_to_error::Error<serde::de::value::Error>;
                if let Some(error) = inner.downcast_ref::<UrlError>() {
                    return field_error(error.path(), &error.inner().to_string());
                }
                cause = inner.source();
            }
            Error::new(Code::InvalidRequest, rejection.body_text())
        })?;
        Ok(Query(query.0))
    }
}

/// Parameters of the path, percent-decoded.
pub(super) struct Path<T>(pub T);

impl<T: DeserializeOwned + Send> FromRequestParts<ApiState> for Path<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self> {
        use axum::extract::path::ErrorKind;
        use axum::extract::rejection::PathRejection;
        let path = axum::extract::Path::from_request_parts(parts, state).await;
        path.map(|path| Path(path.0)).map_err(|rejection| match rejection {
            PathRejection::FailedToDeserializePathParams(error) => match error.into_kind() {
                ErrorKind::InvalidUtf8InPathParam { key } => {
                    Error::invalid(key, "the percent-encoded bytes are not UTF-8")
                }
                kind => Error::new(Code::InvalidRequest, kind.to_string()),
            },
            rejection => Error::internal(rejection.body_text()),
        })
    }
}

/// How many things a page has: what was asked for, or 100.
pub(super) fn page_limit(limit: Option<usize>) -> Result<usize> {
    in_range("limit", limit.unwrap_or(100), 1..=1000)
}

/// Checks that `value` lies in `range`.
pub(super) fn in_range(param: &str, value: usize, range: std::ops::RangeInclusive<usize>) -> Result<usize> {
    if range.contains(&value) {
        return Ok(value);
    }
    Err(Error::invalid(param, format!("{param} must be {} to {}", range.start(), range.end())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collection::definition::Definition;
    use crate::search::request::SearchRequest;

    fn param_of<T: DeserializeOwned + std::fmt::Debug>(json: &str) -> (Code, Option<String>) {
        let error = from_json::<T>(json.as_bytes()).unwrap_err();
        (error.code, error.param)
    }

    #[test]
    fn an_error_names_the_field() {
        for (json, param) in [
            (r#"{"limit":"ten"}"#, "limit"),
            (r#"{"limit":-1}"#, "limit"),
            (r#"{"lmit":1}"#, "lmit"),
            (r#"{"expand":{"before":1,"beside":2}}"#, "expand.beside"),
            (r#"{"vector":[1,"a"]}"#, "vector[1]"),
            (r#"{"mode":"both"}"#, "mode"),
            (r#"{"limit":1,"limit":2}"#, "limit"),
            (r#"{"expand":[1,2]}"#, "expand"),
            (r#"{"fusion":["rrf"]}"#, "fusion"),
        ] {
            assert_eq!(param_of::<SearchRequest>(json), (Code::InvalidRequest, Some(param.into())), "{json}");
        }
        assert_eq!(param_of::<SearchRequest>("[null]"), (Code::InvalidRequest, None));
        assert_eq!(from_json::<SearchRequest>(br#"{"expand":null}"#).unwrap(), SearchRequest::default());
        let missing = r#"{"embedding":{"provider":"client"}}"#;
        assert_eq!(param_of::<Definition>(missing).1.as_deref(), Some("embedding.dimensions"));
    }

    #[test]
    fn what_is_not_json_is_said_with_its_place() {
        for (json, place) in [
            ("", "line 1 column 0"),
            ("{\n  \"limit\": 1,\n}", "line 3 column 1"),
            (r#"{"query":"\ud800"}"#, "line 1 column 17"),
            ("{} {}", "line 1 column 4"),
            (r#"{"score_threshold":1e999}"#, "line 1 column 24"),
        ] {
            let error = from_json::<SearchRequest>(json.as_bytes()).unwrap_err();
            assert_eq!(error.code, Code::InvalidJson, "{json}");
            assert!(error.message.ends_with(place), "{json}: {}", error.message);
        }
    }
}
