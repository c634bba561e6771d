//! Measures retrieval quality on a BEIR folder through the same search path as REST: index into a
//! temporary data directory, ask every judged query in every mode, compare with the judgments.

pub mod beir;
pub mod metrics;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::future::try_join_all;
use serde::Serialize;

use crate::collection::definition::{Definition, EmbeddingDefinition};
use crate::dispatch::ProviderAccess;
use crate::document::{Document, ItemStatus};
use crate::engine::{Engine, EngineConfig};
use crate::error::{Code, Error, Result};
use crate::search::request::{GroupBy, Mode, SearchRequest};
use crate::store::OsDisk;
use beir::{BeirSet, JudgedQuery};

const COLLECTION: &str = "eval";
/// Hits asked for: enough for recall@100.
const LIMIT: u32 = 100;
/// Candidates of each leg: hits are grouped by document, so that 100 documents can need many more chunks.
const WINDOW: u32 = 1000;
/// Documents a write.
const BATCH_DOCUMENTS: usize = 1000;
/// Bytes of text a write.
const BATCH_BYTES: usize = 4 << 20;

/// What was measured. `Serialize` is the object of `--json`, `Display` the table.
#[derive(Debug, Serialize)]
pub struct EvalReport {
    /// Name of the folder.
    pub dataset: String,
    /// Documents indexed.
    pub documents: usize,
    /// Queries asked in each mode.
    pub queries: usize,
    /// From the first write until everything was searchable.
    pub index_seconds: f64,
    /// Documents indexed a second.
    pub documents_per_s: f64,
    /// Megabytes (10^6 bytes) of titles and texts indexed a second.
    pub mb_per_s: f64,
    /// Queries asked at once; the times of the modes are each query's own.
    pub concurrency: usize,
    /// By mode: `lexical`, where the definition has vectors `dense` and `hybrid`, and where it has a reranker
    /// `reranked`.
    pub modes: BTreeMap<ModeName, ModeReport>,
}

/// A mode, ordered as reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ModeName {
    /// Words only.
    Lexical,
    /// Vectors only.
    Dense,
    /// Both, fused.
    Hybrid,
    /// Every leg there is, and then the reranker.
    Reranked,
}

/// Means over all queries of one mode.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ModeReport {
    /// Normalised discounted cumulative gain, linear gain.
    #[serde(rename = "ndcg@10")]
    pub ndcg_at_10: f64,
    /// Share of the relevant documents among the first 100.
    #[serde(rename = "recall@100")]
    pub recall_at_100: f64,
    /// Mean reciprocal rank.
    #[serde(rename = "mrr@10")]
    pub mrr_at_10: f64,
    /// Median time of a search.
    pub p50_ms: f64,
    /// 99th percentile of the time of a search.
    pub p99_ms: f64,
}

/// How to evaluate.
pub struct EvalOptions {
    /// What the temporary collection is made of.
    pub definition: Definition,
    /// Threads of each CPU pool.
    pub threads: usize,
    /// Where local models are.
    pub models_dir: PathBuf,
    /// Queries asked at once, at least 1.
    pub concurrency: usize,
}

/// Evaluates the set in `folder`. `progress` is told of each stage as it begins. The temporary data is
/// deleted when the future ends or is dropped.
pub async fn run(folder: &Path, options: EvalOptions, progress: impl Fn(&str)) -> Result<EvalReport> {
    let mut modes = match options.definition.embedding {
        EmbeddingDefinition::None {} => vec![ModeName::Lexical],
        EmbeddingDefinition::Client { .. } => {
            let message = "eval embeds the queries itself: the definition can't take vectors from the client";
            return Err(Error::new(Code::InvalidDefinition, message).with_param("embedding.provider"));
        }
        _ => vec![ModeName::Lexical, ModeName::Dense, ModeName::Hybrid],
    };
    modes.extend(options.definition.rerank.as_ref().map(|_| ModeName::Reranked));
    progress(&format!("reading {} …", folder.display()));
    let BeirSet { name: dataset, documents, queries, empty_documents } = BeirSet::read(folder)?;
    if empty_documents > 0 {
        progress(&format!("left out {empty_documents} documents without text"));
    }
    let count = documents.len();
    let bytes: usize = documents.iter().map(document_bytes).sum();

    let folder = TempFolder::create()?;
    let disk = Arc::new(OsDisk);
    let (data_dir, threads) = (folder.path.clone(), options.threads);
    let config = EngineConfig {
        data_dir,
        threads,
        models_dir: options.models_dir,
        disk,
        max_waiting_bytes: 1 << 30,
        embedding_cache_bytes: 0,
        provider_access: ProviderAccess::default(),
    };
    let engine = Engine::open(config).await?;
    engine.create_collection(COLLECTION, options.definition).await?;
    progress(&format!("indexing {count} documents …"));
    let started = Instant::now();
    index(&engine, documents).await?;
    let index_seconds = started.elapsed().as_secs_f64();
    progress("finishing graphs …");
    engine.settle(COLLECTION, true).await?;

    let mut reports = BTreeMap::new();
    for mode in modes {
        progress(&format!("{mode}: asking {} queries …", queries.len()));
        reports.insert(mode, ask(&engine, &queries, mode, options.concurrency).await?);
    }
    engine.shutdown().await;
    Ok(EvalReport {
        dataset,
        documents: count,
        queries: queries.len(),
        index_seconds,
        documents_per_s: count as f64 / index_seconds,
        mb_per_s: bytes as f64 / 1e6 / index_seconds,
        concurrency: options.concurrency,
        modes: reports,
    })
}

