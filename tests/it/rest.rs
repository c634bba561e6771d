//! The REST API of a running server.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use serde_json::{Value, json};

use crate::support::server::{Api, Server, document_path, eventually, hit_ids, serve};

const DOCUMENTS: &str = "/v1/collections/c/documents";

/// A server with a lexical collection `c` of short chunks.
fn with_collection(flags: &[&str]) -> (tempfile::TempDir, Server) {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), flags);
    create_lexical(&server, "c");
    (dir, server)
}

fn create_lexical(api: &Api, name: &str) {
    let chunking = json!({"max_tokens": 16, "overlap_tokens": 0});
    api.create(&json!({"name": name, "embedding": {"provider": "none"}, "chunking": chunking}));
}

fn write(api: &Api, documents: &Value) -> Value {
    api.post(&format!("{DOCUMENTS}?wait=true"), documents).expect(200)
}

fn found(api: &Api, query: &str) -> Vec<String> {
    let answer = api.search("c", &json!({"query": query, "group_by": "document"}));
    let mut ids: Vec<_> = hit_ids(&answer).into_iter().map(str::to_owned).collect();
    ids.sort();
    ids
}

fn eq(key: &str, value: Value) -> Value {
    json!({"type": "eq", "key": key, "value": value})
}

/// A gzip file of stored blocks.
fn gzip(data: &[u8]) -> Vec<u8> {
    let mut file = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let mut blocks = data.chunks(65_535).peekable();
    while let Some(block) = blocks.next() {
        let length = block.len() as u16;
        file.push(blocks.peek().is_none().into());
        file.extend(length.to_le_bytes());
        file.extend((!length).to_le_bytes());
        file.extend(block);
    }
    file.extend(crc32fast::hash(data).to_le_bytes());
    file.extend((data.len() as u32).to_le_bytes());
    file
}

#[test]
fn collections_are_created_shown_and_deleted() {
    let (_dir, server) = with_collection(&[]);
    let lexical = json!({"name": "lex", "embedding": {"provider": "none"}, "text": {"analyzer": "german"}});
    let created = server.post("/v1/collections", &lexical).expect(201);
    assert_eq!((&created["name"], &created["documents"]), (&json!("lex"), &json!(0)));
    assert_eq!(created["definition"]["text"]["analyzer"], "german");
    assert_eq!(server.post("/v1/collections", &lexical).expect(200), created);
    let other = json!({"name": "lex", "embedding": {"provider": "none"}});
    let refusal = server.post("/v1/collections", &other).refusal();
    assert_eq!(refusal, (409, "collection_exists".into(), Some("name".into())));

    // a preset is a definition to start from
    let unset = json!({"name": "p", "preset": "openai-small", "embedding": {"api_key_env": "NO_SUCH_KEY"}});
    let refusal = server.post("/v1/collections", &unset).refusal();
    assert_eq!(refusal, (400, "invalid_definition".into(), Some("embedding.api_key_env".into())));
    let preset = json!({"name": "p", "preset": "openai-small", "embedding": {"api_key_env": ""}, "chunking": {"max_tokens": 384}, "fusion": {"method": "rrf"}});
    let definition = &server.post("/v1/collections", &preset).expect(201)["definition"];
    assert_eq!(definition["embedding"]["model"], "text-embedding-3-small");
    assert_eq!(
        (&definition["chunking"]["max_tokens"], &definition["fusion"]["method"]),
        (&json!(384), &json!("rrf"))
    );

    let listed = server.get("/v1/collections").expect(200);
    let names: Vec<_> = listed["collections"].as_array().unwrap().iter().map(|c| &c["name"]).collect();
    assert_eq!(names, ["c", "lex", "p"]);
    assert_eq!(server.get("/v1/collections/lex").expect(200), created);
    write(&server, &json!({"id": "a", "text": "one text"}));
    let stats = server.get("/v1/collections/c/stats").expect(200);
    assert_eq!((&stats["documents"], &stats["chunks"]), (&json!(1), &json!(1)));
    assert_eq!(stats["segments"].as_array().unwrap().len(), 1);
    assert!(stats["disk_bytes"].as_u64() > Some(0));

    let deleted = server.delete("/v1/collections/c").expect(200);
    assert_eq!(deleted, json!({"name": "c", "deleted": true}));
    let refusal = server.delete("/v1/collections/c").refusal();
    assert_eq!(refusal, (404, "collection_not_found".into(), Some("collection".into())));
    assert_eq!(server.get("/v1/collections/c/stats").status, 404);
    // the name is free again, and nothing of the old one comes back
    create_lexical(&server, "c");
    assert!(found(&server, "text").is_empty());
}

