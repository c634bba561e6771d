//! Where work runs: CPU pools of our own, entered from async code through one door. And how it is told to stop.

mod pool;
mod stop;

pub use pool::{CpuPool, Pools};
pub use stop::Stop;
