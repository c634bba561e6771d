//! What a server makes of requests that are wrong: an answer that names the field, and nothing worse.

use serde_json::{Value, json};

use crate::support::server::{Api, Server, document_path, eventually, hit_ids};

/// A server with a lexical collection `c` and one of client vectors `v`.
fn server(flags: &[&str]) -> (tempfile::TempDir, Server) {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), flags);
    server.create(&json!({"name": "c", "embedding": {"provider": "none"}}));
    server.create(&json!({"name": "v", "embedding": {"provider": "client", "dimensions": 3}}));
    (dir, server)
}

/// A refusal as the tables below have it.
type Refusal<'a> = (u16, &'a str, Option<&'a str>);

fn check(api: &Api, path: &str, body: &str, expected: Refusal<'_>) {
    let (status, code, param) = api.post_text(path, "application/json", body).refusal();
    let shown = &body[..body.floor_char_boundary(200)];
    assert_eq!((status, code.as_str(), param.as_deref()), expected, "{path} {shown}");
}

#[test]
fn bad_searches_are_refused_by_field() {
    let (_dir, server) = server(&[]);
    let invalid = |param| (400, "invalid_request", Some(param));
    for (body, expected) in [
        ("", (400, "invalid_json", None)),
        ("{", (400, "invalid_json", None)),
        ("{\"query\":\"x\",}", (400, "invalid_json", None)),
        ("[]", (400, "invalid_request", None)),
        (r#"{"query":"\ud800"}"#, (400, "invalid_json", Some("query"))),
        ("{}", invalid("query")),
        (r#"{"query":""}"#, invalid("query")),
        (r#"{"query":7}"#, invalid("query")),
        (r#"{"qery":"x"}"#, invalid("qery")),
        (r#"{"query":"x","limit":0}"#, invalid("limit")),
        (r#"{"query":"x","limit":1001}"#, invalid("limit")),
        (r#"{"query":"x","limit":-1}"#, invalid("limit")),
        (r#"{"query":"x","limit":1.5}"#, invalid("limit")),
        (r#"{"query":"x","window":0}"#, invalid("window")),
        (r#"{"query":"x","window":10001}"#, invalid("window")),
        (r#"{"query":"x","ef":0}"#, invalid("ef")),
        (r#"{"query":"x","expand":{"before":21}}"#, invalid("expand.before")),
        (r#"{"query":"x","score_threshold":1.5}"#, invalid("score_threshold")),
        (r#"{"query":"x","fusion":{"dense_weight":2}}"#, invalid("fusion.dense_weight")),
        (r#"{"query":"x","group_by":"chunk"}"#, invalid("group_by")),
        (r#"{"query":"x","mode":"dense"}"#, (400, "mode_unavailable", Some("mode"))),
        (r#"{"query":"x","vector":[1,0,0]}"#, (400, "invalid_vector", Some("vector"))),
        (r#"{"query":"x","cursor":"nonsense"}"#, (400, "invalid_cursor", Some("cursor"))),
        (
            r#"{"query":"x","cursor":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}"#,
            (400, "invalid_cursor", Some("cursor")),
        ),
        (
            r#"{"query":"x","filter":{"type":"like","key":"a","value":1}}"#,
            (400, "invalid_filter", Some("filter.type")),
        ),
        (r#"{"query":"x","filter":{"type":"eq","key":"a"}}"#, (400, "invalid_filter", Some("filter.value"))),
        (
            r#"{"query":"x","filter":{"type":"and","filters":[{"type":"in","key":"a","value":[{}]}]}}"#,
            (400, "invalid_filter", Some("filter.filters[0].value[0]")),
        ),
        (r#"{"query":"x","filter":[]}"#, (400, "invalid_filter", Some("filter"))),
    ] {
        check(&server, "/v1/collections/c/search", body, expected);
    }
    for (body, expected) in [
        (r#"{"vector":[1,0]}"#, (400, "invalid_vector", Some("vector"))),
        (r#"{"vector":[]}"#, (400, "invalid_vector", Some("vector"))),
        (r#"{"vector":[0,0,0]}"#, (400, "invalid_vector", Some("vector"))),
        (r#"{"vector":[1e39,0,0]}"#, (400, "invalid_vector", Some("vector"))),
        (r#"{"vector":[0,1e999,0]}"#, (400, "invalid_json", Some("vector[1]"))),
        (r#"{"vector":[0,"1",0]}"#, invalid("vector[1]")),
        (r#"{"vector":[0,NaN,0]}"#, (400, "invalid_json", Some("vector[1]"))),
        (r#"{"query":"x","mode":"dense"}"#, (400, "mode_unavailable", Some("mode"))),
        (r#"{"vector":[1,0,0],"mode":"lexical"}"#, (400, "mode_unavailable", Some("mode"))),
    ] {
        check(&server, "/v1/collections/v/search", body, expected);
    }
    // the cursor of another search
    server.post("/v1/collections/c/documents?wait=true", &json!([{"text": "x"}, {"text": "x"}])).expect(200);
    let cursor = &server.search("c", &json!({"query": "x", "limit": 1}))["next_cursor"];
    let body = json!({"query": "y", "limit": 1, "cursor": cursor}).to_string();
    check(&server, "/v1/collections/c/search", &body, (400, "invalid_cursor", Some("cursor")));
}

#[test]
fn bad_documents_and_collections_are_refused_by_field() {
    let (_dir, server) = server(&[]);
    let documents = "/v1/collections/c/documents";
    let invalid = |param| (400, "invalid_request", Some(param));
    for (path, body, expected) in [
        (documents, "nonsense", (400, "invalid_json", None)),
        (documents, "7", (400, "invalid_request", None)),
        (documents, r#"{"text":"\ud800"}"#, (400, "invalid_json", Some("text"))),
        (documents, r#"{"text":" \n"}"#, invalid("text")),
        (documents, r#"{"id":"a"}"#, invalid("text")),
        (documents, r#"{"text":["a"]}"#, invalid("text")),
        (documents, r#"{"text":"a","id":""}"#, invalid("id")),
        (documents, r#"{"text":"a","id":7}"#, invalid("id")),
        (documents, r#"{"text":"a","metadata":"b"}"#, invalid("metadata")),
        (documents, r#"{"text":"a","txt":"b"}"#, invalid("txt")),
        (documents, r#"{"text":"a","vector":[1]}"#, (400, "invalid_vector", Some("vector"))),
        (documents, r#"{"documents":{}}"#, invalid("documents")),
        ("/v1/collections/v/documents", r#"{"text":"a"}"#, (400, "invalid_vector", Some("vector"))),
        (
            "/v1/collections/v/documents",
            r#"{"text":"a","vector":[1,2]}"#,
            (400, "invalid_vector", Some("vector")),
        ),
        (
            "/v1/collections/v/documents",
            r#"{"text":"a","vector":[0,0,0]}"#,
            (400, "invalid_vector", Some("vector")),
        ),
        (
            "/v1/collections/v/documents",
            r#"{"text":"a","vector":[0,1e999,0]}"#,
            (400, "invalid_json", Some("vector[1]")),
        ),
        (
            "/v1/collections/v/documents",
            r#"{"text":"a","vector":[0,0,1e39]}"#,
            (400, "invalid_vector", Some("vector[2]")),
        ),
        ("/v1/collections/c/documents?wait=maybe", r#"{"text":"a"}"#, invalid("wait")),
        ("/v1/collections/c/documents?wait=true&wiat=true", r#"{"text":"a"}"#, invalid("wiat")),
        ("/v1/collections/c/documents/delete", "{}", invalid("filter")),
        (
            "/v1/collections/c/documents/delete",
            r#"{"filter":{}}"#,
            (400, "invalid_filter", Some("filter.type")),
        ),
        ("/v1/collections", "{}", invalid("name")),
        ("/v1/collections", r#"{"name":"a/b"}"#, invalid("name")),
        ("/v1/collections", r#"{"name":"n","embeding":{}}"#, invalid("embeding")),
        ("/v1/collections", r#"{"name":"n","preset":"best"}"#, (400, "invalid_definition", Some("preset"))),
        (
            "/v1/collections",
            r#"{"name":"n","chunking":{"max_tokens":1}}"#,
            (400, "invalid_definition", Some("chunking.max_tokens")),
        ),
        (
            "/v1/collections",
            r#"{"name":"n","embedding":{"provider":"client"}}"#,
            invalid("embedding.dimensions"),
        ),
        (
            "/v1/collections",
            r#"{"name":"n","embedding":{"provider":"client","dimensions":0}}"#,
            (400, "invalid_definition", Some("embedding.dimensions")),
        ),
        (
            "/v1/collections",
            r#"{"name":"n","embedding":{"provider":"static","path":"/nowhere"}}"#,
            (400, "invalid_definition", Some("embedding")),
        ),
    ] {
        check(&server, path, body, expected);
    }
    let listed = server.get("/v1/collections").expect(200);
    assert_eq!(listed["collections"].as_array().unwrap().len(), 2);
    assert_eq!(server.get("/v1/collections/c/stats").expect(200)["pending_documents"], 0);
}

#[test]
fn bad_routes_methods_and_types_are_refused() {
    let (_dir, server) = server(&[]);
    let refused = |method: &str, path: &str| {
        let (status, code, param) = server.send(server.request(method, path)).refusal();
        (status, code, param.unwrap_or_default())
    };
    let invalid = |param: &str| (400, "invalid_request".to_owned(), param.to_owned());
    let missing = |code: &str, param: &str| (404, code.to_owned(), param.to_owned());
    for (path, expected) in [
        ("/v2/collections", missing("route_not_found", "")),
        ("/v1/collections/c/nothing", missing("route_not_found", "")),
        ("/v1/collections/none", missing("collection_not_found", "collection")),
        ("/v1/collections/none/documents", missing("collection_not_found", "collection")),
        ("/v1/collections/none/documents/a", missing("collection_not_found", "collection")),
        ("/v1/collections/c/documents/a", missing("document_not_found", "id")),
        ("/v1/jobs/a", missing("job_not_found", "id")),
        ("/v1/jobs?collection=none", missing("collection_not_found", "collection")),
        ("/v1/collections/%FF", invalid("collection")),
        ("/v1/collections/c/documents?limit=0", invalid("limit")),
        ("/v1/collections/c/documents?limit=1001", invalid("limit")),
        ("/v1/collections/c/documents?limit=ten", invalid("limit")),
        ("/v1/collections/c/documents?before=a", invalid("before")),
        ("/v1/jobs?limit=99999999999999999999", invalid("limit")),
        ("/v1/collections/c/documents?filter=x", (400, "invalid_filter".into(), "filter".into())),
    ] {
        assert_eq!(refused("GET", path), expected, "{path}");
    }
    let nowhere = server.post("/v1/collections/none/search", &json!({"query": "x"})).refusal();
    assert_eq!(nowhere, (404, "collection_not_found".into(), Some("collection".into())));
    for (method, path, allowed) in [
        ("PUT", "/v1/collections", "GET,HEAD,POST"),
        ("PATCH", "/v1/collections/c", "DELETE,GET,HEAD"),
        ("GET", "/v1/collections/c/search", "POST"),
        ("DELETE", "/healthz", "GET,HEAD"),
    ] {
        let answer = server.send(server.request(method, path));
        assert_eq!(answer.refusal(), (405, "method_not_allowed".into(), None), "{method} {path}");
        let mut methods: Vec<_> = answer.header("allow").split(',').map(str::trim).collect();
        methods.sort_unstable();
        assert_eq!(methods.join(","), allowed, "{method} {path}");
    }
    for (path, content_type) in [
        ("/v1/collections", "text/plain"),
        ("/v1/collections/c/documents", "text/csv"),
        ("/v1/collections/c/search", "application/x-ndjson"),
        ("/v1/collections/c/search", "multipart/form-data"),
    ] {
        let refusal = server.post_text(path, content_type, "{}").refusal();
        assert_eq!(refusal, (415, "unsupported_media_type".into(), None), "{path} {content_type}");
    }
    let request = server.request("POST", "/v1/collections/c/documents").header("content-encoding", "br");
    assert_eq!(server.send(request.body("{}")).refusal().0, 415);
    let request = server.request("POST", "/v1/collections/c/documents").header("content-encoding", "gzip");
    assert_eq!(server.send(request.body("{}")).refusal(), (400, "invalid_request".into(), None));
}

#[test]
fn filters_of_any_depth_are_answered() {
    let (_dir, server) = server(&[]);
    for depth in [33, 100, 10_000, 100_000] {
        let filter = format!(
            "{}{}{}",
            r#"{"type":"not","filter":"#.repeat(depth),
            r#"{"type":"exists","key":"a"}"#,
            "}".repeat(depth)
        );
        for (path, body) in [
            ("/v1/collections/c/search", format!(r#"{{"query":"x","filter":{filter}}}"#)),
            ("/v1/collections/c/documents/delete", format!(r#"{{"filter":{filter}}}"#)),
        ] {
            let (status, code, param) = server.post_text(path, "application/json", body).refusal();
            assert_eq!(status, 400);
            assert!(matches!(code.as_str(), "invalid_filter" | "invalid_json"), "{depth}: {code}");
            assert!(param.as_deref().is_some_and(|param| param.starts_with("filter")), "{depth}: {param:?}");
        }
        // as long a line as a server takes
        if filter.len() < 60_000 {
            let listed = server.get_with("/v1/collections/c/documents", &[("filter", &filter)]);
            let (status, code, param) = listed.refusal();
            assert_eq!((status, code.as_str()), (400, "invalid_filter"));
            assert!(param.unwrap().starts_with("filter"));
        }
    }
    let deep = format!(r#"{{"text":"x","metadata":{{"k":{}{}}}}}"#, "[".repeat(10_000), "]".repeat(10_000));
    let (status, code, param) =
        server.post_text("/v1/collections/c/documents", "application/json", deep).refusal();
    assert_eq!((status, code.as_str()), (400, "invalid_json"));
    assert!(param.unwrap().starts_with("metadata.k"));
}

#[test]
fn bad_items_of_a_batch_are_named_and_the_others_are_kept() {
    let (_dir, server) = server(&[]);
    let items = [
        (r#"{"id":"good0","text":"walnut"}"#, None),
        (r#"{"id":"b1","text":"\ud800"}"#, Some(("invalid_json", "documents[1].text"))),
        (r#"{"id":"b2","text":""}"#, Some(("invalid_request", "documents[2].text"))),
        (r#"{"id":"b3","text":{"a":1}}"#, Some(("invalid_request", "documents[3].text"))),
        (r#"{"id":"b4"}"#, Some(("invalid_request", "documents[4].text"))),
        (r#"{"id":"good5","text":"walnut"}"#, None),
        ("[]", Some(("invalid_request", "documents[6]"))),
        (r#"{"id":"b7","text":"walnut","metadata":3}"#, Some(("invalid_request", "documents[7].metadata"))),
        (r#"{"id":"b8","text":"walnut","vector":[1]}"#, Some(("invalid_vector", "documents[8].vector"))),
        (r#"{"id":"good9","text":"walnut"}"#, None),
    ];
    let lines: Vec<_> = items.iter().map(|(text, _)| *text).collect();
    let bodies = [
        ("application/json", format!("[{}]", lines.join(","))),
        ("application/json", format!("{{\"documents\":[{}]}}", lines.join(",\n"))),
        ("application/x-ndjson", lines.join("\n")),
    ];
    for (content_type, body) in bodies {
        for wait in [true, false] {
            let path = format!("/v1/collections/c/documents?wait={wait}");
            let answer =
                server.post_text(&path, content_type, body.clone()).expect(if wait { 200 } else { 202 });
            assert_eq!((&answer["accepted"], &answer["failed"]), (&json!(3), &json!(7)));
            for (index, (_, error)) in items.iter().enumerate() {
                let result = &answer["results"][index];
                assert_eq!(result["index"], index);
                match error {
                    None => assert_eq!(result["status"], if wait { "indexed" } else { "accepted" }),
                    Some((code, param)) => {
                        assert_eq!(result["status"], "failed");
                        assert_eq!(
                            (&result["error"]["code"], &result["error"]["param"]),
                            (&json!(code), &json!(param))
                        );
                    }
                }
            }
            server.settle("c");
            let found = server.search("c", &json!({"query": "walnut"}));
            let mut ids = hit_ids(&found);
            ids.sort_unstable();
            assert_eq!(ids, ["good0", "good5", "good9"]);
        }
    }
    // a line that is no JSON fails alone; an array that is none fails as a whole
    let lines = "{\"id\":\"good0\",\"text\":\"walnut\"}\n{\"text\":\nnull\n";
    let answer =
        server.post_text("/v1/collections/c/documents?wait=true", "application/jsonl", lines).expect(200);
    assert_eq!((&answer["accepted"], &answer["failed"]), (&json!(1), &json!(2)));
    assert!(answer["results"][1]["error"]["message"].as_str().unwrap().starts_with("line 2: "));
    let nothing = server.post("/v1/collections/c/documents", &json!([{"id": "b"}])).expect(200);
    assert_eq!(
        (&nothing["accepted"], &nothing["failed"], nothing.get("job_id")),
        (&json!(0), &json!(1), None)
    );
}

#[test]
fn bodies_have_a_limit() {
    let (_dir, server) = server(&["--max-body-mib", "1"]);
    let text = "word ".repeat(300_000);
    let too_long = (413, "body_too_large".to_owned(), None);
    let answer = server.post("/v1/collections/c/documents", &json!({"text": text}));
    assert_eq!(answer.refusal(), too_long);
    assert_eq!(server.post("/v1/collections/c/search", &json!({"query": text})).refusal(), too_long);
    // a query has a smaller limit of its own
    check(
        &server,
        "/v1/collections/c/search",
        &json!({"query": &text[..100_000]}).to_string(),
        (400, "invalid_request", Some("query")),
    );
    // without a content length
    let endless = std::io::Read::take(std::io::repeat(b' '), 2 << 20);
    let request =
        server.request("POST", "/v1/collections/c/documents").header("content-type", "application/json");
    let answer = server.try_send(request.body(reqwest::blocking::Body::new(endless)));
    // the server may close the connection while the rest is being sent
    if let Ok(answer) = answer {
        assert_eq!(answer.refusal(), too_long);
    }
    server.post("/v1/collections/c/documents?wait=true", &json!({"id": "a", "text": "short"})).expect(200);
    assert_eq!(hit_ids(&server.search("c", &json!({"query": "short"}))), ["a"]);
}

#[test]
fn odd_texts_are_texts() {
    let (_dir, server) = server(&[]);
    let write = |document: &Value| server.post("/v1/collections/c/documents?wait=true", document).expect(200);
    let id = "n\0l\u{feff}\u{202e}";
    let text = "almond\0pistachio \u{1f468}\u{200d}\u{1f469} e\u{301} \u{fffd} \r\n\u{85}\u{2028} end";
    let odd = json!({"id": id, "text": text, "metadata": {"\0": "\0", "": 1}});
    assert_eq!(write(&odd)["accepted"], 1);
    let stored = server.get(&document_path("c", id)).expect(200);
    assert_eq!((&stored["text"], &stored["metadata"]), (&json!(text), &odd["metadata"]));
    for query in ["pistachio", "almond", "\u{1f469} end", "\0 pistachio"] {
        assert_eq!(hit_ids(&server.search("c", &json!({"query": query}))), [id], "{query:?}");
    }
    let filter = json!({"query": "almond", "filter": {"type": "eq", "key": "\0", "value": "\0"}});
    assert_eq!(hit_ids(&server.search("c", &filter)), [id]);
    for query in [
        "\0",
        "\"",
        "\"\"",
        "(a OR",
        "*",
        "title:x^2 AND -b ~",
        "?",
        &"x".repeat(60_000),
        &"a ".repeat(30_000),
    ] {
        server.search("c", &json!({"query": query}));
    }
}

#[test]
fn a_line_of_ten_megabytes_is_a_text() {
    let (_dir, server) = server(&[]);
    let mut text = "lorem ipsum dolor sit amet ".repeat(400_000);
    text.truncate(10 << 20);
    text += " needle";
    let body = json!({"id": "long", "text": text}).to_string();
    let answer = server.post_text("/v1/collections/c/documents", "application/x-ndjson", body);
    let job = answer.expect(202)["job_id"].as_str().unwrap().to_owned();
    eventually("it is indexed", || {
        server.get(&format!("/v1/jobs/{job}")).expect(200)["ended_at"].is_string()
    });
    let hits = server.search("c", &json!({"query": "needle"}))["hits"].clone();
    assert_eq!(hits.as_array().unwrap().len(), 1);
    assert!(hits[0]["text"].as_str().unwrap().ends_with("needle"));
    assert_eq!(hits[0]["span"]["byte_end"], text.len());
    // a word without an end is cut, and the rest of its document is found
    let word = format!("{} kernel", "x".repeat(1 << 20));
    server.post("/v1/collections/c/documents?wait=true", &json!({"id": "word", "text": word})).expect(200);
    assert_eq!(hit_ids(&server.search("c", &json!({"query": "kernel"}))), ["word"]);
}