/// Writes all documents and waits until they are searchable.
async fn index(engine: &Engine, documents: Vec<Document>) -> Result<()> {
    let mut batch = Vec::new();
    let mut bytes = 0;
    let mut jobs = Vec::new();
    let mut documents = documents.into_iter().peekable();
    while let Some(document) = documents.next() {
        bytes += document_bytes(&document);
        batch.push(Ok(document));
        if batch.len() == BATCH_DOCUMENTS || bytes >= BATCH_BYTES || documents.peek().is_none() {
            bytes = 0;
            let response = engine.write(COLLECTION, std::mem::take(&mut batch), false).await?;
            let failed = response.results.into_iter().find(|result| result.status == ItemStatus::Failed);
            if let Some(result) = failed {
                return Err(not_indexed(result.id, result.error));
            }
            jobs.extend(response.job_id);
        }
    }
    engine.settle(COLLECTION, false).await?;
    for id in jobs {
        let job = engine.job(&id)?;
        if let Some(result) = job.errors.into_iter().next() {
            return Err(not_indexed(result.id, result.error));
        }
    }
    Ok(())
}

/// A set with a hole in it would be measured wrong: any failure ends the evaluation.
fn not_indexed(id: Option<String>, error: Option<crate::document::ErrorBody>) -> Error {
    let reason = error.map_or_else(|| "no reason given".into(), |error| error.message);
    Error::internal(format!("document `{}` was not indexed: {reason}", id.unwrap_or_default()))
}

/// Asks every query in one mode, `concurrency` at a time.
async fn ask(
    engine: &Engine,
    queries: &[JudgedQuery],
    mode: ModeName,
    concurrency: usize,
) -> Result<ModeReport> {
    let next = AtomicUsize::new(0);
    let worker = || async {
        let mut sums = [0.0; 3];
        let mut times = Vec::new();
        while let Some(query) = queries.get(next.fetch_add(1, Ordering::Relaxed)) {
            let started = Instant::now();
            let ranking = search(engine, &query.text, mode).await?;
            times.push(started.elapsed().as_secs_f64() * 1000.0);
            sums[0] += metrics::ndcg(&ranking, &query.judgments, 10);
            sums[1] += metrics::recall(&ranking, &query.judgments, 100);
            sums[2] += metrics::reciprocal_rank(&ranking, &query.judgments, 10);
        }
        Ok::<_, Error>((sums, times))
    };
    let parts = try_join_all((0..concurrency.max(1)).map(|_| worker())).await?;
    let mean = |metric: usize| parts.iter().map(|(sums, _)| sums[metric]).sum::<f64>() / queries.len() as f64;
    let mut times: Vec<f64> = parts.iter().flat_map(|(_, times)| times.iter().copied()).collect();
    Ok(ModeReport {
        ndcg_at_10: mean(0),
        recall_at_100: mean(1),
        mrr_at_10: mean(2),
        p50_ms: metrics::percentile(&mut times, 50.0),
        p99_ms: metrics::percentile(&mut times, 99.0),
    })
}

