//! Ingest and search against providers that misbehave: every document ends searchable, by the vector of its own text,
//! or failed with a true reason; none is lost, none is there twice, and no key shows.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::scripted::{DIMENSIONS, Fault, Scripted};
use crate::support::server::{Answer, Server, eventually, hit_ids, serve};

/// A key that no other text holds.
const KEY: &str = "sk-test-7Qw9zX1vB4nM6pL8kJ2h";

fn start(data: &Path) -> Server {
    let mut command = serve(data);
    command
        .env("GLEANER_MAX_WRITES", "64")
        .env("TEST_PROVIDER_KEY", KEY)
        .env("UNLISTED_KEY", KEY)
        .env("GLEANER_PROVIDER_KEY_ENV", "TEST_PROVIDER_KEY,OPENAI_API_KEY")
        .env("GLEANER_LOG_LEVEL", "gleaner=trace,info");
    Server::launch(command, None)
}

/// A collection of `provider` at `url`, embedded in small requests, with `more` settings.
fn create(server: &Server, name: &str, provider: &str, url: &str, more: Value) {
    let mut embedding = json!({"provider": provider, "base_url": url, "model": "m", "dimensions": DIMENSIONS,
        "api_key_env": "TEST_PROVIDER_KEY", "encoding": "float", "max_batch_items": 8, "query_timeout_ms": 1000});
    for (field, value) in more.as_object().unwrap() {
        embedding[field] = value.clone();
    }
    server.create(&json!({"name": name, "embedding": embedding}));
}

fn text(n: usize) -> String {
    format!("Passage number {n} tells of harbour {} and of lighthouse {}.", n * 7, n * 13)
}

/// Posts `count` documents as a job; returns its id.
fn post(server: &Server, name: &str, count: usize) -> String {
    let lines: String =
        (0..count).map(|n| format!("{}\n", json!({"id": format!("d{n}"), "text": text(n)}))).collect();
    let path = format!("/v1/collections/{name}/documents?wait=false");
    server.post_text(&path, "application/x-ndjson", lines).expect(202)["job_id"].as_str().unwrap().to_owned()
}

fn ended(server: &Server, job: &str) -> Value {
    server.ended(&format!("/v1/jobs/{job}"))
}

/// Sees to it that exactly the documents `0..count` without `failed` are searchable, each by its own vector.
fn check(server: &Server, name: &str, count: usize, failed: &[usize]) {
    let stats = server.get(&format!("/v1/collections/{name}/stats")).expect(200);
    assert_eq!(stats["documents"], count - failed.len(), "{name}");
    assert_eq!(stats["chunks"], count - failed.len(), "{name}: a document is there twice");
    for n in (0..count).filter(|n| !failed.contains(n)) {
        let request = json!({"query": text(n), "mode": "dense", "limit": 1, "explain": true, "strict": true});
        let answer = server.search(name, &request);
        assert_eq!(hit_ids(&answer), [format!("d{n}")], "{name}: the vector of another text");
        let cosine = answer["hits"][0]["explain"]["dense"]["raw"].as_f64().unwrap();
        assert!(cosine > 0.9999, "{name}: d{n} has cosine {cosine}");
    }
}

/// 40 documents, five requests and more, of which `fault` befalls some.
fn survives(server: &Server, name: &str, fault: &Fault) {
    let repeated = fault.clone();
    let provider = Scripted::start(move |call, _| [0, 2, 3].contains(&call).then(|| repeated.clone()));
    create(server, name, "openai", &provider.url, json!({"max_in_flight": 2}));
    let job = ended(server, &post(server, name, 40));
    assert_eq!((&job["state"], &job["indexed"]), (&json!("succeeded"), &json!(40)), "{fault:?}: {job}");
    check(server, name, 40, &[]);
}

fn status(status: u16, headers: &'static [(&'static str, &'static str)], body: &str) -> Fault {
    Fault::Status(status, headers, body.to_owned())
}

