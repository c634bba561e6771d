//! From a definition to its embedder; equal definitions share one.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::onnx::Onnx;
use super::remote::{EndpointKey, Remote};
use super::static_model::StaticModel;
use super::{CacheStats, EmbedError, Embedder, EmbeddingCache};
use crate::collection::definition::EmbeddingDefinition;
use crate::dispatch::{Endpoint, Http};
use crate::local;
use crate::runtime::Pools;

/// The process's embedders. A model is in memory once, however many collections use it, and goes
/// when the last of them does.
pub struct Embedders {
    pools: Pools,
    http: Http,
    cache: EmbeddingCache,
    models_dir: PathBuf,
    open: Mutex<Vec<(EmbeddingDefinition, Weak<dyn Embedder>)>>,
    /// Embedders that differ in what is no business of the provider's (prefixes, deadlines) share its budget.
    endpoints: Mutex<Vec<(EndpointKey, Weak<Endpoint>)>>,
}

impl Embedders {
    /// No embedder yet; those to come run on as many threads as `pools`, call providers through `http`, and
    /// are asked only for what is not in `cache`; local models are in `models_dir`.
    pub fn new(pools: Pools, http: Http, cache: EmbeddingCache, models_dir: PathBuf) -> Self {
        Self { pools, http, cache, models_dir, open: Mutex::default(), endpoints: Mutex::default() }
    }

    /// What the cache holds and did.
    pub fn cache_stats(&self) -> CacheStats {
        self.cache.stats()
    }

    /// The embedder of `definition`; `None` where the client sends vectors or there are none. Cheap: models
    /// load at the first use (see [`Embedder::warm`]).
    pub fn open(&self, definition: &EmbeddingDefinition) -> Result<Option<Arc<dyn Embedder>>, EmbedError> {
        let mut open = self.open.lock();
        open.retain(|(_, embedder)| embedder.strong_count() > 0);
        let known = open.iter().find(|(known, _)| known == definition);
        if let Some(embedder) = known.and_then(|(_, embedder)| embedder.upgrade()) {
            return Ok(Some(embedder));
        }
        let embedder: Arc<dyn Embedder> = match definition {
            EmbeddingDefinition::Builtin {} => self.cached(self.builtin()?),
            EmbeddingDefinition::Local { model } => {
                let folder = local::find(&self.models_dir, model).map_err(EmbedError::Config)?;
                self.cached(Arc::new(Onnx::open(&folder, self.pools.search.threads())?))
            }
            // faster than the cache
            EmbeddingDefinition::Static { path } => {
                Arc::new(StaticModel::open(Path::new(path), self.pools.clone())?)
            }
            EmbeddingDefinition::Client { .. } | EmbeddingDefinition::None {} => return Ok(None),
            _ => match definition.remote() {
                Some((provider, remote)) => {
                    let share = |key, make: &mut dyn FnMut() -> Arc<Endpoint>| self.endpoint(key, make);
                    self.cached(Arc::new(Remote::new(provider, remote, &self.http, &self.pools, share)))
                }
                None => return Ok(None),
            },
        };
        open.push((definition.clone(), Arc::downgrade(&embedder)));
        Ok(Some(embedder))
    }

    fn cached(&self, embedder: Arc<dyn Embedder>) -> Arc<dyn Embedder> {
        self.cache.around(embedder, self.pools.clone())
    }

    /// The addresses of providers that are in use.
    pub fn endpoints(&self) -> Vec<Arc<Endpoint>> {
        self.endpoints.lock().iter().filter_map(|(_, endpoint)| endpoint.upgrade()).collect()
    }

    /// The endpoint that is known by `key`, or the one that `make` makes.
    fn endpoint(&self, key: EndpointKey, make: &mut dyn FnMut() -> Arc<Endpoint>) -> Arc<Endpoint> {
        let mut endpoints = self.endpoints.lock();
        endpoints.retain(|(_, endpoint)| endpoint.strong_count() > 0);
        let known = endpoints.iter().find(|(known, _)| *known == key);
        if let Some(endpoint) = known.and_then(|(_, endpoint)| endpoint.upgrade()) {
            return endpoint;
        }
        let endpoint = make();
        endpoints.push((key, Arc::downgrade(&endpoint)));
        endpoint
    }

    #[cfg(feature = "builtin-model")]
    fn builtin(&self) -> Result<Arc<dyn Embedder>, EmbedError> {
        Ok(Arc::new(super::builtin::open(self.pools.search.threads())))
    }

    #[cfg(not(feature = "builtin-model"))]
    fn builtin(&self) -> Result<Arc<dyn Embedder>, EmbedError> {
        Err(EmbedError::Config(
            "this gleaner was built without the built-in model: build it with `--features builtin-model`, or \
             choose another embedding provider"
                .into(),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn embedders() -> Embedders {
        Embedders::new(
            Pools::new(1).unwrap(),
            Http::default(),
            EmbeddingCache::new("unused".into(), 0),
            "unused".into(),
        )
    }

    #[test]
    fn equal_definitions_share_one_embedder() {
        let embedders = embedders();
        let openai = |model: &str| -> EmbeddingDefinition {
            let json = format!(r#"{{"provider":"openai","model":"{model}","dimensions":4}}"#);
            serde_json::from_str(&json).unwrap()
        };
        let first = embedders.open(&openai("a")).unwrap().unwrap();
        let same = embedders.open(&openai("a")).unwrap().unwrap();
        let other = embedders.open(&openai("b")).unwrap().unwrap();
        assert!(Arc::ptr_eq(&first, &same) && !Arc::ptr_eq(&first, &other));
        assert_ne!(first.model().id, other.model().id);
        assert!(embedders.open(&EmbeddingDefinition::Client { dimensions: 4 }).unwrap().is_none());
        assert!(embedders.open(&EmbeddingDefinition::None {}).unwrap().is_none());
    }

    #[test]
    fn an_embedder_goes_with_its_last_user() {
        let embedders = embedders();
        let json = r#"{"provider":"openai","model":"a","dimensions":4}"#;
        let definition: EmbeddingDefinition = serde_json::from_str(json).unwrap();
        let weak = Arc::downgrade(&embedders.open(&definition).unwrap().unwrap());
        assert!(weak.upgrade().is_none());
    }

    #[cfg(not(feature = "builtin-model"))]
    #[test]
    fn a_slim_build_says_how_to_get_the_model() {
        let embedders = embedders();
        let error = embedders.open(&EmbeddingDefinition::Builtin {}).err().unwrap();
        assert!(
            matches!(&error, EmbedError::Config(message) if message.contains("builtin-model")),
            "{error}"
        );
    }
}
