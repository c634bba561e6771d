//! An embedding provider that speaks every protocol, and misbehaves as a script says. The vector of a text is made
//! from the text, so that a vector in the wrong place shows.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

/// Length of its vectors.
pub const DIMENSIONS: usize = 8;

/// What it does instead of answering well.
#[derive(Clone, Debug)]
pub enum Fault {
    /// This status, header and body.
    Status(u16, &'static [(&'static str, &'static str)], String),
    /// 429 that names a time in this many seconds.
    LimitedUntil(i64),
    /// The connection is reset before the request is read; the script is asked without texts.
    ResetBefore,
    /// The connection ends after the request was read.
    ResetAfter,
    /// The answer ends in the middle.
    Truncated,
    /// The answer trickles.
    Trickle,
    /// A web page, with 200.
    Html,
    /// Nothing for this long, then a good answer.
    Slow(Duration),
    /// The last vector is missing.
    TooFew,
    /// Vectors in another order, with their indexes.
    Reordered,
    /// All vectors are too short.
    Short,
    /// The first vector is too short.
    OneShort,
    /// The first vector is not a number.
    Nan,
}

/// What it was asked.
#[derive(Clone, Debug)]
pub struct Got {
    pub path: String,
    /// The header that carries the key, as `name: value`.
    pub key: String,
    pub body: Value,
    pub texts: Vec<String>,
}

type Script = dyn Fn(usize, &[String]) -> Option<Fault> + Send + Sync;

/// A running provider.
pub struct Scripted {
    pub url: String,
    got: Arc<Mutex<Vec<Got>>>,
}

/// The vector of a text: its own direction.
pub fn vector(text: &str) -> Vec<f32> {
    let mut state = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..DIMENSIONS).map(|_| next()).collect()
}

impl Scripted {
    /// Asks `script` what to do with each request, by its number (from 0) and texts; `None`: answer well.
    pub fn start(script: impl Fn(usize, &[String]) -> Option<Fault> + Send + Sync + 'static) -> Scripted {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let got = Arc::new(Mutex::new(Vec::new()));
        let (log, script): (_, Arc<Script>) = (Arc::clone(&got), Arc::new(script));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (log, script) = (Arc::clone(&log), Arc::clone(&script));
                std::thread::spawn(move || while serve(&stream, &log, &*script).is_some() {});
            }
        });
        Scripted { url, got }
    }

    /// What it was asked so far.
    pub fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }

    /// How many times each text was embedded or refused.
    pub fn requests(&self) -> usize {
        self.got.lock().unwrap().len()
    }
}

