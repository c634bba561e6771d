//! What several tests share.

pub mod random;
pub mod server;
pub mod sim_disk;
