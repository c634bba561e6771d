//! What a collection is made of: one definition for embedder, chunker, analyzer, vector index,
//! fusion and reranker. The same type is the body of `POST /v1/collections` and the content of
//! `indexes/presets/*.toml`.

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use crate::collection::remote::{
    EmbeddingProvider, RemoteEmbedding, RemoteRerank, check, check_rerank, rerank_timeout_ms,
};
use crate::dispatch::{Network, ProviderAccess};
use crate::error::{Code, Error, Result};
use crate::store::is_plain_name;

/// A collection's definition. Every part has a default: `{}` is a complete definition.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Definition {
    /// For people; not searched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Where vectors come from.
    #[serde(deserialize_with = "embedding_with_defaults")]
    pub embedding: EmbeddingDefinition,
    /// How documents are cut into chunks.
    pub chunking: ChunkingDefinition,
    /// How text is analyzed for the lexical leg.
    pub text: TextDefinition,
    /// Metric and index of the dense leg.
    pub vector: VectorDefinition,
    /// How the two legs become one ranking.
    pub fusion: FusionDefinition,
    /// Reranks the first hits; absent: no reranking.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "rerank_with_defaults")]
    pub rerank: Option<RerankDefinition>,
}

/// Where vectors come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "provider", rename_all = "snake_case", deny_unknown_fields)]
pub enum EmbeddingDefinition {
    /// all-MiniLM-L6-v2 inside the binary (384 dimensions, English).
    Builtin {},
    /// A static model: `model.safetensors` (token rows) and `tokenizer.json` in a folder on the server.
    Static {
        /// The folder.
        #[schema(min_length = 1)]
        path: String,
    },
    /// A network in a folder of the models folder (`gleaner models` lists them).
    Local {
        /// Name of the folder, e.g. `bge-small-en-v1.5-int8`.
        #[schema(min_length = 1)]
        model: String,
    },
    /// OpenAI, and any server that speaks its `POST /embeddings`.
    Openai(RemoteEmbedding),
    /// Azure OpenAI; `base_url` is the resource's, e.g. `https://NAME.openai.azure.com`.
    AzureOpenai(RemoteEmbedding),
    /// Cohere's `POST /v2/embed`.
    Cohere(RemoteEmbedding),
    /// Voyage AI.
    Voyage(RemoteEmbedding),
    /// Jina AI.
    Jina(RemoteEmbedding),
    /// Mistral AI.
    Mistral(RemoteEmbedding),
    /// Google's Gemini API.
    Gemini(RemoteEmbedding),
    /// Ollama.
    Ollama(RemoteEmbedding),
    /// Text Embeddings Inference.
    Tei(RemoteEmbedding),
    /// The client sends a vector with each document and each query; a document is one chunk.
    Client {
        /// Length of the vectors.
        #[schema(minimum = 1, maximum = 8192)]
        dimensions: u32,
    },
    /// No vectors: the collection is lexical only.
    None {},
}

impl EmbeddingDefinition {
    /// The provider and its part of the definition, where the model is behind an HTTP API.
    pub fn remote(&self) -> Option<(EmbeddingProvider, &RemoteEmbedding)> {
        match self {
            EmbeddingDefinition::Openai(remote) => Some((EmbeddingProvider::Openai, remote)),
            EmbeddingDefinition::AzureOpenai(remote) => Some((EmbeddingProvider::AzureOpenai, remote)),
            EmbeddingDefinition::Cohere(remote) => Some((EmbeddingProvider::Cohere, remote)),
            EmbeddingDefinition::Voyage(remote) => Some((EmbeddingProvider::Voyage, remote)),
            EmbeddingDefinition::Jina(remote) => Some((EmbeddingProvider::Jina, remote)),
            EmbeddingDefinition::Mistral(remote) => Some((EmbeddingProvider::Mistral, remote)),
            EmbeddingDefinition::Gemini(remote) => Some((EmbeddingProvider::Gemini, remote)),
            EmbeddingDefinition::Ollama(remote) => Some((EmbeddingProvider::Ollama, remote)),
            EmbeddingDefinition::Tei(remote) => Some((EmbeddingProvider::Tei, remote)),
            EmbeddingDefinition::Builtin {}
            | EmbeddingDefinition::Static { .. }
            | EmbeddingDefinition::Local { .. }
            | EmbeddingDefinition::Client { .. }
            | EmbeddingDefinition::None {} => None,
        }
    }

