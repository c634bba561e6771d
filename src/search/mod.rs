//! The read path: plan → recall (dense ∥ lexical) → fuse → rerank → assemble.
//!
//! [`plan`] checks the request against the collection; [`recall`] asks both legs for candidates side by side;
//! [`fuse`] scores the union of the candidates with both and ranks it; [`rerank`] looks at the first hits
//! again; [`assemble`] reads texts and metadata of one page. The ranked window is kept by [`window`] for the
//! next pages.

pub mod assemble;
pub mod fuse;
pub mod plan;
pub mod recall;
pub mod request;
pub mod rerank;
pub mod response;
pub mod weight;
pub mod window;

use std::sync::Arc;
use std::time::Instant;

use crate::collection::Collection;
use crate::collection::snapshot::Snapshot;
use crate::dispatch::Usage;
use crate::error::{Code, Error, Result};
use crate::rerank::{RerankUsage, Reranker};
use crate::search::fuse::Fused;
use crate::search::plan::Plan;
use crate::search::request::SearchRequest;
use crate::search::response::{LegScore, SearchResponse, StageState, StageStatus, Status, Timings};
use crate::search::window::{Window, Windows};

/// A ranked chunk of a window.
#[derive(Clone, Copy, Debug)]
pub struct Ranked {
    /// Position of its segment in the snapshot.
    pub segment: u32,
    /// Its row in the segment.
    pub row: u32,
    /// What it is ranked by.
    pub score: f32,
    /// What the dense leg says of it.
    pub dense: Option<LegScore>,
    /// What the lexical leg says of it.
    pub lexical: Option<LegScore>,
    /// Its score before reranking.
    pub fused: f32,
    /// The reranker's score.
    pub rerank: Option<f32>,
}

/// Searches a collection.
pub async fn search(
    collection: &Arc<Collection>,
    reranker: Option<&dyn Reranker>,
    windows: &Windows,
    request: SearchRequest,
) -> Result<SearchResponse> {
    let begun = Instant::now();
    let plan = Arc::new(Plan::new(collection, request)?);
    let (window, offset, id, mut timings, usage, rerank_usage) = match &plan.cursor {
        Some(cursor) => {
            let (id, offset) = windows.parse(cursor, plan.fingerprint)?;
            (windows.get(id)?, offset, Some(id), Timings::default(), Usage::default(), RerankUsage::default())
        }
        None => {
            let (window, timings, usage, rerank_usage) = rank(collection, reranker, &plan).await?;
            (Arc::new(window), 0, None, timings, usage, rerank_usage)
        }
    };
    let clock = Instant::now();
    let end = window.ranked.len().min(offset + plan.limit);
    let (page, reader) = (Arc::clone(&window), Arc::clone(&plan));
    let assemble = move || assemble::assemble(&page.snapshot, &page.ranked[offset.min(end)..end], &reader);
    let hits = collection.shared.pools.search.run(assemble).await??;
    timings.assemble_ms = millis(clock);
    timings.total_ms = millis(begun);
    let status = window.status.clone();
    let next_cursor = (end < window.ranked.len()).then(|| match id {
        Some(id) => windows.cursor(id, end, plan.fingerprint),
        None => windows.cursor(windows.keep(window), end, plan.fingerprint),
    });
    Ok(SearchResponse { hits, next_cursor, status, timings, usage, rerank_usage })
}

/// Recalls, fuses, groups and reranks: the whole window a search can page through.
async fn rank(
    collection: &Arc<Collection>,
    reranker: Option<&dyn Reranker>,
    plan: &Arc<Plan>,
) -> Result<(Window, Timings, Usage, RerankUsage)> {
    let snapshot: Arc<Snapshot> = collection.snapshot();
    let mut timings = Timings::default();
    let candidates = recall::recall(collection, &snapshot, plan, &mut timings).await?;

    let usage = candidates.usage;
    let clock = Instant::now();
    let (view, planned) = (Arc::clone(&snapshot), Arc::clone(plan));
    let fuse = move || fuse::fuse(&view, &planned, candidates);
    let Fused { mut ranked, dense_error, lexical_error } = collection.shared.pools.search.run(fuse).await?;
    timings.fuse_ms = millis(clock);

    let mut status = Status {
        degraded: false,
        dense: stage(plan.dense.is_some(), dense_error.as_ref()),
        lexical: stage(plan.lexical.is_some(), lexical_error.as_ref()),
        rerank: StageStatus::default(),
    };
    let answered = status.dense.state == StageState::Ok || status.lexical.state == StageState::Ok;
    if let Some(error) = dense_error.or(lexical_error)
        && (plan.strict || !answered)
    {
        return Err(error);
    }
    let mut rerank_usage = RerankUsage::default();
    if let Some(reranker) = reranker.filter(|_| plan.rerank) {
        let clock = Instant::now();
        let result =
            rerank::rerank(collection, &snapshot, plan, reranker, &mut ranked, &mut rerank_usage).await;
        timings.rerank_ms = millis(clock);
        status.rerank = match &result {
            Ok(Some((scored, count))) => StageStatus {
                state: StageState::Partial,
                error: Some(format!("the time was over when {scored} of {count} hits were scored")),
            },
            result => stage(true, result.as_ref().err()),
        };
        if plan.strict {
            result?;
            if let Some(error) = &status.rerank.error {
                return Err(Error::new(Code::Timeout, format!("the reranker: {error}")));
            }
        }
    }
    if let Some(threshold) = plan.score_threshold {
        ranked.retain(|hit| hit.score >= threshold);
    }
    status.degraded = [&status.dense, &status.lexical, &status.rerank]
        .iter()
        .any(|stage| matches!(stage.state, StageState::Partial | StageState::Failed));
    Ok((Window { snapshot, ranked, status }, timings, usage, rerank_usage))
}

fn stage(ran: bool, error: Option<&Error>) -> StageStatus {
    match error {
        Some(error) => StageStatus { state: StageState::Failed, error: Some(error.to_string()) },
        None if ran => StageStatus { state: StageState::Ok, error: None },
        None => StageStatus::default(),
    }
}

fn millis(since: Instant) -> f32 {
    since.elapsed().as_secs_f32() * 1000.0
}
