//! Candidates from both legs, side by side.

use std::sync::Arc;
use std::time::Instant;

use crate::collection::Collection;
use crate::collection::definition::Metric;
use crate::collection::snapshot::Snapshot;
use crate::dispatch::Usage;
use crate::embed::Kind;
use crate::error::{Error, Result};
use crate::rows::RowSet;
use crate::search::millis;
use crate::search::plan::{DenseQuery, Plan};
use crate::search::response::Timings;
use crate::text::{self, Statistics};
use crate::vector::{self, Query};

/// A candidate of one leg.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// Position of its segment in the snapshot.
    pub segment: u32,
    /// Its row.
    pub row: u32,
    /// The leg's raw score.
    pub raw: f32,
}

/// What a leg brought, best first, with what is needed to score other rows the same way.
#[derive(Debug)]
pub struct Leg<Q> {
    /// At most `window` candidates.
    pub candidates: Vec<Candidate>,
    /// The prepared query.
    pub query: Q,
}

/// What both legs brought; `None` for a leg that does not run.
#[derive(Debug)]
pub struct Candidates {
    /// The dense leg.
    pub dense: Option<Result<Leg<Query>>>,
    /// The lexical leg; its query is the plan's.
    pub lexical: Option<Result<Leg<Arc<Statistics>>>>,
    /// What embedding the query cost.
    pub usage: Usage,
}

/// Rows each segment may answer with: alive, and passing the filter. `None`: all of them.
type Allowed = Arc<Vec<Option<Arc<RowSet>>>>;

/// Asks both legs. A leg that fails is an error in its place; an error of its own is one of the filter.
pub async fn recall(
    collection: &Arc<Collection>,
    snapshot: &Arc<Snapshot>,
    plan: &Arc<Plan>,
    timings: &mut Timings,
) -> Result<Candidates> {
    let allowed = allowed(collection, snapshot, plan, timings).await?;
    let ((dense, embed_ms, dense_ms, usage), (lexical, lexical_ms)) = tokio::join!(
        dense(collection, snapshot, plan, &allowed),
        lexical(collection, snapshot, plan, &allowed)
    );
    (timings.embed_ms, timings.dense_ms, timings.lexical_ms) = (embed_ms, dense_ms, lexical_ms);
    Ok(Candidates { dense, lexical, usage })
}

async fn allowed(
    collection: &Arc<Collection>,
    snapshot: &Arc<Snapshot>,
    plan: &Arc<Plan>,
    timings: &mut Timings,
) -> Result<Allowed> {
    if plan.filter.is_none() {
        return Ok(Arc::new(snapshot.segments.iter().map(|live| live.alive.clone()).collect()));
    }
    let clock = Instant::now();
    let (owner, view, planned) = (Arc::clone(collection), Arc::clone(snapshot), Arc::clone(plan));
    let job = move || evaluate_filter(&owner, &view, &planned);
    let allowed = collection.shared.pools.search.run(job).await??;
    timings.filter_ms = millis(clock);
    Ok(allowed)
}

fn evaluate_filter(collection: &Collection, snapshot: &Snapshot, plan: &Plan) -> Result<Allowed> {
    let Some(filter) = &plan.filter else { return Ok(Arc::default()) };
    let mut allowed = Vec::with_capacity(snapshot.segments.len());
    for live in &snapshot.segments {
        let cache_key = (live.segment.record.id, filter.clone());
        let passing = match collection.filters.get(&cache_key) {
            Some(rows) => rows,
            None => {
                let rows = Arc::new(filter.rows(live.segment.text()?)?);
                collection.filters.insert(cache_key, Arc::clone(&rows));
                rows
            }
        };
        allowed.push(Some(match &live.alive {
            None => passing,
            Some(alive) => {
                let mut rows = (*passing).clone();
                rows.and(alive);
                Arc::new(rows)
            }
        }));
    }
    Ok(Arc::new(allowed))
}

