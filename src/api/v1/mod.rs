//! The handlers under `/v1`: parse, call the engine, map.

pub(super) mod batch;
pub(super) mod collections;
pub(super) mod documents;
pub(super) mod job_events;
pub(super) mod jobs;
pub(super) mod search;

use serde::Deserialize;
use utoipa::IntoParams;

/// The collection a path is about.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct CollectionPath {
    /// Name of the collection.
    #[param(min_length = 1, example = "notes")]
    pub(super) collection: String,
}
