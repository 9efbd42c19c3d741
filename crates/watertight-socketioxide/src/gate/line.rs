//! What waits for a lane thread: the events of one socket in one namespace, and its connect and disconnect handlers.

use std::sync::Arc;

use socketioxide::adapter::Adapter;
use socketioxide::socket::Socket;
use watertight::{Job, Strand, StrandLimits};

use super::Message;
use crate::handler::message::AnyHandler;

/// How much of one socket may wait while a handler of it blocks: more than a client within the server's default rates can
/// send in the two seconds until it is sealed for that.
pub(super) const LIMITS: StrandLimits = StrandLimits { jobs: 32 * 1024, weight: 64 * 1024 * 1024 };

/// The work of one socket, in order.
pub(super) type Line<A> = Strand<Work<A>>;

pub(super) enum Work<A: Adapter> {
    Event(Arc<AnyHandler<A>>, Arc<Socket<A>>, Message),
    Call(Box<dyn FnOnce() + Send>),
}

impl<A: Adapter> Job for Work<A> {
    fn run(self) {
        match self {
            Self::Event(handler, socket, Message { value, ack_id }) => {
                handler.dispatch(socket, value, ack_id)
            }
            Self::Call(call) => call(),
        }
    }

    fn weight(&self) -> usize {
        match self {
            Self::Event(_, _, message) => super::Size::size(message),
            Self::Call(_) => 0,
        }
    }
}