async fn dense(
    collection: &Arc<Collection>,
    snapshot: &Arc<Snapshot>,
    plan: &Arc<Plan>,
    allowed: &Allowed,
) -> (Option<Result<Leg<Query>>>, f32, f32, Usage) {
    let mut usage = Usage::default();
    let Some(query) = &plan.dense else { return (None, 0.0, 0.0, usage) };
    let clock = Instant::now();
    let vector = match query {
        DenseQuery::Vector(vector) => Ok(vector.clone()),
        DenseQuery::Text(text) => embed(collection, text, &mut usage).await,
    };
    let embed_ms = millis(clock);
    let vector = match vector {
        Ok(vector) => vector,
        Err(error) => return (Some(Err(error)), embed_ms, 0.0, usage),
    };
    let clock = Instant::now();
    let dimensions = collection.record.dimensions.unwrap_or(0);
    let (view, planned, allowed) = (Arc::clone(snapshot), Arc::clone(plan), Arc::clone(allowed));
    let job = move || recall_dense(&view, &planned, &allowed, dimensions, &vector);
    let leg = collection.shared.pools.search.run(job).await.and_then(|leg| leg);
    (Some(leg), embed_ms, millis(clock), usage)
}

async fn embed(collection: &Collection, text: &str, usage: &mut Usage) -> Result<Vec<f32>> {
    let Some(embedder) = &collection.embedder else {
        return Err(Error::internal("the collection has no embedder"));
    };
    let embeddings = embedder.embed(vec![text.to_owned()], Kind::Query).await?;
    *usage = embeddings.usage;
    collection.spend(embeddings.usage);
    Ok(embeddings.values)
}

fn recall_dense(
    snapshot: &Snapshot,
    plan: &Plan,
    allowed: &[Option<Arc<RowSet>>],
    dimensions: u32,
    vector: &[f32],
) -> Result<Leg<Query>> {
    let query = Query::new(plan.metric, dimensions, vector)?;
    let mut candidates = Vec::new();
    for (index, live) in snapshot.segments.iter().enumerate() {
        let Some(part) = live.segment.vectors()? else { continue };
        let graph = live.segment.graph()?;
        let allowed = allowed.get(index).and_then(Option::as_deref);
        let found = vector::recall(part, graph, &query, plan.window, plan.effort, plan.exact, allowed)?;
        let segment = index as u32;
        candidates.extend(found.into_iter().map(|hit| Candidate { segment, row: hit.row, raw: hit.raw }));
    }
    let similarity = |candidate: &Candidate| match plan.metric {
        Metric::Cosine | Metric::Dot => candidate.raw,
        Metric::L2 => -candidate.raw,
    };
    candidates.sort_unstable_by(|a, b| {
        similarity(b).total_cmp(&similarity(a)).then((a.segment, a.row).cmp(&(b.segment, b.row)))
    });
    candidates.truncate(plan.window);
    Ok(Leg { candidates, query })
}

async fn lexical(
    collection: &Arc<Collection>,
    snapshot: &Arc<Snapshot>,
    plan: &Arc<Plan>,
    allowed: &Allowed,
) -> (Option<Result<Leg<Arc<Statistics>>>>, f32) {
    if plan.lexical.is_none() {
        return (None, 0.0);
    }
    let clock = Instant::now();
    let (view, planned, allowed) = (Arc::clone(snapshot), Arc::clone(plan), Arc::clone(allowed));
    let job = move || recall_lexical(&view, &planned, &allowed);
    let leg = collection.shared.pools.search.run(job).await.and_then(|leg| leg);
    (Some(leg), millis(clock))
}

fn recall_lexical(
    snapshot: &Snapshot,
    plan: &Plan,
    allowed: &[Option<Arc<RowSet>>],
) -> Result<Leg<Arc<Statistics>>> {
    let statistics = statistics(snapshot)?;
    let Some(query) = &plan.lexical else { return Err(Error::internal("no lexical query")) };
    let parts = snapshot.segments.iter().map(|live| live.segment.text()).collect::<Result<Vec<_>, _>>()?;
    let allowed: Vec<_> = allowed.iter().map(Option::as_deref).collect();
    let found = text::recall(&parts, &allowed, &statistics, query, plan.window)?;
    let candidates = found
        .into_iter()
        .map(|hit| Candidate { segment: hit.part as u32, row: hit.row, raw: hit.raw })
        .collect();
    Ok(Leg { candidates, query: statistics })
}

/// The snapshot's BM25 statistics, made once.
fn statistics(snapshot: &Snapshot) -> Result<Arc<Statistics>> {
    if let Some(statistics) = snapshot.statistics.get() {
        return Ok(Arc::clone(statistics));
    }
    let parts = snapshot.segments.iter().map(|live| live.segment.text()).collect::<Result<Vec<_>, _>>()?;
    let statistics = Arc::new(Statistics::new(&parts));
    Ok(Arc::clone(snapshot.statistics.get_or_init(|| statistics)))
}
