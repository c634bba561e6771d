//! The promise: what was acknowledged survives a power loss at any moment, in its newest version and whole,
//! and nothing acknowledged as deleted comes back.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use gleaner::Code;
use gleaner::collection::definition::{Definition, VectorDefinition};
use gleaner::dispatch::ProviderAccess;
use gleaner::document::Document;
use gleaner::engine::{Engine, EngineConfig};
use serde_json::json;

use crate::support::fixture::{
    all_hits, client, close, document, found, items, lexical, listed, metadata, open, query, verified, word,
};
use crate::support::random::Random;
use crate::support::sim_disk::{SimDisk, Step, Unsynced};

const COLLECTIONS: [&str; 2] = ["words", "vectors"];

/// What was asked of a document, and whether that was acknowledged.
#[derive(Debug)]
struct Change {
    /// `None`: deleted.
    text: Option<String>,
    acknowledged: bool,
}

/// What a workload was told.
#[derive(Debug, Default)]
struct Told {
    created: BTreeSet<&'static str>,
    /// In the order of the calls.
    changes: BTreeMap<(&'static str, String), Vec<Change>>,
    words: u64,
}

impl Told {
    /// What may be there of a document: what was last acknowledged, or anything asked for since.
    fn possible(&self, key: &(&'static str, String)) -> Vec<Option<&str>> {
        let changes = &self.changes[key];
        let acknowledged = changes.iter().rposition(|change| change.acknowledged);
        let since = changes[acknowledged.unwrap_or(0)..].iter().map(|change| change.text.as_deref());
        since.chain(acknowledged.is_none().then_some(None)).collect()
    }

    fn ask(&mut self, collection: &'static str, id: &str, text: Option<String>) {
        let changes = self.changes.entry((collection, id.to_owned())).or_default();
        changes.push(Change { text, acknowledged: false });
    }

    fn acknowledge(&mut self, collection: &'static str, ids: &[String]) {
        for id in ids {
            let changes = self.changes.get_mut(&(collection, id.clone())).unwrap();
            changes.last_mut().unwrap().acknowledged = true;
        }
    }
}

fn definitions() -> [(&'static str, Definition); 2] {
    let vector = VectorDefinition { graph_min_rows: 2, ..VectorDefinition::default() };
    [("words", lexical()), ("vectors", Definition { vector, ..client(4) })]
}

/// A text of several chunks, each of which has the word.
fn text(word: &str) -> String {
    (0..12)
        .map(|n| format!("common {word} {}", ["alpha", "beta", "gamma"][n % 3]))
        .collect::<Vec<_>>()
        .join(". ")
}

/// The group of a document, by which it is deleted.
fn group(id: &str) -> usize {
    id.bytes().map(usize::from).sum::<usize>() % 4
}

/// Calls that stop with the power.
struct Caller<'a> {
    disk: &'a SimDisk,
    engine: Arc<Engine>,
    told: Told,
}

/// What a call answers; `None` where the power went first and nothing more can come.
async fn unless_off<T>(disk: &SimDisk, call: impl Future<Output = T>) -> Option<T> {
    let off = async {
        while !disk.is_off() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // what was acknowledged before may still be on its way
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    tokio::select! {
        biased;
        answer = call => Some(answer),
        () = off => None,
    }
}

impl Caller<'_> {
    /// One document of each collection and id, with a word of its own.
    fn documents(&mut self, collection: &'static str, ids: &[String]) -> Vec<Document> {
        let mut documents = Vec::new();
        for id in ids {
            self.told.words += 1;
            let text = text(&word('w', self.told.words));
            self.told.ask(collection, id, Some(text.clone()));
            let mut document = document(id, &text);
            document.metadata = metadata(json!({"group": group(id)}));
            let vector = Random::new(self.told.words).vector(4);
            document.vector = (collection == "vectors").then_some(vector);
            documents.push(document);
        }
        documents
    }

    async fn write(&mut self, ids: std::ops::Range<usize>, wait: bool) {
        let ids: Vec<String> = ids.map(|n| format!("d{n}")).collect();
        for collection in COLLECTIONS {
            let documents = self.documents(collection, &ids);
            let call = self.engine.write(collection, items(documents), wait);
            if let Some(Ok(response)) = unless_off(self.disk, call).await {
                assert_eq!(response.accepted, ids.len());
                self.told.acknowledge(collection, &ids);
            }
        }
    }

    async fn delete(&mut self, n: usize) {
        let id = format!("d{n}");
        for collection in COLLECTIONS {
            self.told.ask(collection, &id, None);
            let call = self.engine.delete_document(collection, &id);
            match unless_off(self.disk, call).await {
                Some(Ok(_)) => self.told.acknowledge(collection, std::slice::from_ref(&id)),
                Some(Err(error)) => {
                    assert!(self.disk.is_off() || self.disk.has_failed(), "{error}");
                }
                None => {}
            }
        }
    }

    async fn delete_group(&mut self, wanted: usize) {
        for collection in COLLECTIONS {
            let known =
                self.told.changes.keys().filter(|(name, id)| *name == collection && group(id) == wanted);
            let ids: Vec<String> = known.map(|(_, id)| id.clone()).collect();
            for id in &ids {
                self.told.ask(collection, id, None);
            }
            let filter = json!({"type": "eq", "key": "group", "value": wanted});
            let call = self.engine.delete_by_filter(collection, &filter);
            if let Some(Ok(_)) = unless_off(self.disk, call).await {
                self.told.acknowledge(collection, &ids);
            }
        }
    }

    async fn settle(&self) {
        for collection in COLLECTIONS {
            unless_off(self.disk, self.engine.settle(collection, true)).await;
        }
    }
}

/// Everything a client can ask for that changes the disk.
async fn workload(disk: &SimDisk, dir: &Path) -> Told {
    let config = EngineConfig {
        data_dir: dir.to_owned(),
        threads: 2,
        disk: Arc::new(disk.clone()),
        models_dir: "models".into(),
        max_waiting_bytes: 1 << 30,
        embedding_cache_bytes: 0,
        provider_access: ProviderAccess::default(),
    };
    let Ok(engine) = Engine::open(config).await else {
        assert!(disk.is_off() || disk.has_failed());
        return Told::default();
    };
    let mut caller = Caller { disk, engine, told: Told::default() };
    for (name, definition) in definitions() {
        if let Some(Ok(_)) = unless_off(disk, caller.engine.create_collection(name, definition)).await {
            caller.told.created.insert(name);
        }
    }
    if caller.told.created.len() == COLLECTIONS.len() {
        caller.write(0..6, true).await;
        caller.write(4..10, false).await;
        caller.delete(1).await;
        caller.write(1..3, false).await; // one of them deleted before
        caller.delete(2).await; // most likely still on its way
        caller.settle().await;
        caller.write(0..3, true).await;
        caller.delete_group(1).await;
        caller.write(8..12, false).await;
        caller.settle().await;
        caller.delete(11).await;
        caller.write(12..14, true).await;
        caller.write(3..5, false).await;
    }
    if !disk.is_off() {
        caller.engine.shutdown().await;
    }
    caller.told
}

/// Starts on what a power loss left and holds it against what was acknowledged.
async fn check(dir: &Path, told: &Told) {
    let engine = open(dir).await;
    for name in &told.created {
        assert!(engine.collection(name).is_ok(), "{name} was acknowledged and is gone");
    }
    for info in engine.collections() {
        let name = COLLECTIONS.into_iter().find(|name| *name == info.name).unwrap();
        engine.settle(name, true).await.unwrap();
        let mut alive = BTreeMap::new();
        for key in told.changes.keys().filter(|(collection, _)| *collection == name) {
            let there = match engine.document(name, &key.1).await {
                Ok(document) => document.text,
                Err(error) if error.code == Code::DocumentNotFound => None,
                Err(error) => panic!("{name}/{}: {error}", key.1),
            };
            let possible = told.possible(key);
            assert!(
                possible.contains(&there.as_deref()),
                "{key:?} is {there:?}, told {:?}",
                told.changes[key]
            );
            alive.extend(there.map(|text| (key.1.clone(), text)));
        }
        let ids: Vec<_> = listed(&engine, name, 5, None).await.unwrap().into_iter().map(|d| d.id).collect();
        assert_eq!(ids, alive.keys().cloned().collect::<Vec<_>>());
        let stats = engine.stats(name).unwrap();
        assert_eq!((stats.documents as usize, stats.pending_documents), (ids.len(), 0));
        assert_eq!(found(&engine, name, query("common")).await.unwrap(), ids);
        for (id, text) in &alive {
            let own = text.split(' ').nth(1).unwrap();
            let hits = all_hits(&engine, name, query(own)).await.unwrap();
            assert!(hits.iter().all(|hit| hit.document_id == *id && text.contains(&hit.text)));
            assert_eq!(hits.len(), hits[0].chunks as usize, "{id} is found whole");
        }
        // it goes on from there
        let mut again = document("d4", "fresh");
        again.vector = (name == "vectors").then(|| vec![1.0, 0.0, 0.0, 0.0]);
        engine.write(name, items([again]), true).await.unwrap();
        assert_eq!(found(&engine, name, query("fresh")).await.unwrap(), ["d4"]);
    }
    assert!(engine.jobs(None, 1000).unwrap().iter().all(|job| job.state.ended()));
    close(engine).await;
    let report = verified(dir);
    assert!(report.is_clean() && report.leftovers.is_empty(), "{report}");
    let names: BTreeSet<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let expected = ["LOCK", "catalog.redb", "collections"];
    assert_eq!(names, expected.into_iter().map(str::to_owned).collect());
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// Runs the workload until the power goes, and checks what is left. Returns the steps taken.
fn lose_power(step: Step, after: Option<u64>, unsynced: Unsynced) -> u64 {
    let root = tempfile::tempdir().unwrap();
    let disk = SimDisk::new(root.path());
    if let Some(count) = after {
        disk.power_off_after(step, count);
    }
    let running = runtime();
    let told = running.block_on(workload(&disk, root.path()));
    let left = tempfile::tempdir().unwrap();
    disk.materialise(left.path(), unsynced);
    running.shutdown_background();
    println!("{unsynced:?} after {after:?} of {step:?}");
    let fresh = runtime();
    fresh.block_on(check(left.path(), &told));
    fresh.shutdown_background();
    disk.steps(step)
}

/// At most `most` of the steps `0..all`, evenly spread, the first and the last among them.
fn spread(all: u64, most: u64) -> Vec<u64> {
    let most = most.min(all).max(2);
    (0..most).map(|n| n * (all - 1) / (most - 1)).collect::<BTreeSet<_>>().into_iter().collect()
}

/// How many moments are tried; set `GLEANER_POWER_LOSSES` for more.
fn moments() -> u64 {
    std::env::var("GLEANER_POWER_LOSSES").ok().and_then(|text| text.parse().ok()).unwrap_or(32)
}

#[test]
fn acknowledged_writes_survive_losing_what_was_not_synced() {
    let all = lose_power(Step::Sync, None, Unsynced::Lost);
    println!("{all} syncs");
    for count in spread(all, moments()) {
        lose_power(Step::Sync, Some(count), Unsynced::Lost);
    }
}

#[test]
fn acknowledged_writes_survive_torn_ones() {
    let all = lose_power(Step::Change, None, Unsynced::Torn(1));
    println!("{all} changes");
    for count in spread(all, moments()) {
        lose_power(Step::Change, Some(count), Unsynced::Torn(count));
    }
}

/// A sync fails once and the engine goes on: the next start must not find a refused commit beside what came
/// after it.
#[test]
fn a_sync_that_fails_once_leaves_what_was_acknowledged_and_nothing_twice() {
    let all = lose_power(Step::Sync, None, Unsynced::Lost);
    let once = |count: u64| {
        let root = tempfile::tempdir().unwrap();
        let disk = SimDisk::new(root.path());
        disk.fail_once_after(count);
        println!("sync {count} of {all} fails");
        let running = runtime();
        let told = running.block_on(workload(&disk, root.path()));
        running.block_on(check(root.path(), &told));
        running.shutdown_background();
    };
    // most of the time passes in waiting for the next try
    let counts = spread(all, moments());
    std::thread::scope(|scope| {
        for share in counts.chunks(counts.len().div_ceil(8)) {
            scope.spawn(move || share.iter().for_each(|&count| once(count)));
        }
    });
}