/// The ids of the documents found, best first. A degraded answer would be measured as a bad ranking: strict.
/// A judged query without text (some sets have them) finds nothing and is counted as that.
async fn search(engine: &Engine, query: &str, mode: ModeName) -> Result<Vec<String>> {
    if query.trim().is_empty() {
        return Ok(Vec::new());
    }
    let request = SearchRequest {
        query: Some(query.to_owned()),
        mode: mode.legs(),
        rerank: Some(mode == ModeName::Reranked),
        limit: Some(LIMIT),
        window: Some(WINDOW),
        group_by: Some(GroupBy::Document),
        strict: true,
        ..SearchRequest::default()
    };
    let response = engine.search(COLLECTION, request).await?;
    Ok(response.hits.into_iter().map(|hit| hit.document_id).collect())
}

fn document_bytes(document: &Document) -> usize {
    document.text.len() + document.title.as_ref().map_or(0, String::len)
}

impl ModeName {
    /// Which legs recall; `None`: all.
    fn legs(self) -> Option<Mode> {
        match self {
            ModeName::Lexical => Some(Mode::Lexical),
            ModeName::Dense => Some(Mode::Dense),
            ModeName::Hybrid => Some(Mode::Hybrid),
            ModeName::Reranked => None,
        }
    }
}

impl fmt::Display for ModeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            ModeName::Lexical => "lexical",
            ModeName::Dense => "dense",
            ModeName::Hybrid => "hybrid",
            ModeName::Reranked => "reranked",
        })
    }
}

impl fmt::Display for EvalReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}: {} documents searchable in {:.1} s ({:.0} documents/s, {:.2} MB/s); {} queries, {} at a time\n",
            self.dataset,
            self.documents,
            self.index_seconds,
            self.documents_per_s,
            self.mb_per_s,
            self.queries,
            self.concurrency
        )?;
        writeln!(f, "mode      nDCG@10  recall@100   MRR@10   p50 ms   p99 ms")?;
        for (mode, report) in &self.modes {
            let ModeReport { ndcg_at_10, recall_at_100, mrr_at_10, p50_ms, p99_ms } = report;
            writeln!(
                f,
                "{mode:<8} {ndcg_at_10:>8.4} {recall_at_100:>11.4} {mrr_at_10:>8.4} {p50_ms:>8.2} {p99_ms:>8.2}"
            )?;
        }
        Ok(())
    }
}

/// A folder that is deleted when this is dropped.
struct TempFolder {
    path: PathBuf,
}

impl TempFolder {
    fn create() -> Result<TempFolder> {
        let path = std::env::temp_dir().join(format!("gleaner-eval-{}", uuid::Uuid::now_v7()));
        std::fs::create_dir_all(&path).map_err(crate::store::StoreError::io("create directory", &path))?;
        Ok(TempFolder { path })
    }
}

impl Drop for TempFolder {
    fn drop(&mut self) {
        // a background job of the engine may still be adding a file: try a few times
        for _ in 0..10 {
            if std::fs::remove_dir_all(&self.path).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        tracing::warn!(path = %self.path.display(), "the temporary folder could not be deleted");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_has_the_agreed_keys_in_the_agreed_order() {
        let mode =
            ModeReport { ndcg_at_10: 0.5, recall_at_100: 1.0, mrr_at_10: 0.25, p50_ms: 1.0, p99_ms: 2.0 };
        let report = EvalReport {
            dataset: "set".into(),
            documents: 2,
            queries: 1,
            index_seconds: 0.5,
            documents_per_s: 4.0,
            mb_per_s: 0.1,
            concurrency: 2,
            modes: [(ModeName::Hybrid, mode), (ModeName::Lexical, mode), (ModeName::Dense, mode)].into(),
        };
        let numbers = r#"{"ndcg@10":0.5,"recall@100":1.0,"mrr@10":0.25,"p50_ms":1.0,"p99_ms":2.0}"#;
        let expected = format!(
            r#"{{"dataset":"set","documents":2,"queries":1,"index_seconds":0.5,"documents_per_s":4.0,"mb_per_s":0.1,"concurrency":2,"modes":{{"lexical":{numbers},"dense":{numbers},"hybrid":{numbers}}}}}"#
        );
        assert_eq!(serde_json::to_string(&report).unwrap(), expected);
        let table = report.to_string();
        assert!(table.lines().all(|line| line.len() <= 100), "{table}");
    }

    #[test]
    fn the_temporary_folder_goes_with_its_guard() {
        let folder = TempFolder::create().unwrap();
        let path = folder.path.clone();
        std::fs::write(path.join("file"), "x").unwrap();
        drop(folder);
        assert!(!path.exists());
    }
}
