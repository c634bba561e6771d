//! Searching a collection.

use axum::extract::State;

use super::CollectionPath;
use crate::api::extract::{Json, Path};
use crate::api::openapi::{BadSearch, CollectionMissing, Refused};
use crate::api::state::{ApiState, OpenEngine};
use crate::error::Result;
use crate::search::request::SearchRequest;
use crate::search::response::SearchResponse;

/// Searches a collection.
///
/// A leg or reranker that fails degrades the answer, and `status` says so; with `strict` it is an error.
#[utoipa::path(
    post,
    path = "/v1/collections/{collection}/search",
    tag = "search",
    params(CollectionPath),
    request_body(content = SearchRequest, examples(
        ("A question" = (value = json!({"query": "What is the capital of France?", "limit": 5}))),
        ("With a filter" = (value = json!({
            "query": "budget", "filter": {"type": "gte", "key": "year", "value": 2020}, "group_by": "document"
        }))),
    )),
    responses(
        (status = 200, description = "The hits, best first", body = SearchResponse),
        BadSearch, CollectionMissing, Refused,
    )
)]
pub(in crate::api) async fn search(
    State(state): State<ApiState>,
    OpenEngine(engine): OpenEngine,
    Path(path): Path<CollectionPath>,
    Json(request): Json<SearchRequest>,
) -> Result<axum::Json<SearchResponse>> {
    let _permit = state.admission().search()?;
    let response = engine.search(&path.collection, request).await?;
    state.metrics().observe_search(&response.timings);
    Ok(axum::Json(response))
}
