//! `kill -9` at random moments of a stream of writes, again and again on one data directory: what was
//! acknowledged is there afterwards, whole and in its newest version, and nothing is left over.
//!
//! `GLEANER_KILLS` says how often (10), `GLEANER_SEED` repeats a run.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::support::random::Random;
use crate::support::server::{Answer, Api, Server, assert_clean, document_path, inspect, serve, verify};

const WRITERS: usize = 4;
/// Documents of each writer.
const DOCUMENTS: usize = 24;
/// Documents of a writer that one filter deletes.
const GROUPS: usize = 6;
/// In every chunk of every document.
const MARKER: &str = "marker";

/// What somebody tried to make of a document.
struct Attempt {
    /// `None`: a delete.
    text: Option<String>,
    acknowledged: bool,
}

/// The only writer of some documents, so the order of what it does to each of them is known.
struct Writer {
    number: usize,
    random: Random,
    words: usize,
    /// By document, in order; the first is what the last check found.
    attempts: Vec<Vec<Attempt>>,
    /// Jobs that were acknowledged since the last check, each with the ids of its documents.
    jobs: Vec<(String, Vec<String>)>,
    acknowledged: usize,
}

fn id(writer: usize, document: usize) -> String {
    format!("{writer}/{document}")
}

/// The word that all chunks of a version have and no other version has.
fn word_of(text: &str) -> &str {
    text.split(' ').next().unwrap()
}

impl Writer {
    fn new(number: usize, seed: u64) -> Writer {
        let nothing = || vec![Attempt { text: None, acknowledged: true }];
        let attempts = (0..DOCUMENTS).map(|_| nothing()).collect();
        let random = Random::new(seed ^ (number as u64 + 1) << 32);
        Writer { number, random, words: 0, attempts, jobs: Vec::new(), acknowledged: 0 }
    }

    /// Writes and deletes until the server is gone.
    fn run(&mut self, api: &Api) {
        loop {
            let answered = match self.random.below(10) {
                0 | 1 => self.delete_one(api),
                2 => self.delete_group(api),
                3..=5 => self.write(api, 1),
                _ => {
                    let count = 2 + self.random.below(7);
                    self.write(api, count)
                }
            };
            if !answered {
                return;
            }
        }
    }

    /// A text of several chunks, each with a word that no other text has.
    fn text(&mut self) -> String {
        const LETTERS: &[u8] = b"bcdfghjkmnpqrtvw";
        self.words += 1;
        let code = self.words * WRITERS + self.number;
        let word: String =
            (0..6).map(|place| char::from(LETTERS[code >> (4 * place) & 15])).chain(['x', 'z']).collect();
        let sentence = |number| format!("{word} {MARKER} stands in sentence {number} of this text.");
        (0..4 + self.random.below(20)).map(sentence).collect::<Vec<_>>().join("\n\n")
    }

    /// Writes `count` documents (one may be there twice) as one request.
    fn write(&mut self, api: &Api, count: usize) -> bool {
        let mut lines = String::new();
        let mut tried: BTreeMap<usize, String> = BTreeMap::new();
        let mut ids = Vec::new();
        for _ in 0..count {
            let (document, text) = (self.random.below(DOCUMENTS), self.text());
            let group = document % GROUPS;
            let metadata = json!({"writer": self.number, "group": group});
            lines +=
                &json!({"id": id(self.number, document), "text": text, "metadata": metadata}).to_string();
            lines.push('\n');
            ids.push(id(self.number, document));
            tried.insert(document, text); // the last of the same id wins
        }
        let wait = self.random.one_in(2);
        let content_type = if count == 1 { "application/json" } else { "application/x-ndjson" };
        let request = api
            .request("POST", &format!("/v1/collections/c/documents?wait={wait}"))
            .header("content-type", content_type)
            .body(lines);
        for (&document, text) in &tried {
            self.attempts[document].push(Attempt { text: Some(text.clone()), acknowledged: false });
        }
        let Ok(answer) = api.try_send(request) else { return false };
        let body = answer.expect(if wait { 200 } else { 202 });
        assert_eq!((&body["accepted"], &body["failed"]), (&json!(count), &json!(0)), "{body}");
        self.jobs.extend(body["job_id"].as_str().map(|job| (job.to_owned(), ids)));
        self.acknowledge(tried.keys().copied());
        true
    }

