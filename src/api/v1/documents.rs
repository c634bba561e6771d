//! Writing, reading and deleting documents.

use axum::extract::State;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::{CollectionPath, batch};
use crate::api::error::{method_not_allowed, unavailable};
use crate::api::extract::{Json, Path, Query, WriteBody, page_limit};
use crate::api::openapi::{
    BadBody, BadPath, BadQuery, CollectionMissing, DocumentMissing, Refused, WriteRefused,
};
use crate::api::state::{ApiState, OpenEngine};
use crate::document::{DeleteResponse, DocumentPage, StoredDocument, WriteResponse};
use crate::error::{Code, Error, Result};
use crate::search::request::FilterSchema;

/// How a write is answered.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct WriteQuery {
    /// Answer when the documents are searchable; otherwise, or where a shutdown begins first, when they are on disk.
    #[serde(default)]
    #[param(default = false)]
    wait: bool,
}

/// Writes documents.
///
/// A document with the id of another replaces it. The documents of a list stand alone: one that cannot be
/// taken is `failed` in `results`, with its own error, and the others are kept. NDJSON holds one document a
/// line. At most 50000 documents a request.
#[utoipa::path(
    post,
    path = "/v1/collections/{collection}/documents",
    operation_id = "write_documents",
    tag = "documents",
    params(CollectionPath, WriteQuery),
    request_body(content(
        (batch::DocumentsBody = "application/json", examples(
            ("One" = (value = json!({"id": "a", "text": "Paris is the capital of France.", "metadata": {"year": 2024}}))),
            ("Several" = (value = json!({"documents": [{"text": "Rome."}, {"title": "Oslo", "text": "In Norway."}]}))),
        )),
        (String = "application/x-ndjson"),
        (String = "application/jsonl"),
    )),
    responses(
        (status = 200, description = "Searchable (`wait=true`), or nothing was accepted", body = WriteResponse),
        (status = 202, description = "On disk; the job `job_id` makes them searchable", body = WriteResponse),
        BadBody, CollectionMissing, WriteRefused, Refused,
    )
)]
pub(in crate::api) async fn write(
    OpenEngine(engine): OpenEngine,
    Path(path): Path<CollectionPath>,
    Query(query): Query<WriteQuery>,
    body: WriteBody,
) -> Result<(StatusCode, axum::Json<WriteResponse>)> {
    let WriteBody { bytes, media_type, permit: _permit } = body;
    engine.collection(&path.collection)?;
    // parsing tens of megabytes would hold up other requests of this thread
    let batch = tokio::task::spawn_blocking(move || batch::parse(&bytes, media_type)).await;
    let batch = batch.map_err(|_| Error::internal("the body could not be parsed"))??;
    let mut response = engine.write(&path.collection, batch.items, query.wait).await?;
    if batch.single
        && let Some(error) = response.results.first_mut().and_then(|result| result.error.take())
    {
        return Err(alone(error));
    }
    let status = if response.job_id.is_some() { StatusCode::ACCEPTED } else { StatusCode::OK };
    Ok((status, axum::Json(response)))
}

/// The error of a document that was the whole body.
fn alone(error: crate::document::ErrorBody) -> Error {
    let code = Code::from_name(&error.code).unwrap_or(Code::InvalidRequest);
    let param = error.param.map(|param| match param.strip_prefix("documents[0].") {
        Some(field) => field.to_owned(),
        None => param,
    });
    Error { param, ..Error::new(code, error.message) }
}

/// Which documents are listed.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct ListQuery {
    /// `next` of the page before: only documents with a greater id.
    after: Option<String>,
    /// Documents a page.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<usize>,
    /// Only documents that pass this filter, in JSON.
    #[param(value_type = Option<FilterSchema>)]
    filter: Option<String>,
}

/// Lists documents in the order of their ids, without their texts.
#[utoipa::path(
    get,
    path = "/v1/collections/{collection}/documents",
    operation_id = "list_documents",
    tag = "documents",
    params(CollectionPath, ListQuery),
    responses((status = 200, description = "A page", body = DocumentPage), BadQuery, CollectionMissing, Refused)
)]
pub(in crate::api) async fn list(
    OpenEngine(engine): OpenEngine,
    Path(path): Path<CollectionPath>,
    Query(query): Query<ListQuery>,
) -> Result<axum::Json<DocumentPage>> {
    let limit = page_limit(query.limit)?;
    let filter = query.filter.as_deref().map(parse_filter).transpose()?;
    let page = engine.documents(&path.collection, query.after.as_deref(), limit, filter.as_ref()).await?;
    Ok(axum::Json(page))
}

