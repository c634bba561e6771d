//! A shutdown and a cancelled job wait for nobody who does not answer, and lose nothing that was paid for.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::scripted::{DIMENSIONS, Fault, Scripted};
use crate::support::server::{Server, assert_clean, eventually, serve};

/// Much more than a shutdown takes, much less than anything it could wait for here.
const SOON: Duration = Duration::from_secs(30);
const NEVER: Fault = Fault::Slow(Duration::from_secs(3600));

fn start(data: &Path) -> Server {
    let mut command = serve(data);
    command.env("GLEANER_SHUTDOWN_GRACE_S", "1");
    Server::launch(command, None)
}

fn create(server: &Server, name: &str, provider: &Scripted, max_in_flight: u32) {
    let embedding = json!({"provider": "openai", "base_url": provider.url, "model": "m", "dimensions": DIMENSIONS,
        "api_key_env": "", "encoding": "float", "max_batch_items": 8, "max_in_flight": max_in_flight,
        "query_timeout_ms": 60_000});
    let rerank = json!({"provider": "cohere", "base_url": provider.url, "model": "r", "api_key_env": "",
        "timeout_ms": 60_000});
    server.create(&json!({"name": name, "embedding": embedding, "rerank": rerank}));
}

/// Posts documents `first..first + count` as a job; returns its path.
fn post(server: &Server, name: &str, first: usize, count: usize) -> String {
    let document = |n| json!({"id": format!("d{n}"), "text": format!("Passage number {n}.")});
    let body = json!({"documents": (first..first + count).map(document).collect::<Vec<_>>()});
    let accepted = server.post(&format!("/v1/collections/{name}/documents"), &body).expect(202);
    format!("/v1/jobs/{}", accepted["job_id"].as_str().unwrap())
}

fn stops_soon(server: Server) {
    let begun = Instant::now();
    assert!(server.stop().success());
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
}

/// Everybody who asks from now on waits.
fn silent_from(first: usize) -> (Scripted, Arc<AtomicBool>) {
    let silent = Arc::new(AtomicBool::new(true));
    let now = Arc::clone(&silent);
    let provider =
        Scripted::start(move |call, _| (call >= first && now.load(Ordering::Relaxed)).then_some(NEVER));
    (provider, silent)
}

#[test]
fn a_provider_that_never_answers_does_not_hold_a_shutdown_up() {
    let data = tempfile::tempdir().unwrap();
    let (provider, silent) = silent_from(3);
    let server = start(data.path());
    create(&server, "c", &provider, 1);
    let jobs = [post(&server, "c", 0, 80), post(&server, "c", 80, 10)];
    eventually("a request waits", || provider.requests() == 4);
    stops_soon(server);
    assert_clean(data.path());

    silent.store(false, Ordering::Relaxed);
    let server = start(data.path());
    let tokens = jobs.map(|job| {
        let job = server.ended(&job);
        assert_eq!((&job["state"], &job["indexed"]), (&json!("succeeded"), &job["documents"]), "{job}");
        job["usage"]["tokens"].as_u64().unwrap()
    });
    assert_eq!(server.get("/v1/collections/c/stats").expect(200)["documents"], 90);
    let got = provider.got();
    let paid = |texts: &[String]| texts.iter().map(|text| text.len() as u64 / 4 + 1).sum::<u64>();
    let answered: Vec<_> = got.iter().enumerate().filter(|(call, _)| *call != 3).collect();
    let texts: HashSet<_> = answered.iter().flat_map(|(_, got)| &got.texts).collect();
    assert_eq!(texts.len(), 90);
    assert_eq!(answered.iter().map(|(_, got)| got.texts.len()).sum::<usize>(), 90, "paid twice");
    // the jobs remember what they had cost before the shutdown
    assert_eq!(tokens.iter().sum::<u64>(), answered.iter().map(|(_, got)| paid(&got.texts)).sum::<u64>());
}

