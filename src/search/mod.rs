//! The read path: plan → recall (dense ∥ lexical) → fuse → rerank → assemble.

pub mod request;
pub mod response;
