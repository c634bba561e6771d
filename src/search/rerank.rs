//! The rerank stage: the first hits, looked at again by a reranker.

use std::sync::Arc;

use crate::collection::Collection;
use crate::collection::snapshot::Snapshot;
use crate::error::{Code, Error, Result};
use crate::rerank::{RerankUsage, Reranker};
use crate::search::plan::Plan;
use crate::search::{Ranked, assemble, fuse};

/// Reorders the first hits by the reranker's scores, fused with the first stage's by the reranker's weight. Where it
/// fails, the order stays. A hit that it had no time for or was not shown counts as one that it gave 0, so these follow
/// the others in the order they had, and all scores of the answer are of one kind. `Some` says how many of the first
/// hits it had time for, and of how many.
pub async fn rerank(
    collection: &Arc<Collection>,
    snapshot: &Arc<Snapshot>,
    plan: &Plan,
    reranker: &dyn Reranker,
    ranked: &mut [Ranked],
    usage: &mut RerankUsage,
) -> Result<Option<(usize, usize)>> {
    let Some(query) = &plan.query else { return Ok(None) };
    let count = reranker.candidates().min(ranked.len());
    if count == 0 {
        return Ok(None);
    }
    let (reader, view, first) = (Arc::clone(collection), Arc::clone(snapshot), ranked[..count].to_vec());
    let read = move || {
        let texts = first.iter().map(|hit| assemble::embedded_text(&reader, &view, hit));
        texts.collect::<Result<Vec<String>>>()
    };
    let texts = collection.shared.pools.search.run(read).await??;
    let (scores, cost) = reranker.rerank(query, texts).await;
    *usage = cost;
    collection.spend_on_reranking(cost);
    let scores = scores.map_err(|error| Error::new(Code::ProviderFailed, error.to_string()))?;
    let scored = scores.iter().flatten().count();
    let partial = (scored < count).then_some((scored, count));
    if scored == 0 {
        return Ok(partial);
    }
    let weight = reranker.weight();
    for (hit, score) in ranked.iter_mut().zip(scores.into_iter().chain(std::iter::repeat(None))) {
        hit.rerank = score;
        hit.score = (1.0 - weight) * hit.fused + weight * score.unwrap_or(0.0);
    }
    fuse::sort(ranked);
    Ok(partial)
}