#[test]
fn an_answer_that_comes_while_gleaner_shuts_down_is_not_paid_for_again() {
    let data = tempfile::tempdir().unwrap();
    let provider = Scripted::start(|call, _| (call == 0).then_some(Fault::Slow(Duration::from_millis(1500))));
    let server = start(data.path());
    create(&server, "c", &provider, 1);
    let job = post(&server, "c", 0, 80);
    eventually("a request waits", || provider.requests() == 1);
    stops_soon(server);
    assert_eq!(provider.requests(), 1, "nothing is sent after SIGTERM");
    let server = start(data.path());
    assert_eq!(server.ended(&job)["indexed"], 80);
    let got = provider.got();
    let texts: HashSet<_> = got.iter().flat_map(|got| &got.texts).collect();
    assert_eq!((texts.len(), got.iter().map(|got| got.texts.len()).sum()), (80, 80_usize));
}

#[test]
fn writes_searches_and_rerankings_that_wait_end_with_the_grace() {
    let data = tempfile::tempdir().unwrap();
    let (provider, _) = silent_from(1);
    let server = start(data.path());
    create(&server, "c", &provider, 4);
    assert_eq!(server.ended(&post(&server, "c", 0, 8))["indexed"], 8);
    let asks = [
        ("documents?wait=true", json!({"id": "new", "text": "A new passage."})),
        ("search", json!({"query": "which passage", "mode": "dense"})),
        ("search", json!({"query": "passage", "mode": "lexical", "rerank": true})),
    ];
    std::thread::scope(|scope| {
        for (path, body) in &asks {
            let request = server.request("POST", &format!("/v1/collections/c/{path}"));
            let request = request.header("content-type", "application/json").body(body.to_string());
            let api = (*server).clone();
            // with an error, or not at all
            scope.spawn(move || assert!(!api.try_send(request).is_ok_and(|answer| answer.status == 200)));
        }
        eventually("all wait", || provider.requests() == 4);
        stops_soon(server);
    });
    let server = start(data.path());
    assert_eq!(server.get("/v1/collections/c/stats").expect(200)["documents"], 8);
}

#[test]
fn a_write_that_waits_when_a_shutdown_begins_is_kept_as_a_job() {
    let data = tempfile::tempdir().unwrap();
    let (provider, silent) = silent_from(0);
    let mut command = serve(data.path());
    command.env("GLEANER_SHUTDOWN_GRACE_S", "3000");
    let server = Server::launch(command, None);
    create(&server, "c", &provider, 1);
    let request = server.request("POST", "/v1/collections/c/documents?wait=true");
    let body = json!({"documents": [{"id": "blank", "text": " "}, {"id": "new", "text": "A new passage."}]});
    let request = request.header("content-type", "application/json").body(body.to_string());
    let api = (*server).clone();
    let answer = std::thread::spawn(move || api.try_send(request).unwrap());
    eventually("it waits for its provider", || provider.requests() == 1);
    stops_soon(server);
    let answer = answer.join().unwrap().expect(202);
    assert_eq!((&answer["accepted"], &answer["failed"]), (&json!(1), &json!(1)));
    let result = &answer["results"][1];
    assert_eq!((&result["id"], &result["status"]), (&json!("new"), &json!("accepted")));
    assert_eq!(provider.requests(), 1, "nothing is sent after SIGTERM");
    assert_clean(data.path());

    silent.store(false, Ordering::Relaxed);
    let server = start(data.path());
    let job = format!("/v1/jobs/{}", answer["job_id"].as_str().unwrap());
    assert_eq!(server.ended(&job)["indexed"], 1);
    let listed = server.get(&format!("{job}/documents")).expect(200);
    assert_eq!(listed["documents"], json!([{"index": 1, "id": "new", "status": "indexed"}]));
}

