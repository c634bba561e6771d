//! The rerank stage: the first hits, looked at again by a reranker.

use std::sync::Arc;

use crate::collection::Collection;
use crate::collection::snapshot::Snapshot;
use crate::error::{Code, Error, Result};
use crate::rerank::Reranker;
use crate::search::plan::Plan;
use crate::search::{Ranked, assemble, fuse};

/// Reorders the first hits by the reranker's scores and cuts the window to them, so that all scores of the
/// answer are of one kind. Where it fails, the order stays.
pub async fn rerank(
    collection: &Arc<Collection>,
    snapshot: &Arc<Snapshot>,
    plan: &Plan,
    reranker: &dyn Reranker,
    ranked: &mut Vec<Ranked>,
) -> Result<()> {
    let Some(query) = &plan.query else { return Ok(()) };
    let count = reranker.candidates().max(plan.limit).min(ranked.len());
    if count == 0 {
        return Ok(());
    }
    let (reader, view, first) = (Arc::clone(collection), Arc::clone(snapshot), ranked[..count].to_vec());
    let read = move || {
        let texts = first.iter().map(|hit| assemble::embedded_text(&reader, &view, hit));
        texts.collect::<Result<Vec<String>>>()
    };
    let texts = collection.shared.pools.search.run(read).await??;
    let scores = reranker
        .rerank(query, texts)
        .await
        .map_err(|error| Error::new(Code::ProviderFailed, error.to_string()))?;
    ranked.truncate(count);
    for (hit, score) in ranked.iter_mut().zip(scores) {
        hit.rerank = Some(score);
        hit.score = score;
    }
    fuse::sort(ranked);
    Ok(())
}
