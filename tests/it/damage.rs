//! Damaged files: the engine opens and stays up, an answer that needs the damaged bytes is an error or is
//! degraded and names the file, and every other answer is what it was.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use gleaner::collection::definition::{Definition, VectorDefinition};
use gleaner::document::{Document, ItemStatus};
use gleaner::engine::Engine;
use gleaner::search::request::{GroupBy, Mode, SearchRequest};
use gleaner::search::response::{SearchResponse, StageState};
use gleaner::{Code, Error};
use redb::TableDefinition;
use serde_json::json;

use crate::support::fixture::{
    client, close, document, found, items, metadata, open, query, try_open, verified, word,
};
use crate::support::random::Random;

const DIMENSIONS: usize = 16;
const DOCUMENTS: u64 = 700;
const KINDS: [&str; 4] = ["text", "source", "vectors", "graph"];

/// A closed data directory with two collections of one segment each; the first has a graph.
async fn prepared() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path()).await;
    let vector = VectorDefinition { graph_min_rows: 2, ..VectorDefinition::default() };
    let definition = Definition { vector, ..client(DIMENSIONS as u32) };
    for name in ["damaged", "sound"] {
        engine.create_collection(name, definition.clone()).await.unwrap();
        let documents = (0..DOCUMENTS).map(|n| {
            // texts that do not compress well: the source part has several blocks
            let mut random = Random::new(n);
            let words: Vec<_> = (0..20).map(|_| word('t', random.next() % 4000)).collect();
            Document {
                vector: Some(random.vector(DIMENSIONS)),
                metadata: metadata(json!({"n": n, "s": word('m', n)})),
                ..document(&format!("d{n}"), &format!("common {} {}", word('w', n), words.join(" ")))
            }
        });
        engine.write(name, items(documents), true).await.unwrap();
        engine.settle(name, true).await.unwrap();
        assert!(engine.stats(name).unwrap().segments[0].graph);
    }
    close(engine).await;
    assert!(verified(dir.path()).is_clean());
    dir
}

/// The file of a part of the first collection.
fn part(dir: &Path, kind: &str) -> PathBuf {
    let mut folders: Vec<_> =
        std::fs::read_dir(dir.join("collections")).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort_by_key(|path| path.file_name().unwrap().to_str().unwrap().parse::<u64>().unwrap());
    let mut files = std::fs::read_dir(&folders[0]).unwrap().map(|entry| entry.unwrap().path());
    files.find(|path| path.extension().is_some_and(|extension| extension == kind)).unwrap()
}

fn requests() -> Vec<SearchRequest> {
    let few = |n: u64| SearchRequest {
        limit: Some(5),
        window: Some(5),
        ef: Some(10),
        vector: Some(Random::new(n).vector(DIMENSIONS)),
        ..query(&format!("common {}", word('w', 17 * n)))
    };
    let mut requests = Vec::new();
    for n in 0..6 {
        for mode in [Mode::Lexical, Mode::Dense, Mode::Hybrid] {
            let group_by = (n % 3 == 1).then_some(GroupBy::Document);
            let request = SearchRequest { mode: Some(mode), exact: n % 3 == 2, group_by, ..few(n) };
            let filter = json!({"type": "lt", "key": "n", "value": 100 * n + 1});
            requests.push(SearchRequest { filter: Some(filter), ..request.clone() });
            requests.push(request);
        }
    }
    // reads every document, list of postings and vector
    let all = SearchRequest { vector: Some(vec![1.0; DIMENSIONS]), ..query("common") };
    for mode in [Mode::Lexical, Mode::Dense, Mode::Hybrid] {
        requests.push(SearchRequest { mode: Some(mode), ..all.clone() });
        requests.push(SearchRequest { mode: Some(mode), exact: true, ..all.clone() });
    }
    requests.push(SearchRequest { strict: true, ..all });
    requests
}

/// What can be compared of an answer.
type Answer = Vec<(String, u32, String)>;

fn answer(response: SearchResponse) -> Answer {
    response.hits.into_iter().map(|hit| (hit.document_id, hit.score.to_bits(), hit.text)).collect()
}

