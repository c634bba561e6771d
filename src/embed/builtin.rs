//! all-MiniLM-L6-v2 (int8) inside the binary, run by `rten`.
//!
//! One text is one run, never a padded batch, for three measured reasons: the activations are quantised over
//! the whole tensor of a run, so a text's vector would depend on the company it was embedded in; with
//! prepacked weights a batch is no faster from about 30 tokens up; and a run takes at most 0.1 s and
//! a few MB, so an import can be cancelled at once and memory stays flat.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use futures::{StreamExt, stream};
use rten::{ModelOptions, NodeId, RunOptions, ValueView};

use super::lane::Lane;
use super::tokenizer;
use super::{Arrived, EmbedError, Embedder, Embeddings, Kind, Model};
use crate::chunk::{HfTokenizer, Tokenizer};

const NETWORK: &[u8] = include_bytes!("../../models/all-minilm-l6-v2/model.onnx");
const TOKENIZER: &[u8] = include_bytes!("../../models/all-minilm-l6-v2/tokenizer.json");
const DIMENSIONS: usize = 384;

/// What the model was trained to read, without `[CLS]` and `[SEP]`.
const MAX_TOKENS: usize = 254;

/// Beyond this a text is cut before it is tokenized: its first `MAX_TOKENS` tokens end long before, and a
/// text of megabytes would be tokenized for nothing.
const MAX_BYTES: usize = 32 * 1024;

/// The model in the binary. Loaded at the first use.
pub(super) struct Builtin {
    model: Model,
    tokenizer: Arc<OnceLock<Result<Arc<HfTokenizer>, EmbedError>>>,
    network: Arc<OnceLock<Result<Network, EmbedError>>>,
    queries: Lane,
    documents: Lane,
    threads: usize,
}

impl Builtin {
    /// The model, with `threads` threads for queries and as many for documents.
    pub fn new(threads: usize) -> Self {
        let model = Model {
            id: "all-minilm-l6-v2-int8".into(),
            dimensions: DIMENSIONS,
            max_tokens: MAX_TOKENS,
            dense_weight: 0.45,
            dense_floor: 0.0,
            english: true,
        };
        Self {
            model,
            tokenizer: Arc::default(),
            network: Arc::default(),
            queries: Lane::new(threads),
            documents: Lane::new(threads),
            threads,
        }
    }

    /// Embeds `text` on `lane`.
    async fn embed_one(&self, lane: &Lane, text: String) -> Result<Vec<f32>, EmbedError> {
        let (tokenizer, network) = (self.tokenizer.clone(), self.network.clone());
        lane.run(move |options| {
            let tokenizer = load_tokenizer(&tokenizer)?;
            let network = load_network(&network, &tokenizer)?;
            network.embed(&tokenizer::ids(&tokenizer, super::cut(&text, MAX_BYTES))?, options)
        })
        .await
    }
}

fn load_tokenizer(
    cell: &OnceLock<Result<Arc<HfTokenizer>, EmbedError>>,
) -> Result<Arc<HfTokenizer>, EmbedError> {
    cell.get_or_init(|| tokenizer::load(TOKENIZER, "the built-in tokenizer")).clone()
}

fn load_network<'a>(
    cell: &'a OnceLock<Result<Network, EmbedError>>,
    tokenizer: &HfTokenizer,
) -> Result<&'a Network, EmbedError> {
    cell.get_or_init(|| Network::load(tokenizer)).as_ref().map_err(Clone::clone)
}

#[async_trait]
impl Embedder for Builtin {
    fn model(&self) -> &Model {
        &self.model
    }

    fn tokenizer(&self) -> Result<Arc<dyn Tokenizer>, EmbedError> {
        Ok(load_tokenizer(&self.tokenizer)?)
    }

    async fn embed(&self, texts: Vec<String>, kind: Kind) -> Result<Embeddings, EmbedError> {
        self.embed_each(texts, kind, &|_, _| {}).await
    }

