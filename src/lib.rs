//! gleaner: a RAG retrieval service in one binary.
//!
//! Documents in, evidence out: documents are chunked with real tokenizers, embedded by a provider or by
//! the model inside the binary, and kept in immutable segments with an mmapped vector index and a
//! tantivy index over the same rows; a search fuses both. gleaner is not a generation framework, not a training
//! tool and not a general database.
//!
//! Reading order, along the two main paths:
//!
//! - write: [`ingest`] receives documents, [`chunk`]s them, [`embed`]s the chunks and hands them to
//!   [`collection`], which commits them as a [`segment`]; [`local`] are the models that run in this process;
//! - read: [`search`] plans, recalls from [`vector`] and [`text`], fuses, [`rerank`]s and assembles;
//! - [`dispatch`] makes the calls to providers that [`embed`] and [`rerank`] need;
//! - [`rows`] is the set of rows that both legs look at, [`store`] the bytes on disk, [`runtime`] the CPU
//!   pools, [`engine`] the handle that [`api`] (HTTP) and [`cli`] drive.

#![deny(unsafe_code, missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod api;
pub mod chunk;
pub mod cli;
pub mod collection;
pub mod config;
pub mod dispatch;
pub mod document;
pub mod embed;
pub mod engine;
pub mod error;
pub mod eval;
pub mod import;
pub mod ingest;
pub mod local;
pub mod rerank;
pub mod rows;
pub mod runtime;
pub mod search;
pub mod segment;
pub mod store;
pub mod text;
pub mod vector;

pub use error::{Code, Error, Result};
