//! `/metrics`: what is counted while requests run, and what the engine is asked when it is scraped.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::State;
use axum::http::{Method, header};
use axum::response::{IntoResponse, Response};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::openapi::Refused;
use super::state::ApiState;
use crate::embed::CacheStats;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::search::response::Timings;

type HistogramFamily<L> = Family<L, Histogram, fn() -> Histogram>;

/// Everything that is counted while requests run.
pub(super) struct Metrics {
    registry: Registry,
    requests: Family<EndedLabels, Counter>,
    durations: HistogramFamily<RequestLabels>,
    pub(super) requests_in_flight: Gauge,
    stages: HistogramFamily<StageLabels>,
}

/// Which route was asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RequestLabels {
    pub(super) route: String,
    pub(super) method: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndedLabels {
    route: String,
    method: &'static str,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StageLabels {
    stage: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CollectionLabels {
    collection: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ProviderLabels {
    provider: String,
}

impl RequestLabels {
    /// `path` is the route's pattern: clients cannot make new label values.
    pub(super) fn new(method: &Method, path: Option<&str>) -> Self {
        let known = ["GET", "POST", "DELETE", "HEAD", "PUT", "PATCH", "OPTIONS"];
        let method = known.into_iter().find(|known| *known == method.as_str()).unwrap_or("other");
        RequestLabels { route: path.unwrap_or("none").to_owned(), method }
    }
}

fn request_seconds() -> Histogram {
    Histogram::new([0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0])
}

fn stage_seconds() -> Histogram {
    Histogram::new([
        0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0,
    ])
}

impl Metrics {
    pub(super) fn new() -> Self {
        let mut registry = Registry::with_prefix("gleaner");
        let requests = Family::default();
        let durations: HistogramFamily<_> = Family::new_with_constructor(request_seconds);
        let requests_in_flight = Gauge::default();
        let stages: HistogramFamily<_> = Family::new_with_constructor(stage_seconds);
        registry.register("http_requests", "Requests answered", requests.clone());
        let help = "From the request's head to the answer's head";
        registry.register_with_unit("http_request_duration", help, Unit::Seconds, durations.clone());
        registry.register("http_requests_in_flight", "Requests under way", requests_in_flight.clone());
        let help = "Stages of searches; a stage that did not run is not counted";
        registry.register_with_unit("search_stage_duration", help, Unit::Seconds, stages.clone());
        Metrics { registry, requests, durations, requests_in_flight, stages }
    }

    pub(super) fn observe_request(&self, labels: &RequestLabels, status: u16, took: Duration) {
        let RequestLabels { route, method } = labels.clone();
        self.requests.get_or_create(&EndedLabels { route, method, status }).inc();
        self.durations.get_or_create(labels).observe(took.as_secs_f64());
    }

    pub(super) fn observe_search(&self, timings: &Timings) {
        for (stage, ms) in timings.stages().chain([("total", timings.total_ms)]) {
            self.stages.get_or_create(&StageLabels { stage }).observe(f64::from(ms) / 1e3);
        }
    }
}

/// Metrics in the OpenMetrics text format, for Prometheus.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "service",
    responses(
        (status = 200, description = "The metrics", body = String,
            content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8"),
        Refused,
    )
)]
pub(super) async fn metrics(State(state): State<ApiState>) -> Result<Response> {
    let text = render(&state).map_err(|_| Error::internal("the metrics could not be written"))?;
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, content_type)], text).into_response())
}

fn render(state: &ApiState) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    encode_registry(&mut text, &state.metrics().registry)?;
    let mut scraped = scraped(state.engine().map(|engine| &**engine));
    let watchers = Gauge::<u64, AtomicU64>::default();
    watchers.set(state.admission().watching() as u64);
    scraped.register("job_watchers", "Clients that watch a job", watchers);
    encode_registry(&mut text, &scraped)?;
    encode_eof(&mut text)?;
    Ok(text)
}