fn parse_filter(text: &str) -> Result<Value> {
    serde_json::from_str(text).map_err(|error| {
        Error::new(Code::InvalidFilter, format!("the filter is not JSON: {error}")).with_param("filter")
    })
}

/// The document a path is about.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(in crate::api) struct DocumentPath {
    /// Name of the collection.
    #[param(min_length = 1, example = "notes")]
    collection: String,
    /// Id of the document, percent-encoded (`/` as `%2F`).
    #[param(min_length = 1, example = "a")]
    id: String,
}

/// Shows a document with its text.
#[utoipa::path(
    get,
    path = "/v1/collections/{collection}/documents/{id}",
    operation_id = "get_document",
    tag = "documents",
    params(DocumentPath),
    responses((status = 200, description = "The document", body = StoredDocument), BadPath, DocumentMissing, Refused)
)]
pub(in crate::api) async fn show(
    OpenEngine(engine): OpenEngine,
    Path(path): Path<DocumentPath>,
) -> Result<axum::Json<StoredDocument>> {
    engine.document(&path.collection, &path.id).await.map(axum::Json)
}

/// Deletes a document.
#[utoipa::path(
    delete,
    path = "/v1/collections/{collection}/documents/{id}",
    operation_id = "delete_document",
    tag = "documents",
    params(DocumentPath),
    responses(
        (status = 200, description = "It is deleted", body = DeleteResponse),
        BadPath, DocumentMissing, WriteRefused, Refused,
    )
)]
pub(in crate::api) async fn delete(
    State(state): State<ApiState>,
    OpenEngine(engine): OpenEngine,
    Path(path): Path<DocumentPath>,
) -> Result<axum::Json<DeleteResponse>> {
    let _permit = state.admission().write(0)?;
    engine.delete_document(&path.collection, &path.id).await.map(axum::Json)
}

/// Which documents are deleted.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct DeleteByFilter {
    /// Those that pass this filter.
    #[schema(value_type = FilterSchema)]
    filter: Value,
}

/// Deletes every document that passes a filter.
#[utoipa::path(
    post,
    path = "/v1/collections/{collection}/documents/delete",
    operation_id = "delete_documents_by_filter",
    tag = "documents",
    params(CollectionPath),
    request_body(content = DeleteByFilter, example = json!({"filter": {"type": "lt", "key": "year", "value": 2000}})),
    responses(
        (status = 200, description = "They are deleted", body = DeleteResponse),
        BadBody, CollectionMissing, WriteRefused, Refused,
    )
)]
pub(in crate::api) async fn delete_by_filter(
    State(state): State<ApiState>,
    OpenEngine(engine): OpenEngine,
    Path(path): Path<CollectionPath>,
    Json(body): Json<DeleteByFilter>,
) -> Result<axum::Json<DeleteResponse>> {
    let _permit = state.admission().write(0)?;
    engine.delete_by_filter(&path.collection, &body.filter).await.map(axum::Json)
}

/// Answers the other methods on the path of [`delete_by_filter`]: it is also that of a document whose id is
/// `delete`. Where there is none, the path has no other methods.
pub(in crate::api) async fn named_delete(
    method: Method,
    uri: Uri,
    state: State<ApiState>,
    Path(path): Path<CollectionPath>,
) -> Result<Response> {
    let path = Path(DocumentPath { collection: path.collection, id: "delete".into() });
    let engine = state.engine().cloned().map(OpenEngine);
    let answer = match (method.clone(), engine) {
        (Method::GET | Method::HEAD, Some(engine)) => {
            show(engine, path).await.map(IntoResponse::into_response)
        }
        (Method::DELETE, Some(engine)) => delete(state, engine, path).await.map(IntoResponse::into_response),
        (Method::GET | Method::HEAD | Method::DELETE, None) => Err(unavailable()),
        _ => Err(method_not_allowed(method.clone(), uri.clone()).await),
    };
    match answer {
        Err(error) if matches!(error.code, Code::CollectionNotFound | Code::DocumentNotFound) => {
            Err(method_not_allowed(method, uri).await)
        }
        answer => answer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_of_a_single_document_names_its_own_field() {
        let error = Error::new(Code::InvalidVector, "too long").with_param("documents[0].vector");
        let error = alone(crate::document::ErrorBody::from(&error));
        assert_eq!((error.code, error.param.as_deref()), (Code::InvalidVector, Some("vector")));
    }
}