#[test]
fn documents_are_taken_in_every_shape() {
    let (_dir, server) = with_collection(&[]);
    let one = write(&server, &json!({"id": "one", "text": "kumquat"}));
    assert_eq!(
        one,
        json!({"accepted": 1, "failed": 0, "results": [{"index": 0, "id": "one", "status": "indexed"}]})
    );
    write(&server, &json!([{"id": "a1", "text": "kumquat"}, {"id": "a2", "text": "kumquat"}]));
    write(&server, &json!({"documents": [{"id": "w1", "text": "kumquat"}]}));
    let lines = "{\"id\":\"l1\",\"text\":\"kumquat\"}\r\n\n{\"id\":\"l2\",\"text\":\"kumquat\"}";
    for content_type in ["application/x-ndjson", "application/jsonl; charset=utf-8"] {
        let answer = server.post_text(&format!("{DOCUMENTS}?wait=true"), content_type, lines).expect(200);
        assert_eq!(answer["accepted"], 2);
    }
    let zipped = gzip(b"[{\"id\":\"z1\",\"text\":\"kumquat\"}]");
    let request =
        server.request("POST", &format!("{DOCUMENTS}?wait=true")).header("content-encoding", "gzip");
    server.send(request.header("content-type", "application/json").body(zipped)).expect(200);
    assert_eq!(found(&server, "kumquats"), ["a1", "a2", "l1", "l2", "one", "w1", "z1"]);

    // an id is made where there is none
    let made = write(&server, &json!({"text": "no name"}))["results"][0]["id"].clone();
    assert_eq!(server.get(&document_path("c", made.as_str().unwrap())).expect(200)["text"], "no name");
    // of the same id in one request the last wins
    let twice = write(&server, &json!([{"id": "one", "text": "medlar"}, {"id": "one", "text": "quince"}]));
    let states: Vec<_> = twice["results"].as_array().unwrap().iter().map(|item| &item["status"]).collect();
    assert_eq!(states, ["superseded", "indexed"]);
    assert!(found(&server, "medlar").is_empty());
    assert_eq!(found(&server, "quince"), ["one"]);
    assert!(!found(&server, "kumquat").contains(&"one".into()));
}

#[test]
fn a_job_makes_accepted_documents_searchable() {
    let (_dir, server) = with_collection(&[]);
    let documents: Vec<_> =
        (0..50).map(|n| json!({"id": format!("d{n:02}"), "text": format!("medlar number {n}")})).collect();
    let answer = server.post(DOCUMENTS, &json!(documents)).expect(202);
    assert_eq!((&answer["accepted"], &answer["results"][7]["status"]), (&json!(50), &json!("accepted")));
    let id = answer["job_id"].as_str().unwrap();
    let job = server.ended(&format!("/v1/jobs/{id}"));
    assert_eq!(
        (&job["state"], &job["indexed"], &job["failed"]),
        (&json!("succeeded"), &json!(50), &json!(0))
    );
    assert_eq!((&job["collection"], &job["errors"]), (&json!("c"), &json!([])));
    assert_eq!(
        server.search("c", &json!({"query": "medlar", "limit": 100}))["hits"].as_array().unwrap().len(),
        50
    );

    let second = server.post(DOCUMENTS, &json!({"id": "d00", "text": "loquat"})).expect(202);
    server.settle("c");
    assert_eq!(found(&server, "loquat"), ["d00"]);
    let listed = server.get("/v1/jobs?collection=c&limit=1").expect(200);
    assert_eq!(listed["jobs"].as_array().unwrap().len(), 1);
    assert_eq!(listed["jobs"][0]["id"], second["job_id"]);
    let refusal = server.post(&format!("/v1/jobs/{id}/cancel"), &Value::Null).refusal();
    assert_eq!(refusal, (409, "job_ended".into(), Some("id".into())));
}

