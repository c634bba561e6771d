//! Calls to providers: one connection pool, deadlines, retries, bounded answers, and keys that never show.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Client, StatusCode};
use tokio::time::Instant;

/// Why a call brought nothing.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum CallError {
    /// Something here is not set up (a key, the certificates).
    Config(String),
    /// The provider understood the call and refused it.
    Refused { status: u16, message: String },
    /// It could not be reached or kept failing.
    Failed(String),
    /// The deadline passed.
    Timeout,
}

/// One call, retries included.
pub(crate) struct Call {
    /// Where to.
    pub url: String,
    /// The environment variable that holds the key; empty: no key is sent.
    pub api_key_env: String,
    /// After this the call is given up.
    pub timeout: Duration,
    /// The most requests it may cost.
    pub tries: u32,
    /// The wait before the second request, doubled for each that follows.
    pub backoff: Duration,
    /// The longest answer that is read.
    pub max_bytes: usize,
}

/// The process's HTTP client. Clones share it; it is built at the first call.
#[derive(Clone, Debug, Default)]
pub struct Http {
    client: Arc<OnceLock<Result<Client, CallError>>>,
}

/// What is known after one request.
enum Outcome {
    Answer(Vec<u8>),
    /// Worth another try, after the provider's own wait if it named one.
    Again(CallError, Option<Duration>),
    Final(CallError),
}

impl Http {
    /// A client that is not built yet.
    pub fn new() -> Self {
        Self::default()
    }

    fn client(&self) -> Result<&Client, CallError> {
        let build = || {
            // an Err only says that a provider was installed before
            let _ = rustls::crypto::ring::default_provider().install_default();
            Client::builder()
                .user_agent(concat!("gleaner/", env!("CARGO_PKG_VERSION")))
                .connect_timeout(Duration::from_secs(10))
                // a key must not follow a redirect to somebody else
                .redirect(reqwest::redirect::Policy::none())
                .build()
                .map_err(|error| CallError::Config(format!("the HTTP client could not be built: {error}")))
        };
        self.client.get_or_init(build).as_ref().map_err(Clone::clone)
    }

    /// Posts `body` (JSON) and returns the body of the 2xx answer. Requests that failed for a passing reason
    /// (no connection, 408, 409, 429, 5xx) are repeated with exponential backoff and jitter, or when
    /// the provider says so.
    pub(crate) async fn post(&self, call: &Call, body: Vec<u8>) -> Result<Vec<u8>, CallError> {
        let client = self.client()?;
        let key = Key::from_env(&call.api_key_env)?;
        let deadline = Instant::now() + call.timeout;
        let body = bytes::Bytes::from(body);
        let mut wait = call.backoff;
        for attempt in 1.. {
            let request = one_request(client, call, &key, body.clone());
            let (error, wanted) = match tokio::time::timeout_at(deadline, request).await {
                Err(_) => return Err(CallError::Timeout),
                Ok(Outcome::Answer(bytes)) => return Ok(bytes),
                Ok(Outcome::Final(error)) => return Err(error),
                Ok(Outcome::Again(error, wanted)) => (error, wanted),
            };
            // a wait of 50 to 100 %: callers that failed together do not come back together
            let pause = wanted.unwrap_or_else(|| wait.mul_f64(0.5 + 0.5 * random()));
            if attempt >= call.tries || Instant::now() + pause >= deadline {
                return Err(error);
            }
            tracing::debug!(attempt, ?pause, ?error, "a provider call is repeated");
            tokio::time::sleep(pause).await;
            wait = (wait * 2).min(Duration::from_secs(20));
        }
        Err(CallError::Timeout)
    }
}

