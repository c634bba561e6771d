//! Scores are of the documents: how they are spread over segments changes neither them nor the order.

use std::collections::HashMap;
use std::sync::Arc;

use gleaner::collection::definition::{Definition, Metric, VectorDefinition};
use gleaner::document::Document;
use gleaner::engine::Engine;
use gleaner::search::request::{Mode, SearchRequest};
use gleaner::search::response::Hit;

use crate::support::fixture::{all_hits, client, close, document, items, lexical, open, query, word};
use crate::support::random::Random;

const TOLERANCE: f32 = 1e-5;
const DIMENSIONS: usize = 24;
/// Each batch is more than four times those before: none is merged with another.
const LAYERS: [usize; 4] = [2, 10, 50, 250];

/// Texts over a small vocabulary, frequent words first.
fn documents(vectors: bool) -> Vec<Document> {
    let mut random = Random::new(7);
    let text = |random: &mut Random, words: usize| {
        let word = |random: &mut Random| {
            let below = 1 + random.below(60);
            word('t', random.below(below) as u64)
        };
        (0..words).map(|_| word(random)).collect::<Vec<_>>().join(" ")
    };
    let count = LAYERS.iter().sum();
    (0..count)
        .map(|n| {
            // one length where documents have one chunk each, or the layers would not be layers
            let words = if vectors { 3 + random.below(40) } else { 40 };
            let text = text(&mut random, words);
            let vector = vectors.then(|| random.vector(DIMENSIONS));
            Document { vector, ..document(&format!("d{n}"), &text) }
        })
        .collect()
}

async fn write(engine: &Engine, name: &str, definition: &Definition, batches: Vec<Vec<Document>>) -> usize {
    engine.create_collection(name, definition.clone()).await.unwrap();
    for batch in batches {
        engine.write(name, items(batch), true).await.unwrap();
    }
    engine.settle(name, true).await.unwrap();
    engine.stats(name).unwrap().segments.len()
}

/// The same documents in one segment, in several, and in one that was merged from many. Returns the names.
async fn layouts(engine: &Engine, definition: &Definition) -> Vec<&'static str> {
    let all = documents(definition.stated_dimensions().is_some());
    assert_eq!(write(engine, "one", definition, vec![all.clone()]).await, 1);
    let mut rest = all.clone();
    let layers: Vec<Vec<Document>> = LAYERS.iter().map(|&count| rest.drain(..count).collect()).collect();
    assert_eq!(write(engine, "layers", definition, layers).await, LAYERS.len());
    let mut mixed = all.clone();
    let mut random = Random::new(3);
    (1..mixed.len()).rev().for_each(|n| mixed.swap(n, random.below(n + 1)));
    let mut layers: Vec<Vec<Document>> = LAYERS.iter().map(|&count| mixed.drain(..count).collect()).collect();
    layers.reverse();
    write(engine, "mixed", definition, layers).await;
    let many = all.chunks(13).map(<[Document]>::to_vec).collect();
    assert!(write(engine, "many", definition, many).await < 4);
    vec!["one", "layers", "mixed", "many"]
}

fn close_to(a: f32, b: f32) -> bool {
    (a - b).abs() <= TOLERANCE * a.abs().max(1.0)
}

/// Legs' raw scores, then the score.
fn numbers(hit: &Hit) -> [f32; 3] {
    let explain = hit.explain.as_ref().unwrap();
    let raw = |leg: Option<gleaner::search::response::LegScore>| leg.map_or(0.0, |leg| leg.raw);
    [raw(explain.dense), raw(explain.lexical), hit.score]
}

fn same(expected: &[Hit], got: &[Hit], what: &str) {
    assert_eq!(expected.len(), got.len(), "{what}");
    let key = |hit: &Hit| (hit.document_id.clone(), hit.chunk);
    let by_key: HashMap<_, _> = expected.iter().map(|hit| (key(hit), hit)).collect();
    for (place, hit) in got.iter().enumerate() {
        let there = expected[place].score;
        assert!(close_to(there, hit.score), "{what}: place {place} has {} and not {there}", hit.score);
        let Some(other) = by_key.get(&key(hit)) else {
            panic!("{what}: {:?} is not among the {} hits", key(hit), expected.len());
        };
        for (a, b) in numbers(hit).into_iter().zip(numbers(other)) {
            assert!(close_to(a, b), "{what}: {:?} has {a} and {b}", key(hit));
        }
    }
}

fn requests(dimensions: Option<usize>) -> Vec<SearchRequest> {
    let mut random = Random::new(11);
    let mut requests = Vec::new();
    for n in 0..6 {
        let words = (0..1 + n).map(|_| word('t', random.below(40) as u64)).collect::<Vec<_>>().join(" ");
        let base = SearchRequest { explain: true, exact: n % 2 == 0, ..query(&words) };
        requests.push(SearchRequest { mode: Some(Mode::Lexical), ..base.clone() });
        if let Some(dimensions) = dimensions {
            let base = SearchRequest { vector: Some(random.vector(dimensions)), ..base };
            requests.push(SearchRequest { mode: Some(Mode::Dense), ..base.clone() });
            requests.push(SearchRequest { mode: Some(Mode::Hybrid), ..base });
        }
    }
    requests
}

async fn compare(engine: &Arc<Engine>, definition: Definition) {
    let names = layouts(engine, &definition).await;
    let dimensions = definition.stated_dimensions().map(|dimensions| dimensions as usize);
    for request in requests(dimensions) {
        // every chunk is a candidate
        let expected = all_hits(engine, names[0], request.clone()).await.unwrap();
        assert!(expected.len() > 20);
        for name in &names[1..] {
            let got = all_hits(engine, name, request.clone()).await.unwrap();
            same(&expected, &got, &format!("{name} {request:?}"));
        }
        // and with a window that both legs cut off
        let request = SearchRequest { window: Some(15), limit: Some(10), exact: true, ..request };
        let expected = all_hits(engine, names[0], request.clone()).await.unwrap();
        for name in &names[1..] {
            let got = all_hits(engine, name, request.clone()).await.unwrap();
            let scores = |hits: &[Hit]| hits.iter().map(|hit| hit.score).collect::<Vec<_>>();
            let (a, b) = (scores(&expected), scores(&got));
            assert_eq!(a.len(), b.len());
            assert!(a.iter().zip(&b).all(|(&a, &b)| close_to(a, b)), "{name} {request:?}: {a:?} {b:?}");
        }
    }
    for name in names {
        engine.delete_collection(name).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scores_do_not_depend_on_segments() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path()).await;
    compare(&engine, lexical()).await;
    for metric in [Metric::Cosine, Metric::Dot, Metric::L2] {
        // a graph in one layout and scans in the others
        let vector = VectorDefinition { metric, graph_min_rows: 300, ..VectorDefinition::default() };
        compare(&engine, Definition { vector, ..client(DIMENSIONS as u32) }).await;
    }
    close(engine).await;
}