async fn answers(engine: &Engine) -> Vec<Answer> {
    let mut answers = Vec::new();
    for request in requests() {
        let response = engine.search("damaged", request).await.unwrap();
        assert!(!response.status.degraded);
        answers.push(answer(response));
    }
    answers
}

fn names_file(text: &str, file: &Path) -> bool {
    text.contains(file.to_str().unwrap())
}

fn assert_is_about(error: &Error, file: &Path, code: Code, what: &str) {
    assert_eq!(error.code, code, "{what}: {error}");
    assert!(names_file(&error.to_string(), file), "{what}: {error} does not name the file");
}

/// Opens the damaged directory and holds every answer against the one before the damage. Returns how many
/// answers failed or were degraded.
async fn check(dir: &Path, file: &Path, code: Code, before: &[Answer], what: &str) -> usize {
    let engine =
        try_open(dir).await.unwrap_or_else(|error| panic!("{what}: the engine does not open: {error}"));
    let mut told = 0;
    for (request, before) in requests().into_iter().zip(before) {
        let strict = request.strict;
        match engine.search("damaged", request.clone()).await {
            Err(error) => {
                assert_is_about(&error, file, code, &format!("{what}: {request:?}"));
                told += 1;
            }
            Ok(response) if response.status.degraded => {
                assert!(!strict);
                let stages = [&response.status.dense, &response.status.lexical];
                let failed: Vec<_> =
                    stages.into_iter().filter(|stage| stage.state == StageState::Failed).collect();
                let named = |stage: &&_| names_file(stage_error(stage), file);
                assert!(!failed.is_empty() && failed.iter().all(named), "{what}: {:?}", response.status);
                told += 1;
            }
            Ok(response) => assert_eq!(answer(response), *before, "{what}: {request:?}"),
        }
    }
    for n in [0, DOCUMENTS / 2, DOCUMENTS - 1] {
        match engine.document("damaged", &format!("d{n}")).await {
            Ok(document) => assert!(document.text.unwrap().contains(&word('w', n))),
            Err(error) => assert_is_about(&error, file, code, what),
        }
    }
    match engine.documents("damaged", None, 1000, None).await {
        Ok(page) => assert_eq!(page.documents.len() as u64, DOCUMENTS),
        Err(error) => assert_is_about(&error, file, code, what),
    }
    // the others do not notice
    assert_eq!(found(&engine, "sound", query(&word('w', 9))).await.unwrap(), ["d9"]);
    let mut new = document("new", "unheard");
    new.vector = Some(vec![1.0; DIMENSIONS]);
    engine.write("sound", items([new]), true).await.unwrap();
    assert_eq!(found(&engine, "sound", query("unheard")).await.unwrap(), ["new"]);
    engine.delete_document("sound", "new").await.unwrap();
    close(engine).await;
    told
}

fn stage_error(stage: &gleaner::search::response::StageStatus) -> &str {
    stage.error.as_deref().unwrap_or_default()
}

fn flip(file: &Path, at: usize, with: u8) {
    let mut bytes = std::fs::read(file).unwrap();
    bytes[at] ^= with;
    std::fs::write(file, bytes).unwrap();
}

