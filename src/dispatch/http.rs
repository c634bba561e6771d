//! One HTTP request to a provider: bounded in time and bytes, to allowed addresses only, with a key that never shows.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use reqwest::{Client, Response, StatusCode};
use serde_json::Value;

use super::address::{ProviderAccess, Resolver};
use super::key::{Auth, Key, KeySource};
use super::retry::retry_after;
use super::{Failure, Fault, RateLimit, RateLimits};

/// An answer has begun: all of it must be there after this. What trickles is given up.
const BODY: Duration = Duration::from_secs(10);
/// What is read of an error.
const ERROR_BYTES: usize = 16 * 1024;

/// What is posted, and what is taken of the answer.
pub struct Post<'a> {
    /// Where to.
    pub url: &'a str,
    /// Where the key is.
    pub key: &'a KeySource,
    /// How the key travels.
    pub auth: Auth,
    /// JSON.
    pub body: Vec<u8>,
    /// The answer must have begun after this.
    pub timeout: Duration,
    /// The longest answer that is read.
    pub max_bytes: usize,
}

/// A 2xx answer.
#[derive(Debug, PartialEq)]
pub struct Answer {
    /// Its body.
    pub body: Vec<u8>,
    /// The limits its headers announce.
    pub limits: RateLimits,
}

/// The process's HTTP clients. Clones share them; they are built at the first request.
#[derive(Clone, Debug, Default)]
pub struct Http {
    access: Arc<ProviderAccess>,
    clients: Arc<OnceLock<Result<Clients, String>>>,
}

#[derive(Debug)]
struct Clients {
    https: Client,
    plain: Client,
}

impl Http {
    /// Clients that are not built yet, for the providers that may be reached.
    pub fn new(access: ProviderAccess) -> Self {
        Self { access: Arc::new(access), clients: Arc::default() }
    }

    /// What may be reached.
    pub fn access(&self) -> &ProviderAccess {
        &self.access
    }

    fn client(&self, url: &str) -> Result<&Client, String> {
        let build = |plain| {
            let builder = Client::builder()
                .user_agent(concat!("gleaner/", env!("CARGO_PKG_VERSION")))
                .connect_timeout(Duration::from_secs(5))
                .pool_idle_timeout(Duration::from_secs(60))
                // a key must not follow a redirect to somebody else
                .redirect(reqwest::redirect::Policy::none())
                // repeating is the dispatcher's business
                .retry(reqwest::retry::never())
                .dns_resolver(Arc::new(Resolver { network: self.access.network, plain }));
            // what is near is asked directly
            let builder = if plain { builder.no_proxy() } else { builder.https_only(true) };
            builder.build().map_err(|error| format!("the HTTP client could not be built: {error}"))
        };
        let both = || {
            // an Err only says that a provider was installed before
            let _ = rustls::crypto::ring::default_provider().install_default();
            Ok(Clients { https: build(false)?, plain: build(true)? })
        };
        let clients = self.clients.get_or_init(both).as_ref().map_err(Clone::clone)?;
        Ok(if url.starts_with("https:") { &clients.https } else { &clients.plain })
    }

    /// Posts once. A failure says what to do next.
    pub async fn post(&self, post: Post<'_>) -> Result<Answer, Failure> {
        let setup = |message| Failure::new(Fault::Setup, message);
        super::address::check_url(post.url.split('?').next().unwrap_or_default(), self.access.network)
            .map_err(setup)?;
        let key = post.key.read(post.auth, &self.access).map_err(setup)?;
        let client = self.client(post.url).map_err(setup)?;
        let mut request =
            client.post(post.url).header(CONTENT_TYPE, "application/json").body(Bytes::from(post.body));
        if let Some((name, value)) = key.header() {
            request = request.header(name, value);
        }
        let begun = tokio::time::timeout(post.timeout, request.send()).await;
        let Ok(begun) = begun else {
            let seconds = post.timeout.as_secs_f64();
            return Err(Failure::new(
                Fault::Passing,
                format!("the provider did not answer within {seconds} s"),
            ));
        };
        let response = begun.map_err(|error| broken(error, &key))?;
        let (status, limits) = (response.status(), rate_limits(response.headers()));
        let asked = retry_after(response.headers());
        let max_bytes = if status.is_success() { post.max_bytes } else { ERROR_BYTES };
        let read = tokio::time::timeout(BODY, read(response, max_bytes)).await;
        let (body, whole) = match read {
            Ok((body, whole)) => (body, whole),
            Err(_) => (
                Vec::new(),
                Err(format!("the provider's answer was not complete after {} s", BODY.as_secs())),
            ),
        };
        if status.is_success() {
            return match whole {
                Ok(()) => Ok(Answer { body, limits }),
                Err(message) => {
                    Err(Failure { limits: Box::new(limits), ..Failure::new(Fault::Passing, message) })
                }
            };
        }
        let json: Value = serde_json::from_slice(&body).unwrap_or_default();
        let message = format!("the provider answered {status}: {}", key.redact(&error_text(&json, &body)));
        let wait = asked.or_else(|| retry_info(&json));
        Err(Failure { fault: fault(status, &body), message, wait, limits: Box::new(limits) })
    }
}