async fn one_request(client: &Client, call: &Call, key: &Key, body: bytes::Bytes) -> Outcome {
    let mut request = client.post(&call.url).header(CONTENT_TYPE, "application/json").body(body);
    if let Some(authorization) = &key.authorization {
        request = request.header(AUTHORIZATION, authorization.clone());
    }
    let broken = |error: reqwest::Error| {
        // without_url: a URL may hold a password
        CallError::Failed(format!("the provider could not be reached: {}", causes(&error.without_url())))
    };
    let mut response = match request.send().await {
        Ok(response) => response,
        Err(error) if error.is_builder() => return Outcome::Final(broken(error)),
        Err(error) => return Outcome::Again(broken(error), None),
    };
    let status = response.status();
    let wanted = retry_after(response.headers());
    // an error's text is worth a few lines
    let max_bytes = if status.is_success() { call.max_bytes } else { 16 * 1024 };
    let mut bytes = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if bytes.len() + chunk.len() <= max_bytes => bytes.extend_from_slice(&chunk),
            Ok(Some(_)) if status.is_success() => {
                let message = format!("the provider's answer is longer than {max_bytes} bytes");
                return Outcome::Final(CallError::Failed(message));
            }
            Ok(None) => break,
            Err(error) if status.is_success() => return Outcome::Again(broken(error), None),
            Ok(Some(_)) | Err(_) => break,
        }
    }
    if status.is_success() {
        return Outcome::Answer(bytes);
    }
    let message = format!("the provider answered {status}: {}", key.redact(&error_text(&bytes)));
    let error = CallError::Refused { status: status.as_u16(), message };
    // an empty purse does not fill up while we wait
    let broke = String::from_utf8_lossy(&bytes).contains("insufficient_quota");
    let passing = status.is_server_error()
        || [StatusCode::REQUEST_TIMEOUT, StatusCode::CONFLICT, StatusCode::TOO_MANY_REQUESTS]
            .contains(&status);
    if passing && !broke { Outcome::Again(error, wanted) } else { Outcome::Final(error) }
}

/// `retry-after-ms`, or `retry-after` in seconds.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<f64>().ok();
    let seconds = number("retry-after-ms").map(|ms| ms / 1000.0).or_else(|| number("retry-after"))?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// What an error answer says: the `message` of the usual JSON shapes, or its beginning.
fn error_text(body: &[u8]) -> String {
    let json = serde_json::from_slice::<serde_json::Value>(body).unwrap_or_default();
    let paths = ["/error/message", "/message", "/error", "/detail"];
    let message = paths.iter().find_map(|path| json.pointer(path)?.as_str());
    let text = message.map_or_else(|| String::from_utf8_lossy(body).into_owned(), str::to_owned);
    super::cut(&text.split_whitespace().collect::<Vec<_>>().join(" "), 300).to_owned()
}

/// An error with everything that led to it.
fn causes(error: &dyn std::error::Error) -> String {
    let chain = std::iter::successors(Some(error), |error| error.source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// A number in [0, 1), from the standard library's seeds.
fn random() -> f64 {
    (RandomState::new().hash_one(0_u8) >> 11) as f64 / (1_u64 << 53) as f64
}

/// A provider's key. Has no `Debug`, and no way out but the header.
struct Key {
    secret: String,
    authorization: Option<HeaderValue>,
}

impl Key {
    fn from_env(variable: &str) -> Result<Key, CallError> {
        if variable.is_empty() {
            return Ok(Key { secret: String::new(), authorization: None });
        }
        let missing = || {
            CallError::Config(format!(
                "the environment variable {variable}, which holds the provider's key, is not set"
            ))
        };
        let secret = std::env::var(variable).map_err(|_| missing())?.trim().to_owned();
        if secret.is_empty() {
            return Err(missing());
        }
        let mut value = HeaderValue::from_str(&format!("Bearer {secret}")).map_err(|_| {
            CallError::Config(format!("the key in {variable} has characters that no key can have"))
        })?;
        value.set_sensitive(true);
        Ok(Key { secret, authorization: Some(value) })
    }

    /// `text` without the key, should a provider repeat it.
    fn redact(&self, text: &str) -> String {
        if self.secret.is_empty() { text.to_owned() } else { text.replace(&self.secret, "[key]") }
    }
}

/// Whether the key of `variable` is there.
pub(crate) fn check_key(variable: &str) -> Result<(), CallError> {
    Key::from_env(variable).map(drop)
}

#[cfg(test)]
pub(crate) mod fake;

#[cfg(test)]
mod tests;