    fn delete_one(&mut self, api: &Api) -> bool {
        let document = self.random.below(DOCUMENTS);
        self.attempts[document].push(Attempt { text: None, acknowledged: false });
        let path = document_path("c", &id(self.number, document));
        let Ok(answer) = api.try_send(api.request("DELETE", &path)) else { return false };
        assert!(matches!(answer.status, 200 | 404), "{answer:?}");
        self.acknowledge([document]);
        true
    }

    fn delete_group(&mut self, api: &Api) -> bool {
        let group = self.random.below(GROUPS);
        let documents: Vec<usize> = (0..DOCUMENTS).filter(|document| document % GROUPS == group).collect();
        for &document in &documents {
            self.attempts[document].push(Attempt { text: None, acknowledged: false });
        }
        let is = |key: &str, value: usize| json!({"type": "eq", "key": key, "value": value});
        let filter = json!({"type": "and", "filters": [is("writer", self.number), is("group", group)]});
        let request = api
            .request("POST", "/v1/collections/c/documents/delete")
            .header("content-type", "application/json")
            .body(json!({"filter": filter}).to_string());
        let Ok(answer) = api.try_send(request) else { return false };
        answer.expect(200);
        self.acknowledge(documents);
        true
    }

    /// The last attempt on each of these was answered.
    fn acknowledge(&mut self, documents: impl IntoIterator<Item = usize>) {
        for document in documents {
            self.attempts[document].last_mut().unwrap().acknowledged = true;
        }
        self.acknowledged += 1;
    }
}

fn all_chunks(api: &Api) -> reqwest::Result<Answer> {
    let body = json!({"query": MARKER, "limit": 1000, "window": 10_000});
    let request = api.request("POST", "/v1/collections/c/search");
    api.try_send(request.header("content-type", "application/json").body(body.to_string()))
}

/// The word of each document that a search for all chunks finds, having checked that it is whole: all chunks
/// of one version and of no other.
fn whole_documents(answer: &Value) -> BTreeMap<String, String> {
    assert_eq!(answer["status"]["degraded"], false, "{answer}");
    assert!(answer.get("next_cursor").is_none());
    let mut documents: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
    for hit in answer["hits"].as_array().unwrap() {
        documents.entry(hit["document_id"].as_str().unwrap().to_owned()).or_default().push(hit);
    }
    let word = |(id, mut chunks): (String, Vec<&Value>)| {
        chunks.sort_by_key(|hit| hit["chunk"].as_u64());
        let numbers: Vec<_> = chunks.iter().map(|hit| hit["chunk"].as_u64().unwrap()).collect();
        let count = chunks[0]["chunks"].as_u64().unwrap();
        assert!(count > 1, "{id} has one chunk: the test is to have more");
        assert_eq!(numbers, (0..count).collect::<Vec<_>>(), "{id} is not whole");
        let word = word_of(chunks[0]["text"].as_str().unwrap()).to_owned();
        let other = chunks.iter().find(|hit| !hit["text"].as_str().unwrap().contains(&word));
        assert!(other.is_none(), "{id} is of two versions: {word} and {other:?}");
        (id, word)
    };
    documents.into_iter().map(word).collect()
}

/// Searches until the server is gone: a document is always seen whole.
fn read(api: &Api) {
    while let Ok(answer) = all_chunks(api) {
        whole_documents(&answer.expect(200));
        thread::sleep(Duration::from_millis(10));
    }
}

/// A job that was acknowledged knows all its documents, and what became of each.
fn check_jobs(api: &Api, writer: &mut Writer, live: &BTreeMap<String, String>) {
    let mut indexed = BTreeSet::new();
    for (job, ids) in std::mem::take(&mut writer.jobs) {
        let page = api.get(&format!("/v1/jobs/{job}/documents?limit=1000")).expect(200);
        let documents = page["documents"].as_array().unwrap();
        let listed: Vec<_> = documents.iter().map(|document| document["id"].as_str().unwrap()).collect();
        assert_eq!(listed, ids, "{job}");
        for document in documents {
            let id = document["id"].as_str().unwrap();
            match document["status"].as_str().unwrap() {
                "indexed" => assert!(indexed.insert(id.to_owned()), "{id} is indexed twice"),
                "superseded" => assert!(live.contains_key(id), "{id}"),
                status => assert!(status == "deleted" && !live.contains_key(id), "{document}"),
            }
        }
    }
    assert!(indexed.iter().all(|id| live.contains_key(id)));
}