#[test]
fn documents_are_read_listed_and_deleted() {
    let (_dir, server) = with_collection(&[]);
    let odd = ["a/b", "delete", "héllo wörld?#%41", "日本/語", " ", "line\nbreak"];
    let documents: Vec<_> = odd
        .iter()
        .enumerate()
        .map(|(n, id)| {
            json!({"id": id, "text": format!("text of {n}"), "title": "T", "uri": "file:x", "metadata": {"n": n, "even": n % 2 == 0}})
        })
        .collect();
    assert_eq!(write(&server, &json!(documents))["accepted"], odd.len());
    for (n, id) in odd.iter().enumerate() {
        let mut document = server.get(&document_path("c", id)).expect(200);
        assert!(document.as_object_mut().unwrap().remove("version").unwrap().is_u64());
        let expected = json!({"id": id, "title": "T", "uri": "file:x", "metadata": {"n": n, "even": n % 2 == 0},
                              "text": format!("text of {n}"), "chunks": 1});
        assert_eq!(document, expected);
    }

    let mut sorted = odd;
    sorted.sort_unstable();
    let (mut listed, mut after) = (Vec::new(), None::<String>);
    loop {
        let parameters = [("limit", "3"), ("after", after.as_deref().unwrap_or_default())];
        let page = server.get_with(DOCUMENTS, &parameters[..if after.is_some() { 2 } else { 1 }]).expect(200);
        let documents = page["documents"].as_array().unwrap();
        assert!(documents.len() <= 3 && documents.iter().all(|document| document.get("text").is_none()));
        listed.extend(documents.iter().map(|document| document["id"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => after = Some(next.to_owned()),
            None => break,
        }
    }
    assert_eq!(listed, sorted);
    let even = server.get_with(DOCUMENTS, &[("filter", &eq("even", json!(true)).to_string())]);
    assert_eq!(even.expect(200)["documents"].as_array().unwrap().len(), 3);

    for id in ["a/b", "delete"] {
        assert_eq!(server.delete(&document_path("c", id)).expect(200), json!({"deleted": 1}));
        assert_eq!(server.get(&document_path("c", id)).status, if id == "delete" { 405 } else { 404 });
    }
    let refusal = server.delete(&document_path("c", "a/b")).refusal();
    assert_eq!(refusal, (404, "document_not_found".into(), Some("id".into())));
    let filter = json!({"filter": {"type": "gte", "key": "n", "value": 4}});
    assert_eq!(server.post(&format!("{DOCUMENTS}/delete"), &filter).expect(200), json!({"deleted": 2}));
    assert_eq!(server.post(&format!("{DOCUMENTS}/delete"), &filter).expect(200), json!({"deleted": 0}));
    assert_eq!(found(&server, "text"), ["héllo wörld?#%41", "日本/語"]);
}

#[test]
fn chunks_are_found_grouped_expanded_and_paged_through() {
    let (_dir, server) = with_collection(&[]);
    let text = |name: &str| {
        let paragraph =
            |n| format!("Paragraph {n} speaks of the {name} tree, and is as long as a chunk can be.");
        format!("# Fruit\n\n## On the {name}\n\n{}", (0..6).map(paragraph).collect::<Vec<_>>().join("\n\n"))
    };
    let names = ["quince", "medlar", "loquat", "sorb"];
    let documents: Vec<_> = names
        .iter()
        .zip(2000..)
        .map(|(name, year)| json!({"id": name, "text": text(name), "title": "Trees", "metadata": {"year": year}}))
        .collect();
    write(&server, &json!(documents));

    let hit = &server.search(
        "c",
        &json!({"query": "paragraph 3 medlar", "limit": 1, "expand": {"before": 2, "after": 1}}),
    )["hits"][0];
    assert_eq!((&hit["document_id"], &hit["title"]), (&json!("medlar"), &json!("Trees")));
    assert_eq!(hit["headings"], json!(["Fruit", "On the medlar"]));
    assert_eq!(hit["metadata"], json!({"year": 2001}));
    let source = text("medlar");
    let neighbours = [&hit["before"], &hit["after"]].map(|list| list.as_array().unwrap().clone());
    for place in neighbours.iter().flatten().chain([hit]) {
        let span = |name: &str| place["span"][name].as_u64().unwrap() as usize;
        assert_eq!(source[span("byte_start")..span("byte_end")], *place["text"].as_str().unwrap());
        let chars: String =
            source.chars().skip(span("char_start")).take(span("char_end") - span("char_start")).collect();
        assert_eq!(chars, place["text"].as_str().unwrap());
    }
    let number = hit["chunk"].as_u64().unwrap();
    let numbers =
        neighbours.map(|list| list.iter().map(|n| n["chunk"].as_u64().unwrap()).collect::<Vec<_>>());
    assert_eq!(numbers, [vec![number - 2, number - 1], vec![number + 1]]);
    assert!(hit.get("explain").is_none());

    let all = json!({"query": "paragraph tree", "limit": 100});
    let whole = server.search("c", &all);
    let chunks = server.get("/v1/collections/c").expect(200)["chunks"].as_u64().unwrap();
    assert!(chunks >= 24 && whole["hits"].as_array().unwrap().len() as u64 == chunks);
    let grouped = server.search("c", &json!({"query": "paragraph tree", "group_by": "document"}));
    let mut ids = hit_ids(&grouped);
    ids.sort_unstable();
    assert_eq!(ids, ["loquat", "medlar", "quince", "sorb"]);

    // pages, of any length, are the one list cut up; writes between them change nothing
    let mut paged = Vec::new();
    let mut page = json!({"query": "paragraph tree", "limit": 5});
    loop {
        let answer = server.search("c", &page);
        paged.extend(answer["hits"].as_array().unwrap().clone());
        assert_eq!(
            server.delete(&document_path("c", "sorb")).status,
            if paged.len() == 5 { 200 } else { 404 }
        );
        let Some(cursor) = answer.get("next_cursor") else { break };
        page = json!({"query": "paragraph tree", "limit": 7, "cursor": cursor});
    }
    assert_eq!(json!(paged), whole["hits"]);
    assert!(server.search("c", &json!({"query": "sorb"}))["hits"].as_array().unwrap().is_empty());

    let filter = json!({"query": "tree", "filter": eq("year", json!(2002)), "group_by": "document"});
    assert_eq!(hit_ids(&server.search("c", &filter)), ["loquat"]);
    let window = server.search("c", &json!({"query": "tree", "window": 3}));
    assert_eq!(window["hits"].as_array().unwrap().len(), 3);
    assert!(window.get("next_cursor").is_none());
    let phrase = server.search("c", &json!({"query": "\"paragraph 4 speaks\" quince", "limit": 100}));
    assert!(
        phrase["hits"]
            .as_array()
            .unwrap()
            .iter()
            .all(|h| h["text"].as_str().unwrap().contains("Paragraph 4"))
    );
}

#[test]
fn both_legs_answer_and_explain() {
    let (_dir, server) = with_collection(&[]);
    server.create(&json!({"name": "v", "embedding": {"provider": "client", "dimensions": 3}}));
    let documents = json!([
        {"id": "x", "text": "axis of the apple", "vector": [1, 0, 0], "metadata": {"tag": ["a", "b"]}},
        {"id": "y", "text": "axis of the pear", "vector": [0, 1, 0], "metadata": {"tag": ["b"]}},
        {"id": "xy", "text": "between the two", "vector": [1, 1, 0]},
    ]);
    assert_eq!(server.post("/v1/collections/v/documents?wait=true", &documents).expect(200)["accepted"], 3);

    let dense = server.search("v", &json!({"vector": [2, 0.1, 0], "mode": "dense", "exact": true, "ef": 10}));
    assert_eq!(hit_ids(&dense), ["x", "xy", "y"]);
    assert_eq!(
        (&dense["status"]["dense"]["state"], &dense["status"]["lexical"]["state"]),
        (&json!("ok"), &json!("skipped"))
    );
    let lexical = server.search("v", &json!({"query": "pear axis", "mode": "lexical"}));
    assert_eq!(hit_ids(&lexical), ["y", "x"]);
    assert_eq!(lexical["status"]["dense"]["state"], "skipped");

    let both =
        json!({"query": "apple", "vector": [0, 1, 0], "mode": "hybrid", "explain": true, "strict": true});
    for method in ["absolute", "rrf"] {
        let mut request = both.clone();
        request["fusion"] = json!({"method": method, "dense_weight": 0.9});
        let answer = server.search("v", &request);
        assert_eq!(answer["status"]["degraded"], false);
        let hits = answer["hits"].as_array().unwrap();
        let scores: Vec<f64> = hits.iter().map(|hit| hit["score"].as_f64().unwrap()).collect();
        assert!(scores.is_sorted_by(|a, b| a >= b) && scores.iter().all(|score| (0.0..=1.0).contains(score)));
        let explain = |id: &str| &hits.iter().find(|hit| hit["document_id"] == id).unwrap()["explain"];
        if method == "absolute" {
            assert_eq!(hit_ids(&answer)[0], "y");
        }
        assert_eq!(
            (&explain("y")["dense"]["rank"], &explain("x")["lexical"]["rank"]),
            (&json!(1), &json!(1))
        );
        assert!((explain("y")["dense"]["raw"].as_f64().unwrap() - 1.0).abs() < 1e-3);
        assert!(explain("x")["lexical"]["raw"].as_f64().unwrap() > 0.0);

        // the threshold is on the score that is shown
        request["score_threshold"] = json!(scores[1]);
        assert_eq!(server.search("v", &request)["hits"].as_array().unwrap().len(), 2, "{method} {scores:?}");
    }
    let weights = json!({"query": "apple", "vector": [0, 1, 0], "fusion": {"dense_weight": 0.0}});
    assert_eq!(hit_ids(&server.search("v", &weights))[0], "x");
    let filter = json!({"vector": [0, 1, 0], "filter": {"type": "contains", "key": "tag", "value": "a"}});
    assert_eq!(hit_ids(&server.search("v", &filter)), ["x"]);
}

#[test]
fn the_service_says_how_it_is() {
    let (_dir, server) = with_collection(&[]);
    for probe in ["/healthz", "/readyz"] {
        assert_eq!(server.get(probe).expect(200), json!({"status": "ok"}));
    }
    let committed = include_str!("../../openapi.yaml");
    assert_eq!(server.get("/openapi.yaml").text(), committed);
    server.search("c", &json!({"query": "x"}));
    let metrics = server.get("/metrics").text();
    let search = metrics.lines().find(|line| line.contains("/search") && line.contains("_count"));
    assert!(search.is_some_and(|line| line.ends_with(" 1")), "{metrics}");

    let sent = server.send(server.request("GET", "/v1/collections").header("x-request-id", "my-id-7"));
    assert_eq!(sent.header("x-request-id"), "my-id-7");
    let made = server.get("/nowhere");
    assert_eq!(made.header("x-request-id").len(), 36);

    let zipped = server.send(server.request("GET", "/openapi.yaml").header("accept-encoding", "gzip"));
    assert_eq!((zipped.header("content-encoding"), &zipped.body[..2]), ("gzip", &b"\x1f\x8b"[..]));
    assert!(zipped.body.len() < committed.len() / 3);
}

#[test]
fn a_key_is_asked_for_and_a_network_address_needs_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = serve(dir.path());
    command.env("GLEANER_API_KEY", "sesame").env("GLEANER_LISTEN", "0.0.0.0:0");
    let server = Server::launch(command, Some("sesame"));
    server.get("/v1/collections").expect(200);
    server.get("/metrics");
    for api in [server.with_key(Some("sesam")), server.with_key(None)] {
        for path in ["/v1/collections", "/v1/collections/c/search", "/metrics", "/openapi.yaml", "/nowhere"] {
            let answer = api.get(path);
            assert_eq!(answer.refusal(), (401, "unauthorized".into(), None), "{path}");
            assert_eq!(answer.header("www-authenticate"), "Bearer");
        }
        api.get("/healthz").expect(200);
        api.get("/readyz").expect(200);
    }
    assert!(server.stop().success());

    let refused = serve(dir.path()).env("GLEANER_LISTEN", "0.0.0.0:0").output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--insecure"));
    let mut command = serve(dir.path());
    command.arg("--insecure").env("GLEANER_LISTEN", "0.0.0.0:0");
    Server::launch(command, None).get("/v1/collections").expect(200);
}

/// Sends a request and does not wait for its answer; `missing` bytes of the body are not sent.
fn begin(api: &Api, path: &str, body: &str, missing: usize) -> TcpStream {
    let mut stream = TcpStream::connect(api.url.strip_prefix("http://").unwrap()).unwrap();
    let length = body.len() + missing;
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    );
    stream.write_all((head + body).as_bytes()).unwrap();
    stream
}

