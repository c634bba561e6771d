//! all-MiniLM-L6-v2 (int8) inside the binary.

use super::onnx::Onnx;
use crate::local::{Files, Manifest, ModelKind, Pooling};

const NETWORK: &[u8] = include_bytes!("../../models/all-minilm-l6-v2/model.onnx");
const TOKENIZER: &[u8] = include_bytes!("../../models/all-minilm-l6-v2/tokenizer.json");
const ID: &str = "all-minilm-l6-v2-int8";

/// The model in the binary, with `threads` threads for queries and as many for documents.
pub(super) fn open(threads: usize) -> Onnx {
    let manifest = Manifest {
        id: ID.into(),
        kind: ModelKind::Embedder,
        licence: "Apache-2.0".into(),
        dimensions: 384,
        max_tokens: 256,
        pooling: Pooling::Mean,
        query_prefix: String::new(),
        document_prefix: String::new(),
        weight: 0.45,
        floor: 0.0,
        english: true,
    };
    Onnx::new(ID.into(), manifest, Files::Static { network: NETWORK, tokenizer: TOKENIZER }, threads)
}

#[cfg(test)]
mod tests;
