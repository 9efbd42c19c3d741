//! Handlers: the traits that closures and functions implement, and the guards around them.
//!
//! The traits have socketioxide's names and, but for [`DisconnectHandler`], its signatures, so code that implements
//! or calls them only changes its imports. The extractor traits are socketioxide's own.

pub(crate) mod connect;
pub(crate) mod disconnect;
mod macros;
pub(crate) mod message;

pub use connect::{ConnectHandler, ConnectMiddleware};
pub use disconnect::DisconnectHandler;
pub use message::MessageHandler;
pub use socketioxide::handler::{
    FromConnectParts, FromDisconnectParts, FromMessage, FromMessageParts, Value,
};