/// How much of [`half_a_write`] is missing.
const MISSING: usize = 100_000;

/// Begins a write and leaves it unfinished.
fn half_a_write(api: &Api) -> TcpStream {
    begin(api, &format!("{DOCUMENTS}?wait=true"), r#"{"id":"half","text":"half a"#, MISSING)
}

fn overloaded(api: &Api, path: &str, body: &Value) -> bool {
    let answer = api.post(path, body);
    if answer.status == 429 {
        assert_eq!(answer.refusal().1, "overloaded");
        assert!(answer.header("retry-after").parse::<u32>().unwrap() >= 1);
    }
    answer.status == 429
}

#[test]
fn past_the_bounds_clients_are_told_to_come_back_and_one_that_leaves_makes_room() {
    let (_dir, server) = with_collection(&["--max-searches", "1", "--max-writes", "1"]);
    // a provider that never answers
    let provider = TcpListener::bind("127.0.0.1:0").unwrap();
    let base_url = format!("http://{}/v1", provider.local_addr().unwrap());
    let embedding =
        json!({"provider": "openai", "base_url": base_url, "model": "m", "api_key_env": "", "dimensions": 4});
    server.create(&json!({"name": "slow", "embedding": embedding}));
    let question = json!({"query": "anything"});

    // each try leaves one more request waiting: one of them gets the only place
    let mut waiting = Vec::new();
    let path = "/v1/collections/c/search";
    eventually("searches are refused", || {
        waiting.push(begin(&server, "/v1/collections/slow/search", &question.to_string(), 0));
        overloaded(&server, path, &question)
    });
    waiting.clear();
    eventually("searches are taken again", || !overloaded(&server, path, &question));

    let document = json!({"id": "a", "text": "anything"});
    eventually("writes are refused", || {
        waiting.push(half_a_write(&server));
        overloaded(&server, DOCUMENTS, &document)
    });
    assert_eq!(server.search("c", &json!({"query": "half"}))["hits"], json!([]));
    waiting.clear();
    eventually("writes are taken again", || !overloaded(&server, DOCUMENTS, &document));
    server.settle("c");
    assert_eq!(found(&server, "anything"), ["a"]);
    assert_eq!(server.get(&document_path("c", "half")).status, 404);
}

#[test]
fn clients_that_disconnect_do_no_harm() {
    let (_dir, server) = with_collection(&[]);
    thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| {
                drop(half_a_write(&server));
                let mut stream = TcpStream::connect(server.url.strip_prefix("http://").unwrap()).unwrap();
                stream.write_all(b"\x16\x03\x01 no HTTP at all \r\n\r\n").unwrap();
                let mut answer = String::new();
                let _ = stream.read_to_string(&mut answer);
                assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
                // a whole write whose answer nobody reads
                drop(begin(&server, DOCUMENTS, r#"{"id":"unread","text":"unread"}"#, 0));
            });
        }
    });
    // the writes that nobody waits for hold their permits until they are done
    eventually("a write is let in", || {
        let answer =
            server.post("/v1/collections/c/documents?wait=true", &json!({"id": "a", "text": "still here"}));
        answer.status == 200 || {
            assert_eq!(answer.status, 429, "{}", answer.text());
            false
        }
    });
    assert_eq!(found(&server, "still here"), ["a"]);
    server.settle("c");
    assert_eq!(server.get(&document_path("c", "half")).status, 404);
    assert!(server.stop().success());
}

