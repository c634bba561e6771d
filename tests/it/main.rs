//! Tests of the whole library from outside.

mod atomic_replace;
mod bad_input;
mod cache;
mod cli;
mod collections;
mod crash;
mod damage;
mod degrade;
mod dispatch;
mod engine;
mod filters;
mod format;
mod job_events;
mod job_retry;
mod jobs;
mod local_models;
mod maintenance;
mod model;
mod power_loss;
mod quickstart;
mod rest;
mod scores;
mod shutdown;
mod sim_disk;
mod storage;
mod support;
