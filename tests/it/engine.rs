//! The engine as its callers see it: write, search, replace, delete, reopen.

use std::path::Path;
use std::sync::Arc;

use gleaner::collection::definition::{Definition, EmbeddingDefinition};
use gleaner::document::{Document, ItemStatus};
use gleaner::engine::Engine;
use gleaner::search::request::SearchRequest;
use gleaner::{Code, Error};

use crate::support::fixture::config;

pub async fn open(dir: &Path) -> Arc<Engine> {
    Engine::open(config(dir)).await.unwrap()
}

fn lexical() -> Definition {
    Definition { embedding: EmbeddingDefinition::None {}, ..Definition::default() }
}

fn document(id: &str, text: &str) -> Result<Document, Error> {
    Ok(Document { id: Some(id.into()), text: text.into(), ..Document::default() })
}

fn query(text: &str) -> SearchRequest {
    SearchRequest { query: Some(text.into()), ..SearchRequest::default() }
}

async fn ids(engine: &Engine, text: &str) -> Vec<String> {
    let response = engine.search("c", query(text)).await.unwrap();
    response.hits.into_iter().map(|hit| hit.document_id).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_are_found_replaced_deleted_and_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path()).await;
    engine.create_collection("c", lexical()).await.unwrap();
    let items = vec![document("a", "apples and pears"), document("b", "bread and butter"), document("", "x")];
    let response = engine.write("c", items, true).await.unwrap();
    assert_eq!((response.accepted, response.failed), (2, 1));
    assert_eq!(response.results[2].error.as_ref().unwrap().param.as_deref(), Some("documents[2].id"));
    assert_eq!(ids(&engine, "pears").await, ["a"]);

    let items = vec![document("a", "apricots"), document("a", "avocados"), document("c", "pears")];
    let response = engine.write("c", items, true).await.unwrap();
    let states: Vec<_> = response.results.iter().map(|result| result.status).collect();
    assert_eq!(states, [ItemStatus::Superseded, ItemStatus::Indexed, ItemStatus::Indexed]);
    assert_eq!(ids(&engine, "pears").await, ["c"]);
    assert!(ids(&engine, "apricots").await.is_empty());
    assert_eq!(engine.document("c", "a").await.unwrap().text.unwrap(), "avocados");

    let job = engine.write("c", vec![document("d", "dates")], false).await.unwrap().job_id.unwrap();
    engine.delete_document("c", "d").await.unwrap();
    engine.delete_document("c", "b").await.unwrap();
    engine.settle("c", true).await.unwrap();
    assert_eq!(engine.job(&job).unwrap().indexed, 1);
    assert!(ids(&engine, "dates bread").await.is_empty());
    let again = engine.delete_document("c", "b").await.unwrap_err();
    assert_eq!(again.code, Code::DocumentNotFound);

    let waiting = engine.write("c", vec![document("e", "elderberries")], false).await.unwrap();
    engine.shutdown().await;
    drop(engine);
    let engine = reopen(dir.path()).await;
    engine.settle("c", true).await.unwrap();
    assert_eq!(ids(&engine, "elderberries").await, ["e"]);
    assert!(engine.job(&waiting.job_id.unwrap()).unwrap().state.ended());
    assert!(ids(&engine, "dates bread apples").await.is_empty());
    let page = engine.documents("c", None, 2, None).await.unwrap();
    assert_eq!(page.documents.iter().map(|d| d.id.as_str()).collect::<Vec<_>>(), ["a", "c"]);
    let page = engine.documents("c", page.next.as_deref(), 2, None).await.unwrap();
    assert_eq!(page.documents.iter().map(|d| d.id.as_str()).collect::<Vec<_>>(), ["e"]);
    assert!(page.next.is_none());
    engine.shutdown().await;
}

/// Opens a data directory whose last engine is being dropped.
async fn reopen(dir: &Path) -> Arc<Engine> {
    for _ in 0..200 {
        match Engine::open(config(dir)).await {
            Ok(engine) => return engine,
            Err(error) if error.code == Code::Locked => {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the data directory stays locked");
}

#[cfg(feature = "builtin-model")]
#[tokio::test(flavor = "multi_thread")]
async fn the_built_in_model_finds_what_words_do_not() {
    use gleaner::search::request::{GroupBy, Mode};

    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path()).await;
    engine.create_collection("c", Definition::default()).await.unwrap();
    let items = vec![
        document("pets", "# Pets\n\nA kitten needs warm milk and a place to sleep."),
        document("cars", "# Cars\n\nThe engine of an old lorry is loud."),
        document("law", "# Law\n\nA contract is valid when both parties sign it."),
    ];
    engine.write("c", items, true).await.unwrap();
    let mut request = query("how do I look after a baby cat?");
    request.explain = true;
    request.group_by = Some(GroupBy::Document);
    let response = engine.search("c", request.clone()).await.unwrap();
    assert_eq!(response.hits[0].document_id, "pets");
    assert_eq!(response.hits[0].headings, ["Pets"]);
    assert!(!response.status.degraded);
    let explain = response.hits[0].explain.as_ref().unwrap();
    assert_eq!(explain.dense.unwrap().rank, Some(1));
    for mode in [Mode::Dense, Mode::Lexical, Mode::Hybrid] {
        request.mode = Some(mode);
        let response = engine.search("c", request.clone()).await.unwrap();
        assert!(response.hits.iter().all(|hit| (0.0..=1.0).contains(&hit.score)));
    }
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_partition_the_window_and_a_cursor_belongs_to_its_search() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path()).await;
    engine.create_collection("c", lexical()).await.unwrap();
    let items =
        (0..57).map(|n| document(&format!("d{n:02}"), &format!("common word and number {n}"))).collect();
    engine.write("c", items, true).await.unwrap();
    let first = SearchRequest { limit: Some(10), ..query("common word") };
    let whole = SearchRequest { limit: Some(100), ..query("common word") };
    let whole: Vec<_> =
        engine.search("c", whole).await.unwrap().hits.into_iter().map(|hit| hit.document_id).collect();
    assert_eq!(whole.len(), 57);
    let mut paged = Vec::new();
    let mut cursor = None;
    loop {
        let request = SearchRequest { cursor: cursor.clone(), ..first.clone() };
        let response = engine.search("c", request).await.unwrap();
        paged.extend(response.hits.into_iter().map(|hit| hit.document_id));
        // a change between pages does not shift them
        engine.write("c", vec![document("d00", "common word common word")], true).await.unwrap();
        match response.next_cursor {
            Some(next) => cursor = Some(next),
            None => break,
        }
    }
    assert_eq!(paged, whole);
    let other = SearchRequest { cursor: cursor.clone(), ..query("another") };
    assert_eq!(engine.search("c", other).await.unwrap_err().code, Code::InvalidCursor);
    let garbage = SearchRequest { cursor: Some("!".into()), ..first.clone() };
    assert_eq!(engine.search("c", garbage).await.unwrap_err().code, Code::InvalidCursor);
    engine.shutdown().await;
    drop(engine);
    let engine = reopen(dir.path()).await;
    let stale = SearchRequest { cursor, ..first };
    assert_eq!(engine.search("c", stale).await.unwrap_err().code, Code::CursorExpired);
    engine.shutdown().await;
}
