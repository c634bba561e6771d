//! What became of each document of a job: listed while it waits, after it, after a kill, and in pages.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::scripted::{DIMENSIONS, Fault, Scripted};
use crate::support::server::{Server, assert_clean, document_path, eventually};

/// A collection whose provider refuses poison and, while `holding`, does not answer where a text says `held`.
fn create(server: &Server, holding: &Arc<AtomicBool>) -> Scripted {
    let holding = Arc::clone(holding);
    let provider = Scripted::start(move |_, texts| {
        let any = |word| texts.iter().any(|text| text.contains(word));
        if holding.load(Ordering::Relaxed) && any("held") {
            return Some(Fault::Slow(Duration::from_secs(3600)));
        }
        any("poison").then(|| Fault::Status(400, &[], r#"{"message": "no poison, please"}"#.into()))
    });
    let embedding = json!({"provider": "openai", "base_url": provider.url, "model": "m", "dimensions": DIMENSIONS,
        "api_key_env": "", "encoding": "float"});
    server.create(&json!({"name": "c", "embedding": embedding}));
    provider
}

fn post(server: &Server, documents: &[Value]) -> String {
    let accepted = server.post("/v1/collections/c/documents", &json!({"documents": documents})).expect(202);
    format!("/v1/jobs/{}", accepted["job_id"].as_str().unwrap())
}

/// Every document of a job as `id status`, over pages of `limit`.
fn listed(server: &Server, job: &str, limit: usize, more: &str) -> Vec<String> {
    let (mut all, mut after) = (Vec::new(), String::new());
    loop {
        let page = server.get(&format!("{job}/documents?limit={limit}{after}{more}")).expect(200);
        let documents = page["documents"].as_array().unwrap();
        assert!(documents.len() <= limit);
        for document in documents {
            let status = document["status"].as_str().unwrap();
            let has_reason =
                document["error"]["message"].as_str().is_some_and(|error| error.contains("poison"));
            assert_eq!(has_reason, status == "failed", "{document}");
            all.push(format!("{}:{} {status}", document["index"], document["id"].as_str().unwrap()));
        }
        let Some(next) = page["next"].as_u64() else { return all };
        after = format!("&after={next}");
    }
}

fn restart(data: &Path) -> Server {
    Server::start(data, &[])
}

fn named(id: &str, text: &str) -> Value {
    json!({"id": id, "text": text})
}

fn replace(server: &Server, id: &str) {
    server.post("/v1/collections/c/documents?wait=true", &named(id, "written anew")).expect(200);
}

fn delete(server: &Server, id: &str) {
    server.delete(&document_path("c", id)).expect(200);
}

#[test]
fn each_document_of_a_job_says_what_became_of_it_also_after_kill_9() {
    let data = tempfile::tempdir().unwrap();
    let server = restart(data.path());
    let holding = Arc::new(AtomicBool::new(true));
    let _provider = create(&server, &holding);
    let first = post(&server, &[named("a", "held"), named("b", "more of it")]);
    eventually("it runs", || server.get(&first).expect(200)["state"] == "running");
    let job = post(
        &server,
        &[
            named("twice", "the first of two"),
            named("kept", "held"),
            named("refused", " "),
            named("poison", "poison"),
            named("deleted", "soon deleted"),
            named("replaced", "soon replaced"),
            named("twice", "the second of two"),
        ],
    );
    assert_eq!(listed(&server, &first, 10, ""), ["0:a indexing", "1:b indexing"]);
    let ids = ["0:twice", "1:kept", "3:poison", "4:deleted", "5:replaced", "6:twice"];
    assert_eq!(listed(&server, &job, 4, ""), ids.map(|document| format!("{document} accepted")));
    assert_eq!(listed(&server, &job, 10, "&status=indexed"), [""; 0]);
    delete(&server, "b");
    replace(&server, "replaced");
    let begun = |status: &str| {
        ids.map(|document| match document {
            "5:replaced" => format!("{document} superseded"),
            _ => format!("{document} {status}"),
        })
    };
    assert_eq!(listed(&server, &first, 10, ""), ["0:a indexing", "1:b deleted"]);
    assert_eq!(listed(&server, &job, 10, ""), begun("accepted"));
    server.kill();

    let server = restart(data.path());
    eventually("it runs", || server.get(&job).expect(200)["state"] == "running");
    assert_eq!(listed(&server, &first, 10, ""), ["0:a indexing", "1:b deleted"]);
    assert_eq!(listed(&server, &job, 10, ""), begun("indexing"));
    server.kill();

    holding.store(false, Ordering::Relaxed);
    let server = restart(data.path());
    server.ended(&job);
    assert_eq!(listed(&server, &first, 10, ""), ["0:a indexed", "1:b deleted"]);
    let state = |deleted: &str| {
        [
            "0:twice superseded".to_owned(),
            "1:kept indexed".into(),
            "3:poison failed".into(),
            format!("4:deleted {deleted}"),
            "5:replaced superseded".into(),
            "6:twice indexed".into(),
        ]
    };
    for limit in [1, 2, 6, 1000] {
        assert_eq!(listed(&server, &job, limit, ""), state("indexed"));
    }
    delete(&server, "deleted");
    assert_eq!(listed(&server, &job, 3, ""), state("deleted"));
    assert_eq!(listed(&server, &job, 1, "&status=indexed"), ["1:kept indexed", "6:twice indexed"]);
    assert_eq!(listed(&server, &job, 1, "&status=failed"), ["3:poison failed"]);
    server.kill();

    let server = restart(data.path());
    assert_eq!(listed(&server, &job, 3, ""), state("deleted"));
    assert_eq!(server.get("/v1/jobs/none/documents").refusal().1, "job_not_found");
    let refused = server.get(&format!("{job}/documents?status=lost")).expect(400);
    let message = refused["error"]["message"].as_str().unwrap();
    for status in ["accepted", "indexing", "indexed", "superseded", "failed", "cancelled", "deleted"] {
        assert!(message.contains(&format!("`{status}`")), "{message}");
    }
    assert_eq!(refused["error"]["param"], "status");
    assert!(server.stop().success());
    assert_clean(data.path());
}

#[test]
fn what_failed_stays_failed_in_its_job_and_is_retried_until_a_retry_ends() {
    let data = tempfile::tempdir().unwrap();
    let server = restart(data.path());
    let holding = Arc::new(AtomicBool::new(false));
    let _provider = create(&server, &holding);
    let job = post(&server, &[named("poison", "poison held"), named("good", "good")]);
    assert_eq!(server.ended(&job)["failed"], 1);
    let retry = |of: &str| {
        let retried = server.post(&format!("{of}/retry"), &json!({}));
        retried.status == 202
            && retried.json()["accepted"] == 1
            && server.get(of).expect(200)["retried_by"] == retried.json()["job_id"]
    };
    let retried_by = |of: &str| {
        let retried = server.get(of).expect(200)["retried_by"].clone();
        format!("/v1/jobs/{}", retried.as_str().unwrap())
    };
    // a retry that is cancelled has written nothing: there can be another
    holding.store(true, Ordering::Relaxed);
    assert!(retry(&job));
    let cancelled = retried_by(&job);
    assert_eq!(listed(&server, &cancelled, 10, "").len(), 1);
    assert_eq!(server.post(&format!("{job}/retry"), &json!({})).refusal().1, "nothing_to_retry");
    assert_eq!(server.post(&format!("{cancelled}/cancel"), &json!({})).expect(200)["state"], "cancelled");
    assert_eq!(listed(&server, &cancelled, 10, ""), ["0:poison cancelled"]);
    holding.store(false, Ordering::Relaxed);
    assert!(retry(&job));
    let again = retried_by(&job);
    assert_ne!(again, cancelled);
    assert_eq!(server.ended(&again)["failed"], 1);
    assert_eq!(listed(&server, &again, 10, ""), ["0:poison failed"]);
    // from here on it is that one which is retried
    assert_eq!(server.post(&format!("{job}/retry"), &json!({})).refusal().1, "nothing_to_retry");
    replace(&server, "poison");
    let nothing = server.post(&format!("{again}/retry"), &json!({})).json();
    assert_eq!((&nothing["accepted"], &nothing["job_id"]), (&json!(0), &Value::Null));
    // its failures can still be read in each
    for (job, expected) in
        [(&job, &["0:poison failed", "1:good indexed"][..]), (&again, &["0:poison failed"])]
    {
        assert_eq!(listed(&server, job, 10, ""), expected);
        let failures = server.get(&format!("{job}/failures")).expect(200);
        assert_eq!(failures["failures"][0]["id"], "poison");
    }
    assert!(server.stop().success());
    assert_clean(data.path());
}

#[test]
fn the_documents_of_a_cancelled_job_are_cancelled_and_long_lists_come_in_pages() {
    let data = tempfile::tempdir().unwrap();
    let server = restart(data.path());
    let provider = create(&server, &Arc::new(AtomicBool::new(true)));
    let document = |n: usize| json!({"id": format!("d{n}"), "text": format!("Passage {n} held.")});
    let job = post(&server, &(0..3).map(document).collect::<Vec<_>>());
    eventually("it waits for its provider", || provider.requests() > 0);
    assert_eq!(server.post(&format!("{job}/cancel"), &json!({})).expect(200)["state"], "cancelled");
    assert_eq!(listed(&server, &job, 2, ""), ["0:d0 cancelled", "1:d1 cancelled", "2:d2 cancelled"]);

    server.create(&json!({"name": "words", "embedding": {"provider": "none"}}));
    let many: Vec<_> = (0..12_345).map(document).collect();
    let accepted = server.post("/v1/collections/words/documents", &json!({"documents": many})).expect(202);
    let job = format!("/v1/jobs/{}", accepted["job_id"].as_str().unwrap());
    server.settle("words");
    let expected: Vec<_> = (0..12_345).map(|n| format!("{n}:d{n} indexed")).collect();
    assert_eq!(listed(&server, &job, 700, ""), expected);
    assert_eq!(listed(&server, &job, 1000, "&status=indexed"), expected);
    assert_eq!(listed(&server, &job, 1000, "&status=failed"), [""; 0]);
    for path in ["limit=0", "limit=1001", "after=-1", "after=4294967296", "from=3"] {
        assert_eq!(server.get(&format!("{job}/documents?{path}")).refusal().0, 400, "{path}");
    }
    assert_eq!(listed(&server, &job, 1000, "&after=4294967295"), [""; 0]);
}
