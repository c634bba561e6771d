//! What the dispatcher costs, how close it comes to a provider's limits, and what a provider that is down costs searches.
//!
//! `cargo bench --bench dispatch` prints chunks a second and memory with a provider in this process that answers at
//! once; how 15,000 chunks drain under 2,000 requests and 1,000,000 tokens a minute, configured and learned, by a real
//! server on this machine whose minute lasts three seconds (`MINUTE_S`); and how long searches take while it is down.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use gleaner::dispatch::{
    Backoff, Bulk, Caps, Endpoint, EndpointSettings, Endpoints, Failure, Http, Limits, ProviderAccess, Reply,
    Size, bulk,
};
use gleaner::document::Document;
use gleaner::embed::{Embedders, EmbeddingCache, Kind};
use gleaner::engine::{Engine, EngineConfig};
use gleaner::runtime::{Pools, Stop};
use gleaner::search::request::{Mode, SearchRequest};
use gleaner::store::OsDisk;
use parking_lot::Mutex;
use serde_json::{Value, json};

const CHUNKS: usize = 15_000;
const REQUESTS: f64 = 2_000.0;
const TOKENS: f64 = 1_000_000.0;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    runtime.block_on(async {
        overhead(1_000_000).await;
        for items in [1, 96] {
            drain(items, true).await;
            drain(items, false).await;
        }
        down().await;
    });
}

/// About 230 tokens.
fn text(n: usize) -> String {
    (0..160).map(|word| format!("word{} ", (n * 31 + word * 17) % 1000)).collect()
}

/// The whole of it but the network: sizes, packing, pace, window, results.
async fn overhead(count: usize) {
    let settings = EndpointSettings {
        name: "instant".into(),
        limits: Limits::default(),
        max_in_flight: 32,
        priority: 0,
        weight: 1,
    };
    let endpoint = Endpoint::new(settings, Box::new(|| Box::pin(async { Ok(()) })));
    let endpoints = Endpoints::new(vec![endpoint]);
    let how = Bulk {
        caps: Caps { items: 96, tokens: 150_000, bytes: 4 << 20 },
        tries: 5,
        backoff: Backoff::default(),
        patience: Duration::from_secs(60),
        price: 0.0,
        max_cost: None,
    };
    let text = text(1);
    let tokenizer = embedder("http://127.0.0.1:1", 96, true).tokenizer().expect("a tokenizer");
    let size = |_| Size { tokens: tokenizer.count(&text) as u32, bytes: text.len() as u32 };
    let send = |_, items: Vec<usize>| async move {
        Ok::<_, Failure>(Reply {
            value: items.iter().map(|_| Ok([0.5_f32; 8])).collect(),
            ..Reply::default()
        })
    };
    let (mut memory, begun) = (vec![resident_mib()], Instant::now());
    let mut done = 0;
    let count_one = |_, result: Result<[f32; 8], _>| {
        done += usize::from(result.is_ok());
        if done % (count / 4) == 0 {
            memory.push(resident_mib());
        }
    };
    let usage = bulk(&endpoints, &how, count, size, send, count_one, &Stop::new()).await;
    let seconds = begun.elapsed().as_secs_f64();
    assert_eq!(done, count);
    println!(
        "overhead: {count} chunks in {} requests: {:.0} chunks/s; memory before, and after each quarter: {memory:.1?} MiB",
        usage.requests,
        count as f64 / seconds,
    );
}

fn embedder(url: &str, items: usize, told: bool) -> Arc<dyn gleaner::embed::Embedder> {
    let scale = 60.0 / minute().as_secs_f64();
    let mut definition = json!({
        "provider": "openai", "base_url": url, "model": "m", "dimensions": 8, "api_key_env": "",
        "max_batch_items": items,
    });
    if told {
        definition["requests_per_minute"] = json!((REQUESTS * scale) as u64);
        definition["tokens_per_minute"] = json!((TOKENS * scale) as u64);
    }
    let definition = serde_json::from_value(definition).expect("a definition");
    let cache = EmbeddingCache::new("unused".into(), 0);
    let embedders = Embedders::new(Pools::new(2).expect("pools"), Http::default(), cache, "models".into());
    embedders.open(&definition).expect("an embedder").expect("an embedder")
}

fn minute() -> Duration {
    let seconds = std::env::var("MINUTE_S").ok().and_then(|text| text.parse().ok()).unwrap_or(3.0);
    Duration::from_secs_f64(seconds)
}

/// A server that takes the limits in any of its minutes and refuses the rest.
#[derive(Default)]
struct Meter {
    taken: VecDeque<(Instant, u64)>,
    tokens: u64,
    first: Option<Instant>,
    asked: u64,
    asked_later: u64,
    refused_later: u64,
}

impl Meter {
    fn takes(&mut self, tokens: u64) -> bool {
        let now = Instant::now();
        while let Some((at, old)) = self.taken.front()
            && now - *at >= minute()
        {
            self.tokens -= old;
            self.taken.pop_front();
        }
        let later = now - *self.first.get_or_insert(now) >= minute();
        let takes = self.taken.len() < REQUESTS as usize && self.tokens + tokens <= TOKENS as u64;
        self.asked += 1;
        self.asked_later += u64::from(later);
        self.refused_later += u64::from(later && !takes);
        if takes {
            self.tokens += tokens;
            self.taken.push_back((now, tokens));
        }
        takes
    }
}

