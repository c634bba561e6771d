//! A BERT-like network in ONNX, run by `rten`: token ids in, rows out.
//!
//! One text is one run, never a padded batch, for three measured reasons: the activations are quantised over
//! the whole tensor of a run, so a text's output would depend on the company it was run in; with
//! prepacked weights a batch is no faster from about 30 tokens up; and a run takes at most 0.1 s and
//! a few MB, so work can be cancelled at once and memory stays flat.

use std::path::Path;

use rten::{Model, ModelOptions, NodeId, RunOptions, Value, ValueView};

use crate::chunk::HfTokenizer;

/// A loaded network.
pub(crate) struct Network {
    network: Model,
    input_ids: NodeId,
    attention_mask: NodeId,
    /// Some networks know only one kind of text.
    token_type_ids: Option<NodeId>,
    output: NodeId,
    start: i32,
    end: i32,
}

impl Network {
    /// Loads the network in that file.
    pub fn load_file(path: &Path, tokenizer: &HfTokenizer) -> Result<Network, String> {
        // Packed at load: 10 MB more, and a query takes 3 ms instead of 16.
        let network = ModelOptions::with_all_ops().prepack_weights(true).load_file(path);
        Network::new(
            network.map_err(|error| format!("{} could not be loaded: {error}", path.display()))?,
            tokenizer,
        )
    }

    /// Loads the network that is part of the program.
    #[cfg(feature = "builtin-model")]
    pub fn load_static(bytes: &'static [u8], tokenizer: &HfTokenizer) -> Result<Network, String> {
        let network = ModelOptions::with_all_ops().prepack_weights(true).load_static_slice(bytes);
        Network::new(
            network.map_err(|error| format!("the built-in model could not be loaded: {error}"))?,
            tokenizer,
        )
    }

    fn new(network: Model, tokenizer: &HfTokenizer) -> Result<Network, String> {
        let node = |name: &str| network.node_id(name).map_err(|error| format!("the network: {error}"));
        let special = |token: &str| {
            let id = tokenizer.id_of(token).and_then(|id| i32::try_from(id).ok());
            id.ok_or_else(|| format!("the vocabulary has no {token}"))
        };
        Ok(Network {
            input_ids: node("input_ids")?,
            attention_mask: node("attention_mask")?,
            token_type_ids: network.find_node("token_type_ids"),
            output: *network.output_ids().first().ok_or("the network has no output")?,
            start: special("[CLS]")?,
            end: special("[SEP]")?,
            network,
        })
    }

    /// Runs `[CLS] first [SEP]`, or `[CLS] first [SEP] second [SEP]`.
    pub fn run(&self, first: &[u32], second: Option<&[u32]>, options: RunOptions) -> Result<Value, String> {
        let mut ids = Vec::with_capacity(first.len() + second.map_or(0, <[u32]>::len) + 3);
        ids.push(self.start);
        ids.extend(first.iter().map(|&id| id as i32));
        ids.push(self.end);
        let first_len = ids.len();
        if let Some(second) = second {
            ids.extend(second.iter().map(|&id| id as i32));
            ids.push(self.end);
        }
        let mut types = vec![0; ids.len()];
        types[first_len..].fill(1);
        let mask = vec![1; ids.len()];
        let view = |values| ValueView::from_shape([1, ids.len()], values).map_err(|error| error.to_string());
        let mut inputs = vec![
            (self.input_ids, view(ids.as_slice())?.into()),
            (self.attention_mask, view(mask.as_slice())?.into()),
        ];
        if let Some(node) = self.token_type_ids {
            inputs.push((node, view(types.as_slice())?.into()));
        }
        let [output] =
            self.network.run_n(inputs, [self.output], Some(options)).map_err(|error| error.to_string())?;
        Ok(output)
    }
}