    fn remote_mut(&mut self) -> Option<&mut RemoteEmbedding> {
        match self {
            EmbeddingDefinition::Openai(remote)
            | EmbeddingDefinition::AzureOpenai(remote)
            | EmbeddingDefinition::Cohere(remote)
            | EmbeddingDefinition::Voyage(remote)
            | EmbeddingDefinition::Jina(remote)
            | EmbeddingDefinition::Mistral(remote)
            | EmbeddingDefinition::Gemini(remote)
            | EmbeddingDefinition::Ollama(remote)
            | EmbeddingDefinition::Tei(remote) => Some(remote),
            EmbeddingDefinition::Builtin {}
            | EmbeddingDefinition::Static { .. }
            | EmbeddingDefinition::Local { .. }
            | EmbeddingDefinition::Client { .. }
            | EmbeddingDefinition::None {} => None,
        }
    }
}

/// Reads an embedding definition and fills in what its provider has defaults for.
fn embedding_with_defaults<'de, D: Deserializer<'de>>(from: D) -> Result<EmbeddingDefinition, D::Error> {
    let mut definition = EmbeddingDefinition::deserialize(from)?;
    let provider = definition.remote().map(|(provider, _)| provider);
    if let (Some(provider), Some(remote)) = (provider, definition.remote_mut()) {
        remote.fill(provider);
    }
    Ok(definition)
}

/// Reads a rerank definition and fills in what its provider has defaults for.
fn rerank_with_defaults<'de, D: Deserializer<'de>>(from: D) -> Result<Option<RerankDefinition>, D::Error> {
    let mut definition = Option::<RerankDefinition>::deserialize(from)?;
    let provider = definition.as_ref().and_then(crate::rerank::of).map(|(provider, _)| provider);
    if let (Some(provider), Some(remote)) =
        (provider, definition.as_mut().and_then(RerankDefinition::remote_mut))
    {
        remote.fill(provider);
    }
    Ok(definition)
}

impl Default for EmbeddingDefinition {
    fn default() -> Self {
        EmbeddingDefinition::Builtin {}
    }
}

/// How documents are cut into chunks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ChunkingDefinition {
    /// Which structure is respected.
    pub strategy: ChunkingStrategy,
    /// The most tokens in a chunk, title and headings included; absent: 256, or the model's limit if
    /// that is smaller.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 16, maximum = 8192)]
    pub max_tokens: Option<u32>,
    /// Tokens repeated from the chunk before, where a paragraph is cut.
    #[schema(maximum = 4096)]
    pub overlap_tokens: u32,
}

impl Default for ChunkingDefinition {
    fn default() -> Self {
        Self { strategy: ChunkingStrategy::default(), max_tokens: None, overlap_tokens: 32 }
    }
}

/// Which structure the chunker respects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChunkingStrategy {
    /// Headings, lists, tables and fenced code; plain text is a special case of it.
    #[default]
    Markdown,
    /// Paragraphs, sentences, words.
    Text,
}

/// How text is analyzed for the lexical leg.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TextDefinition {
    /// How words are normalised.
    pub analyzer: Analyzer,
    /// How many times a title word counts (0 to 8).
    #[schema(maximum = 8)]
    pub title_weight: u32,
    /// How many times a word of the heading path counts (0 to 8).
    #[schema(maximum = 8)]
    pub heading_weight: u32,
}

impl Default for TextDefinition {
    fn default() -> Self {
        Self { analyzer: Analyzer::default(), title_weight: 2, heading_weight: 1 }
    }
}

/// How words are normalised. All of them fold case and accents, index CJK as character bigrams and
/// make identifiers findable whole and in parts; they differ in stems and stop words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Analyzer {
    /// English stems and stop words; good for mixed languages.
    #[default]
    Default,
    /// No stems, no stop words.
    Plain,
    /// Arabic stems and stop words.
    Arabic,
    /// Danish stems and stop words.
    Danish,
    /// Dutch stems and stop words.
    Dutch,
    /// English stems and stop words.
    English,
    /// Finnish stems and stop words.
    Finnish,
    /// French stems and stop words.
    French,
    /// German stems and stop words.
    German,
    /// Greek stems.
    Greek,
    /// Hungarian stems and stop words.
    Hungarian,
    /// Italian stems and stop words.
    Italian,
    /// Norwegian stems and stop words.
    Norwegian,
    /// Portuguese stems and stop words.
    Portuguese,
    /// Romanian stems.
    Romanian,
    /// Russian stems and stop words.
    Russian,
    /// Spanish stems and stop words.
    Spanish,
    /// Swedish stems and stop words.
    Swedish,
    /// Tamil stems.
    Tamil,
    /// Turkish stems.
    Turkish,
}