#[test]
fn a_cancelled_job_does_not_wait_for_its_provider_and_the_others_go_on() {
    let data = tempfile::tempdir().unwrap();
    let (provider, silent) = silent_from(2);
    let server = start(data.path());
    create(&server, "c", &provider, 1);
    // the first is taken up alone, the others together
    let jobs = [post(&server, "c", 0, 24), post(&server, "c", 30, 8), post(&server, "c", 40, 8)];
    let cancel = |job: &String| {
        let begun = Instant::now();
        let cancelled = server.post(&format!("{job}/cancel"), &json!({})).expect(200);
        assert_eq!((&cancelled["state"], &cancelled["indexed"]), (&json!("cancelled"), &json!(0)));
        assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
        cancelled
    };
    eventually("the first waits", || provider.requests() == 3);
    let got = provider.got();
    let tokens = got[..2].iter().flat_map(|got| &got.texts).map(|text| text.len() / 4 + 1);
    assert_eq!(
        cancel(&jobs[0])["usage"]["tokens"],
        tokens.sum::<usize>(),
        "what it cost before it was cancelled"
    );
    eventually("the others wait", || provider.requests() == 4);
    silent.store(false, Ordering::Relaxed);
    cancel(&jobs[1]);
    assert_eq!(server.ended(&jobs[2])["indexed"], 8);
    assert_eq!(server.get("/v1/collections/c/stats").expect(200)["documents"], 8);
}

#[test]
fn a_job_that_waits_behind_a_silent_provider_is_cancelled_at_once() {
    let data = tempfile::tempdir().unwrap();
    let (provider, silent) = silent_from(0);
    let server = start(data.path());
    create(&server, "c", &provider, 1);
    let running = post(&server, "c", 0, 8);
    eventually("it waits for its provider", || provider.requests() == 1);
    // the second replaces documents of the first
    let [queued, together, kept] =
        [post(&server, "c", 4, 8), post(&server, "c", 20, 8), post(&server, "c", 30, 8)];
    let cancel = |job: &String| {
        let begun = Instant::now();
        let cancelled = server.post(&format!("{job}/cancel"), &json!({})).expect(200);
        assert_eq!((&cancelled["state"], &cancelled["indexed"]), (&json!("cancelled"), &json!(0)));
        assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
        assert_eq!(server.post(&format!("{job}/cancel"), &json!({})).refusal().1, "job_ended");
    };
    cancel(&queued);
    assert_eq!(server.get(&running).expect(200)["state"], "running");
    assert_eq!(server.get(&kept).expect(200)["state"], "queued");
    assert_eq!(provider.requests(), 1, "nobody else was disturbed");
    assert_eq!(server.get("/v1/collections/c/stats").expect(200)["pending_documents"], 24);
    // the first still has its own versions of them, and only those
    assert_eq!(server.delete("/v1/collections/c/documents/d5").expect(200)["deleted"], 1);
    assert_eq!(server.delete("/v1/collections/c/documents/d9").refusal().1, "document_not_found");
    cancel(&running);
    // taken up together with others, which stay silent
    eventually("the others wait", || provider.requests() == 2);
    cancel(&together);
    eventually("the last waits alone", || provider.requests() == 3);
    assert_eq!(server.get(&kept).expect(200)["state"], "running");
    server.kill();

    silent.store(false, Ordering::Relaxed);
    let server = start(data.path());
    assert_eq!(server.ended(&kept)["indexed"], 8);
    for job in [&queued, &running, &together] {
        assert_eq!(server.get(job).expect(200)["state"], "cancelled");
    }
    assert_eq!(server.get("/v1/collections/c/stats").expect(200)["documents"], 8);
    assert!(server.stop().success());
    assert_clean(data.path());
}

#[cfg(feature = "builtin-model")]
#[test]
fn a_model_on_this_machine_is_interrupted_and_goes_on_at_the_next_start() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path());
    server.create(&json!({"name": "c", "embedding": {"provider": "builtin"}}));
    let filler =
        "The keeper of the lighthouse wrote down wind and weather every hour of the night. ".repeat(12);
    let document = |n| json!({"id": format!("d{n}"), "text": format!("Report {n}. {filler}")});
    let body = json!({"documents": (0..4000).map(document).collect::<Vec<_>>()});
    let accepted = server.post("/v1/collections/c/documents", &body).expect(202);
    let job = format!("/v1/jobs/{}", accepted["job_id"].as_str().unwrap());
    eventually("some of it is embedded", || server.get(&job).expect(200)["embedded"].as_u64() > Some(20));
    stops_soon(server);
    let server = start(data.path());
    eventually("it goes on", || server.get(&job).expect(200)["embedded"].as_u64() > Some(20));
    let stopped = server.post(&format!("{job}/cancel"), &json!({})).expect(200);
    assert_eq!(stopped["state"], "cancelled");
}
