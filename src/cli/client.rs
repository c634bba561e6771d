//! A client of gleaner's own REST API.

use std::time::Duration;

use anyhow::{Context, Result as AnyResult, bail};
use reqwest::header::RETRY_AFTER;
use reqwest::{Method, Response, StatusCode, Url};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::config::ApiKey;
use crate::document::ErrorBody;
use crate::error::{Code, Error, Result};

/// Connection attempts before a server counts as gone: with the waits between them about 15 s.
const ATTEMPTS: u32 = 7;
/// The longest wait a server can ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// A client of one server. Requests are sent again when the server is overloaded (as long as it says so)
/// or can't be reached: every request of gleaner can be repeated.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    key: Option<ApiKey>,
}

#[derive(Deserialize)]
struct ErrorShape {
    error: ErrorBody,
}

impl Client {
    /// A client of the server at `url`, e.g. `http://127.0.0.1:7411`.
    pub fn new(url: &str, key: Option<ApiKey>) -> AnyResult<Client> {
        let base = Url::parse(url).with_context(|| format!("--url {url} is not a URL"))?;
        if !matches!(base.scheme(), "http" | "https") || base.cannot_be_a_base() {
            bail!("--url {url} must begin with http:// or https://");
        }
        let mut builder = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(10))
            .read_timeout(Duration::from_secs(600));
        // a proxy knows nothing of this machine's own ports
        if matches!(base.host_str(), Some("127.0.0.1" | "localhost" | "[::1]")) {
            builder = builder.no_proxy();
        }
        let http = builder.build().context("the HTTP client could not be set up")?;
        Ok(Client { http, base, key })
    }

    /// Whether the server answers `/readyz` with a success now.
    pub async fn is_ready(&self) -> bool {
        let Ok(url) = self.url(&["readyz"]) else { return false };
        self.http.get(url).send().await.is_ok_and(|response| response.status().is_success())
    }

    /// `GET` of the path made of `segments`.
    pub async fn get<T: DeserializeOwned>(&self, segments: &[&str]) -> Result<T> {
        self.request(Method::GET, self.url(segments)?, None).await
    }

    /// `POST` of `body` as JSON.
    pub async fn post<T: DeserializeOwned>(&self, segments: &[&str], body: &impl Serialize) -> Result<T> {
        let body = serde_json::to_vec(body).map_err(|error| Error::internal(error.to_string()))?;
        self.request(Method::POST, self.url(segments)?, Some(body.into())).await
    }

    /// `POST` of documents.
    pub async fn post_documents<T: DeserializeOwned>(
        &self,
        collection: &str,
        body: &impl Serialize,
        wait: bool,
    ) -> Result<T> {
        let mut url = self.url(&["v1", "collections", collection, "documents"])?;
        url.set_query(wait.then_some("wait=true"));
        let body = serde_json::to_vec(body).map_err(|error| Error::internal(error.to_string()))?;
        self.request(Method::POST, url, Some(body.into())).await
    }

    fn url(&self, segments: &[&str]) -> Result<Url> {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .map_err(|()| Error::internal("the server's URL has no path"))?
            .pop_if_empty()
            .extend(segments);
        Ok(url)
    }

    async fn request<T: DeserializeOwned>(
        &self,
        method: Method,
        url: Url,
        body: Option<bytes::Bytes>,
    ) -> Result<T> {
        let mut attempt = 0;
        loop {
            let mut request = self.http.request(method.clone(), url.clone());
            if let Some(key) = &self.key {
                request = request.bearer_auth(key.expose());
            }
            if let Some(body) = &body {
                request = request.header("content-type", "application/json").body(body.clone());
            }
            let wait = match request.send().await {
                Ok(response) => match retry_after(&response) {
                    Some(wait) => wait,
                    None => return answer(response, &url).await,
                },
                Err(error) => {
                    attempt += 1;
                    if attempt >= ATTEMPTS {
                        let message = format!(
                            "{} can't be reached: {}; is gleaner serving there?",
                            self.base,
                            root_cause(&error)
                        );
                        return Err(Error::new(Code::Unavailable, message));
                    }
                    Duration::from_millis(125 << attempt)
                }
            };
            tokio::time::sleep(wait).await;
        }
    }
}

/// How long to wait, where the server asks for it.
fn retry_after(response: &Response) -> Option<Duration> {
    let status = response.status();
    let seconds =
        response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    match (status, seconds) {
        (StatusCode::TOO_MANY_REQUESTS, seconds) => {
            Some(Duration::from_secs(seconds.unwrap_or(1)).min(LONGEST_WAIT))
        }
        (StatusCode::SERVICE_UNAVAILABLE, Some(seconds)) => {
            Some(Duration::from_secs(seconds).min(LONGEST_WAIT))
        }
        _ => None,
    }
}

async fn answer<T: DeserializeOwned>(response: Response, url: &Url) -> Result<T> {
    let status = response.status();
    let body = response.bytes().await.map_err(|error| {
        Error::new(Code::Unavailable, format!("the answer of {url} broke off: {}", root_cause(&error)))
    })?;
    if status.is_success() {
        return serde_json::from_slice(&body)
            .map_err(|error| Error::internal(format!("the answer of {url} can't be read: {error}")));
    }
    Err(match serde_json::from_slice::<ErrorShape>(&body) {
        Ok(ErrorShape { error }) => {
            let code = Code::from_name(&error.code).unwrap_or(Code::Internal);
            Error { param: error.param, ..Error::new(code, error.message) }
        }
        Err(_) => Error::internal(format!("{url} answered {status}: is that a gleaner?")),
    })
}

/// reqwest's own messages say that something failed; what it was is at the end of the chain.
fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
