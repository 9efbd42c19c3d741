//! The supervisor on Unix: sockets are handed down, signals are caught, a channel connects parent and worker.

mod callbacks;
mod channel;
mod clock;
mod greeting;
mod listen;
mod notify;
mod oom;
mod recording;
mod signals;
mod spawn;
mod supervisor;
mod terminal;
mod worker;

pub use recording::Recording;
pub use supervisor::Supervisor;
pub use worker::Supervised;
