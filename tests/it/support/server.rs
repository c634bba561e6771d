//! The real binary behind a real socket, and a small client of its API.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::ops::Deref;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use reqwest::blocking::{Client, RequestBuilder};
use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode, Url};
use serde_json::{Value, json};

/// The longest anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Log lines kept for the report of a failed test.
const KEPT_LINES: usize = 200;

/// The binary, without the settings of who runs the tests.
pub fn gleaner() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gleaner"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("GLEANER_")) {
        command.env_remove(name);
    }
    command
}

/// `gleaner serve` over `data_dir` on a free port.
pub fn serve(data_dir: &Path) -> Command {
    let mut command = gleaner();
    command.arg("serve").env("GLEANER_DATA_DIR", data_dir).env("GLEANER_LISTEN", "127.0.0.1:0");
    command
}

/// What `gleaner verify --json` says of a data directory that nobody serves.
pub fn verify(data_dir: &Path) -> Value {
    report(data_dir, "verify")
}

/// Sees to it that `gleaner verify` finds nothing wrong, and nothing left over, in a data directory that nobody serves.
pub fn assert_clean(data_dir: &Path) {
    let report = verify(data_dir);
    assert_eq!((&report["problems"], &report["leftovers"]), (&json!([]), &json!([])));
}

/// What `gleaner inspect --json` says of a data directory that nobody serves.
pub fn inspect(data_dir: &Path) -> Value {
    report(data_dir, "inspect")
}

fn report(data_dir: &Path, name: &str) -> Value {
    let output = gleaner().args([name, "--json", "--data-dir"]).arg(data_dir).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{name}: {} {stderr}", output.status))
}

/// A client of one server.
#[derive(Clone)]
pub struct Api {
    /// `http://127.0.0.1:PORT`.
    pub url: String,
    key: Option<String>,
    client: Client,
}

/// An answer of the server.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    /// The body, which must be JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The JSON of an answer that must have this status.
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        self.json()
    }

    /// Status, code and param of an answer that must be an error in the one shape.
    pub fn refusal(&self) -> (u16, String, Option<String>) {
        assert!(self.status >= 400, "{} {}", self.status, self.text());
        assert_eq!(self.headers["content-type"], "application/json");
        let body = self.json();
        assert_eq!(body.as_object().unwrap().len(), 1, "{body}");
        let error = body["error"].as_object().unwrap();
        assert_eq!(error.keys().collect::<Vec<_>>(), ["type", "code", "message", "param"]);
        assert!(!error["message"].as_str().unwrap().is_empty());
        assert!(error["type"].is_string());
        let param = error["param"].as_str().map(str::to_owned);
        (self.status, error["code"].as_str().unwrap().to_owned(), param)
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl Api {
    fn new(url: String, key: Option<&str>) -> Api {
        // the client panics without a provider, although nothing here speaks TLS; an error means there is one
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().gzip(false).no_proxy().timeout(PATIENCE).build().unwrap();
        Api { url, key: key.map(str::to_owned), client }
    }

    /// The same server, asked with another key.
    pub fn with_key(&self, key: Option<&str>) -> Api {
        Api { key: key.map(str::to_owned), ..self.clone() }
    }

    /// A request to change and [`send`](Self::send).
    pub fn request(&self, method: &str, path: &str) -> RequestBuilder {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let request = self.client.request(method, format!("{}{path}", self.url));
        match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }

    /// Sends a request to a server that must be there.
    pub fn send(&self, request: RequestBuilder) -> Answer {
        self.try_send(request).unwrap()
    }

    /// Sends a request; an error means that the server did not answer to the end.
    pub fn try_send(&self, request: RequestBuilder) -> reqwest::Result<Answer> {
        let response = request.send()?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Answer { status, headers, body: response.bytes()?.to_vec() })
    }

    pub fn get(&self, path: &str) -> Answer {
        self.send(self.request("GET", path))
    }

    /// `GET` with parameters that are percent-encoded.
    pub fn get_with(&self, path: &str, parameters: &[(&str, &str)]) -> Answer {
        let url = Url::parse_with_params(&format!("{}{path}", self.url), parameters).unwrap();
        self.get(url.as_str().strip_prefix(&self.url).unwrap())
    }

    pub fn delete(&self, path: &str) -> Answer {
        self.send(self.request("DELETE", path))
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_text(path, "application/json", body.to_string())
    }

    pub fn post_text(&self, path: &str, content_type: &str, body: impl Into<Vec<u8>>) -> Answer {
        self.send(self.request("POST", path).header("content-type", content_type).body(body.into()))
    }

    /// Creates a collection.
    pub fn create(&self, body: &Value) {
        self.post("/v1/collections", body).expect(201);
    }

    /// Searches `collection`.
    pub fn search(&self, collection: &str, body: &Value) -> Value {
        self.post(&format!("/v1/collections/{collection}/search"), body).expect(200)
    }

    /// Waits until everything accepted is searchable.
    pub fn settle(&self, collection: &str) {
        let path = format!("/v1/collections/{collection}/stats");
        eventually("the collection settles", || self.get(&path).expect(200)["pending_documents"] == 0);
    }

    /// The job at this path, once it has ended.
    pub fn ended(&self, job: &str) -> Value {
        let mut state = Value::Null;
        eventually("the job ends", || {
            state = self.get(job).expect(200);
            state["ended_at"].is_string()
        });
        state
    }
}

