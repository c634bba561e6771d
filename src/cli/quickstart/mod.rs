//! `gleaner quickstart`: a server over the sample, and a first question, all through REST.

mod sample;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use tokio::sync::oneshot;

use super::client::Client;
use super::output::{self, wrap};
use super::target::Target;
use super::{search, server, signals};
use crate::collection::definition::Definition;
use crate::config::Config;
use crate::search::request::{Mode, SearchRequest};

const COLLECTION: &str = "quickstart";
const QUESTION: &str = "What does gleaner promise when it answers 2xx to a write?";

/// Arguments of `gleaner quickstart`.
#[derive(Args, Debug)]
pub struct Arguments {
    /// End after the question instead of serving until Ctrl-C
    #[arg(long)]
    exit: bool,
}

pub async fn run(arguments: Arguments, config: Config) -> Result<()> {
    config.server.check_exposure()?;
    let listener = server::bind(config.server.listen).await?;
    let url = format!("http://{}", reachable(listener.local_addr()?));
    let client = Client::new(&url, config.server.api_key.clone())?;

    let (stop, stopped) = oneshot::channel::<()>();
    let mut serving = {
        let config = config.clone();
        tokio::spawn(async move {
            server::run(&config, listener, async {
                // a dropped sender is a stop, too
                let _ = stopped.await;
            })
            .await
        })
    };
    let shown = tokio::select! {
        shown = signals::interruptible(show(client, &url, &config)) => shown,
        // the data directory can't be opened, for example
        ended = &mut serving => match ended.context("the server broke off")? {
            Ok(()) => bail!("the server ended before the question was answered"),
            Err(error) => return Err(error),
        },
    };
    if shown.is_ok() && !arguments.exit {
        output::line("\nServing until Ctrl-C.")?;
        signals::stop().await;
    }
    let _ = stop.send(());
    let ended = serving.await.context("the server broke off")?;
    shown.and(ended)
}

/// Loads the sample and asks the question, saying what happens.
async fn show(client: Client, url: &str, config: &Config) -> Result<()> {
    let started = Instant::now();
    while !client.is_ready().await {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let target = Target::Server(client);
    step(format!("gleaner serves {url} over {}", config.data_dir.display()), started)?;

    let started = Instant::now();
    target.create_collection(COLLECTION, &Definition::default()).await.with_context(|| {
        format!("the collection `{COLLECTION}` can't be used for the sample; delete it, or take another --data-dir")
    })?;
    let documents = sample::documents();
    let summary = format!("{} documents, {} KB", documents.len(), sample::bytes() / 1000);
    output::line(format!("  loading gleaner's own documentation into `{COLLECTION}` ({summary}) …"))?;
    let response = target.write(COLLECTION, documents, true).await?;
    if let Some(error) = response.results.iter().find_map(|result| result.error.as_ref()) {
        bail!("the sample could not be loaded: {}", error.message);
    }
    let stats = target.stats(COLLECTION).await?;
    step(format!("{} documents are searchable as {} chunks", stats.documents, stats.chunks), started)?;

    output::line(format!("\nQuestion: {QUESTION}\n"))?;
    let request = SearchRequest {
        query: Some(QUESTION.into()),
        mode: Some(Mode::Hybrid),
        limit: Some(3),
        ..SearchRequest::default()
    };
    let answer = target.search(COLLECTION, request).await?;
    output::line(search::show(&answer))?;
    output::line(format!("\nAsk another:\n\n{}", curl(url, config)))?;
    Ok(())
}

fn step(text: String, started: Instant) -> Result<()> {
    let text = format!("{text} ({:.2} s)", started.elapsed().as_secs_f64());
    Ok(output::line(wrap(&format!("* {text}"), 0))?)
}

/// The command that asks a question; the key itself is not shown.
fn curl(url: &str, config: &Config) -> String {
    let key = match config.server.api_key {
        Some(_) => "  -H \"authorization: Bearer $GLEANER_API_KEY\" \\\n",
        None => "",
    };
    format!(
        "curl -s {url}/v1/collections/{COLLECTION}/search \\\n{key}  \
         -H 'content-type: application/json' \\\n  \
         -d '{{\"query\": \"How do I filter by metadata?\", \"limit\": 3}}'"
    )
}

/// An address a client on this machine can use: a server on every address is reached through loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}