/// What is read at each scrape: the process's memory and each collection's size.
fn scraped(engine: Option<&Engine>) -> Registry {
    type Sizes = Family<CollectionLabels, Gauge<u64, AtomicU64>>;
    let mut registry = Registry::with_prefix("gleaner");
    if let Some(bytes) = resident_bytes() {
        let resident = Gauge::<u64, AtomicU64>::default();
        resident.set(bytes);
        registry.register_with_unit("resident_memory", "Memory in use", Unit::Bytes, resident);
    }
    let Some(engine) = engine else { return registry };
    cache(&mut registry, engine.cache_stats());
    providers(&mut registry, engine);
    let mut sizes = |name: &str, help: &str| {
        let sizes = Sizes::default();
        registry.register(name, help, sizes.clone());
        sizes
    };
    let documents = sizes("documents", "Searchable documents");
    let pending = sizes("pending_documents", "Documents on disk and not searchable yet");
    let chunks = sizes("chunks", "Searchable chunks");
    let deleted = sizes("deleted_chunks", "Chunks of deleted documents, not compacted yet");
    let segments = sizes("segments", "Live segments");
    let disk = sizes("disk_bytes", "Bytes of all live files");
    let pairs = Family::<CollectionLabels, Counter>::default();
    registry.register("rerank_pairs", "Pairs of a query and a text that rerankers scored", pairs.clone());
    for info in engine.collections() {
        // a collection deleted in between is left out
        let Ok(stats) = engine.stats(&info.name) else { continue };
        let labels = CollectionLabels { collection: info.name };
        for (family, value) in [
            (&documents, stats.documents),
            (&pending, stats.pending_documents),
            (&chunks, stats.chunks),
            (&deleted, stats.deleted_chunks),
            (&segments, stats.segments.len() as u64),
            (&disk, stats.disk_bytes),
        ] {
            family.get_or_create(&labels).set(value);
        }
        pairs.get_or_create(&labels).inc_by(stats.rerank_usage.pairs);
    }
    registry
}

/// What the embedding cache holds and did.
fn cache(registry: &mut Registry, stats: CacheStats) {
    let CacheStats { documents, queries } = stats;
    for (name, help, value) in [
        ("embedding_cache_hits", "Chunks whose vector was known", documents.hits),
        ("embedding_cache_misses", "Chunks whose vector was not known", documents.misses),
        ("query_cache_hits", "Queries whose vector was known", queries.hits),
        ("query_cache_misses", "Queries that were embedded", queries.misses),
        ("query_cache_shared", "Queries asked while the same query was being embedded", queries.shared),
    ] {
        let counter = Counter::<u64, AtomicU64>::default();
        counter.inc_by(value);
        registry.register(name, help, counter);
    }
    for (name, help, value) in [
        (
            "embedding_cache_entries",
            "Vectors in the embedding cache, since it was first used",
            documents.entries,
        ),
        (
            "embedding_cache_size_bytes",
            "Bytes of the embedding cache, since it was first used",
            documents.bytes,
        ),
    ] {
        let gauge = Gauge::<u64, AtomicU64>::default();
        gauge.set(value);
        registry.register(name, help, gauge);
    }
}

/// What was asked of providers, by address.
fn providers(registry: &mut Registry, engine: &Engine) {
    type Counts = Family<ProviderLabels, Counter>;
    let mut counts = |name: &str, help: &str| {
        let counts = Counts::default();
        registry.register(name, help, counts.clone());
        counts
    };
    let requests = counts("provider_requests", "Requests sent to providers");
    let failures = counts("provider_failures", "Requests to providers that failed");
    let limited = counts("provider_limited", "Requests that providers refused for too much (429)");
    let tokens = counts("provider_tokens", "Tokens that providers read");
    let down = Family::<ProviderLabels, Gauge>::default();
    registry.register(
        "provider_down",
        "Whether a provider is left alone until it answers a probe",
        down.clone(),
    );
    for endpoint in engine.endpoints() {
        let labels = ProviderLabels { provider: endpoint.settings().name.clone() };
        let of = &endpoint.counts;
        for (family, count) in [
            (&requests, &of.requests),
            (&failures, &of.failures),
            (&limited, &of.limited),
            (&tokens, &of.tokens),
        ] {
            family.get_or_create(&labels).inc_by(count.load(Ordering::Relaxed));
        }
        // two collections can ask one address in different ways
        let down = down.get_or_create(&labels);
        down.set(down.get().max(i64::from(endpoint.down().is_some())));
    }
}

/// Resident memory of this process; `None` where the system has no `/proc`.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::settings::ApiSettings;

    #[test]
    fn what_was_observed_is_rendered() {
        let state = ApiState::new(ApiSettings::default());
        let labels = RequestLabels::new(&Method::GET, Some("/healthz"));
        state.metrics().observe_request(&labels, 200, Duration::from_millis(3));
        state.metrics().observe_search(&Timings { dense_ms: 2.0, total_ms: 3.0, ..Timings::default() });
        let text = render(&state).unwrap();
        for line in [
            r#"gleaner_http_requests_total{route="/healthz",method="GET",status="200"} 1"#,
            r#"gleaner_http_request_duration_seconds_bucket{le="0.005",route="/healthz",method="GET"} 1"#,
            r#"gleaner_search_stage_duration_seconds_count{stage="dense"} 1"#,
            r#"gleaner_search_stage_duration_seconds_count{stage="total"} 1"#,
            "gleaner_http_requests_in_flight 0",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        assert!(!text.contains(r#"stage="lexical""#));
        assert!(text.ends_with("# EOF\n"));
    }
}