/// Tokens as the server counts them: not as we estimate them.
fn counted(text: &str) -> u64 {
    text.len() as u64 / 5
}

fn answer(meter: &Mutex<Meter>, body: &[u8]) -> Response {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let texts = body["input"].as_array().cloned().unwrap_or_default();
    let tokens = texts.iter().filter_map(Value::as_str).map(counted).sum();
    if !meter.lock().takes(tokens) {
        return (StatusCode::TOO_MANY_REQUESTS, [("retry-after-ms", "100")], "slow down").into_response();
    }
    let item = |index: usize| json!({"index": index, "embedding": [0.5, 0, 0, 0, 0, 0, 0, 0.5]});
    let data: Vec<_> = (0..texts.len()).map(item).collect();
    axum::Json(json!({"data": data, "usage": {"total_tokens": tokens}})).into_response()
}

async fn drain(items: usize, told: bool) {
    let meter = Arc::new(Mutex::new(Meter::default()));
    let shared = Arc::clone(&meter);
    let handler = move |body: Bytes| {
        let meter = Arc::clone(&shared);
        async move {
            tokio::time::sleep(Duration::from_millis(5)).await;
            answer(&meter, &body)
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(handler)).await });
    // one item a request: short ones, so that requests bind
    let texts: Vec<String> = match items {
        1 => (0..CHUNKS).map(|n| format!("a short text, number {n}")).collect(),
        _ => (0..CHUNKS).map(text).collect(),
    };
    let tokens: u64 = texts.iter().map(|text| counted(text)).sum();
    let begun = Instant::now();
    let embeddings = embedder(&url, items, told).embed(texts, Kind::Document).await.expect("embeddings");
    let took = begun.elapsed().as_secs_f64();
    assert!(embeddings.failures.is_empty());
    let least =
        (CHUNKS.div_ceil(items) as f64 / REQUESTS).max(tokens as f64 / TOKENS) * minute().as_secs_f64();
    let meter = meter.lock();
    println!(
        "{items} items a request, limits {}: {} requests, {took:.1} s, {:.3} x the least; after the first minute {:.2} % of {} refused",
        if told { "configured" } else { "learned" },
        meter.asked,
        took / least,
        100.0 * meter.refused_later as f64 / meter.asked_later.max(1) as f64,
        meter.asked_later,
    );
}

/// Searches of a collection whose provider answered until it was filled: all refused from then on.
async fn down() {
    const DOCUMENTS: usize = 5_000;
    const SEARCHES: usize = 1_000;
    let alive = Arc::new(AtomicBool::new(true));
    let shared = Arc::clone(&alive);
    let handler = move |body: Bytes| {
        let alive = shared.load(Ordering::Relaxed);
        async move {
            match alive {
                true => answer(&Mutex::default(), &body),
                false => StatusCode::SERVICE_UNAVAILABLE.into_response(),
            }
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(handler)).await });
    let folder = tempfile::tempdir().expect("a folder");
    let config = EngineConfig {
        data_dir: folder.path().join("data"),
        threads: 2,
        models_dir: "models".into(),
        disk: Arc::new(OsDisk),
        max_waiting_bytes: 1 << 30,
        embedding_cache_bytes: 0,
        provider_access: ProviderAccess::default(),
    };
    let engine = Engine::open(config).await.expect("an engine");
    let definition = json!({"embedding": {"provider": "openai", "base_url": url, "model": "m", "dimensions": 8,
        "api_key_env": ""}});
    let definition = serde_json::from_value(definition).expect("a definition");
    engine.create_collection("c", definition).await.expect("a collection");
    let documents = (0..DOCUMENTS).map(|n| Ok(Document { text: text(n), ..Document::default() })).collect();
    assert_eq!(engine.write("c", documents, true).await.expect("a write").failed, 0);
    let timed = async |mode, n: usize| {
        let query = Some(format!("word{} word{}", n % 1000, n * 7 % 1000));
        let request = SearchRequest { query, mode: Some(mode), ..SearchRequest::default() };
        let begun = Instant::now();
        let response = engine.search("c", request).await.expect("an answer");
        (begun.elapsed(), response.status.degraded)
    };
    alive.store(false, Ordering::Relaxed);
    let (first, _) = timed(Mode::Hybrid, 0).await;
    while engine.endpoints().iter().all(|endpoint| endpoint.down().is_none()) {
        timed(Mode::Hybrid, 0).await;
    }
    let (mut lexical, mut hybrid) = (Vec::new(), Vec::new());
    for n in 0..SEARCHES {
        lexical.push(timed(Mode::Lexical, n).await.0);
        let (took, degraded) = timed(Mode::Hybrid, n).await;
        assert!(degraded, "the provider is down");
        hybrid.push(took);
    }
    let quantiles = |times: &mut Vec<Duration>| {
        times.sort();
        [SEARCHES / 2, SEARCHES * 99 / 100].map(|at| times[at].as_secs_f64() * 1000.0)
    };
    println!(
        "down: the first search takes {:.0} ms; then p50 and p99 {:.2?} ms hybrid, {:.2?} ms lexical",
        first.as_secs_f64() * 1000.0,
        quantiles(&mut hybrid),
        quantiles(&mut lexical)
    );
    engine.shutdown().await;
}

fn resident_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}