#[test]
fn after_sigterm_what_was_accepted_is_indexed_at_the_next_start() {
    let (dir, server) = with_collection(&[]);
    let mut jobs = Vec::new();
    for batch in 0..10 {
        let document = |n| json!({"id": format!("{batch}-{n}"), "text": format!("accepted {batch} {n} {}", "word ".repeat(300))});
        let answer = server.post(DOCUMENTS, &json!((0..20).map(document).collect::<Vec<_>>())).expect(202);
        jobs.push(answer["job_id"].as_str().unwrap().to_owned());
    }
    assert!(server.stop().success());
    let server = Server::start(dir.path(), &[]);
    server.settle("c");
    for job in &jobs {
        let job = server.get(&format!("/v1/jobs/{job}")).expect(200);
        assert_eq!((&job["state"], &job["indexed"]), (&json!("succeeded"), &json!(20)), "{job}");
    }
    let grouped = json!({"query": "accepted", "group_by": "document", "limit": 1000, "window": 10_000});
    assert_eq!(server.search("c", &grouped)["hits"].as_array().unwrap().len(), 200);
}

#[test]
fn a_request_under_way_at_sigterm_is_answered() {
    let (_dir, server) = with_collection(&[]);
    let mut stream = half_a_write(&server);
    // the server has begun to read it
    thread::sleep(std::time::Duration::from_millis(100));
    server.terminate();
    thread::sleep(std::time::Duration::from_millis(100));
    assert!(TcpStream::connect(server.url.strip_prefix("http://").unwrap()).is_err());
    let rest = " word".repeat(MISSING)[..MISSING - 2].to_owned() + "\"}";
    stream.write_all(rest.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.contains("\"indexed\""), "{answer}");
    assert!(server.wait().success());
}
