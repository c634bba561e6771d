//! The binary as a user runs it.

use std::fs;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::extract::Path;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::support::server;

fn gleaner(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    server::gleaner().args(arguments).envs(environment.iter().copied()).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn flags_win_over_the_environment_and_the_environment_over_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gleaner.toml");
    fs::write(&file, "listen = '192.0.2.1:1'\n").unwrap();
    let file = file.to_str().unwrap();
    let environment = [("GLEANER_LISTEN", "192.0.2.2:2")];
    // a network address without a key is refused by name: the name says which source won
    for (arguments, environment, winner) in [
        (vec!["serve", "--config", file], &[][..], "192.0.2.1:1"),
        (vec!["serve", "--config", file], &environment[..], "192.0.2.2:2"),
        (vec!["serve", "--config", file, "--listen", "192.0.2.3:3"], &environment[..], "192.0.2.3:3"),
    ] {
        let output = gleaner(&arguments, environment);
        assert_eq!(output.status.code(), Some(1));
        let message = stderr(&output);
        assert!(message.contains(winner), "{message}");
        assert!(message.contains("GLEANER_API_KEY") && message.contains("--insecure"), "{message}");
    }
}

#[test]
fn usage_errors_exit_with_2_and_others_with_1_and_a_message() {
    assert_eq!(gleaner(&["serve", "--nonsense"], &[]).status.code(), Some(2));
    assert_eq!(gleaner(&["import", "c"], &[]).status.code(), Some(2));
    let output = gleaner(&["serve", "--threads", "5000"], &[]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stderr(&output), "gleaner: threads = 5000 is out of range: it must be 0 to 1024\n");
    let output = gleaner(&["import", "c", "/nonexistent"], &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).starts_with("gleaner: /nonexistent: can't be read: "), "{}", stderr(&output));
}

#[test]
fn a_port_in_use_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for command in ["serve", "quickstart"] {
        let output = gleaner(&[command, "--listen", &address], &[]);
        assert_eq!(output.status.code(), Some(1));
        let message = stderr(&output);
        assert!(message.contains(&address) && message.contains("--listen"), "{message}");
    }
}

fn item(index: usize, status: &str) -> Value {
    json!({"index": index, "id": format!("d{index}"), "status": status})
}

fn refusal(message: &str) -> Value {
    json!({"type": "invalid_request_error", "code": "invalid_request", "message": message, "param": null})
}

/// A server that is overloaded once, refuses the second document at once and the third later.
fn server_with_moods(writes: Arc<AtomicUsize>) -> Router {
    let write = move |body: Json<Value>| async move {
        if writes.fetch_add(1, Ordering::SeqCst) == 0 {
            let body = json!({"error": refusal("busy")});
            return (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "0")], Json(body));
        }
        assert_eq!(body["documents"].as_array().unwrap().len(), 4);
        let mut refused = item(1, "failed");
        refused["error"] = refusal("no text");
        let results = [item(0, "accepted"), refused, item(2, "accepted"), item(3, "accepted")];
        let body = json!({"job_id": "j1", "accepted": 3, "failed": 1, "results": results});
        (StatusCode::ACCEPTED, [("x-mood", "fine")], Json(body))
    };
    let polls = Arc::new(AtomicUsize::new(0));
    let job = move |Path(id): Path<String>| {
        let ended = polls.fetch_add(1, Ordering::SeqCst) > 0;
        let mut error = item(2, "failed");
        error["error"] = refusal("the model choked");
        let (state, indexed, failed) = if ended { ("succeeded", 2, 1) } else { ("running", 1, 0) };
        async move {
            Json(json!({"id": id, "collection": "notes", "state": state, "documents": 3, "indexed": indexed,
                        "failed": failed, "errors": if ended { vec![error] } else { vec![] },
                        "created_at": "2026-01-01T00:00:00Z"}))
        }
    };
    let missing = || async {
        let mut error = refusal("no such collection");
        error["code"] = "collection_not_found".into();
        (StatusCode::NOT_FOUND, Json(json!({"error": error})))
    };
    let created = |body: Json<Value>| async move {
        assert_eq!(body["name"], "notes");
        let info = json!({"name": "notes", "created_at": "2026-01-01T00:00:00Z", "documents": 0, "chunks": 0,
                          "definition": {}});
        (StatusCode::CREATED, Json(info))
    };
    let stats = || async {
        Json(
            json!({"name": "notes", "documents": 2, "chunks": 2, "deleted_chunks": 0, "pending_documents": 0,
                    "segments": [], "disk_bytes": 1, "settled": true}),
        )
    };
    Router::new()
        .route("/v1/collections", post(created))
        .route("/v1/collections/notes", get(missing))
        .route("/v1/collections/notes/documents", post(write))
        .route("/v1/collections/notes/stats", get(stats))
        .route("/v1/jobs/{id}", get(job))
}

#[tokio::test(flavor = "multi_thread")]
async fn import_into_a_server_waits_retries_and_names_what_failed() {
    let writes = Arc::new(AtomicUsize::new(0));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(axum::serve(listener, server_with_moods(writes.clone())).into_future());

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("d.jsonl");
    fs::write(&path, "{\"text\":\"a\"}\n{\"text\":\"b\"}\nnonsense\n{\"text\":\"c\"}\n{\"text\":\"d\"}\n")
        .unwrap();
    let name = path.to_str().unwrap().to_owned();
    let output = tokio::task::spawn_blocking(move || {
        gleaner(&["import", "notes", &name, "--url", &url, "--graph", "--json"], &[])
    });
    let output = output.await.unwrap();

    assert_eq!(writes.load(Ordering::SeqCst), 2);
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["documents"], &report["failed"]), (&json!(2), &json!(3)));
    assert!(report["graph_seconds"].is_number());
    let sources: Vec<_> =
        report["errors"].as_array().unwrap().iter().map(|e| e["source"].as_str().unwrap()).collect();
    // line 3 is no document; lines 2 and 4 are the server's second and third document
    let lines = ["d.jsonl:3", "d.jsonl:2", "d.jsonl:4"];
    assert!(sources.iter().zip(lines).all(|(source, line)| source.ends_with(line)), "{sources:?}");
    assert_eq!(report["errors"][2]["reason"], "the model choked");
    assert!(stderr(&output).contains("3 of the documents could not be imported"), "{}", stderr(&output));
}
