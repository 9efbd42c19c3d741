//! The supervisor on Unix: sockets are handed down, signals are caught, a channel connects parent and worker.

mod supervisor;
mod worker;

pub use supervisor::Supervisor;
pub use worker::Supervised;
