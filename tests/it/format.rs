//! Data directories that earlier versions wrote open and answer as they did.

use std::fs;
use std::path::Path;

use gleaner::collection::verify::verify;
use gleaner::search::request::{Mode, SearchRequest};

use crate::engine::open;

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn format_1_opens_and_answers() {
    let dir = tempfile::tempdir().unwrap();
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/format/v1"), dir.path());
    let report = verify(dir.path()).unwrap();
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.documents, 6);

    let engine = open(dir.path()).await;
    assert!(engine.stats("vectors").unwrap().segments[0].graph);
    let request = SearchRequest {
        query: Some("plums".into()),
        vector: Some(vec![0.2, 0.2, 1.0]),
        filter: Some(serde_json::json!({"type": "gte", "key": "at", "value": "2024-05-02"})),
        explain: true,
        ..SearchRequest::default()
    };
    let hits = engine.search("vectors", request).await.unwrap().hits;
    assert_eq!((hits[0].document_id.as_str(), hits[0].title.as_deref()), ("d2", Some("Title 2")));
    assert_eq!(hits[0].explain.as_ref().unwrap().dense.unwrap().rank, Some(1));
    assert!(hits.iter().all(|hit| hit.document_id != "d5" && hit.document_id != "d0"));

    let request =
        SearchRequest { query: Some("more".into()), mode: Some(Mode::Lexical), ..SearchRequest::default() };
    let hits = engine.search("notes", request).await.unwrap().hits;
    assert_eq!(hits[0].headings.first().map(String::as_str), Some("Heading"));
    assert!(hits[0].text.contains("golden files") || hits[0].text.contains("More of it."));
    engine.shutdown().await;
}