/// The path of a document.
pub fn document_path(collection: &str, id: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    format!("/v1/collections/{collection}/documents/{}", id.bytes().map(encode).collect::<String>())
}

/// Document ids of a search's hits, best first.
pub fn hit_ids(answer: &Value) -> Vec<&str> {
    answer["hits"].as_array().unwrap().iter().map(|hit| hit["document_id"].as_str().unwrap()).collect()
}

/// Asks until it is true.
pub fn eventually(what: &str, mut is_true: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_true() {
        assert!(begun.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A running `gleaner serve`; killed when dropped.
pub struct Server {
    child: Child,
    api: Api,
    log: Arc<Mutex<Log>>,
}

#[derive(Default)]
struct Log {
    last: VecDeque<String>,
    errors: Vec<String>,
}

impl Deref for Server {
    type Target = Api;

    fn deref(&self) -> &Api {
        &self.api
    }
}

impl Server {
    /// Serves `data_dir` and waits until it is ready.
    pub fn start(data_dir: &Path, flags: &[&str]) -> Server {
        let mut command = serve(data_dir);
        command.args(flags);
        Server::launch(command, None)
    }

    /// Runs `command`, a [`serve`], and waits until it is ready. `key` is what the client sends.
    pub fn launch(mut command: Command, key: Option<&str>) -> Server {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let log = Arc::new(Mutex::new(Log::default()));
        let (sender, receiver) = mpsc::channel();
        let kept = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let entry: Value = serde_json::from_str(&line).unwrap_or_default();
                if entry["message"] == "listening" {
                    let _ = sender.send(entry["address"].as_str().unwrap().replace("0.0.0.0", "127.0.0.1"));
                }
                let mut kept = kept.lock().unwrap();
                if entry["level"] == "ERROR" || !entry.is_object() {
                    kept.errors.push(line.clone());
                }
                kept.last.push_back(line);
                if kept.last.len() > KEPT_LINES {
                    kept.last.pop_front();
                }
            }
        });
        let mut server = Server { child, api: Api::new(String::new(), key), log };
        let address = receiver.recv_timeout(PATIENCE).expect("the server says where it listens");
        server.api.url = format!("http://{address}");
        let ready = || {
            let probe = server.api.try_send(server.api.request("GET", "/readyz"));
            probe.is_ok_and(|answer| answer.status == StatusCode::OK)
        };
        eventually("the server is ready", ready);
        server
    }

    /// `kill -9`. Says which errors the server had logged.
    pub fn kill(mut self) -> Vec<String> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        std::mem::take(&mut self.log.lock().unwrap().errors)
    }

    /// What it logged lately.
    pub fn log(&self) -> String {
        let log = self.log.lock().unwrap();
        log.last.iter().flat_map(|line| [line, "\n"]).collect()
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    }

    /// Sends SIGTERM and waits for the end.
    pub fn stop(self) -> ExitStatus {
        self.terminate();
        self.wait()
    }

    /// Waits for the end.
    pub fn wait(mut self) -> ExitStatus {
        let mut status = None;
        eventually("the server stops", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            log.last.iter().for_each(|line| eprintln!("{line}"));
        }
    }
}
