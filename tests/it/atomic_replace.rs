//! A document is replaced atomically: a search sees all of one version.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use gleaner::document::Document;
use gleaner::engine::Engine;
use gleaner::search::request::SearchRequest;
use serde_json::json;

use crate::support::fixture::{all_hits, close, document, items, lexical, metadata, open, query, word};

const DOCUMENTS: u64 = 4;
const VERSIONS: u64 = 60;

/// Version `n` of a document: every chunk holds its word several times, and shorter and longer versions
/// alternate.
fn version(id: u64, n: u64) -> Document {
    let own = word('v', n);
    let sentences = 8 + 5 * (n % 4) as usize;
    let text = vec![format!("common {own} {own}"); sentences].join(". ");
    Document { metadata: metadata(json!({"id": id})), ..document(&format!("d{id}"), &text) }
}

/// The version a text is of; panics where it is of more than one.
fn version_of(text: &str) -> String {
    let mut words = text.split([' ', '.']).filter(|word| word.starts_with('v'));
    let first = words.next().unwrap_or_else(|| panic!("no version in {text:?}")).to_owned();
    assert!(words.all(|word| word == first), "two versions in {text:?}");
    first
}

/// Searches and reads until told to stop; returns how many times.
async fn watch(engine: Arc<Engine>, stop: Arc<AtomicBool>, filtered: bool) -> u64 {
    let mut times = 0;
    while !stop.load(Ordering::Relaxed) || times == 0 {
        let id = times % DOCUMENTS;
        let filter = filtered.then(|| json!({"type": "eq", "key": "id", "value": id}));
        let request = SearchRequest { filter, ..query("common") };
        let mut seen: BTreeMap<String, (String, Vec<u32>, u32)> = BTreeMap::new();
        for hit in all_hits(&engine, "c", request).await.unwrap() {
            let version = version_of(&hit.text);
            let entry =
                seen.entry(hit.document_id.clone()).or_insert_with(|| (version.clone(), vec![], hit.chunks));
            assert_eq!((&entry.0, entry.2), (&version, hit.chunks), "two versions of {}", hit.document_id);
            entry.1.push(hit.chunk);
        }
        let expected: Vec<u64> = if filtered { vec![id] } else { (0..DOCUMENTS).collect() };
        let expected: Vec<String> = expected.into_iter().map(|id| format!("d{id}")).collect();
        assert_eq!(seen.keys().cloned().collect::<Vec<_>>(), expected, "a document is missing");
        for (id, (_, mut chunks, count)) in seen {
            chunks.sort_unstable();
            assert_eq!(chunks, (0..count).collect::<Vec<_>>(), "{id} is not there as a whole");
        }
        let stored = engine.document("c", &format!("d{id}")).await.unwrap();
        version_of(&stored.text.unwrap());
        times += 1;
    }
    times
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_search_sees_one_version_of_a_document_and_all_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path()).await;
    engine.create_collection("c", lexical()).await.unwrap();
    engine.write("c", items((0..DOCUMENTS).map(|id| version(id, 0))), true).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let watchers: Vec<_> = [false, true, true]
        .map(|filtered| tokio::spawn(watch(Arc::clone(&engine), Arc::clone(&stop), filtered)))
        .into_iter()
        .collect();
    for n in 1..=VERSIONS {
        // never all of a segment: its other documents live on beside deleted ones
        let documents =
            items((0..DOCUMENTS).filter(|id| id % 3 != n % 3 || n == VERSIONS).map(|id| version(id, n)));
        engine.write("c", documents, n % 3 != 0).await.unwrap();
    }
    engine.settle("c", true).await.unwrap();
    stop.store(true, Ordering::Relaxed);
    for watcher in watchers {
        assert!(watcher.await.unwrap() > 3);
    }
    for id in 0..DOCUMENTS {
        let stored = engine.document("c", &format!("d{id}")).await.unwrap();
        assert_eq!(version_of(&stored.text.unwrap()), word('v', VERSIONS));
    }
    close(engine).await;
}