#[test]
fn refusals_and_failures_that_pass_lose_nothing() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path());
    let page = "<!doctype html><html><h1>Bad gateway</h1></html>";
    let faults = [
        status(429, &[("retry-after", "1")], r#"{"error": {"message": "slow down"}}"#),
        status(429, &[("retry-after", "0.1")], "slow down"),
        status(429, &[("retry-after-ms", "50")], ""),
        status(429, &[("x-ratelimit-remaining-requests", "0"), ("x-ratelimit-reset-requests", "80ms")], ""),
        status(429, &[], ""),
        Fault::LimitedUntil(1),
        status(529, &[], r#"{"error": {"type": "overloaded_error"}}"#),
        status(500, &[], page),
        status(502, &[("content-type", "text/html")], page),
        status(503, &[("retry-after", "1")], ""),
        status(504, &[], ""),
        status(408, &[], ""),
        Fault::Html,
        Fault::ResetBefore,
        Fault::ResetAfter,
        Fault::Truncated,
        Fault::TooFew,
        Fault::Reordered,
        Fault::OneShort,
        Fault::Short,
        Fault::Nan,
    ];
    std::thread::scope(|scope| {
        for (index, fault) in faults.iter().enumerate() {
            let server = &server;
            scope.spawn(move || survives(server, &format!("c{index}"), fault));
        }
    });
}

#[test]
fn an_answer_that_trickles_is_given_up_and_asked_for_again() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path());
    let provider = Scripted::start(|call, _| (call == 1).then_some(Fault::Trickle));
    create(&server, "c", "openai", &provider.url, json!({}));
    assert_eq!(ended(&server, &post(&server, "c", 40))["indexed"], 40);
    check(&server, "c", 40, &[]);
}

