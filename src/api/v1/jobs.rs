//! Jobs: what becomes of accepted documents.

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::api::extract::{Path, Query, page_limit};
use crate::api::openapi::{BadPath, CollectionMissing, Ended, JobMissing, NotRetried, Refused, WriteRefused};
use crate::api::state::{ApiState, OpenEngine};
use crate::document::{ItemStatus, WriteResponse};
use crate::error::Result;
use crate::ingest::job::Job;
use crate::ingest::outcomes::OutcomePage;
use crate::ingest::retry::FailurePage;

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
    pub(super) id: String,
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
    let limit = page_limit(query.limit)?;
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

/// Which failures are listed.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct FailuresQuery {
    /// `next` of the page before: only documents at a later position in the request.
    #[param(value_type = Option<u64>, maximum = 4_294_967_295u32)]
    after: Option<u32>,
    /// Documents a page.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<usize>,
}

/// Lists the documents that failed in a job, each with its reason.
#[utoipa::path(
    get,
    path = "/v1/jobs/{id}/failures",
    operation_id = "list_job_failures",
    tag = "jobs",
    params(JobPath, FailuresQuery),
    responses((status = 200, description = "A page", body = FailurePage), BadPath, JobMissing, Refused)
)]
pub(in crate::api) async fn failures(
    OpenEngine(engine): OpenEngine,
    Path(path): Path<JobPath>,
    Query(query): Query<FailuresQuery>,
) -> Result<axum::Json<FailurePage>> {
    let limit = page_limit(query.limit)?;
    let after = query.after.map(|after| after as usize);
    engine.job_failures(&path.id, after, limit).await.map(axum::Json)
}

/// Which documents of a job are listed.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct OutcomesQuery {
    /// Only documents of this status.
    status: Option<ItemStatus>,
    /// `next` of the page before: only documents at a later position in the request.
    #[param(value_type = Option<u64>, maximum = 4_294_967_295u32)]
    after: Option<u32>,
    /// The most documents a page.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<usize>,
}

/// Lists what became of each document of a job.
///
/// In the order of its request, without those that the write refused. `accepted`: it waits for the job to begin.
/// `indexing`: the job is at work. `indexed`: it is searchable as it was sent. `superseded`, `deleted`: a later write took
/// its place, or it was deleted. `failed`, `cancelled`: it was not written; that stays so, a retry is a job of its own.
/// With `status`, a page may hold fewer documents than `limit`, or none: it is the last where `next` is absent.
#[utoipa::path(
    get,
    path = "/v1/jobs/{id}/documents",
    operation_id = "list_job_documents",
    tag = "jobs",
    params(JobPath, OutcomesQuery),
    responses((status = 200, description = "A page", body = OutcomePage), BadPath, JobMissing, Refused)
)]
pub(in crate::api) async fn documents(
    OpenEngine(engine): OpenEngine,
    Path(path): Path<JobPath>,
    Query(query): Query<OutcomesQuery>,
) -> Result<axum::Json<OutcomePage>> {
    let limit = page_limit(query.limit)?;
    let after = query.after.map(|after| after as usize);
    engine.job_documents(&path.id, after, limit, query.status).await.map(axum::Json)
}

/// Retries the failed documents of a job.
///
/// They are written again as a new job, without those of which a later version was accepted meanwhile. What was
/// embedded the first time is not embedded again. A document that was deleted after it had failed comes back.
#[utoipa::path(
    post,
    path = "/v1/jobs/{id}/retry",
    operation_id = "retry_job",
    tag = "jobs",
    params(JobPath),
    responses(
        (status = 202, description = "On disk; the job `job_id` makes them searchable", body = WriteResponse),
        BadPath, JobMissing, NotRetried, WriteRefused, Refused,
    )
)]
pub(in crate::api) async fn retry(
    State(state): State<ApiState>,
    OpenEngine(engine): OpenEngine,
    Path(path): Path<JobPath>,
) -> Result<(StatusCode, axum::Json<WriteResponse>)> {
    let _permit = state.admission().write(0)?;
    let response = engine.retry_job(&path.id).await?;
    Ok((StatusCode::ACCEPTED, axum::Json(response)))
}