/// Metric and index of the dense leg.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct VectorDefinition {
    /// What "near" means.
    pub metric: Metric,
    /// How the vectors are stored by which hits are scored.
    pub storage: Storage,
    /// What builds the graph.
    pub builder: Builder,
    /// Half the most links of a row (4 to 64).
    #[schema(minimum = 4, maximum = 64)]
    pub m: u32,
    /// Candidates looked at for each row while building (8 to 2000).
    #[schema(minimum = 8, maximum = 2000)]
    pub ef_construction: u32,
    /// The share of the ten nearest rows that a search of a graph is to find (0.5 to 0.999): how many candidates
    /// that takes is measured when a graph is built.
    #[schema(minimum = 0.5, maximum = 0.999)]
    pub recall_target: f32,
    /// Candidates kept in a search, in place of `recall_target` (1 to 10000).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 10000)]
    pub ef_search: Option<u32>,
    /// Segments of fewer rows are scanned: no graph is built for them.
    #[schema(value_type = u64, maximum = 4_294_967_295u32)]
    pub graph_min_rows: u32,
}

impl Default for VectorDefinition {
    fn default() -> Self {
        Self {
            metric: Metric::default(),
            storage: Storage::default(),
            builder: Builder::default(),
            m: 20,
            ef_construction: 128,
            recall_target: 0.95,
            ef_search: None,
            graph_min_rows: 20_000,
        }
    }
}

/// What "near" means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Angle: vectors are normalised when they arrive.
    #[default]
    Cosine,
    /// Inner product.
    Dot,
    /// Euclidean distance.
    L2,
}

/// How the vectors are stored by which hits are scored. Beside them each has a code of 8 bits a dimension, which
/// finds the candidates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Storage {
    /// Single precision, as they arrive.
    #[default]
    Float32,
    /// Half precision: half the room; a value is rounded to 11 significant bits and is at most 65,504.
    Float16,
    /// The codes alone: no room beside them; a value is rounded to a 119th of its vector's largest.
    Int8,
}

impl std::fmt::Display for Storage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Storage::Float32 => "float32",
            Storage::Float16 => "float16",
            Storage::Int8 => "int8",
        })
    }
}

impl Storage {
    /// Bytes of a vector beside its code.
    pub fn row_bytes(self, dimensions: usize) -> usize {
        match self {
            Storage::Float32 => dimensions * size_of::<f32>(),
            Storage::Float16 => dimensions * size_of::<u16>(),
            Storage::Int8 => 0,
        }
    }
}

/// What builds the graph.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Builder {
    /// gleaner's own: all pairs within many small partitions, at every scale.
    #[default]
    Native,
    /// The hnsw_rs crate: slower; an independent reference.
    HnswRs,
}

/// How the two legs become one ranking.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FusionDefinition {
    /// The method.
    pub method: FusionMethod,
    /// Weight of the dense leg, 0 to 1; absent: the embedder's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 1)]
    pub dense_weight: Option<f32>,
    /// The similarity that counts as zero (`absolute` only); absent: the embedder's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 0.99)]
    pub dense_floor: Option<f32>,
    /// The constant of `rrf`; absent: 60.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>, minimum = 1, maximum = 4_294_967_295u32)]
    pub rrf_k: Option<u32>,
}

/// How the two legs become one ranking.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FusionMethod {
    /// A weighted sum of both legs' scores, each normalised without looking at the other candidates.
    #[default]
    Absolute,
    /// Reciprocal rank fusion.
    Rrf,
}

