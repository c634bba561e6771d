//! What several tests share.

pub mod fixture;
pub mod provider;
pub mod random;
pub mod sim_disk;
