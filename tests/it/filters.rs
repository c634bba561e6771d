//! Filters through the whole engine against the oracle: searches and lists let exactly the right documents
//! through, whatever segments they are in.

use std::collections::BTreeMap;

use gleaner::collection::definition::{Definition, VectorDefinition};
use gleaner::document::{Document, Metadata};
use gleaner::engine::Engine;
use gleaner::search::request::{GroupBy, Mode, SearchRequest};
use serde_json::{Value, json};

use crate::support::fixture::{
    all_hits, client, close, document, found, items, lexical, listed, metadata, open, query, word,
};
use crate::support::random::Random;

#[path = "../../src/text/filter/oracle.rs"]
mod oracle;

/// Each batch is more than four times those before, so none is merged; with the last one, all are.
const BATCHES: [usize; 5] = [6, 26, 130, 700, 10];
/// These are deleted again.
const DELETED: std::ops::Range<usize> = 200..220;
const DIMENSIONS: usize = 8;

const STRINGS: [&str; 9] = [
    "",
    "a",
    "ab",
    "abc",
    "red wine",
    "日本語",
    "2024-05-01",
    "2024-05-01T02:00:00+02:00",
    "2023-12-31T23:00:00Z",
];
const KEYS: [&str; 7] = ["s", "tags", "mixed", "a.b", "a", "day", "none"];

fn scalar(random: &mut Random) -> Value {
    match random.below(6) {
        0 => json!(random.below(2) == 0),
        1 => json!(random.below(7) as i64 - 3),
        2 => json!(random.below(9) as f64 / 2.0),
        _ => json!(random.pick(&STRINGS)),
    }
}

fn scalars(random: &mut Random, most: usize) -> Value {
    let count = random.below(most + 1);
    (0..count).map(|_| scalar(random)).collect()
}

/// `n` is the document's number: a range of it has any selectivity.
fn any_metadata(random: &mut Random, n: usize) -> Metadata {
    let mut object = metadata(json!({"n": n}));
    if random.below(3) > 0 {
        object.insert("s".into(), json!(random.pick(&STRINGS)));
    }
    if random.below(2) == 0 {
        object.insert("tags".into(), scalars(random, 4));
    }
    if random.below(2) == 0 {
        object.insert("mixed".into(), if random.below(5) == 0 { Value::Null } else { scalar(random) });
    }
    match random.below(4) {
        0 => drop(object.insert("a".into(), json!({"b": scalar(random)}))),
        1 => drop(object.insert("a".into(), json!([{"b": scalar(random)}, {"b": scalar(random)}]))),
        2 => drop(object.insert("a.b".into(), scalar(random))),
        _ => {}
    }
    if random.below(3) == 0 {
        let day = format!("2024-0{}-1{}", 1 + random.below(9), random.below(10));
        object.insert("day".into(), json!(day));
    }
    object
}

fn any_filter(random: &mut Random, depth: usize) -> Value {
    let key = *random.pick(&KEYS);
    match random.below(if depth == 0 { 7 } else { 10 }) {
        0 => json!({"type": random.pick(&["eq", "ne", "contains"]), "key": key, "value": scalar(random)}),
        1 => json!({"type": random.pick(&["in", "nin"]), "key": key, "value": scalars(random, 4)}),
        2 => {
            let kind = random.pick(&["gt", "gte", "lt", "lte"]);
            let value = if random.below(2) == 0 {
                json!(random.below(5) as f64 / 2.0)
            } else {
                json!(random.pick(&STRINGS))
            };
            json!({"type": kind, "key": key, "value": value})
        }
        3 => {
            json!({"type": random.pick(&["prefix", "contains"]), "key": key, "value": random.pick(&STRINGS)})
        }
        4 => json!({"type": "exists", "key": key}),
        5 => {
            let bound = format!("2024-0{}-15T00:00:00Z", 1 + random.below(9));
            json!({"type": random.pick(&["gt", "lte"]), "key": "day", "value": bound})
        }
        6 => {
            let bound = random.below(BATCHES.iter().sum());
            json!({"type": random.pick(&["lt", "gte"]), "key": "n", "value": bound})
        }
        7 => json!({"type": "not", "filter": any_filter(random, depth - 1)}),
        _ => {
            let count = random.below(4);
            let filters: Vec<_> = (0..count).map(|_| any_filter(random, depth - 1)).collect();
            json!({"type": random.pick(&["and", "or"]), "filters": filters})
        }
    }
}

fn filters(seed: u64, count: usize) -> Vec<Value> {
    let all: usize = BATCHES.iter().sum();
    // 0.1 % to 100 %
    let selective = [1, 4, all / 100, all / 10, all / 2, all - 1, all];
    let mut filters: Vec<_> =
        selective.iter().map(|bound| json!({"type": "lt", "key": "n", "value": bound})).collect();
    let mut random = Random::new(seed);
    filters.extend((0..count).map(|_| any_filter(&mut random, 3)));
    filters
}

