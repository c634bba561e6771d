//! Embedders that are networks: the model in the binary, and models in folders.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use futures::{StreamExt, stream};
use rten::RunOptions;

use super::tokenizer;
use super::{Arrived, EmbedError, Embedder, Embeddings, Kind, Model};
use crate::chunk::Tokenizer;
use crate::local::lane::{Broken, Lane};
use crate::local::{self, Files, LocalModel, Manifest, ModelKind, Pooling};
use crate::runtime::Stop;

/// `[CLS]` and `[SEP]` count too.
const SPECIAL_TOKENS: usize = 2;

/// Beyond so many bytes a token a text is cut before it is tokenized: its first tokens end long before, and a
/// text of megabytes would be tokenized for nothing.
const BYTES_PER_TOKEN: usize = 128;

/// A network that embeds. Loaded at the first use.
pub(super) struct Onnx {
    model: Model,
    inner: Arc<Inner>,
    queries: Lane,
    documents: Lane,
    threads: usize,
}

/// What the runs share.
struct Inner {
    network: LocalModel,
    pooling: Pooling,
    query_prefix: String,
    document_prefix: String,
    max_tokens: usize,
    dimensions: usize,
}

impl Onnx {
    /// The model of `files`, with `threads` threads for queries and as many for documents. `id` names its vector
    /// space.
    pub fn new(id: String, manifest: Manifest, files: Files, threads: usize) -> Onnx {
        let max_tokens = manifest.max_tokens.saturating_sub(SPECIAL_TOKENS);
        let model = Model {
            id,
            origin: String::new(),
            dimensions: manifest.dimensions,
            max_tokens,
            dense_weight: manifest.weight,
            dense_floor: manifest.floor,
            english: manifest.english,
        };
        let inner = Inner {
            network: LocalModel::new(files),
            pooling: manifest.pooling,
            query_prefix: manifest.query_prefix,
            document_prefix: manifest.document_prefix,
            max_tokens,
            dimensions: manifest.dimensions,
        };
        let (queries, documents) = (Lane::new(threads), Lane::new(threads));
        Onnx { model, inner: Arc::new(inner), queries, documents, threads }
    }

    /// The model in `folder`. Reads its description and looks at its files.
    pub fn open(folder: &Path, threads: usize) -> Result<Onnx, EmbedError> {
        let manifest = Manifest::read(folder).map_err(EmbedError::Config)?;
        if manifest.kind != ModelKind::Embedder {
            let message = format!("the local model {} is a reranker: name it under `rerank`", manifest.id);
            return Err(EmbedError::Config(message));
        }
        let print = local::fingerprint(folder, &manifest).map_err(EmbedError::Config)?;
        let id = format!("{}-{print:016x}", manifest.id);
        Ok(Onnx::new(id, manifest, Files::Folder(folder.to_owned()), threads))
    }

    /// The lane of queries.
    #[cfg(all(test, feature = "builtin-model"))]
    pub fn queries(&self) -> &Lane {
        &self.queries
    }

    /// The lane of documents.
    #[cfg(all(test, feature = "builtin-model"))]
    pub fn documents(&self) -> &Lane {
        &self.documents
    }

    /// Embeds `text` on the lane of its kind.
    async fn embed_one(&self, text: String, kind: Kind) -> Result<Vec<f32>, EmbedError> {
        let lane = match kind {
            Kind::Query => &self.queries,
            Kind::Document => &self.documents,
        };
        let inner = Arc::clone(&self.inner);
        let run = lane.run(move |options| inner.embed(text, kind, options)).await;
        run.map_err(|broken| match broken {
            Broken::Cancelled => EmbedError::Cancelled,
            Broken::Off(error) => EmbedError::Provider(format!("the embedding broke off: {error}")),
        })?
    }
}

impl Inner {
    fn embed(&self, mut text: String, kind: Kind, options: RunOptions) -> Result<Vec<f32>, EmbedError> {
        let prefix = match kind {
            Kind::Query => &self.query_prefix,
            Kind::Document => &self.document_prefix,
        };
        text.insert_str(0, prefix);
        let tokenizer = self.network.tokenizer().map_err(EmbedError::Config)?;
        let mut ids = tokenizer::ids(&tokenizer, super::cut(&text, self.max_tokens * BYTES_PER_TOKEN))?;
        ids.truncate(self.max_tokens);
        let network = self.network.network().map_err(EmbedError::Config)?;
        let fail =
            |error: String| EmbedError::Provider(format!("the local model could not embed a text: {error}"));
        let output = network.run(&ids, None, options).map_err(fail)?;
        let ([_, _, width], rows) =
            output.into_shape_vec::<f32, 3>().map_err(|error| fail(error.to_string()))?;
        if width != self.dimensions || rows.len() < width {
            return Err(fail(format!("its vectors have {width} values, not {}", self.dimensions)));
        }
        let mut vector = vec![0.0; width];
        match self.pooling {
            Pooling::Cls => vector.copy_from_slice(&rows[..width]),
            // the length of the sum is divided out, so the number of tokens need not be
            Pooling::Mean => rows
                .chunks_exact(width)
                .for_each(|row| vector.iter_mut().zip(row).for_each(|(sum, value)| *sum += value)),
        }
        match super::normalize(&mut vector) {
            true => Ok(vector),
            false => Err(fail("its output is not finite".into())),
        }
    }
}

#[async_trait]
impl Embedder for Onnx {
    fn model(&self) -> &Model {
        &self.model
    }

    fn tokenizer(&self) -> Result<Arc<dyn Tokenizer>, EmbedError> {
        Ok(self.inner.network.tokenizer().map_err(EmbedError::Config)?)
    }

    async fn embed(&self, texts: Vec<String>, kind: Kind) -> Result<Embeddings, EmbedError> {
        self.embed_each(texts, kind, &|_, _| {}, &Stop::new()).await
    }

    async fn embed_each(
        &self,
        texts: Vec<String>,
        kind: Kind,
        arrived: &Arrived<'_>,
        stop: &Stop,
    ) -> Result<Embeddings, EmbedError> {
        let count = texts.len();
        let embed = |(at, text)| async move {
            self.embed_one(text, kind).await.inspect(|vector| arrived(at, vector))
        };
        let parts = stream::iter(texts).enumerate().map(embed).buffered(self.threads);
        let parts = parts.take_until(stop.stopped());
        Embeddings::join(self.inner.dimensions, count, parts).await
    }

    async fn warm(&self) -> Result<(), EmbedError> {
        // a run, not only a load: it also faults the weights in
        self.embed_one("warm".into(), Kind::Query).await.map(drop)
    }
}