/// Reranks the first hits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "provider", rename_all = "snake_case", deny_unknown_fields)]
pub enum RerankDefinition {
    /// A server that speaks Cohere's `POST /v2/rerank`.
    Cohere(RemoteRerank),
    /// Jina AI, or a server that speaks its `POST /rerank`.
    Jina(RemoteRerank),
    /// Voyage AI.
    Voyage(RemoteRerank),
    /// Text Embeddings Inference.
    Tei(RemoteRerank),
    /// A cross-encoder in a folder of the models folder (`gleaner models` lists them).
    Local {
        /// Name of the folder, e.g. `ms-marco-minilm-l-12-v2-int8`.
        #[schema(min_length = 1)]
        model: String,
        /// How many hits are reranked (1 to 1000).
        #[serde(default = "local_candidates")]
        #[schema(minimum = 1, maximum = 1000)]
        candidates: u32,
        /// After this the hits that were not scored follow those that were, and `status` says so.
        #[serde(default = "rerank_timeout_ms")]
        #[schema(minimum = 1, maximum = 600_000)]
        timeout_ms: u64,
        /// The part of the final score that is the cross-encoder's, 0 to 1; absent: the model's own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schema(minimum = 0, maximum = 1)]
        weight: Option<f32>,
    },
}

fn local_candidates() -> u32 {
    20
}

impl RerankDefinition {
    fn remote_mut(&mut self) -> Option<&mut RemoteRerank> {
        match self {
            RerankDefinition::Cohere(remote)
            | RerankDefinition::Jina(remote)
            | RerankDefinition::Voyage(remote)
            | RerankDefinition::Tei(remote) => Some(remote),
            RerankDefinition::Local { .. } => None,
        }
    }
}

/// Name and text of each built-in preset, in the order of the folder.
pub const PRESETS: &[(&str, &str)] = &[
    ("default", include_str!("../../indexes/presets/default.toml")),
    ("openai-small", include_str!("../../indexes/presets/openai-small.toml")),
];

impl Definition {
    /// The built-in preset `name`.
    pub fn preset(name: &str) -> Result<Definition> {
        let Some((_, text)) = PRESETS.iter().find(|(preset, _)| *preset == name) else {
            let names: Vec<_> = PRESETS.iter().map(|(preset, _)| *preset).collect();
            let message = format!("there is no preset `{name}`; the presets are {}", names.join(", "));
            return Err(Error::new(Code::InvalidDefinition, message).with_param("preset"));
        };
        Definition::from_toml(text)
    }

    /// Reads and validates a definition in TOML.
    pub fn from_toml(text: &str) -> Result<Definition> {
        let definition: Definition =
            toml::from_str(text).map_err(|error| Error::new(Code::InvalidDefinition, error.to_string()))?;
        definition.validate()?;
        Ok(definition)
    }

    /// Length of the vectors as the definition states it; `None` where the model says it or there are none.
    pub fn stated_dimensions(&self) -> Option<u32> {
        match &self.embedding {
            EmbeddingDefinition::Client { dimensions } => Some(*dimensions),
            embedding => embedding.remote().map(|(_, remote)| remote.dimensions),
        }
    }

    /// Whether providers' keys are there: a collection without its key would accept documents only to fail them.
    pub fn check_keys(&self, access: &ProviderAccess) -> Result<()> {
        let embedding = self.embedding.remote().map(|(_, remote)| remote.keys()).unwrap_or_default();
        let rerank = self.rerank.as_ref().and_then(crate::rerank::of).map(|(_, remote)| {
            let key = remote.key();
            let field = if key.file.is_empty() { "rerank.api_key_env" } else { "rerank.api_key_file" };
            (field.to_owned(), key)
        });
        for (param, key) in embedding.into_iter().chain(rerank) {
            key.check(access).map_err(|message| {
                let message = format!("{message} (for a provider without keys give an empty api_key_env)");
                Error::new(Code::InvalidDefinition, message).with_param(param)
            })?;
        }
        Ok(())
    }

    /// Whether providers are where this gleaner may ask them.
    pub fn check_addresses(&self, network: Network) -> Result<()> {
        if let Some((_, remote)) = self.embedding.remote() {
            remote.check_addresses(network)?;
        }
        let rerank = self.rerank.as_ref().and_then(crate::rerank::of);
        rerank.map_or(Ok(()), |(_, remote)| remote.check_addresses(network))
    }

