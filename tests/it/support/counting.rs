//! A provider that derives vectors from texts and counts what it is asked for, beside tests that block.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::provider::{self, Provider, json as answer};
use super::server::Api;

/// A provider that remembers the texts it has answered.
pub struct Counting {
    provider: Provider,
    texts: Arc<Mutex<Vec<String>>>,
    _runtime: Runtime,
}

impl Counting {
    /// Starts it; it answers at once.
    pub fn start() -> Counting {
        let texts: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = Arc::clone(&texts);
        let respond = move |_: &str, body: &Value| {
            let input = body["input"].as_array().unwrap();
            let vector = |text: &str| [text.len() as f32, text.bytes().map(f32::from).sum::<f32>() / 100.0];
            let data: Vec<_> = input
                .iter()
                .enumerate()
                .map(|(index, text)| json!({"index": index, "embedding": vector(text.as_str().unwrap())}))
                .collect();
            seen.lock().unwrap().extend(input.iter().map(|text| text.as_str().unwrap().to_owned()));
            answer(200, json!({"data": data}))
        };
        let runtime = Runtime::new().unwrap();
        let provider = runtime.block_on(provider::start(respond));
        Counting { provider, texts, _runtime: runtime }
    }

    /// The texts it was asked for since the last call.
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.texts.lock().unwrap())
    }

    /// How many texts it was asked for since then.
    pub fn answered(&self) -> usize {
        self.texts.lock().unwrap().len()
    }

    /// From now on requests wait.
    pub fn close(&self) {
        self.provider.gate.forget_permits(usize::MAX >> 3);
    }

    /// Lets that many requests be answered.
    pub fn open(&self, requests: usize) {
        self.provider.gate.add_permits(requests);
    }

    /// Creates a collection `name` that it embeds, in chunks of a few sentences.
    pub fn create(&self, api: &Api, name: &str) {
        let embedding = json!({"provider": "openai", "base_url": self.provider.url, "model": "fake",
            "api_key_env": "", "dimensions": 2, "encoding": "float"});
        let chunking = json!({"max_tokens": 48, "overlap_tokens": 0});
        api.create(&json!({"name": name, "embedding": embedding, "chunking": chunking}));
    }
}
