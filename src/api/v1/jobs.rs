//! Jobs: what becomes of accepted documents.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::api::extract::{Path, Query, in_range};
use crate::api::openapi::{BadPath, CollectionMissing, Ended, JobMissing, Refused, WriteRefused};
use crate::api::state::{ApiState, OpenEngine};
use crate::error::Result;
use crate::ingest::job::Job;

/// Which jobs are listed.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct JobsQuery {
    /// Only jobs of this collection.
    #[param(min_length = 1)]
    collection: Option<String>,
    /// The most jobs.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<usize>,
}

/// Jobs, newest first.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(in crate::api) struct JobList {
    /// Newest first.
    jobs: Vec<Job>,
}

/// The job a path is about.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(in crate::api) struct JobPath {
    /// Id of the job.
    #[param(min_length = 1)]
    id: String,
}

/// Lists the newest jobs.
#[utoipa::path(
    get,
    path = "/v1/jobs",
    operation_id = "list_jobs",
    tag = "jobs",
    params(JobsQuery),
    responses((status = 200, description = "Newest first", body = JobList), BadPath, CollectionMissing, Refused)
)]
pub(in crate::api) async fn list(
    OpenEngine(engine): OpenEngine,
    Query(query): Query<JobsQuery>,
) -> Result<axum::Json<JobList>> {
    let limit = in_range("limit", query.limit.unwrap_or(100), 1..=1000)?;
    let jobs = engine.jobs(query.collection.as_deref(), limit)?;
    Ok(axum::Json(JobList { jobs }))
}

/// Shows a job.
#[utoipa::path(
    get,
    path = "/v1/jobs/{id}",
    operation_id = "get_job",
    tag = "jobs",
    params(JobPath),
    responses((status = 200, description = "The job", body = Job), BadPath, JobMissing, Refused)
)]
pub(in crate::api) async fn show(
    OpenEngine(engine): OpenEngine,
    Path(path): Path<JobPath>,
) -> Result<axum::Json<Job>> {
    engine.job(&path.id).map(axum::Json)
}

/// Cancels a job.
///
/// What it has not indexed yet is dropped; what is searchable stays.
#[utoipa::path(
    post,
    path = "/v1/jobs/{id}/cancel",
    operation_id = "cancel_job",
    tag = "jobs",
    params(JobPath),
    responses(
        (status = 200, description = "The job as it now stands", body = Job),
        BadPath, JobMissing, Ended, WriteRefused, Refused,
    )
)]
pub(in crate::api) async fn cancel(
    State(state): State<ApiState>,
    OpenEngine(engine): OpenEngine,
    Path(path): Path<JobPath>,
) -> Result<axum::Json<Job>> {
    let _permit = state.admission().write(0)?;
    engine.cancel_job(&path.id).await.map(axum::Json)
}