    /// Checks every range; the error names the field.
    pub fn validate(&self) -> Result<()> {
        if let Some(dimensions) = self.stated_dimensions() {
            check((1..=8192).contains(&dimensions), "embedding.dimensions", "dimensions must be 1 to 8192")?;
        }
        if let Some((_, remote)) = self.embedding.remote() {
            remote.validate()?;
        }
        match &self.embedding {
            EmbeddingDefinition::Static { path } => {
                check(!path.is_empty(), "embedding.path", "path must name a folder")?;
            }
            EmbeddingDefinition::Local { model } => check_folder(model, "embedding.model")?,
            _ => {}
        }
        if let Some(max_tokens) = self.chunking.max_tokens {
            check((16..=8192).contains(&max_tokens), "chunking.max_tokens", "max_tokens must be 16 to 8192")?;
        }
        check(
            self.chunking.overlap_tokens <= self.chunking.max_tokens.unwrap_or(256) / 2,
            "chunking.overlap_tokens",
            "overlap_tokens must be at most half of max_tokens (256 where that is not given)",
        )?;
        check(self.text.title_weight <= 8, "text.title_weight", "title_weight must be 0 to 8")?;
        check(self.text.heading_weight <= 8, "text.heading_weight", "heading_weight must be 0 to 8")?;
        check((4..=64).contains(&self.vector.m), "vector.m", "m must be 4 to 64")?;
        check(
            (8..=2000).contains(&self.vector.ef_construction),
            "vector.ef_construction",
            "ef_construction must be 8 to 2000",
        )?;
        check(
            (0.5..=0.999).contains(&self.vector.recall_target),
            "vector.recall_target",
            "recall_target must be 0.5 to 0.999",
        )?;
        check(
            self.vector.ef_search.is_none_or(|ef| (1..=10_000).contains(&ef)),
            "vector.ef_search",
            "ef_search must be 1 to 10000",
        )?;
        self.fusion.validate("fusion")?;
        if let Some(RerankDefinition::Local { model, candidates, timeout_ms, weight }) = &self.rerank {
            check_folder(model, "rerank.model")?;
            let weight = weight.is_none_or(|weight| (0.0..=1.0).contains(&weight));
            check(weight, "rerank.weight", "weight must be 0 to 1")?;
            check_rerank(*candidates, *timeout_ms)?;
        }
        let remote = self.rerank.as_ref().and_then(crate::rerank::of);
        remote.map_or(Ok(()), |(_, remote)| remote.validate())
    }
}

impl FusionDefinition {
    /// Checks the ranges; `param` is the path of this object in the request.
    pub fn validate(&self, param: &str) -> Result<()> {
        for (name, value) in [("dense_weight", self.dense_weight), ("dense_floor", self.dense_floor)] {
            // a floor of 1 would divide by zero
            let upper = if name == "dense_floor" { 0.99 } else { 1.0 };
            if value.is_some_and(|value| !(0.0..=upper).contains(&value)) {
                let message = format!("{name} must be 0 to {upper}");
                return Err(Error::invalid(format!("{param}.{name}"), message));
            }
        }
        if self.rrf_k == Some(0) {
            return Err(Error::invalid(format!("{param}.rrf_k"), "rrf_k must be at least 1"));
        }
        Ok(())
    }
}

/// A folder of the models folder, and of no other place.
fn check_folder(name: &str, param: &str) -> Result<()> {
    let message = format!("`{name}` names no folder of the models folder: see `gleaner models list`");
    check(is_plain_name(name), param, &message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_valid_definitions() {
        for (name, _) in PRESETS {
            Definition::preset(name).unwrap();
        }
        assert_eq!(Definition::preset("default").unwrap(), Definition::default());
        assert_eq!(Definition::preset("no").unwrap_err().code, Code::InvalidDefinition);
    }

    #[test]
    fn an_empty_body_is_the_default_and_unknown_fields_are_refused() {
        assert_eq!(serde_json::from_str::<Definition>("{}").unwrap(), Definition::default());
        for bad in [
            r#"{"chunkin":{}}"#,
            r#"{"chunking":{"max":1}}"#,
            r#"{"embedding":{"provider":"builtin","model":"x"}}"#,
            r#"{"embedding":{"provider":"client"}}"#,
        ] {
            assert!(serde_json::from_str::<Definition>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_definition_survives_json_and_toml() {
        let definition = Definition::preset("openai-small").unwrap();
        let json = serde_json::to_string(&definition).unwrap();
        assert_eq!(serde_json::from_str::<Definition>(&json).unwrap(), definition);
        let toml = toml::to_string(&definition).unwrap();
        assert_eq!(Definition::from_toml(&toml).unwrap(), definition);
    }
}
