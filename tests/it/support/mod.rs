//! What several tests share.

pub mod counting;
pub mod fixture;
pub mod provider;
pub mod random;
pub mod scripted;
pub mod server;
pub mod sim_disk;