    async fn embed_each(
        &self,
        texts: Vec<String>,
        kind: Kind,
        arrived: &Arrived<'_>,
    ) -> Result<Embeddings, EmbedError> {
        let lane = match kind {
            Kind::Query => &self.queries,
            Kind::Document => &self.documents,
        };
        let count = texts.len();
        let embed = |(at, text)| async move {
            self.embed_one(lane, text).await.inspect(|vector| arrived(at, vector))
        };
        let parts = stream::iter(texts).enumerate().map(embed).buffered(self.threads);
        Embeddings::join(DIMENSIONS, count, parts).await
    }

    async fn warm(&self) -> Result<(), EmbedError> {
        // a run, not only a load: it also faults the weights in
        self.embed_one(&self.queries, "warm".into()).await.map(drop)
    }
}

/// The loaded network.
struct Network {
    network: rten::Model,
    input_ids: NodeId,
    attention_mask: NodeId,
    token_type_ids: NodeId,
    output: NodeId,
    start: i32,
    end: i32,
}

impl Network {
    fn load(tokenizer: &HfTokenizer) -> Result<Self, EmbedError> {
        let fail = |error: &dyn std::fmt::Display| {
            EmbedError::Config(format!("the built-in model could not be loaded: {error}"))
        };
        // Packed at load: 10 MB more, and a query takes 3 ms instead of 16.
        let network = ModelOptions::with_all_ops()
            .prepack_weights(true)
            .load_static_slice(NETWORK)
            .map_err(|error| fail(&error))?;
        let node = |name| network.node_id(name).map_err(|error| fail(&error));
        let special = |token: &str| {
            let id = tokenizer.id_of(token).and_then(|id| i32::try_from(id).ok());
            id.ok_or_else(|| fail(&format!("its vocabulary has no {token}")))
        };
        Ok(Self {
            input_ids: node("input_ids")?,
            attention_mask: node("attention_mask")?,
            token_type_ids: node("token_type_ids")?,
            output: *network.output_ids().first().ok_or_else(|| fail(&"it has no output"))?,
            start: special("[CLS]")?,
            end: special("[SEP]")?,
            network,
        })
    }

    /// The unit vector of a text of these tokens: the mean of the network's output over all tokens,
    /// `[CLS]` and `[SEP]` included.
    fn embed(&self, ids: &[u32], options: RunOptions) -> Result<Vec<f32>, EmbedError> {
        let fail = |error: &dyn std::fmt::Display| {
            EmbedError::Provider(format!("the built-in model could not embed a text: {error}"))
        };
        let body = ids.iter().take(MAX_TOKENS).map(|&id| id as i32);
        let ids: Vec<i32> = std::iter::once(self.start).chain(body).chain([self.end]).collect();
        let (mask, types) = (vec![1; ids.len()], vec![0; ids.len()]);
        let view = |values| ValueView::from_shape([1, ids.len()], values).map_err(|error| fail(&error));
        let inputs = vec![
            (self.input_ids, view(ids.as_slice())?.into()),
            (self.attention_mask, view(mask.as_slice())?.into()),
            (self.token_type_ids, view(types.as_slice())?.into()),
        ];
        let [output] =
            self.network.run_n(inputs, [self.output], Some(options)).map_err(|error| fail(&error))?;
        let ([_, _, width], rows) = output.into_shape_vec::<f32, 3>().map_err(|error| fail(&error))?;
        if width != DIMENSIONS {
            return Err(fail(&format!("its vectors have {width} values")));
        }
        let mut mean = vec![0.0; DIMENSIONS];
        for row in rows.chunks_exact(DIMENSIONS) {
            mean.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
        }
        // the length of the sum is divided out, so the number of tokens need not be
        match super::normalize(&mut mean) {
            true => Ok(mean),
            false => Err(fail(&"its output is not finite")),
        }
    }
}

#[cfg(test)]
mod tests;