/// Reads the body, at most `max_bytes` of it; the second value says why that is not all.
async fn read(mut response: Response, max_bytes: usize) -> (Vec<u8>, Result<(), String>) {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) => {
                let room = max_bytes - body.len();
                body.extend_from_slice(&chunk[..chunk.len().min(room)]);
                if chunk.len() > room {
                    return (body, Err(format!("the provider's answer is longer than {max_bytes} bytes")));
                }
            }
            Ok(None) => return (body, Ok(())),
            Err(error) => {
                let message = format!("the provider broke its answer off: {}", causes(&error.without_url()));
                return (body, Err(message));
            }
        }
    }
}

/// What a status means for what to do next.
fn fault(status: StatusCode, body: &[u8]) -> Fault {
    let body = String::from_utf8_lossy(body);
    let says = |words: &[&str]| words.iter().any(|word| body.contains(word));
    match status.as_u16() {
        // an empty purse does not fill up while we wait
        429 if says(&["insufficient_quota", "billing_hard_limit"]) => Fault::Setup,
        429 => Fault::Limited,
        400 if says(&["API_KEY_INVALID", "invalid_api_key", "model_not_found"]) => Fault::Setup,
        400 | 413 | 422 => Fault::Items,
        408 | 409 | 424 | 425 | 500.. => Fault::Passing,
        _ => Fault::Setup,
    }
}

fn broken(error: reqwest::Error, key: &Key) -> Failure {
    let fault = if error.is_builder() { Fault::Setup } else { Fault::Passing };
    // without_url: a URL may hold what is nobody's business
    let message = format!("the provider could not be reached: {}", causes(&error.without_url()));
    Failure::new(fault, key.redact(&message))
}

/// What an error answer says: the `message` of the usual JSON shapes, or its beginning.
fn error_text(json: &Value, body: &[u8]) -> String {
    let paths = ["/error/message", "/message", "/error", "/detail"];
    let message = paths.iter().find_map(|path| json.pointer(path)?.as_str());
    let text = message.map_or_else(|| String::from_utf8_lossy(body).into_owned(), str::to_owned);
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    text[..text.floor_char_boundary(300)].to_owned()
}

/// The wait that Google's errors ask for in their body.
fn retry_info(json: &Value) -> Option<Duration> {
    let details = json.pointer("/error/details")?.as_array()?;
    details.iter().find_map(|detail| span(detail.get("retryDelay")?.as_str()?))
}

/// The limits that headers announce, in the spellings in use.
fn rate_limits(headers: &HeaderMap) -> RateLimits {
    let text = |name: &str| Some(headers.get(name)?.to_str().ok()?.trim().to_owned());
    let number = |name: String| text(&name)?.parse().ok();
    let limit = |of: &str, minute: &str| RateLimit {
        limit: number(format!("x-ratelimit-limit-{of}"))
            .or_else(|| number(format!("x-ratelimit-limit-{minute}"))),
        remaining: number(format!("x-ratelimit-remaining-{of}"))
            .or_else(|| number(format!("x-ratelimit-remaining-{minute}"))),
        reset: text(&format!("x-ratelimit-reset-{of}")).and_then(|text| span(&text)),
    };
    RateLimits { requests: limit("requests", "req-minute"), tokens: limit("tokens", "tokens-minute") }
}

/// A span as headers write it: `6m0s`, `1.5s`, `120ms`, or seconds.
fn span(text: &str) -> Option<Duration> {
    let mut seconds = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest[..digits].parse().ok()?;
        let letters = &rest[digits..];
        let end = letters.find(|c: char| c.is_ascii_digit()).unwrap_or(letters.len());
        seconds += number
            * match &letters[..end] {
                "ms" => 0.001,
                "s" | "" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                "d" => 86_400.0,
                _ => return None,
            };
        rest = &letters[end..];
    }
    Duration::try_from_secs_f64(seconds).ok()
}

/// An error with everything that led to it.
fn causes(error: &dyn std::error::Error) -> String {
    let chain = std::iter::successors(Some(error), |error| error.source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
pub(crate) mod fake;

#[cfg(test)]
mod tests;