/// One request and its answer; `None` where the connection is to end.
fn serve(mut stream: &TcpStream, log: &Mutex<Vec<Got>>, script: &Script) -> Option<()> {
    stream.peek(&mut [0]).ok().filter(|read| *read > 0)?; // a request has begun
    {
        let mut log = log.lock().unwrap();
        if matches!(script(log.len(), &[]), Some(Fault::ResetBefore)) {
            // unread bytes make the end of the connection a reset
            log.push(Got { path: String::new(), key: String::new(), body: Value::Null, texts: Vec::new() });
            return None;
        }
    }
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let (mut length, mut key) = (0, String::new());
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().ok()?,
            name @ ("authorization" | "api-key" | "x-goog-api-key") => key = format!("{name}: {value}"),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let body: Value = serde_json::from_slice(&body).ok()?;
    let texts = texts(&body);
    let number = {
        let mut log = log.lock().unwrap();
        log.push(Got { path: path.clone(), key, body: body.clone(), texts: texts.clone() });
        log.len() - 1
    };
    let fault = script(number, &texts);
    let mut vectors: Vec<Value> = texts.iter().map(|text| json!(vector(text))).collect();
    let json = "content-type: application/json\r\n";
    let whole = |status: u16, headers: &str, body: &str| {
        format!("HTTP/1.1 {status} X\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())
    };
    let send = |text: String| (&*stream).write_all(text.as_bytes()).ok();
    match fault {
        None | Some(Fault::Reordered) => {
            return send(whole(200, json, &answer(&path, &vectors, &texts, fault.is_some())));
        }
        Some(Fault::Slow(wait)) => {
            std::thread::sleep(wait);
            return send(whole(200, json, &answer(&path, &vectors, &texts, false)));
        }
        Some(Fault::Status(status, headers, body)) => {
            let headers: String =
                headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
            return send(whole(status, &headers, &body));
        }
        Some(Fault::LimitedUntil(seconds)) => {
            let date = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds);
            let printer = jiff::fmt::rfc2822::DateTimePrinter::new();
            let date = printer.timestamp_to_rfc9110_string(&date).unwrap();
            return send(whole(429, &format!("retry-after: {date}\r\n"), "later"));
        }
        Some(Fault::Html) => return send(whole(200, "content-type: text/html\r\n", "<html>Welcome</html>")),
        Some(Fault::ResetBefore | Fault::ResetAfter) => return None,
        Some(Fault::Truncated) => {
            let good = whole(200, json, &answer(&path, &vectors, &texts, false));
            let _ = stream.write_all(&good.as_bytes()[..good.len() * 2 / 3]);
            return None;
        }
        Some(Fault::Trickle) => {
            let good = whole(200, json, &answer(&path, &vectors, &texts, false));
            let head = good.find("\r\n\r\n").unwrap() + 4;
            stream.write_all(&good.as_bytes()[..head]).ok()?;
            for byte in &good.as_bytes()[head..] {
                std::thread::sleep(Duration::from_millis(200));
                stream.write_all(&[*byte]).ok()?;
            }
            return None;
        }
        Some(Fault::TooFew) => drop(vectors.pop()),
        Some(Fault::Short) => vectors = texts.iter().map(|_| json!([1.0, 2.0])).collect(),
        Some(Fault::OneShort) => vectors[0] = json!([1.0, 2.0]),
        Some(Fault::Nan) => vectors[0] = json!("not a number"),
    }
    let body = answer(&path, &vectors, &texts, false).replace("\"not a number\"", "[NaN,0,0,0,0,0,0,0]");
    send(whole(200, json, &body))
}

/// The texts of a request, wherever the protocol has them.
fn texts(body: &Value) -> Vec<String> {
    let list = ["input", "texts", "inputs"].iter().find_map(|field| body[*field].as_array());
    match list {
        Some(list) => list.iter().map(|text| text.as_str().unwrap().to_owned()).collect(),
        None => {
            let requests = body["requests"].as_array().cloned().unwrap_or_default();
            let text = |request: &Value| request["content"]["parts"][0]["text"].as_str().unwrap().to_owned();
            requests.iter().map(text).collect()
        }
    }
}

/// An answer in the protocol of the path.
fn answer(path: &str, vectors: &[Value], texts: &[String], reordered: bool) -> String {
    let tokens = texts.iter().map(|text| text.len() / 4 + 1).sum::<usize>();
    if path.contains(":batchEmbedContents") {
        let values = |vector: &Value| json!({"values": vector});
        return json!({"embeddings": vectors.iter().map(values).collect::<Vec<_>>()}).to_string();
    }
    if path.ends_with("/v2/embed") {
        let meta = json!({"billed_units": {"input_tokens": tokens}});
        return json!({"id": "x", "embeddings": {"float": vectors}, "meta": meta}).to_string();
    }
    if path.ends_with("/api/embed") {
        return json!({"model": "m", "embeddings": vectors, "prompt_eval_count": tokens}).to_string();
    }
    if path.ends_with("/embed") {
        return json!(vectors).to_string();
    }
    let item = |(index, vector): (usize, &Value)| json!({"index": index, "embedding": vector});
    let mut data: Vec<Value> = vectors.iter().enumerate().map(item).collect();
    if reordered {
        data.reverse();
    }
    json!({"object": "list", "data": data, "usage": {"total_tokens": tokens}}).to_string()
}
