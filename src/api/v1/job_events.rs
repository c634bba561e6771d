//! The progress of a job as server-sent events: no polling, and cheap enough for thousands of watchers.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::Stream;
use tokio::sync::watch;
use utoipa::ToSchema;

use super::jobs::JobPath;
use crate::api::admission::WatchPermit;
use crate::api::error::ErrorResponse;
use crate::api::extract::Path;
use crate::api::openapi::{BadPath, JobMissing, Refused, WatchRefused};
use crate::api::state::{ApiState, OpenEngine};
use crate::document::ErrorBody;
use crate::engine::Engine;
use crate::error::Result;
use crate::ingest::job::JobProgress;

/// The least time between two events: what happens meanwhile is one event.
const PAUSE: Duration = Duration::from_millis(200);
/// A comment is sent where nothing happened for so long, so that nobody takes the connection for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// One server-sent event about a job.
#[derive(ToSchema)]
#[allow(dead_code, reason = "only described")]
pub(in crate::api) struct JobEvent {
    /// `progress`, `end` or `error`.
    event: String,
    /// JSON: the progress (`id`, `state`, and the numbers of `documents`, `indexed`, `failed`, `chunks`, `embedded`); of
    /// `error` an error.
    data: String,
}

/// Watches a job.
///
/// Server-sent events, each with the job's progress as JSON: `progress` at once and after each change (at most five
/// a second), then one `end`, after which the server closes the stream. A job that goes with its collection ends with
/// an event `error`. A stream that closes without either was broken off by a shutdown: connect again.
#[utoipa::path(
    get,
    path = "/v1/jobs/{id}/events",
    operation_id = "watch_job",
    tag = "jobs",
    params(JobPath),
    responses(
        (status = 200, description = "The events", body = JobEvent, content_type = "text/event-stream"),
        BadPath, JobMissing, WatchRefused, Refused,
    )
)]
pub(in crate::api) async fn events(
    State(state): State<ApiState>,
    OpenEngine(engine): OpenEngine,
    Path(path): Path<JobPath>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>> {
    let permit = state.admission().watch()?;
    let changes = engine.job_changes(&path.id);
    engine.job(&path.id)?;
    let watcher =
        Watcher { id: path.id, engine, changes, stopping: state.stopping(), told: false, _permit: permit };
    let events = futures::stream::unfold(Some(watcher), |watcher| async move { watcher?.next().await });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

/// Somebody who is told of a job until it ends.
struct Watcher {
    id: String,
    engine: Arc<Engine>,
    /// `None` once the job has ended.
    changes: Option<watch::Receiver<()>>,
    stopping: watch::Receiver<bool>,
    /// Whether there was an event already.
    told: bool,
    _permit: WatchPermit,
}

impl Watcher {
    /// The next event, and who waits for the one after it.
    async fn next(mut self) -> Option<(Result<Event, Infallible>, Option<Watcher>)> {
        if self.told
            && let Some(changes) = &mut self.changes
        {
            let changed = async {
                if changes.changed().await.is_ok() {
                    tokio::time::sleep(PAUSE).await;
                }
            };
            tokio::select! {
                () = changed => {}
                _ = self.stopping.wait_for(|stopping| *stopping) => return None,
            }
        }
        if let Some(changes) = &mut self.changes {
            changes.borrow_and_update();
        }
        self.told = true;
        let (name, data, goes_on) = match self.engine.job(&self.id) {
            Ok(job) if job.state.ended() => ("end", serde_json::to_string(&JobProgress::from(&job)), false),
            Ok(job) => ("progress", serde_json::to_string(&JobProgress::from(&job)), self.changes.is_some()),
            Err(error) => {
                let body = ErrorResponse { error: ErrorBody::from(&error) };
                ("error", serde_json::to_string(&body), false)
            }
        };
        let event = Event::default().event(name).data(data.unwrap_or_default()); // always serialises
        Some((Ok(event), goes_on.then_some(self)))
    }
}