async fn undamaged_answers(dir: &Path) -> Vec<Answer> {
    let engine = open(dir).await;
    let before = answers(&engine).await;
    close(engine).await;
    before
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flipped_bytes_are_never_answered_from() {
    let dir = prepared().await;
    let before = undamaged_answers(dir.path()).await;
    for kind in KINDS {
        let file = part(dir.path(), kind);
        let sound = std::fs::read(&file).unwrap();
        let mut random = Random::new(kind.len() as u64);
        let mut places = vec![0, 13, 40, sound.len() - 1, sound.len() - 20, sound.len() - 40];
        places.extend((0..7).map(|n| n * sound.len() / 7 + random.below(sound.len() / 7)));
        let mut told = 0;
        for place in places {
            let what = format!("{kind}, byte {place} of {}", sound.len());
            flip(&file, place, 1 << random.below(8));
            told += check(dir.path(), &file, Code::CorruptData, &before, &what).await;
            let report = verified(dir.path());
            assert!(!report.is_clean(), "{what}: verify finds nothing");
            assert!(report.problems.iter().all(|problem| names_file(problem, &file)), "{what}: {report}");
            let in_block = place >= 32 && place < sound.len() / 2;
            if in_block {
                let block = format!("block {}", place / gleaner::store::part::BLOCK);
                assert!(report.problems.iter().any(|problem| problem.contains(&block)), "{what}: {report}");
            }
            std::fs::write(&file, &sound).unwrap();
        }
        assert!(told > 0, "no answer told of the damage of {kind}");
    }
    assert!(verified(dir.path()).is_clean());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn truncated_files_are_never_answered_from() {
    let dir = prepared().await;
    let before = undamaged_answers(dir.path()).await;
    for kind in KINDS {
        let file = part(dir.path(), kind);
        let sound = std::fs::read(&file).unwrap();
        for len in [0, 10, sound.len() / 2, sound.len() - 1] {
            std::fs::write(&file, &sound[..len]).unwrap();
            let what = format!("{kind}, {len} of {} bytes", sound.len());
            assert!(check(dir.path(), &file, Code::CorruptData, &before, &what).await > 0);
            assert!(!verified(dir.path()).is_clean(), "{what}");
        }
        std::fs::write(&file, &sound).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn newer_formats_are_refused_by_name() {
    let dir = prepared().await;
    let before = undamaged_answers(dir.path()).await;
    for kind in KINDS {
        let file = part(dir.path(), kind);
        flip(&file, 8, 0x40);
        assert!(check(dir.path(), &file, Code::NewerFormat, &before, kind).await > 0);
        let report = verified(dir.path()).to_string();
        assert!(report.contains("use a newer gleaner"), "{report}");
        flip(&file, 8, 0x40);
    }
    {
        let database = redb::Database::open(dir.path().join("catalog.redb")).unwrap();
        let transaction = database.begin_write().unwrap();
        let meta = TableDefinition::<&str, u64>::new("meta");
        transaction.open_table(meta).unwrap().insert("format_version", 99).unwrap();
        transaction.commit().unwrap();
    }
    let error = try_open(dir.path()).await.map(drop).unwrap_err();
    assert_eq!(error.code, Code::NewerFormat);
    assert!(
        error.message.contains("catalog.redb") && error.message.contains("use a newer gleaner"),
        "{error}"
    );
}

/// A batch that was accepted and lies in the inbox when it is damaged: its job says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_inbox_batch_fails_in_its_job() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path()).await;
    engine.create_collection("c", client(2)).await.unwrap();
    let job = {
        // a closing engine still accepts nothing, so the batch is parked by stopping right after it
        let posted = Document { vector: Some(vec![1.0, 0.0]), ..document("lost", "lost") };
        let refused = document("refused", "without a vector");
        let job = engine.write("c", items([refused, posted]), false).await.unwrap().job_id.unwrap();
        engine.shutdown().await;
        job
    };
    let parked = !engine.job(&job).unwrap().state.ended();
    drop(engine);
    let folder = std::fs::read_dir(dir.path().join("collections")).unwrap().next().unwrap().unwrap().path();
    let inbox = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let inbox: Vec<_> = inbox.filter(|path| path.extension().is_some_and(|name| name == "inbox")).collect();
    assert_eq!(inbox.len(), usize::from(parked));
    for file in &inbox {
        flip(file, 50, 1);
    }
    let engine: Arc<Engine> = open(dir.path()).await;
    engine.settle("c", true).await.unwrap();
    let job = engine.job(&job).unwrap();
    if parked {
        assert_eq!((job.indexed, job.failed), (0, 1));
        let error = job.errors[0].error.as_ref().unwrap();
        assert_eq!(error.code, "corrupt_data");
        assert!(names_file(&error.message, &inbox[0]), "{}", error.message);
        // the catalog still knows which document that was
        let listed = engine.job_documents(&job.id, None, 10, None).await.unwrap().documents;
        assert_eq!(listed.len(), 1);
        assert_eq!((listed[0].index, listed[0].id.as_deref()), (1, Some("lost")));
        assert_eq!((listed[0].status, listed[0].error.as_ref()), (ItemStatus::Failed, Some(error)));
        assert_eq!((job.errors[0].index, &job.errors[0].id), (1, &listed[0].id));
    } else {
        assert_eq!((job.indexed, job.failed), (1, 0));
    }
    close(engine).await;
}
