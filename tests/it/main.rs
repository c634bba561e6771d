//! Tests of the whole library from outside.

mod engine;
mod sim_disk;
mod support;
