//! Random operations against the plainest model of a collection: a map from ids to texts.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use gleaner::Code;
use gleaner::document::{Document, ItemStatus};
use gleaner::engine::Engine;
use gleaner::search::request::SearchRequest;
use serde_json::json;

use crate::support::fixture::{
    all_hits, close, document, found, items, lexical, listed, metadata, open, query, verified, word,
};
use crate::support::random::Random;

/// A document as the model has it.
#[derive(Clone, Debug, PartialEq)]
struct Kept {
    text: String,
    word: String,
    group: usize,
}

struct Model {
    random: Random,
    documents: BTreeMap<String, Kept>,
    words: u64,
}

impl Model {
    fn new(seed: u64) -> Model {
        Model { random: Random::new(seed), documents: BTreeMap::new(), words: 0 }
    }

    fn id(&mut self) -> String {
        format!("d{}", self.random.below(24))
    }

    /// A document with a word no other version of any document has, in 1 to 30 sentences.
    fn document(&mut self) -> (String, Kept) {
        self.words += 1;
        let word = word('w', self.words);
        let sentences = 1 + self.random.below(30);
        let sentence = |n: usize| format!("common {word} {}", ["one", "two", "three"][n % 3]);
        let text = (0..sentences).map(sentence).collect::<Vec<_>>().join(". ");
        (self.id(), Kept { text, word, group: self.random.below(5) })
    }

    async fn write(&mut self, engine: &Engine, wait: bool) {
        let count = 1 + self.random.below(8);
        let batch: Vec<_> = (0..count).map(|_| self.document()).collect();
        let posted = batch.iter().map(|(id, kept)| Document {
            metadata: metadata(json!({"group": kept.group})),
            ..document(id, &kept.text)
        });
        let response = engine.write("c", items(posted), wait).await.unwrap();
        assert_eq!((response.accepted, response.failed), (count, 0));
        for (index, result) in response.results.iter().enumerate() {
            let last = batch[index + 1..].iter().all(|(id, _)| *id != batch[index].0);
            let expected = match (wait, last) {
                (false, _) => ItemStatus::Accepted,
                (true, true) => ItemStatus::Indexed,
                (true, false) => ItemStatus::Superseded,
            };
            assert_eq!((result.index, result.status), (index, expected));
        }
        self.documents.extend(batch);
    }

    /// Deletes one document, there or not.
    async fn delete(&mut self, engine: &Engine) {
        let id = self.id();
        let there = self.documents.remove(&id).is_some();
        match engine.delete_document("c", &id).await {
            Ok(response) => assert!(there && response.deleted == 1, "{id}: {response:?}, there: {there}"),
            Err(error) => {
                assert_eq!(error.code, Code::DocumentNotFound);
                assert!(!there, "{id} is there");
            }
        }
    }

    async fn delete_group(&mut self, engine: &Engine) {
        let group = self.random.below(5);
        let before = self.documents.len();
        self.documents.retain(|_, kept| kept.group != group);
        let filter = json!({"type": "eq", "key": "group", "value": group});
        let response = engine.delete_by_filter("c", &filter).await.unwrap();
        assert_eq!(response.deleted as usize, before - self.documents.len());
    }

    /// What no write or delete on its way can change.
    async fn search_any(&mut self, engine: &Engine) {
        for hit in all_hits(engine, "c", query("common")).await.unwrap() {
            assert!(hit.text.contains("common"), "{hit:?}");
        }
    }

    async fn compare(&mut self, engine: &Engine) {
        engine.settle("c", self.random.below(2) == 0).await.unwrap();
        let list = listed(engine, "c", 7, None).await.unwrap();
        let ids: Vec<_> = list.iter().map(|document| document.id.clone()).collect();
        assert_eq!(ids, self.documents.keys().cloned().collect::<Vec<_>>());
        let chunks: u64 = list.iter().map(|document| u64::from(document.chunks)).sum();
        let stats = engine.stats("c").unwrap();
        assert_eq!((stats.documents, stats.chunks, stats.pending_documents), (ids.len() as u64, chunks, 0));
        let rows: u64 = stats.segments.iter().map(|segment| u64::from(segment.rows)).sum();
        assert_eq!(rows, chunks + stats.deleted_chunks);
        assert_eq!(found(engine, "c", query("common")).await.unwrap(), ids);
        for (document, (id, kept)) in list.iter().zip(&self.documents) {
            let stored = engine.document("c", id).await.unwrap();
            assert_eq!(stored.text.as_ref(), Some(&kept.text));
            assert_eq!(stored.metadata, metadata(json!({"group": kept.group})));
            let hits = all_hits(engine, "c", query(&kept.word)).await.unwrap();
            assert!(hits.iter().all(|hit| hit.document_id == *id));
            assert_eq!(hits.len(), document.chunks as usize, "each chunk of {id}");
            for hit in hits {
                let bytes = hit.span.byte_start as usize..hit.span.byte_end as usize;
                assert_eq!(kept.text[bytes], hit.text);
            }
        }
        for n in 1..=self.words {
            let word = word('w', n);
            let alive = self.documents.values().any(|kept| kept.word == word);
            if !alive {
                assert!(found(engine, "c", query(&word)).await.unwrap().is_empty(), "{word} is gone");
            }
        }
        for group in 0..5 {
            let filter = json!({"type": "eq", "key": "group", "value": group});
            let list = listed(engine, "c", 7, Some(&filter)).await.unwrap();
            let own = self.documents.iter().filter(|(_, kept)| kept.group == group).map(|(id, _)| id);
            let own: Vec<_> = own.collect();
            assert_eq!(list.iter().map(|document| &document.id).collect::<Vec<_>>(), own);
            let request = SearchRequest { filter: Some(filter), ..query("common") };
            assert_eq!(found(engine, "c", request).await.unwrap().iter().collect::<Vec<_>>(), own);
        }
    }

    async fn run(&mut self, dir: &Path, steps: usize) {
        let mut engine = open(dir).await;
        engine.create_collection("c", lexical()).await.unwrap();
        for _ in 0..steps {
            match self.random.below(20) {
                0..6 => self.write(&engine, true).await,
                6..11 => self.write(&engine, false).await,
                11..14 => self.delete(&engine).await,
                14 => self.delete_group(&engine).await,
                15..18 => self.search_any(&engine).await,
                18 => self.compare(&engine).await,
                _ => engine = restart(engine, dir).await,
            }
        }
        self.compare(&engine).await;
        close(engine).await;
        let report = verified(dir);
        assert!(report.is_clean() && report.leftovers.is_empty(), "{report}");
        assert_eq!(report.documents as usize, self.documents.len());
    }
}

async fn restart(engine: Arc<Engine>, dir: &Path) -> Arc<Engine> {
    close(engine).await;
    open(dir).await
}

fn run(seed: u64) {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let result = std::panic::catch_unwind(|| runtime.block_on(Model::new(seed).run(dir.path(), 120)));
    if let Err(panic) = result {
        eprintln!("the seed is {seed}");
        std::panic::resume_unwind(panic);
    }
}

/// Set `GLEANER_MODEL_SEED` for a run of one's own.
#[test]
fn a_collection_behaves_like_a_map() {
    match std::env::var("GLEANER_MODEL_SEED") {
        Ok(seed) => run(seed.parse().unwrap()),
        Err(_) => (0..4).for_each(run),
    }
}
