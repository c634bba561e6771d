//! Tests of the whole library from outside.

mod bad_input;
mod cli;
mod crash;
mod engine;
mod quickstart;
mod rest;
mod sim_disk;
mod support;
