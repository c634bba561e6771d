//! read → write → wait for the jobs. Writes are acknowledged when they are on disk; a bounded number of
//! them may still be on the way into the index, so that reading and indexing overlap.

use std::time::Instant;

use anyhow::Result;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use super::batches::{self, Batch, Piece};
use super::progress::Progress;
use super::report::Report;
use crate::cli::target::Target;
use crate::document::{ErrorBody, ItemResult, ItemStatus};
use crate::error::Code;
use crate::import::{Columns, Origin, Source};
use crate::ingest::job::{Job, JobState};

/// Writes whose job has not ended.
const MAX_JOBS: usize = 8;

/// Where an import goes.
pub struct Import<'a> {
    pub target: &'a Target,
    pub collection: &'a str,
    /// Whether to wait for the graphs, too.
    pub graphs: bool,
    pub progress: &'a Progress,
}

/// A write on its way into the index.
struct Pending {
    job_id: String,
    origins: Vec<Origin>,
    file_bytes: u64,
    /// As last seen.
    indexed: u64,
    accepted: u64,
}

impl Import<'_> {
    /// Imports everything in `sources`; what fails is in the report.
    pub async fn run(&self, sources: Vec<Source>, columns: Columns) -> Result<Report> {
        let started = Instant::now();
        let mut report = Report::new(self.collection);
        let pieces = batches::read(sources, columns);
        self.write_all(pieces, &mut report).await?;
        self.target.settle(self.collection, false).await?;
        report.searchable(started.elapsed());
        if self.graphs {
            self.target.settle(self.collection, true).await?;
            report.graph_seconds = Some(started.elapsed().as_secs_f64());
        }
        Ok(report)
    }

    async fn write_all(&self, mut pieces: mpsc::Receiver<Piece>, report: &mut Report) -> Result<()> {
        let mut pending: Vec<Pending> = Vec::new();
        let mut done_bytes = 0;
        let mut reading = true;
        let mut tick = tokio::time::interval(self.target.poll_interval());
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while reading || !pending.is_empty() {
            tokio::select! {
                piece = pieces.recv(), if reading && pending.len() < MAX_JOBS => match piece {
                    None => reading = false,
                    Some(Piece::Failed(error)) => report.fail(&error.origin, error.reason),
                    Some(Piece::Empty(path)) => self.progress.note(&format!("left out {path}: it holds no text")),
                    Some(Piece::Batch(batch)) => {
                        let file_bytes = batch.file_bytes;
                        match self.write(batch, report).await? {
                            Some(write) => pending.push(write),
                            None => done_bytes += file_bytes,
                        }
                    }
                },
                _ = tick.tick(), if !pending.is_empty() => {
                    let mut going_on = Vec::with_capacity(pending.len());
                    for mut write in pending.drain(..) {
                        let job = self.target.job(&write.job_id).await?;
                        write.indexed = job.indexed;
                        if job.state.ended() {
                            done_bytes += write.file_bytes;
                            account(&job, &write, report);
                        } else {
                            going_on.push(write);
                        }
                    }
                    pending = going_on;
                    self.show_progress(done_bytes, &pending, report);
                }
            }
        }
        Ok(())
    }

    /// Writes a batch; what is refused at once goes into the report. `None`: nothing was accepted.
    async fn write(&self, batch: Batch, report: &mut Report) -> Result<Option<Pending>> {
        let Batch { documents, origins, text_bytes, file_bytes } = batch;
        report.text_bytes += text_bytes;
        let response = match (self.target.write(self.collection, documents, false).await, &origins[..]) {
            (Ok(response), _) => response,
            // one document that is too long is no reason to give up the others
            (Err(error), [origin]) if error.code == Code::BodyTooLarge => {
                report.fail(origin, error.message);
                return Ok(None);
            }
            (Err(error), origins) => {
                let place = origins.first().map(ToString::to_string).unwrap_or_default();
                let what = format!("the documents from {place} on can't be written to `{}`", self.collection);
                return Err(anyhow::Error::from(error).context(what));
            }
        };
        for result in response.results.iter().filter(|result| result.status == ItemStatus::Failed) {
            let (source, reason) = describe(result, &origins);
            report.fail(source, reason);
        }
        let accepted = response.accepted as u64;
        Ok(response.job_id.map(|job_id| Pending { job_id, origins, file_bytes, indexed: 0, accepted }))
    }

    fn show_progress(&self, done_bytes: u64, pending: &[Pending], report: &Report) {
        let partly = |write: &Pending| {
            (write.file_bytes as f64 * write.indexed as f64 / write.accepted.max(1) as f64) as u64
        };
        let bytes = done_bytes + pending.iter().map(partly).sum::<u64>();
        let documents = report.documents + pending.iter().map(|write| write.indexed).sum::<u64>();
        self.progress.update(bytes, documents);
    }
}

/// Adds a job that has ended to the report.
fn account(job: &Job, write: &Pending, report: &mut Report) {
    report.documents += job.indexed;
    report.failed += job.failed;
    for result in &job.errors {
        let (source, reason) = describe(result, &write.origins);
        report.list(source, reason);
    }
    if job.state == JobState::Cancelled {
        let dropped = write.accepted.saturating_sub(job.indexed + job.failed);
        report.failed += dropped;
        report.list(&job.id, format!("the job was cancelled; {dropped} documents were dropped"));
    }
}

/// Where a refused document was read, and why it was refused.
fn describe(result: &ItemResult, origins: &[Origin]) -> (String, String) {
    let source = origins.get(result.index).map(ToString::to_string);
    let source = source.or_else(|| result.id.clone()).unwrap_or_else(|| format!("document {}", result.index));
    let reason = result.error.as_ref().map(|ErrorBody { message, .. }| message.clone());
    (source, reason.unwrap_or_else(|| "no reason given".into()))
}
