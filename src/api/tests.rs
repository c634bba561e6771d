//! The router without an engine: what is answered before a handler runs.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, Response, StatusCode};
use axum::routing::{get, post};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;
use tower_http::compression::CompressionLayer;

use super::extract::{Json, Path, Query, WriteBody};
use super::{ApiSettings, ApiState, around, router, serve};
use crate::error::Result;
use crate::search::request::SearchRequest;

fn request(method: &str, uri: &str) -> axum::http::request::Builder {
    Request::builder().method(method).uri(uri)
}

async fn send(router: Router, request: Request<Body>) -> (Response<()>, Vec<u8>) {
    let (head, body) = router.oneshot(request).await.unwrap().into_parts();
    (Response::from_parts(head, ()), body.collect().await.unwrap().to_bytes().to_vec())
}

/// Sends a request that must be answered with an error in our shape; returns its status, code and param.
async fn refused(router: Router, request: Request<Body>) -> (u16, String, Option<String>) {
    let (response, body) = send(router, request).await;
    assert_eq!(response.headers()["content-type"], "application/json");
    let body: Value = serde_json::from_slice(&body).unwrap();
    let error = body["error"].as_object().unwrap();
    assert_eq!(error.keys().collect::<Vec<_>>(), ["type", "code", "message", "param"]);
    assert!(!error["message"].as_str().unwrap().is_empty());
    let param = error["param"].as_str().map(str::to_owned);
    (response.status().as_u16(), error["code"].as_str().unwrap().to_owned(), param)
}

fn service(settings: ApiSettings) -> Router {
    router(ApiState::new(settings))
}

