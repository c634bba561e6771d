//! The HNSW graph (Malkov & Yashunin, <https://arxiv.org/abs/1603.09320>) over the rows of a segment.
//!
//! A graph is made once and never changed. [`build`] finds exact duplicates, lets a [`GraphBuilder`]
//! link the distinct rows, repairs what it made (diverse links, every row reachable), and
//! [`Graph::write`] freezes the result into a `graph` part. [`GraphPart`] is that file, mapped;
//! [`search`] walks it.

mod builder;
mod duplicates;
mod links;
mod part;
mod repair;
mod space;
mod visited;
mod walk;

use std::sync::atomic::{AtomicBool, Ordering};

use super::VectorPart;
use crate::collection::definition::{Builder, VectorDefinition};
use crate::store::Result;

pub use builder::GraphBuilder;
pub use links::{Graph, Layer, Links};
pub use part::GraphPart;
pub use space::Space;
pub use walk::search;

/// How densely a graph is linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GraphParameters {
    /// Links of a row in the upper layers; twice as many in the bottom layer.
    pub m: u32,
    /// Candidates looked at for each row while building.
    pub ef_construction: u32,
}

impl From<&VectorDefinition> for GraphParameters {
    fn from(definition: &VectorDefinition) -> Self {
        Self { m: definition.m, ef_construction: definition.ef_construction }
    }
}

/// Builds the graph over all rows of `part`, with the threads of the rayon pool it is called in.
/// `None` once `cancel` is set (looked at every few hundred rows). `m` is brought into 4..=64, the
/// range of a definition: `hnsw_rs` ends the process for some values outside it.
pub fn build(
    part: &VectorPart,
    builder: Builder,
    parameters: GraphParameters,
    cancel: &AtomicBool,
) -> Result<Option<Graph>> {
    let builder: &dyn GraphBuilder = match builder {
        Builder::HnswRs => &builder::HnswRs,
    };
    let parameters = GraphParameters { m: parameters.m.clamp(4, 64), ..parameters };
    let space = Space::new(part)?;
    let (distinct, duplicates) = duplicates::find(&space);
    let Some(mut graph) = builder.build(&space, &distinct, parameters, cancel) else { return Ok(None) };
    for layer in &mut graph.layers {
        if cancel.load(Ordering::Relaxed) {
            return Ok(None);
        }
        layer.links = repair::diversify(layer, &space);
    }
    if let Some(bottom) = graph.layers.first_mut() {
        duplicates::attach(&duplicates, &mut bottom.links);
    }
    repair::connect_layers(&mut graph);
    Ok(Some(graph))
}
