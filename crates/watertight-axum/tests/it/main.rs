//! Real servers on free ports, with bystanders. One recovery for all; the tests take turns, because they look at
//! what is left in the whole process.

mod busy_polling;
mod bystanders;
mod client;
mod deaf;
mod guarded_io;
mod http;
mod layer;
mod server;
mod shutdown;
mod takeover;
mod tls;
mod websocket;
