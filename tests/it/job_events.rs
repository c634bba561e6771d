//! Jobs as their watchers see them: server-sent events from the first to the end.

use std::thread;

use serde_json::{Value, json};

use crate::support::counting::Counting;
use crate::support::server::{Api, Server, eventually};

/// The events of a stream that has closed: name and data.
fn events(api: &Api, job: &str) -> Vec<(String, Value)> {
    let answer = api.get(&format!("/v1/jobs/{job}/events"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("content-type"), "text/event-stream");
    let text = answer.text();
    let blocks = text.split("\n\n").filter(|block| !block.is_empty() && !block.starts_with(':'));
    let parse = |block: &str| {
        let field = |name| block.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        (field("event: ").to_owned(), serde_json::from_str(field("data: ")).unwrap())
    };
    blocks.map(parse).collect()
}

/// A running job whose provider waits, with a collection `c` of 256 one-chunk documents.
fn waiting(server: &Server, provider: &Counting) -> String {
    provider.create(server, "c");
    provider.close();
    let document = |n: usize| json!({"id": format!("d{n}"), "text": format!("text {n} of many")});
    let documents: Vec<_> = (0..256).map(document).collect();
    let accepted = server.post("/v1/collections/c/documents", &json!({"documents": documents})).expect(202);
    let job = accepted["job_id"].as_str().unwrap().to_owned();
    let path = format!("/v1/jobs/{job}");
    eventually("the job is cut into chunks", || server.get(&path).expect(200)["chunks"] == 256);
    job
}

#[test]
fn every_watcher_hears_of_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let provider = Counting::start();
    let server = Server::start(dir.path(), &[]);
    let job = waiting(&server, &provider);
    thread::scope(|scope| {
        let watchers: Vec<_> = (0..40).map(|_| scope.spawn(|| events(&server, &job))).collect();
        provider.open(1);
        let path = format!("/v1/jobs/{job}");
        eventually("a request was answered", || server.get(&path).expect(200)["embedded"] == 128);
        thread::sleep(std::time::Duration::from_millis(300));
        provider.open(1000);
        for watcher in watchers {
            let events = watcher.join().unwrap();
            let (last, before) = events.split_last().unwrap();
            assert_eq!(last.0, "end");
            let whole = json!({"id": job, "state": "succeeded", "documents": 256, "indexed": 256, "failed": 0,
                "chunks": 256, "embedded": 256});
            assert_eq!(last.1, whole);
            let embedded: Vec<_> = before.iter().map(|event| event.1["embedded"].as_u64().unwrap()).collect();
            assert!(embedded.contains(&128) && embedded.is_sorted(), "{embedded:?}");
            assert!(before.iter().all(|event| event.0 == "progress"), "{before:?}");
        }
    });
    // whoever comes late hears it at once
    let late = events(&server, &job);
    assert_eq!((late.len(), late[0].0.as_str(), &late[0].1["state"]), (1, "end", &json!("succeeded")));
    assert_eq!(server.get("/v1/jobs/none/events").refusal().1, "job_not_found");
}

#[test]
fn past_the_bound_of_what_waits_writes_are_told_to_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let provider = Counting::start();
    let server = Server::start(dir.path(), &["--max-waiting-mib", "1"]);
    waiting(&server, &provider);
    let write = || {
        let document = json!({"id": "big", "text": "some words ".repeat(30_000)});
        server.post("/v1/collections/c/documents", &document)
    };
    let refused = (0..30).map(|_| write()).find(|answer| answer.status != 202).unwrap();
    assert_eq!(refused.header("retry-after"), "5");
    assert_eq!(refused.refusal().1, "overloaded");
    provider.open(1000);
    eventually("there is room again", || write().status == 202);
}

#[test]
fn a_stream_ends_with_its_collection_and_with_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let provider = Counting::start();
    let server = Server::start(dir.path(), &[]);
    let job = waiting(&server, &provider);
    thread::scope(|scope| {
        let watcher = scope.spawn(|| events(&server, &job));
        eventually("it is connected", || watchers(&server) == 1);
        server.delete("/v1/collections/c").expect(200);
        let events = watcher.join().unwrap();
        let (name, data) = events.last().unwrap();
        assert_eq!((name.as_str(), &data["error"]["code"]), ("error", &json!("job_not_found")));
    });
    let job = waiting(&server, &provider);
    thread::scope(|scope| {
        let watcher = scope.spawn(|| events(&server, &job));
        eventually("it is connected", || watchers(&server) == 1);
        server.terminate();
        let events = watcher.join().unwrap();
        assert!(events.iter().all(|event| event.0 == "progress"), "{events:?}");
        provider.open(1000);
    });
    assert!(server.wait().success());
}

/// How many watch a job.
fn watchers(api: &Api) -> u64 {
    let text = api.get("/metrics").text();
    text.lines().find_map(|line| line.strip_prefix("gleaner_job_watchers ")).unwrap().parse().unwrap()
}