/// Compares what a restarted server has with what was acknowledged.
fn check(api: &Api, writers: &mut [Writer], random: &mut Random) {
    api.settle("c");
    let indexed = whole_documents(&all_chunks(api).unwrap().expect(200));
    let listed = api.get("/v1/collections/c/documents?limit=1000").expect(200);
    let listed = listed["documents"].as_array().unwrap().iter().map(|found| found["id"].as_str().unwrap());
    assert_eq!(listed.collect::<BTreeSet<_>>(), indexed.keys().map(String::as_str).collect());
    for writer in writers {
        check_jobs(api, writer, &indexed);
        for (document, attempts) in writer.attempts.iter_mut().enumerate() {
            let id = id(writer.number, document);
            let answer = api.get(&document_path("c", &id));
            let found = match answer.status {
                404 => None,
                _ => Some(answer.expect(200)["text"].as_str().unwrap().to_owned()),
            };
            let word = |text: &Option<String>| text.as_deref().map(word_of).map(str::to_owned);
            let newest = attempts.iter().rposition(|attempt| attempt.acknowledged).unwrap();
            let history: Vec<_> = attempts.iter().map(|a| (word(&a.text), a.acknowledged)).collect();
            assert!(
                attempts[newest..].iter().any(|attempt| attempt.text == found),
                "{id} is {:?} after {history:?}",
                word(&found)
            );
            assert_eq!(word(&found), indexed.get(&id).cloned(), "{id}: index and text differ");
            if random.one_in(10)
                && let Some(gone) = attempts[..newest].iter().find(|a| a.text.is_some() && a.text != found)
            {
                let query = json!({"query": word(&gone.text)});
                assert_eq!(api.search("c", &query)["hits"], json!([]), "{id}: {history:?}");
            }
            *attempts = vec![Attempt { text: found, acknowledged: true }];
        }
    }
}

/// Every file under `dir`, by its path from there.
fn files(dir: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => drop(found.insert(path.strip_prefix(dir).unwrap().to_owned())),
            }
        }
    }
    found
}

/// Checks a data directory after a clean stop: nothing is damaged and no file is there without a reason.
fn check_files(dir: &Path) {
    assert_clean(dir);
    let mut expected: BTreeSet<PathBuf> = ["catalog.redb", "LOCK"].map(PathBuf::from).into();
    for collection in inspect(dir)["collections"].as_array().unwrap() {
        let folder = Path::new("collections").join(collection["id"].to_string());
        assert_eq!((&collection["inbox"], &collection["tombstones"]), (&json!([]), &json!(0)));
        for segment in collection["segments"].as_array().unwrap() {
            for part in segment["parts"].as_array().unwrap() {
                expected.insert(folder.join(format!("{}.{}", segment["id"], part[0].as_str().unwrap())));
            }
        }
    }
    assert_eq!(files(dir), expected);
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let kills = number("GLEANER_KILLS").unwrap_or(10);
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    let seed = number("GLEANER_SEED").unwrap_or(now);
    eprintln!("GLEANER_SEED={seed}");
    let mut random = Random::new(seed);
    let mut writers: Vec<Writer> = (0..WRITERS).map(|number| Writer::new(number, seed)).collect();

    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let mut server = Server::start(dir, &[]);
    let chunking = json!({"max_tokens": 32, "overlap_tokens": 0});
    server.create(&json!({"name": "c", "embedding": {"provider": "none"}, "chunking": chunking}));
    for kill in 1..=kills {
        let api = server.clone();
        let life = Duration::from_millis(random.below(600) as u64);
        thread::scope(|scope| {
            for writer in &mut writers {
                let api = &api;
                scope.spawn(move || writer.run(api));
            }
            scope.spawn(|| read(&api));
            thread::sleep(life);
            assert_eq!(server.kill(), [""; 0]);
        });
        // the next kill may strike before the server is up again
        while random.one_in(3) {
            let mut starting = serve(dir).stderr(std::process::Stdio::null()).spawn().unwrap();
            thread::sleep(Duration::from_millis(random.below(100) as u64));
            starting.kill().unwrap();
            starting.wait().unwrap();
        }
        if random.one_in(3) {
            assert_eq!(verify(dir)["problems"], json!([]));
        }
        server = Server::start(dir, &[]);
        check(&server, &mut writers, &mut random);
        if kill % 5 == 0 || kill == kills {
            assert!(server.stop().success());
            check_files(dir);
            server = Server::start(dir, &[]);
        }
    }
    check(&server, &mut writers, &mut random);
    let acknowledged: usize = writers.iter().map(|writer| writer.acknowledged).sum();
    eprintln!("{acknowledged} requests were acknowledged, {kills} times the server was killed");
    assert!(acknowledged as u64 > kills);
}
