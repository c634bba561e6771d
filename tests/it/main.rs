//! Tests of the whole library from outside.

mod atomic_replace;
mod cli;
mod collections;
mod damage;
mod degrade;
mod engine;
mod filters;
mod jobs;
mod model;
mod power_loss;
mod scores;
mod sim_disk;
mod support;
