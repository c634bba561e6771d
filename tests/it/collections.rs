//! Collections come and go while others write to them.

use std::sync::Arc;
use std::time::Duration;

use gleaner::Code;
use gleaner::engine::Engine;

use crate::support::fixture::{close, document, found, items, lexical, open, query, verified};

/// Writes until the collection is gone.
async fn write_on(engine: Arc<Engine>, writer: usize) {
    for n in 0.. {
        let documents = (0..3).map(|at| document(&format!("{writer}-{n}-{at}"), "old"));
        match engine.write("c", items(documents), (n + writer).is_multiple_of(2)).await {
            Ok(_) => {}
            Err(error) if error.code == Code::CollectionNotFound => return,
            // it went while this was under way, its files perhaps before it was
            Err(error) if error.code == Code::Unavailable => return,
            Err(error) => {
                let gone = error.message.contains("No such file") || error.message.contains("not found");
                assert!(error.code == Code::StorageFailed && gone, "{error}");
                return;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collection_deleted_under_writes_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path()).await;
    engine.create_collection("kept", lexical()).await.unwrap();
    engine.write("kept", items([document("a", "kept")]), true).await.unwrap();
    for round in 0..25 {
        engine.create_collection("c", lexical()).await.unwrap();
        let writers: Vec<_> =
            (0..4).map(|writer| tokio::spawn(write_on(Arc::clone(&engine), writer))).collect();
        tokio::time::sleep(Duration::from_millis(3 * round % 40)).await;
        engine.delete_collection("c").await.unwrap();
        for writer in writers {
            writer.await.unwrap();
        }
        assert!(engine.jobs(None, 10).unwrap().is_empty(), "jobs go with their collection");
    }
    close(engine).await;
    let engine = open(dir.path()).await;
    assert!(engine.jobs(None, 10).unwrap().is_empty());
    assert_eq!(engine.collections().len(), 1);
    // the next one starts empty, also after a restart
    engine.create_collection("c", lexical()).await.unwrap();
    engine.write("c", items([document("a", "new")]), true).await.unwrap();
    close(engine).await;
    let report = verified(dir.path());
    assert!(report.is_clean() && report.leftovers.is_empty(), "{report}");
    let engine = open(dir.path()).await;
    assert!(found(&engine, "c", query("old")).await.unwrap().is_empty());
    assert_eq!(found(&engine, "c", query("new")).await.unwrap(), ["a"]);
    assert_eq!(found(&engine, "kept", query("kept")).await.unwrap(), ["a"]);
    close(engine).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn creating_is_idempotent_for_one_definition() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path()).await;
    assert!(engine.create_collection("c", lexical()).await.unwrap().1);
    assert!(!engine.create_collection("c", lexical()).await.unwrap().1);
    let mut other = lexical();
    other.text.title_weight = 3;
    assert_eq!(engine.create_collection("c", other).await.unwrap_err().code, Code::CollectionExists);
    for name in ["", ".c", "a/b", "..", "ü", &"c".repeat(65)] {
        assert_eq!(engine.create_collection(name, lexical()).await.unwrap_err().code, Code::InvalidRequest);
    }
    engine.delete_collection("c").await.unwrap();
    assert_eq!(engine.delete_collection("c").await.unwrap_err().code, Code::CollectionNotFound);
    close(engine).await;
}
