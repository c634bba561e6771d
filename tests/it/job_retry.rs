//! Documents that fail in a job: listed with their reasons, kept over restarts, and retried.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::support::provider::{self, json as answer};
use crate::support::server::{Server, assert_clean, document_path};

#[test]
fn what_failed_is_listed_and_can_be_retried_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = Runtime::new().unwrap();
    let healthy = Arc::new(AtomicBool::new(false));
    let works = Arc::clone(&healthy);
    let provider = runtime.block_on(provider::start(move |_, body| {
        let texts = body["input"].as_array().unwrap();
        if !works.load(Ordering::Relaxed)
            && texts.iter().any(|text| text.as_str().unwrap().contains("poison"))
        {
            return answer(400, json!({"error": {"message": "no poison, please"}}));
        }
        let data: Vec<_> =
            (0..texts.len()).map(|index| json!({"index": index, "embedding": [1.0, 0.5]})).collect();
        answer(200, json!({"data": data}))
    }));
    let server = Server::start(dir.path(), &[]);
    let embedding = json!({"provider": "openai", "base_url": provider.url, "model": "fake", "api_key_env": "",
        "dimensions": 2, "encoding": "float"});
    server.create(&json!({"name": "c", "embedding": embedding}));
    let documents: Vec<_> =
        (0..5).map(|n| json!({"id": format!("p{n}"), "text": format!("poison {n}")})).collect();
    let post = |server: &Server, documents: &[Value]| {
        let body = json!({"documents": documents});
        let accepted = server.post("/v1/collections/c/documents", &body).expect(202);
        format!("/v1/jobs/{}", accepted["job_id"].as_str().unwrap())
    };
    let job = post(&server, &documents);
    let failed = server.ended(&job);
    assert_eq!((&failed["state"], &failed["failed"]), (&json!("failed"), &json!(5)));
    // one of them is written anew, in a version that the provider takes
    let newer = json!({"id": "p3", "text": "medicine"});
    server.post("/v1/collections/c/documents?wait=true", &newer).expect(200);
    assert!(server.stop().success());
    assert_clean(dir.path());

    let server = Server::start(dir.path(), &[]);
    let first = server.get(&format!("{job}/failures?limit=3")).expect(200);
    let second = server.get(&format!("{job}/failures?limit=3&after={}", first["next"])).expect(200);
    let pages = [&first, &second].map(|page| page["failures"].as_array().unwrap().clone());
    let listed: Vec<_> = pages.iter().flatten().collect();
    let ids: Vec<_> = listed.iter().map(|failure| failure["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["p0", "p1", "p2", "p3", "p4"]);
    assert!(listed.iter().all(|failure| failure["error"]["message"].as_str().unwrap().contains("no poison")));
    assert_eq!((pages[0].len(), &second["next"]), (3, &Value::Null));

    // as long as nothing has changed a retry fails too, and can be retried itself
    let retried = server.post(&format!("{job}/retry"), &json!({})).expect(202);
    assert_eq!(retried["accepted"], 4, "p3 has a later version: {retried}");
    let again = format!("/v1/jobs/{}", retried["job_id"].as_str().unwrap());
    assert_eq!(server.get(&job).expect(200)["retried_by"], retried["job_id"]);
    assert_eq!(server.ended(&again)["failed"], 4);
    assert_eq!(server.post(&format!("{job}/retry"), &json!({})).refusal().1, "nothing_to_retry");
    healthy.store(true, Ordering::Relaxed);
    let retried = server.post(&format!("{again}/retry"), &json!({})).expect(202);
    let last = format!("/v1/jobs/{}", retried["job_id"].as_str().unwrap());
    let succeeded = server.ended(&last);
    assert_eq!((&succeeded["state"], &succeeded["indexed"]), (&json!("succeeded"), &json!(4)));
    for (id, text) in [("p0", "poison 0"), ("p3", "medicine"), ("p4", "poison 4")] {
        assert_eq!(server.get(&document_path("c", id)).expect(200)["text"], text);
    }
    assert_eq!(server.post(&format!("{last}/retry"), &json!({})).refusal().1, "nothing_to_retry");
    assert_eq!(server.post("/v1/jobs/none/retry", &json!({})).refusal().1, "job_not_found");
    assert!(server.stop().success());
    assert_clean(dir.path());
}
