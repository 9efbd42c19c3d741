//! Handlers: the traits that closures and functions implement, and the guards around them.
//!
//! The traits have socketioxide's names and, but for [`DisconnectHandler`], its signatures, so code that implements
//! or calls them only changes its imports. The extractor traits are socketioxide's own.

use std::future::Future;
use std::pin::Pin;

pub(crate) mod connect;
pub(crate) mod disconnect;
mod macros;
pub(crate) mod message;
pub(crate) mod refusal;

pub use connect::{ConnectHandler, ConnectMiddleware};
pub use disconnect::DisconnectHandler;
pub use message::MessageHandler;
pub use socketioxide::handler::{
    FromConnectParts, FromDisconnectParts, FromMessage, FromMessageParts, Value,
};

/// Runs a handler's future: here when this is a lane, which is where handlers are called when there are any, else on
/// the server's runtime.
#[inline]
fn start<F>(future: F)
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    match watertight::lanes() {
        Some(lanes) => lanes.start(future),
        None => watertight::spawn_brief(future),
    }
}

/// The future of a handler that somebody else than a guard has called. In a box, so that what starts it is compiled once and
/// not once more for each handler.
#[cold]
fn boxed(future: impl Future<Output = ()> + Send + 'static) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(future)
}
