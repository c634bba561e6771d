//! Where work runs: CPU pools of our own, entered from async code through one door.

mod pool;

pub use pool::{CpuPool, Pools};