#[test]
fn a_text_that_always_fails_fails_its_document_alone_and_says_why() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path());
    let faults = [
        (status(400, &[], r#"{"error": {"message": "this text is poison"}}"#), "this text is poison"),
        (status(422, &[], r#"{"error": "this text is poison"}"#), "this text is poison"),
        (status(500, &[], r#"{"message": "the poison again"}"#), "the poison again"),
        (Fault::Nan, "not a list of embeddings"),
    ];
    for (index, (fault, reason)) in faults.into_iter().enumerate() {
        let name = format!("c{index}");
        let poisoned = |texts: &[String]| texts.iter().any(|each| *each == text(3) || *each == text(21));
        let script = move |_: usize, texts: &[String]| poisoned(texts).then(|| fault.clone());
        let provider = Scripted::start(script);
        create(&server, &name, "openai", &provider.url, json!({}));
        let job = ended(&server, &post(&server, &name, 40));
        assert_eq!((&job["indexed"], &job["failed"]), (&json!(38), &json!(2)), "{job}");
        let errors = job["errors"].as_array().unwrap();
        let mut ids: Vec<_> = errors.iter().map(|error| error["id"].as_str().unwrap()).collect();
        ids.sort_unstable();
        assert_eq!(ids, ["d21", "d3"]);
        for error in errors {
            let error = &error["error"];
            assert_eq!(error["code"], "provider_failed");
            assert!(error["message"].as_str().unwrap().contains(reason), "{error}");
        }
        check(&server, &name, 40, &[3, 21]);
    }
}

#[test]
fn a_key_that_is_revoked_in_the_middle_fails_the_rest_and_shows_nowhere() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path());
    let echo = format!(r#"{{"error": {{"message": "Incorrect API key provided: {KEY}."}}}}"#);
    let revoked = Fault::Status(401, &[], echo);
    let provider = Scripted::start(move |call, _| (call >= 3).then(|| revoked.clone()));
    create(&server, "c", "openai", &provider.url, json!({"max_in_flight": 1}));
    let job = ended(&server, &post(&server, "c", 80));
    assert_eq!((&job["indexed"], &job["failed"]), (&json!(24), &json!(56)), "{job}");
    for error in job["errors"].as_array().unwrap() {
        let message = error["error"]["message"].as_str().unwrap();
        assert!(message.contains("401") && message.contains("Incorrect API key"), "{message}");
    }
    assert!(provider.requests() < 12, "{} requests with a revoked key", provider.requests());
    let stats = server.get("/v1/collections/c/stats").expect(200);
    assert_eq!(stats["documents"], 24);
    let search = server.search("c", &json!({"query": text(1)}));
    assert_eq!(search["status"]["dense"]["state"], "failed");
    assert!(search["status"]["dense"]["error"].as_str().unwrap().contains("401"), "{search}");
    assert!(hit_ids(&search).contains(&"d1"), "the lexical leg answers");

    let shown = [
        server.log(),
        job.to_string(),
        search.to_string(),
        server.get("/v1/collections").text(),
        server.get("/metrics").text(),
    ];
    for text in shown {
        assert!(!text.contains(KEY) && !text.contains(&KEY[8..24]), "{text}");
    }
    drop(server);
    let mut folders = vec![data.path().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let bytes = std::fs::read(&path).unwrap();
            assert!(!bytes.windows(KEY.len()).any(|window| window == KEY.as_bytes()), "{}", path.display());
        }
    }
}

#[test]
fn every_protocol_is_spoken_with_its_key_and_tells_queries_from_documents() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path());
    let bearer = format!("authorization: Bearer {KEY}");
    for (provider, model, path, key, document, query) in [
        ("openai", "m", "/embeddings", bearer.clone(), "", ""),
        (
            "azure_openai",
            "m",
            "/openai/deployments/m/embeddings?api-version=2024-10-21",
            format!("api-key: {KEY}"),
            "",
            "",
        ),
        ("cohere", "m", "/v2/embed", bearer.clone(), "search_document", "search_query"),
        ("voyage", "m", "/embeddings", bearer.clone(), "\"document\"", "\"query\""),
        ("jina", "jina-embeddings-v3", "/embeddings", bearer.clone(), "retrieval.passage", "retrieval.query"),
        ("mistral", "m", "/embeddings", bearer.clone(), "", ""),
        (
            "gemini",
            "m",
            "/models/m:batchEmbedContents",
            format!("x-goog-api-key: {KEY}"),
            "RETRIEVAL_DOCUMENT",
            "RETRIEVAL_QUERY",
        ),
        ("ollama", "m", "/api/embed", bearer.clone(), "", ""),
        ("tei", "m", "/embed", bearer, "", ""),
    ] {
        let scripted = Scripted::start(|_, _| None);
        create(&server, provider, provider, &scripted.url, json!({"model": model}));
        assert_eq!(ended(&server, &post(&server, provider, 20))["indexed"], 20, "{provider}");
        check(&server, provider, 20, &[]);
        let got = scripted.got();
        assert!(got.iter().all(|got| got.path == path && got.key == key), "{provider}: {:?}", got[0]);
        assert!(got[0].body.to_string().contains(document) && got[0].texts.len() > 1, "{:?}", got[0]);
        let last = got.last().unwrap();
        assert!(last.body.to_string().contains(query) && last.texts.len() == 1, "{last:?}");
    }
}

#[test]
fn a_job_goes_on_after_kill_9() {
    let data = tempfile::tempdir().unwrap();
    let provider = Scripted::start(|_, _| Some(Fault::Slow(Duration::from_millis(100))));
    let server = start(data.path());
    create(&server, "c", "openai", &provider.url, json!({"max_in_flight": 1}));
    let job = post(&server, "c", 80);
    eventually("some of it is embedded", || provider.requests() >= 3);
    server.kill();
    let server = start(data.path());
    let job = ended(&server, &job);
    assert_eq!((&job["state"], &job["indexed"]), (&json!("succeeded"), &json!(80)), "{job}");
    check(&server, "c", 80, &[]);
}

#[test]
fn a_spend_cap_stops_a_job_and_what_was_spent_is_remembered() {
    let data = tempfile::tempdir().unwrap();
    let provider = Scripted::start(|_, _| None);
    let server = start(data.path());
    // a dollar a token
    let priced = json!({"max_in_flight": 1, "usd_per_million_tokens": 1e6, "usd_cap_per_job": 400});
    create(&server, "c", "openai", &provider.url, priced);
    let job = ended(&server, &post(&server, "c", 80));
    let (indexed, failed) = (job["indexed"].as_u64().unwrap(), job["failed"].as_u64().unwrap());
    assert!(indexed >= 8 && failed >= 8 && indexed + failed == 80, "{job}");
    for error in job["errors"].as_array().unwrap() {
        let message = error["error"]["message"].as_str().unwrap();
        assert!(message.contains("400 USD") && message.contains("usd_cap_per_job"), "{message}");
    }
    let (spent, tokens) = (job["usage"]["cost_usd"].as_f64().unwrap(), job["usage"]["tokens"].as_f64());
    assert!(spent <= 400.0 && Some(spent) == tokens, "{job}");
    assert_eq!(provider.requests() as u64, indexed / 8, "requests went on after the cap");
    // what is tried again is another job, with its own cap
    let retry = format!("/v1/jobs/{}/retry", job["id"].as_str().unwrap());
    let again = server.post(&retry, &json!({})).expect(202)["job_id"].as_str().unwrap().to_owned();
    let again = ended(&server, &again);
    assert!(again["indexed"].as_u64().unwrap() >= 8, "{again}");
    let usage = |server: &Server| server.get("/v1/collections/c/stats").expect(200)["usage"].clone();
    let before = usage(&server);
    assert_eq!(before["cost_usd"].as_f64().unwrap(), spent + again["usage"]["cost_usd"].as_f64().unwrap());
    server.kill();
    let server = start(data.path());
    assert_eq!(usage(&server), before, "published: it survives a kill");
    server.search("c", &json!({"query": "what searches cost is saved by a shutdown"}));
    let after = usage(&server);
    assert!(after["requests"].as_u64() > before["requests"].as_u64(), "{after}");
    server.stop();
    let server = start(data.path());
    assert_eq!(usage(&server), after);
}

#[test]
fn a_dead_provider_costs_a_search_its_deadline_once_and_comes_back_by_itself() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path());
    let dead = Arc::new(AtomicBool::new(false));
    let now = Arc::clone(&dead);
    let hang = Fault::Slow(Duration::from_secs(20));
    let provider = Scripted::start(move |_, _| now.load(Ordering::Relaxed).then(|| hang.clone()));
    create(&server, "c", "openai", &provider.url, json!({}));
    ended(&server, &post(&server, "c", 20));
    let search = |n: usize| {
        let begun = Instant::now();
        (server.search("c", &json!({"query": text(n)})), begun.elapsed())
    };
    assert_eq!(search(25).0["status"]["degraded"], false);
    dead.store(true, Ordering::Relaxed);
    let (answer, took) = search(2);
    assert_eq!(answer["status"]["dense"]["state"], "failed");
    assert!(answer["status"]["dense"]["error"].as_str().unwrap().contains("within 1000 ms"), "{answer}");
    assert_eq!(hit_ids(&answer)[0], "d2");
    assert!(took >= Duration::from_millis(900) && took < Duration::from_secs(10), "{took:?}");
    let mut times: Vec<_> = (0..20)
        .map(|n| {
            let (answer, took) = search(n);
            assert_eq!(answer["status"]["dense"]["state"], "failed");
            assert_eq!(hit_ids(&answer)[0], format!("d{n}"));
            took
        })
        .collect();
    times.sort_unstable();
    assert!(times[10] < Duration::from_millis(500), "{times:?}");
    dead.store(false, Ordering::Relaxed);
    eventually("the provider is asked again", || search(3).0["status"]["degraded"] == false);
}

