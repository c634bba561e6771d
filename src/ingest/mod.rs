//! The write path: receive → chunk → embed → commit.
//!
//! [`receive`] checks what a client sent and puts it in the order of acceptance; with `wait` it is prepared
//! and published at once, otherwise it is an inbox batch with a [`job`] that the collection's [`worker`]
//! takes up. [`prepare`] turns accepted documents into chunks, vectors and terms; the collection's publisher
//! makes them a segment. [`outcomes`] tells what became of each, [`retry`] takes up what failed once more,
//! [`forget`] drops the oldest jobs.

pub mod forget;
pub mod job;
pub mod jobs;
pub mod outcomes;
pub mod prepare;
pub mod receive;
pub mod retry;
pub mod worker;
