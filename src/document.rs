//! What a user posts, and what gleaner says of it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::dispatch::Usage;

use crate::error::{Error, Result};

/// A document's metadata: a JSON object, indexed as it is (see `docs/filters.md`).
pub type Metadata = Map<String, Value>;

/// A document: the unit that is written, replaced and deleted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// The primary key, 1 to 512 bytes, but neither `.` nor `..`, which no URL can hold as a segment; a
    /// document with the same id is replaced. Absent: one is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 512, pattern = r"[^.]|\.\.\.")]
    pub id: Option<String>,
    /// The text. Must hold at least one character that is not white space.
    #[schema(
        min_length = 1,
        pattern = r"[^\t-\r \u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]"
    )]
    pub text: String,
    /// Searched with every chunk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Where the document comes from, for citations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// Any JSON object; its values can be filtered on.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    #[schema(value_type = Object)]
    pub metadata: Metadata,
    /// The document's vector; required where the collection takes vectors from the client, refused
    /// elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vector: Option<Vec<f32>>,
}

/// Longest document id in bytes.
const MAX_ID_BYTES: usize = 512;

/// Whether a document can have that id. The error names the field `id`.
pub fn check_id(id: &str) -> Result<()> {
    if id.is_empty() || id.len() > MAX_ID_BYTES {
        let message = format!("an id has 1 to {MAX_ID_BYTES} bytes, this one has {}", id.len());
        return Err(Error::invalid("id", message));
    }
    if id == "." || id == ".." {
        // clients resolve them as relative paths, percent-encoded or not, before they send the request
        let message = format!("`{id}` cannot be an id: no URL can address it; use another one");
        return Err(Error::invalid("id", message));
    }
    Ok(())
}

/// One element of a batch: a document, or why that element is not one.
pub type BatchItem = Result<Document>;

/// A stored document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StoredDocument {
    /// The primary key.
    pub id: String,
    /// The title, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Where it comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// The metadata as it was posted.
    #[schema(value_type = Object)]
    pub metadata: Metadata,
    /// The text; absent in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// How many chunks it has.
    pub chunks: u32,
    /// Grows with every accepted write of the collection: a later version is a newer document.
    pub version: u64,
}

/// What became of one document of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ItemStatus {
    /// On disk; will become searchable (or its job says why not).
    Accepted,
    /// On disk and searchable.
    Indexed,
    /// A later document of the same id took its place.
    Superseded,
    /// Not written; `error` says why.
    Failed,
    /// Of a job's documents: being chunked, embedded and indexed.
    Indexing,
    /// Of a job's documents: dropped when the job was cancelled.
    Cancelled,
    /// Of a job's documents: deleted since it was accepted.
    Deleted,
}

/// What became of one document of a write.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ItemResult {
    /// Position in the request.
    pub index: usize,
    /// The document's id, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// What became of it.
    pub status: ItemStatus,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorBody>,
}

/// The inner object of the one error shape.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// The class of the error, e.g. `invalid_request_error`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The stable name of the reason, e.g. `collection_not_found`.
    #[schema(schema_with = code_schema)]
    pub code: String,
    /// What happened, to what, and what to do.
    pub message: String,
    /// The field, path or file it is about.
    pub param: Option<String>,
}

impl From<&crate::Error> for ErrorBody {
    fn from(error: &crate::Error) -> Self {
        ErrorBody {
            kind: error.code.kind().into(),
            code: error.code.name().into(),
            message: error.message.clone(),
            param: error.param.clone(),
        }
    }
}

fn code_schema() -> utoipa::openapi::Object {
    let names = crate::Code::ALL.iter().map(|code| code.name());
    utoipa::openapi::ObjectBuilder::new()
        .schema_type(utoipa::openapi::schema::Type::String)
        .description(Some("The stable name of the reason."))
        .enum_values(Some(names))
        .build()
}

/// The answer to a write.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct WriteResponse {
    /// The job that indexes what was accepted; absent with `wait=true`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_id: Option<String>,
    /// How many documents are on disk.
    pub accepted: usize,
    /// How many are not.
    pub failed: usize,
    /// One entry a document, in the order of the request.
    pub results: Vec<ItemResult>,
    /// With `wait=true`: what embedding them cost, where a provider did it.
    #[serde(default, skip_serializing_if = "Usage::is_zero")]
    pub usage: Usage,
}

/// The answer to a delete.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct DeleteResponse {
    /// How many documents were deleted; they are gone from every search that starts now.
    pub deleted: u64,
}

/// One page of stored documents, ordered by id.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct DocumentPage {
    /// The documents, without their text.
    pub documents: Vec<StoredDocument>,
    /// Pass as `after` for the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_short_and_can_be_part_of_a_url() {
        for id in ["a", "...", ".a", "a/../b", "é", " ", &"i".repeat(512)] {
            assert_eq!(check_id(id).map_err(|error| error.message), Ok(()), "{id}");
        }
        for id in ["", ".", "..", &"i".repeat(513)] {
            let error = check_id(id).unwrap_err();
            assert_eq!(
                (error.code, error.param.as_deref()),
                (crate::Code::InvalidRequest, Some("id")),
                "{id}"
            );
        }
    }
}
