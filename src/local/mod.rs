//! Models in folders of this machine: what they are ([`manifest`]), where they are found ([`find`]), and how their
//! networks run ([`network`], [`lane`]). [`embed`](crate::embed) and [`rerank`](crate::rerank) make embedders and
//! rerankers of them.

pub(crate) mod lane;
pub mod manifest;
pub(crate) mod network;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

pub(crate) use manifest::fingerprint;
pub use manifest::{Manifest, ModelKind, Pooling};

use crate::chunk::HfTokenizer;
use network::Network;

/// The folder of the model that a definition names: one of the models folder, or a path of its own.
pub fn find(models_dir: &Path, name: &str) -> Result<PathBuf, String> {
    let folder = models_dir.join(name);
    if folder.is_dir() {
        return Ok(folder);
    }
    let known = list(models_dir).into_iter().map(|(name, _)| name).collect::<Vec<_>>().join(", ");
    let known = if known.is_empty() { "none".to_owned() } else { known };
    Err(format!(
        "there is no local model `{name}`: the models folder {} holds {known} (`gleaner models add` puts one there)",
        models_dir.display()
    ))
}

/// Name and description of each model of the models folder, by name.
pub fn list(models_dir: &Path) -> Vec<(String, Result<Manifest, String>)> {
    let entries = std::fs::read_dir(models_dir).into_iter().flatten().flatten();
    let mut models: Vec<_> = entries
        .filter(|entry| entry.path().is_dir())
        .filter_map(|entry| Some((entry.file_name().into_string().ok()?, Manifest::read(&entry.path()))))
        .collect();
    models.sort_by(|one, other| one.0.cmp(&other.0));
    models
}

/// Where a model's files are.
#[derive(Clone, Debug)]
pub(crate) enum Files {
    /// In the program.
    #[cfg(feature = "builtin-model")]
    Static {
        /// The ONNX network.
        network: &'static [u8],
        /// The `tokenizer.json`.
        tokenizer: &'static [u8],
    },
    /// In a folder.
    Folder(PathBuf),
}

/// A model that is loaded at the first use. Clones share it.
#[derive(Clone)]
pub(crate) struct LocalModel(Arc<Loading>);

struct Loading {
    files: Files,
    tokenizer: OnceLock<Result<Arc<HfTokenizer>, String>>,
    network: OnceLock<Result<Network, String>>,
}

impl LocalModel {
    /// The model of these files.
    pub fn new(files: Files) -> LocalModel {
        LocalModel(Arc::new(Loading { files, tokenizer: OnceLock::new(), network: OnceLock::new() }))
    }

    /// Its tokenizer. May load it: call off the async threads.
    pub fn tokenizer(&self) -> Result<Arc<HfTokenizer>, String> {
        let load = || {
            let (name, json) = match &self.0.files {
                #[cfg(feature = "builtin-model")]
                Files::Static { tokenizer, .. } => ("the built-in tokenizer".to_owned(), tokenizer.to_vec()),
                Files::Folder(folder) => {
                    let path = folder.join("tokenizer.json");
                    let json = std::fs::read(&path)
                        .map_err(|error| format!("{} can't be read: {error}", path.display()));
                    (path.display().to_string(), json?)
                }
            };
            HfTokenizer::from_bytes(&json)
                .map(Arc::new)
                .map_err(|error| format!("{name} cannot be used: {error}"))
        };
        self.0.tokenizer.get_or_init(load).clone()
    }

    /// Its network. May load it: call off the async threads.
    pub fn network(&self) -> Result<&Network, String> {
        let load = || {
            let tokenizer = self.tokenizer()?;
            match &self.0.files {
                #[cfg(feature = "builtin-model")]
                Files::Static { network, .. } => Network::load_static(network, &tokenizer),
                Files::Folder(folder) => Network::load_file(&manifest::network(folder)?, &tokenizer),
            }
        };
        self.0.network.get_or_init(load).as_ref().map_err(Clone::clone)
    }
}