#[test]
fn definitions_that_cannot_be_meant_are_refused_when_the_collection_is_made() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path());
    let refused = |embedding: Value| -> (Answer, Option<String>) {
        let answer = server.post("/v1/collections", &json!({"name": "c", "embedding": embedding}));
        let (status, code, param) = answer.refusal();
        assert_eq!((status, code.as_str()), (400, "invalid_definition"), "{}", answer.text());
        (answer, param)
    };
    let with = |more: Value| {
        let mut embedding = json!({"provider": "openai", "model": "m", "dimensions": 3, "api_key_env": ""});
        for (field, value) in more.as_object().unwrap() {
            embedding[field] = value.clone();
        }
        embedding
    };
    let mixed = json!({"endpoints": [{"base_url": "https://other.example", "model": "another"}]});
    let (answer, param) = refused(with(mixed));
    assert_eq!(param.as_deref(), Some("embedding.endpoints[0].model"));
    assert!(answer.text().contains("another"), "{}", answer.text());
    for (more, field) in [
        (json!({"base_url": "http://169.254.169.254/v1"}), "embedding.base_url"),
        (json!({"base_url": "http://10.0.0.8:8080"}), "embedding.base_url"),
        (json!({"base_url": "http://8.8.8.8"}), "embedding.base_url"),
        (json!({"base_url": "https://me:secret@api.example"}), "embedding.base_url"),
        (json!({"endpoints": [{"base_url": "http://[fe80::1]"}]}), "embedding.endpoints[0].base_url"),
        (json!({"provider": "azure_openai"}), "embedding.base_url"),
        (json!({"api_key_env": "GLEANER_TEST_NO_SUCH_KEY"}), "embedding.api_key_env"),
        (json!({"api_key_env": "UNLISTED_KEY"}), "embedding.api_key_env"),
        (json!({"api_key_file": "/nonexistent/key"}), "embedding.api_key_file"),
        (json!({"max_batch_items": 0}), "embedding.max_batch_items"),
        (json!({"usd_per_million_tokens": -1}), "embedding.usd_per_million_tokens"),
    ] {
        let (answer, param) = refused(with(more.clone()));
        assert_eq!(param.as_deref(), Some(field), "{more}");
        assert!(!answer.text().contains("me:secret"), "{}", answer.text());
    }
}
