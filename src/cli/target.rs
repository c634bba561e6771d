//! What a command works on: a data directory, opened in this process, or a running server.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result as AnyResult;
use clap::Args;
use serde::Serialize;

use super::client::Client;
use crate::collection::definition::Definition;
use crate::config::Config;
use crate::document::{Document, WriteResponse};
use crate::engine::{CollectionInfo, CollectionStats, Engine, EngineConfig};
use crate::error::{Code, Result};
use crate::ingest::job::Job;
use crate::search::request::SearchRequest;
use crate::search::response::SearchResponse;
use crate::store::OsDisk;

/// Picks the target.
#[derive(Args, Clone, Debug)]
pub struct TargetArguments {
    /// Work on a running server instead of the data directory (key: GLEANER_API_KEY)
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
}

/// What a command works on.
#[derive(Clone)]
pub enum Target {
    /// A data directory.
    Engine(Arc<Engine>),
    /// A server.
    Server(Client),
}

#[derive(Serialize)]
struct CreateBody<'a> {
    name: &'a str,
    #[serde(flatten)]
    definition: &'a Definition,
}

#[derive(Serialize)]
struct DocumentsBody<'a> {
    documents: &'a [Document],
}

/// Opens the data directory of `config`.
pub async fn open_engine(config: &Config) -> AnyResult<Arc<Engine>> {
    let data_dir = config.data_dir.clone();
    let Config { threads, max_waiting_bytes, embedding_cache_bytes, .. } = *config;
    let (models_dir, disk) = (config.models_dir.clone(), Arc::new(OsDisk));
    let engine = EngineConfig {
        data_dir,
        threads,
        models_dir,
        disk,
        max_waiting_bytes,
        embedding_cache_bytes,
        provider_access: config.provider_access.clone(),
    };
    Engine::open(engine).await.map_err(|error| {
        let hint = match error.code {
            Code::Locked => ": another gleaner has it open; stop that, or work through it with --url",
            _ => "",
        };
        let message = format!("the data directory {} can't be opened{hint}", config.data_dir.display());
        anyhow::Error::from(error).context(message)
    })
}

impl Target {
    /// Connects to `--url`, or opens the data directory.
    pub async fn open(arguments: &TargetArguments, config: &Config) -> AnyResult<Target> {
        match &arguments.url {
            Some(url) => Ok(Target::Server(Client::new(url, config.server.api_key.clone())?)),
            None => open_engine(config).await.map(Target::Engine),
        }
    }

    /// Ends background work of a data directory in good order; a server goes on.
    pub async fn close(&self) {
        if let Target::Engine(engine) = self {
            engine.shutdown().await;
        }
    }

    /// How often it is worth asking for progress.
    pub fn poll_interval(&self) -> Duration {
        Duration::from_millis(if matches!(self, Target::Engine(_)) { 20 } else { 200 })
    }

    /// Whether there is a collection of that name.
    pub async fn has_collection(&self, name: &str) -> Result<bool> {
        let collection: Result<CollectionInfo> = match self {
            Target::Engine(engine) => engine.collection(name),
            Target::Server(client) => client.get(&["v1", "collections", name]).await,
        };
        match collection {
            Ok(_) => Ok(true),
            Err(error) if error.code == Code::CollectionNotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Creates a collection; one of the same definition is fine.
    pub async fn create_collection(&self, name: &str, definition: &Definition) -> Result<()> {
        match self {
            Target::Engine(engine) => {
                engine.create_collection(name, definition.clone()).await?;
            }
            Target::Server(client) => {
                let _: CollectionInfo =
                    client.post(&["v1", "collections"], &CreateBody { name, definition }).await?;
            }
        }
        Ok(())
    }

    /// Writes documents; `wait`: until they are searchable.
    pub async fn write(&self, name: &str, documents: Vec<Document>, wait: bool) -> Result<WriteResponse> {
        match self {
            Target::Engine(engine) => engine.write(name, documents.into_iter().map(Ok).collect(), wait).await,
            Target::Server(client) => {
                client.post_documents(name, &DocumentsBody { documents: &documents }, wait).await
            }
        }
    }

    /// A job as it stands.
    pub async fn job(&self, id: &str) -> Result<Job> {
        match self {
            Target::Engine(engine) => engine.job(id),
            Target::Server(client) => client.get(&["v1", "jobs", id]).await,
        }
    }

    /// What a collection holds.
    pub async fn stats(&self, name: &str) -> Result<CollectionStats> {
        match self {
            Target::Engine(engine) => engine.stats(name),
            Target::Server(client) => client.get(&["v1", "collections", name, "stats"]).await,
        }
    }

    /// Returns when everything accepted is searchable, and (`graphs`) every graph is built.
    pub async fn settle(&self, name: &str, graphs: bool) -> Result<()> {
        if let Target::Engine(engine) = self {
            return engine.settle(name, graphs).await;
        }
        loop {
            let stats = self.stats(name).await?;
            if stats.pending_documents == 0 && (stats.settled || !graphs) {
                return Ok(());
            }
            tokio::time::sleep(self.poll_interval()).await;
        }
    }

    /// Searches.
    pub async fn search(&self, name: &str, request: SearchRequest) -> Result<SearchResponse> {
        match self {
            Target::Engine(engine) => engine.search(name, request).await,
            Target::Server(client) => client.post(&["v1", "collections", name, "search"], &request).await,
        }
    }
}
