//! Tests of the whole library from outside.

mod cli;
mod engine;
mod sim_disk;
mod support;
