//! What several tests share.

pub mod counting;
pub mod fixture;
pub mod provider;
pub mod random;
pub mod server;
pub mod sim_disk;
