//! Background work: long tasks do not let segments pile up, and a merge does not throw away what a graph has cost.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use gleaner::collection::definition::{Definition, VectorDefinition};
use gleaner::dispatch::ProviderAccess;
use gleaner::document::Document;
use gleaner::engine::{Engine, EngineConfig};
use gleaner::store::disk::DiskFile;
use gleaner::store::{Disk, OsDisk, Result};
use parking_lot::{Condvar, Mutex};
use serde_json::{Value, json};

use crate::support::fixture::{client, close, document, items, verified};
use crate::support::server::{Server, document_path, eventually, hit_ids, verify};

/// The file system, on which one CPU pool makes no file until it is released.
#[derive(Clone, Debug)]
struct HeldDisk {
    pool: &'static str,
    held: Arc<(Mutex<Held>, Condvar)>,
}

#[derive(Debug, PartialEq)]
enum Held {
    NotYet,
    Waiting,
    Released,
}

impl HeldDisk {
    fn new(pool: &'static str) -> HeldDisk {
        HeldDisk { pool, held: Arc::new((Mutex::new(Held::NotYet), Condvar::new())) }
    }

    fn is_waiting(&self) -> bool {
        *self.held.0.lock() == Held::Waiting
    }

    fn release(&self) {
        *self.held.0.lock() = Held::Released;
        self.held.1.notify_all();
    }
}

impl Disk for HeldDisk {
    fn create(&self, path: &Path) -> Result<Box<dyn DiskFile>> {
        if std::thread::current().name().is_some_and(|name| name.starts_with(self.pool)) {
            let mut held = self.held.0.lock();
            while *held != Held::Released {
                *held = Held::Waiting;
                self.held.1.wait(&mut held);
            }
        }
        OsDisk.create(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        OsDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> Result<()> {
        OsDisk.remove(path)
    }

    fn create_dir(&self, path: &Path) -> Result<()> {
        OsDisk.create_dir(path)
    }

    fn remove_dir(&self, path: &Path) -> Result<()> {
        OsDisk.remove_dir(path)
    }

    fn sync_dir(&self, path: &Path) -> Result<()> {
        OsDisk.sync_dir(path)
    }

    fn database(&self, path: &Path) -> Result<Box<dyn redb::StorageBackend>> {
        OsDisk.database(path)
    }
}

async fn write(engine: &Engine, numbers: std::ops::Range<usize>) {
    let documents = numbers.map(|n| Document {
        vector: Some(vec![1.0, n as f32]),
        ..document(&format!("d{n}"), &format!("text {n}"))
    });
    let response = engine.write("c", items(documents), true).await.unwrap();
    assert_eq!(response.failed, 0);
}

/// Waits until `done`, which it must soon be.
async fn soon(what: &str, done: impl Fn() -> bool) {
    let wait = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.unwrap_or_else(|_| panic!("{what}"));
}

async fn segments_stay_few_while(pool: &'static str) {
    let dir = tempfile::tempdir().unwrap();
    let disk = HeldDisk::new(pool);
    let config = EngineConfig {
        data_dir: dir.path().to_owned(),
        threads: 1,
        disk: Arc::new(disk.clone()),
        models_dir: "models".into(),
        max_waiting_bytes: 1 << 30,
        embedding_cache_bytes: 0,
        provider_access: ProviderAccess::default(),
    };
    let engine = Engine::open(config).await.unwrap();
    let vector = VectorDefinition { graph_min_rows: 100, ..VectorDefinition::default() };
    engine.create_collection("c", Definition { vector, ..client(2) }).await.unwrap();
    let segments = || engine.stats("c").unwrap().segments;

    write(&engine, 0..100).await;
    for n in 100..150 {
        write(&engine, n..n + 1).await;
        soon("segments pile up", || segments().len() <= 16).await;
    }
    soon("nothing is held up", || disk.is_waiting()).await;
    assert!(!engine.stats("c").unwrap().settled && segments().iter().all(|segment| !segment.graph));

    disk.release();
    engine.settle("c", true).await.unwrap();
    let stats = engine.stats("c").unwrap();
    assert!(stats.settled && stats.documents == 150 && stats.segments.iter().any(|segment| segment.graph));
    close(engine).await;
    assert!(verified(dir.path()).is_clean());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn segments_stay_few_while_a_graph_is_built() {
    segments_stay_few_while("graph-").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn segments_stay_few_while_a_merge_takes_long() {
    segments_stay_few_while("merge-").await;
}

#[test]
fn the_graph_of_a_merged_segment_is_made_from_the_largest_input() {
    let vector = |row: usize| -> Vec<f32> {
        (0..16).map(|at| ((row * 31 + 7) * (at + 3) % 1009) as f32 / 500.0 - 1.0).collect()
    };
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    let embedding = json!({"provider": "client", "dimensions": 16});
    server.create(&json!({"name": "c", "embedding": embedding, "vector": {"graph_min_rows": 100}}));
    let write = |rows: std::ops::Range<usize>| {
        let documents: Value = rows
            .map(|row| json!({"id": row.to_string(), "text": format!("row {row}"), "vector": vector(row)}))
            .collect();
        server.post("/v1/collections/c/documents?wait=true", &documents).expect(200);
    };
    let settle =
        || eventually("it settles", || server.get("/v1/collections/c/stats").expect(200)["settled"] == true);
    // asked for as soon as it settles: a server that is polled logs much
    let last_graph = || {
        let log = server.log();
        let mut entries = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let graph = entries.rfind(|entry| entry["message"] == "a graph was built").expect(&log);
        (graph["rows"].as_u64(), graph["reused"].as_u64())
    };
    write(0..400);
    settle();
    assert_eq!(last_graph(), (Some(400), Some(0)));
    (0..30).for_each(|row| drop(server.delete(&document_path("c", &(row * 13).to_string())).expect(200)));
    write(400..500);
    settle();
    assert_eq!(last_graph(), (Some(470), Some(370)));

    let stats = server.get("/v1/collections/c/stats").expect(200);
    assert_eq!(
        (stats["segments"].as_array().unwrap().len(), &stats["documents"]),
        (1, &json!(470)),
        "{stats}"
    );
    for row in (0..500).step_by(7) {
        let query = json!({"vector": vector(row), "mode": "dense", "limit": 1});
        let found = server.search("c", &query);
        let deleted = row % 13 == 0 && row < 390;
        assert_eq!(hit_ids(&found)[0] == row.to_string(), !deleted, "{row}: {found}");
    }
    server.stop();
    assert_eq!(verify(dir.path())["problems"], json!([]));
}
