//! What several tests share.

pub mod sim_disk;
