//! The embedding cache as whoever pays the provider sees it: what was embedded once is not asked for again.

use std::collections::HashSet;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::counting::Counting;
use crate::support::server::{Api, Server, eventually, hit_ids};

/// A document with headings, of two paragraphs under each. No other document has a chunk of it.
fn manual(number: usize) -> Value {
    let mut text = String::new();
    for section in 0..4 {
        text.push_str(&format!("# Part {section}\n\n"));
        for paragraph in 0..2 {
            let words =
                format!("Manual {number} says in part {section}, paragraph {paragraph}, what to do. ");
            text.push_str(&format!("{}\n\n", words.repeat(2)));
        }
    }
    json!({"id": format!("m{number}"), "title": format!("Manual {number}"), "text": text})
}

fn write(api: &Api, name: &str, documents: &[Value]) {
    let path = format!("/v1/collections/{name}/documents?wait=true");
    let answer = api.post(&path, &json!({"documents": documents})).expect(200);
    assert_eq!(answer["failed"], 0, "{answer}");
}

fn metric(api: &Api, name: &str) -> u64 {
    let text = api.get("/metrics").text();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("gleaner_{name} ")));
    line.unwrap_or_else(|| panic!("no {name} in\n{text}")).parse().unwrap()
}

fn cache_files(dir: &Path) -> Vec<std::path::PathBuf> {
    std::fs::read_dir(dir.join("embedding-cache")).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn an_unchanged_corpus_is_free_and_a_changed_paragraph_pays_for_its_own_chunks() {
    let dir = tempfile::tempdir().unwrap();
    let provider = Counting::start();
    let server = Server::start(dir.path(), &[]);
    provider.create(&server, "c");
    let mut documents: Vec<_> = (0..20).map(manual).collect();
    write(&server, "c", &documents);
    let chunks = server.get("/v1/collections/c/stats").expect(200)["chunks"].as_u64().unwrap();
    assert_eq!(provider.asked().len() as u64, chunks);
    assert!(chunks >= 80, "{chunks}");

    write(&server, "c", &documents);
    let job = server.post("/v1/collections/c/documents", &json!({"documents": documents})).expect(202);
    assert_eq!(job["accepted"], 20);
    server.settle("c");
    provider.create(&server, "same");
    write(&server, "same", &documents);
    assert_eq!(provider.asked(), Vec::<String>::new(), "nothing has changed");
    assert_eq!(metric(&server, "embedding_cache_misses_total"), chunks);
    assert_eq!(metric(&server, "embedding_cache_hits_total"), 3 * chunks);
    assert_eq!(metric(&server, "embedding_cache_entries"), chunks);

    let text = documents[7]["text"].as_str().unwrap();
    documents[7]["text"] =
        text.replace("part 2, paragraph 1, what", "part 2, paragraph 1, exactly what").into();
    write(&server, "c", &documents);
    let asked = provider.asked();
    assert!((1..=2).contains(&asked.len()), "{asked:?}");
    assert!(asked.iter().any(|text| text.contains("exactly what")), "{asked:?}");
    assert!(asked.iter().all(|text| text.contains("Part 2")), "{asked:?}");
    assert_eq!(metric(&server, "documents{collection=\"c\"}"), 20);
    assert!(server.stop().success());

    // the cache survives a restart, and nothing depends on it
    for damage in [false, true] {
        for path in cache_files(dir.path()).into_iter().filter(|_| damage) {
            std::fs::write(path, "damaged").unwrap();
        }
        let server = Server::start(dir.path(), &[]);
        write(&server, "c", &documents);
        assert_eq!(provider.asked().len() as u64, if damage { chunks } else { 0 });
        let answer = server.search("c", &json!({"query": "Manual 7 exactly", "limit": 1}));
        assert_eq!((hit_ids(&answer), &answer["status"]["degraded"]), (vec!["m7"], &json!(false)));
        provider.asked();
        assert!(server.stop().success());
    }
}

#[test]
fn a_job_that_was_killed_does_not_pay_again() {
    let dir = tempfile::tempdir().unwrap();
    let provider = Counting::start();
    let server = Server::start(dir.path(), &[]);
    provider.create(&server, "c");
    provider.close();
    let documents: Vec<_> = (0..200).map(manual).collect();
    let accepted = server.post("/v1/collections/c/documents", &json!({"documents": documents})).expect(202);
    let job = format!("/v1/jobs/{}", accepted["job_id"].as_str().unwrap());
    provider.open(5);
    let answered = || provider.answered() as u64;
    eventually("what was answered is in the cache", || {
        answered() == 5 * 128 && metric(&server, "embedding_cache_entries") == 5 * 128
    });
    server.kill();
    let paid = provider.asked();

    provider.open(1000);
    let server = Server::start(dir.path(), &[]);
    eventually("the job ends", || server.get(&job).expect(200)["state"] == "succeeded");
    let rest = provider.asked();
    let again: Vec<_> = rest.iter().filter(|text| paid.contains(text)).collect();
    assert!(again.is_empty(), "{} of {} were paid for twice", again.len(), paid.len());
    let chunks = server.get("/v1/collections/c/stats").expect(200)["chunks"].as_u64().unwrap();
    // requests that were under way when it was killed may have been answered to nobody
    let all: HashSet<_> = paid.iter().chain(&rest).collect();
    assert_eq!(all.len() as u64, chunks);
}

#[test]
fn the_same_query_asked_at_once_is_one_call() {
    let dir = tempfile::tempdir().unwrap();
    let provider = Counting::start();
    let server = Server::start(dir.path(), &[]);
    provider.create(&server, "c");
    write(&server, "c", &[manual(1)]);
    provider.asked();
    provider.close();
    let ask = || server.search("c", &json!({"query": "What is to be done?"}));
    std::thread::scope(|scope| {
        let asking: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
        eventually("all wait for one call", || metric(&server, "query_cache_shared_total") == 7);
        provider.open(1000);
        for asked in asking {
            assert_eq!(asked.join().unwrap()["status"]["dense"]["state"], "ok");
        }
    });
    assert_eq!(provider.asked(), ["What is to be done?"]);
    ask();
    assert_eq!((metric(&server, "query_cache_hits_total"), provider.asked().len()), (1, 0));
}
