//! The graph over the rows of a segment, in which a search walks from row to row towards the query.
//!
//! A graph is made once and never changed: [`build`] links the rows, [`Graph::write`] freezes them into a
//! `graph` part. [`GraphPart`] is that file, mapped; [`search`] walks it. It is a navigable small world with
//! links of all lengths in one layer: what the upper layers of an HNSW graph do (Malkov & Yashunin,
//! <https://arxiv.org/abs/1603.09320>), long links and a few hundred entries that are looked at all at once
//! do here.

mod ancestor;
#[cfg(test)]
mod ancestor_tests;
mod beam;
mod builder;
mod built;
mod calibrate;
mod calibration;
mod links;
mod panel;
mod part;
mod random;
mod scratch;
mod space;
mod walk;

pub use ancestor::Ancestor;
pub use builder::{GraphBuilder, GraphParameters, Layer, build};
pub use built::Graph;
pub use calibration::{Calibration, Effort};
pub use links::Links;
pub use panel::Panels;
pub use part::GraphPart;
pub use space::Space;
pub use walk::search;