type Documents = BTreeMap<String, Metadata>;

fn passing(documents: &Documents, filter: &Value) -> Vec<String> {
    let pass = documents.iter().filter(|(_, metadata)| oracle::matches(filter, metadata));
    pass.map(|(id, _)| id.clone()).collect()
}

/// Writes the batches but the last, checks, writes the last, and checks again when all are merged.
async fn before_and_after_compaction(
    engine: &Engine,
    definition: Definition,
    make: impl Fn(usize) -> Document,
    mut check: impl AsyncFnMut(&Documents),
) {
    engine.create_collection("c", definition).await.unwrap();
    let (mut random, mut documents, mut next) = (Random::new(5), Documents::new(), 0);
    for (index, count) in BATCHES.into_iter().enumerate() {
        if index + 1 == BATCHES.len() {
            for id in DELETED.map(|n| format!("d{n}")) {
                engine.delete_document("c", &id).await.unwrap();
                documents.remove(&id);
            }
            engine.settle("c", true).await.unwrap();
            assert_eq!(engine.stats("c").unwrap().segments.len(), BATCHES.len() - 1);
            assert!(engine.stats("c").unwrap().deleted_chunks > 0);
            check(&documents).await;
        }
        let batch: Vec<_> = (next..next + count)
            .map(|n| Document { metadata: any_metadata(&mut random, n), ..make(n) })
            .collect();
        let pairs = batch.iter().map(|document| (document.id.clone().unwrap(), document.metadata.clone()));
        documents.extend(pairs);
        engine.write("c", items(batch), true).await.unwrap();
        next += count;
    }
    engine.settle("c", true).await.unwrap();
    assert_eq!(engine.stats("c").unwrap().segments.len(), 1);
    check(&documents).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lexical_searches_and_lists_agree_with_the_oracle() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path()).await;
    let make = |n: usize| {
        let text = format!("common {} ", word('w', n as u64)).repeat(8);
        document(&format!("d{n}"), text.trim_end())
    };
    let check = async |documents: &Documents| {
        assert!(engine.stats("c").unwrap().chunks >= 2 * documents.len() as u64);
        for (at, filter) in filters(1, 40).into_iter().enumerate() {
            let expected = passing(documents, &filter);
            let group_by = (at % 3 > 0).then_some(GroupBy::Document);
            let request = SearchRequest { filter: Some(filter.clone()), group_by, ..query("common") };
            assert_eq!(found(&engine, "c", request).await.unwrap(), expected, "search with {filter}");
            let list = listed(&engine, "c", 300, Some(&filter)).await.unwrap();
            let ids: Vec<_> = list.into_iter().map(|document| document.id).collect();
            assert_eq!(ids, expected, "list with {filter}");
        }
    };
    before_and_after_compaction(&engine, lexical(), make, check).await;
    close(engine).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dense_searches_agree_with_the_oracle() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path()).await;
    let vector = VectorDefinition { graph_min_rows: 2, ..VectorDefinition::default() };
    let definition = Definition { vector, ..client(DIMENSIONS as u32) };
    let make = |n: usize| Document {
        vector: Some(Random::new(n as u64).vector(DIMENSIONS)),
        ..document(&format!("d{n}"), &format!("common {}", word('w', n as u64)))
    };
    let check = async |documents: &Documents| {
        assert!(engine.stats("c").unwrap().segments.iter().all(|segment| segment.graph));
        for (at, filter) in filters(2, 35).into_iter().enumerate() {
            let expected = passing(documents, &filter);
            let vector = Some(Random::new(at as u64).vector(DIMENSIONS));
            let request = SearchRequest { filter: Some(filter.clone()), vector, ..query("common") };
            for (mode, exact) in [(Mode::Dense, true), (Mode::Dense, false), (Mode::Hybrid, at % 2 == 0)] {
                let whole = SearchRequest { mode: Some(mode), exact, ..request.clone() };
                let got = found(&engine, "c", whole).await.unwrap();
                assert_eq!(got, expected, "{mode:?}, exact {exact}, {filter}");
            }
            // few candidates: the graph is walked where that is cheaper than a scan
            let few = SearchRequest {
                mode: Some(Mode::Dense),
                window: Some(5),
                limit: Some(5),
                ef: Some(20),
                ..request
            };
            let hits = all_hits(&engine, "c", few).await.unwrap();
            assert!(hits.iter().all(|hit| expected.contains(&hit.document_id)), "{filter}");
            assert_eq!(hits.len(), expected.len().min(5), "{filter}");
        }
    };
    before_and_after_compaction(&engine, definition, make, check).await;
    close(engine).await;
}