/// Handlers that need no engine, inside everything that is around the real ones.
fn probe(settings: ApiSettings) -> Router {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Limit {
        limit: Option<u32>,
    }
    async fn search(Json(request): Json<SearchRequest>) -> axum::Json<SearchRequest> {
        axum::Json(request)
    }
    async fn write(body: WriteBody) -> String {
        format!("{:?} {}", body.media_type, body.bytes.len())
    }
    async fn id(Path(id): Path<String>, Query(query): Query<Limit>) -> String {
        format!("{id} {:?}", query.limit)
    }
    async fn broken() -> Result<()> {
        panic!("a defect")
    }
    async fn slow() {
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    async fn long() -> String {
        "gleaner ".repeat(1000)
    }
    let routes = Router::new()
        .route("/search", post(search))
        .route("/write", post(write))
        .route("/id/{id}", get(id))
        .route("/broken", get(broken))
        .route("/slow", get(slow))
        .route("/long", get(long));
    around(routes, ApiState::new(settings))
}

/// Compresses a text of more than 32 bytes.
async fn gzip(text: String) -> Vec<u8> {
    let route = Router::new().route("/", get(|| async { text })).layer(CompressionLayer::new());
    send(route, request("GET", "/").header("accept-encoding", "gzip").body(Body::empty()).unwrap()).await.1
}

#[tokio::test]
async fn without_an_engine_only_liveness_answers() {
    let settings = ApiSettings::default;
    let (response, body) =
        send(service(settings()), request("GET", "/healthz").body(Body::empty()).unwrap()).await;
    assert_eq!((response.status(), &body[..]), (StatusCode::OK, &br#"{"status":"ok"}"#[..]));
    for (method, path) in [
        ("GET", "/readyz"),
        ("GET", "/v1/collections"),
        ("POST", "/v1/collections"),
        ("DELETE", "/v1/collections/a"),
        ("GET", "/v1/collections/a/stats"),
        ("POST", "/v1/collections/a/documents?wait=true"),
        ("GET", "/v1/collections/a/documents/x%2Fy"),
        ("POST", "/v1/collections/a/documents/delete"),
        ("GET", "/v1/collections/a/documents/delete"),
        ("POST", "/v1/collections/a/search"),
        ("GET", "/v1/jobs"),
        ("POST", "/v1/jobs/j/cancel"),
    ] {
        let (response, _) =
            send(service(settings()), request(method, path).body(Body::empty()).unwrap()).await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE, "{method} {path}");
        assert_eq!(response.headers()["retry-after"], "1");
        let error = refused(service(settings()), request(method, path).body(Body::empty()).unwrap()).await;
        assert_eq!(error, (503, "unavailable".into(), None), "{method} {path}");
    }
}

#[tokio::test]
async fn the_key_is_asked_for_everywhere_but_at_the_probes() {
    let settings = || ApiSettings { api_key: Some("secret".into()), ..ApiSettings::default() };
    for path in ["/v1/collections", "/metrics", "/openapi.yaml", "/nowhere"] {
        for header in
            [None, Some("Bearer wrong"), Some("Bearer"), Some("Basic secret"), Some("Bearer secret2")]
        {
            let mut request = request("GET", path);
            if let Some(header) = header {
                request = request.header("authorization", header);
            }
            let (response, _) = send(service(settings()), request.body(Body::empty()).unwrap()).await;
            assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{path} {header:?}");
            assert_eq!(response.headers()["www-authenticate"], "Bearer");
        }
    }
    for (path, status) in [("/metrics", 200), ("/openapi.yaml", 200), ("/nowhere", 404), ("/v1/jobs", 503)] {
        let request = request("GET", path).header("authorization", "bearer secret");
        let (response, _) = send(service(settings()), request.body(Body::empty()).unwrap()).await;
        assert_eq!(response.status().as_u16(), status, "{path}");
    }
    let (response, _) =
        send(service(settings()), request("GET", "/healthz").body(Body::empty()).unwrap()).await;
    assert_eq!(response.status(), StatusCode::OK);
}

#[tokio::test]
async fn unknown_paths_and_methods_are_errors_in_our_shape() {
    let settings = ApiSettings::default;
    for path in ["/", "/v1", "/v1/collections/", "/v1/collections/a/documents/b/c"] {
        let error = refused(service(settings()), request("GET", path).body(Body::empty()).unwrap()).await;
        assert_eq!((error.0, error.1.as_str()), (404, "route_not_found"), "{path}");
    }
    for (method, path, allow) in [
        ("PUT", "/v1/collections", "GET,HEAD,POST"),
        ("TRACE", "/v1/collections/a/search", "POST"),
        ("POST", "/healthz", "GET,HEAD"),
        ("PATCH", "/v1/collections/a/documents/delete", "POST"),
    ] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let request = || Request::builder().method(method.clone()).uri(path).body(Body::empty()).unwrap();
        let error = refused(service(settings()), request()).await;
        assert_eq!((error.0, error.1.as_str()), (405, "method_not_allowed"), "{method} {path}");
        let (response, _) = send(service(settings()), request()).await;
        let mut allowed: Vec<_> = response.headers()["allow"].to_str().unwrap().split(',').collect();
        allowed.sort_unstable();
        assert_eq!(allowed.join(","), allow, "{method} {path}");
    }
}

#[tokio::test]
async fn bodies_are_bounded_and_typed() {
    let settings = || ApiSettings { body_limit_bytes: 1000, ..ApiSettings::default() };
    let query = json!({ "query": "a".repeat(2000) }).to_string();
    let post = |path: &str, kind: &str| request("POST", path).header("content-type", kind);
    for (request, expected) in [
        (post("/search", "application/json").body(Body::from(query.clone())), (413, "body_too_large")),
        (post("/write", "application/json").body(Body::from(query.clone())), (413, "body_too_large")),
        (
            post("/write", "application/json")
                .header("content-encoding", "gzip")
                .body(gzip(query.clone()).await.into()),
            (413, "body_too_large"),
        ),
        (
            post("/write", "application/json").header("content-encoding", "gzip").body("no gzip".into()),
            (400, "invalid_request"),
        ),
        (
            post("/write", "application/json").header("content-encoding", "br").body("{}".into()),
            (415, "unsupported_media_type"),
        ),
        (post("/search", "text/plain").body("{}".into()), (415, "unsupported_media_type")),
        (post("/search", "application/x-ndjson").body("{}".into()), (415, "unsupported_media_type")),
        (post("/search", "application/json").body("{".into()), (400, "invalid_json")),
    ] {
        let request = request.unwrap();
        let what = format!("{:?}", request.headers());
        let error = refused(probe(settings()), request).await;
        assert_eq!((error.0, error.1.as_str()), expected, "{what}");
    }
    let small = json!({ "query": "q".repeat(40) }).to_string();
    let zipped = post("/search", "application/json; charset=utf-8").header("content-encoding", "gzip");
    let (response, body) = send(probe(settings()), zipped.body(gzip(small).await.into()).unwrap()).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(serde_json::from_slice::<SearchRequest>(&body).unwrap().query, Some("q".repeat(40)));
    let lines = post("/write", "application/jsonl").body("{}\n{}".into()).unwrap();
    assert_eq!(send(probe(settings()), lines).await.1, b"JsonLines 5");
}

#[tokio::test]
async fn parameters_are_decoded_and_errors_name_them() {
    let ask = |path: &str| request("GET", path).body(Body::empty()).unwrap();
    let (_, body) = send(probe(ApiSettings::default()), ask("/id/a%2Fb%20%C3%A9%3F?limit=3")).await;
    assert_eq!(String::from_utf8(body).unwrap(), "a/b é? Some(3)");
    for (path, param) in [
        ("/id/%FF", "id"),
        ("/id/a?limit=x", "limit"),
        ("/id/a?limit=-1", "limit"),
        ("/id/a?limit=", "limit"),
        ("/id/a?limit=99999999999", "limit"),
        ("/id/a?limit=1&limit=2", "limit"),
        ("/id/a?limits=1", "limits"),
    ] {
        let error = refused(probe(ApiSettings::default()), ask(path)).await;
        assert_eq!(error, (400, "invalid_request".into(), Some(param.into())), "{path}");
    }
}

#[tokio::test]
async fn a_panic_and_a_slow_handler_are_errors() {
    let settings = ApiSettings { request_timeout: Duration::from_millis(20), ..ApiSettings::default() };
    let ask = |path: &str| request("GET", path).body(Body::empty()).unwrap();
    assert_eq!(refused(probe(settings.clone()), ask("/broken")).await, (500, "internal".into(), None));
    assert_eq!(refused(probe(settings), ask("/slow")).await, (504, "timeout".into(), None));
}

#[tokio::test]
async fn every_answer_carries_an_id_and_long_ones_can_be_compressed() {
    let plain = request("GET", "/long").header("x-request-id", "mine").body(Body::empty()).unwrap();
    let (response, body) = send(probe(ApiSettings::default()), plain).await;
    assert_eq!(response.headers()["x-request-id"], "mine");
    assert_eq!(body.len(), 8000);
    let zipped = request("GET", "/long").header("accept-encoding", "gzip").body(Body::empty()).unwrap();
    let (response, body) = send(probe(ApiSettings::default()), zipped).await;
    assert_eq!(response.headers()["content-encoding"], "gzip");
    assert!(body.len() < 1000);
    let missing = request("GET", "/nowhere").body(Body::empty()).unwrap();
    let id = send(probe(ApiSettings::default()), missing).await.0.headers()["x-request-id"].clone();
    assert_eq!(uuid::Uuid::parse_str(id.to_str().unwrap()).unwrap().get_version_num(), 7);
}

#[tokio::test]
async fn past_the_bound_of_writes_requests_are_refused() {
    let settings = ApiSettings { max_concurrent_writes: 0, ..ApiSettings::default() };
    let write = request("POST", "/write").body("{}".into()).unwrap();
    let (response, _) = send(probe(settings), write).await;
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(response.headers()["retry-after"], "1");
}

#[tokio::test]
async fn serving_ends_after_the_grace_period() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let state =
        ApiState::new(ApiSettings { shutdown_grace: Duration::from_millis(50), ..ApiSettings::default() });
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let served = tokio::spawn(serve(listener, state, async move {
        let _ = stopped.await;
    }));
    // a request that never ends its head holds its connection open
    let mut client = tokio::net::TcpStream::connect(address).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut client, b"GET /healthz HTTP/1.1\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    stop.send(()).unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(5), served).await;
    ended.expect("the grace period is over").unwrap().unwrap();
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}
