//! What the handlers of all namespaces share: entering the list of connections, order, and answers.

use std::{
    future::Future,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use axum::extract::ConnectInfo;
use garde::Validate;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tracing::{debug, warn};
use watertight_socketioxide::{
    SocketIo,
    extract::{AckSender, SocketRef, State, TryData},
};

use crate::{
    Shared, payload,
    reply::{Code, Failure, Reply},
};

/// The future of a handler.
pub type Handling = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The address of the client, or of the proxy in front of it.
#[must_use]
pub fn peer(socket: &SocketRef) -> Option<SocketAddr> {
    socket.req_parts().extensions.get::<ConnectInfo<SocketAddr>>().map(|&ConnectInfo(peer)| peer)
}

/// Enters a socket into the list of connections; false if it may not stay.
///
/// Call it after the disconnect handler is registered: a client may be gone before its connect handler runs, and then
/// nobody would take the entry out again.
pub fn enter(socket: &SocketRef, shared: &Shared) -> bool {
    let (id, namespace) = (socket.id.as_str(), socket.ns());
    if let Err(full) = shared.connections.connected(id, namespace, peer(socket)) {
        warn!(socket_id = id, namespace, "refusing a socket: {full}");
        if let Err(error) = socket.clone().disconnect() {
            warn!(socket_id = id, namespace, %error, "cannot disconnect a refused socket");
        }
        return false;
    }
    if !socket.connected() {
        shared.connections.disconnected(id, namespace);
        return false;
    }
    true
}

/// One event that a client sent, with what it takes to handle it.
pub struct Call {
    /// Who sent it.
    pub socket: SocketRef,
    /// The whole of the server's namespaces.
    pub io: SocketIo,
    /// What all handlers share.
    pub shared: Shared,
    payload: Result<Value, String>,
}

impl Call {
    /// Takes the payload, checked against the bounds of its type; a second call finds none.
    ///
    /// # Errors
    ///
    /// Those of [`payload::read`].
    pub fn read<T>(&mut self) -> Result<T, Failure>
    where
        T: DeserializeOwned + Validate<Context = ()>,
    {
        payload::read(std::mem::replace(&mut self.payload, Err("the payload was taken".to_owned())))
    }

    /// Like [`read`](Self::read), where no payload means an empty one.
    ///
    /// # Errors
    ///
    /// Those of [`payload::read`].
    pub fn read_optional<T>(&mut self) -> Result<T, Failure>
    where
        T: DeserializeOwned + Validate<Context = ()>,
    {
        if self.payload.is_err() {
            self.payload = Ok(Value::Object(serde_json::Map::new()));
        }
        self.read()
    }
}

/// Makes a message handler that starts in the order of its messages and answers with what the function returns.
///
/// Each message is handled in a task of its own, and tasks start in any order: two messages of one client could overtake
/// each other. The first step of a handler, up to where it first has to wait, is therefore made while the message is
/// read. With the local adapter that is the whole of a handler that only broadcasts.
pub fn ordered<T, F>(
    handler: impl Fn(Call) -> F + Clone + Send + Sync + 'static,
) -> impl Fn(SocketRef, SocketIo, TryData<Value>, State<Shared>, AckSender) -> Handling
+ Clone
+ Send
+ Sync
+ 'static
where
    T: Serialize + Send + 'static,
    F: Future<Output = Result<T, Failure>> + Send + 'static,
{
    move |socket, io, TryData(payload), State(shared), ack| {
        let payload = payload.map_err(|error| error.to_string());
        let handling = handler(Call { socket, io, shared, payload });
        let mut handling: Handling = Box::pin(async move { answer(ack, handling.await) });
        // What is not finished is polled again by its task, with a waker that counts.
        match handling.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(()) => Box::pin(std::future::ready(())),
            Poll::Pending => handling,
        }
    }
}

/// Sends the answer to an event, if its sender asked for one. A failure counts against the sender whether it did or not.
pub fn answer<T: Serialize>(ack: AckSender, outcome: Result<T, Failure>) {
    if let Err(failure) = &outcome {
        debug!(code = ?failure.code, field = failure.field, "an event is refused: {}", failure.message);
        if let Some(misbehaviour) = failure.code.misbehaviour() {
            watertight::misbehaved(misbehaviour);
        }
    }
    if let Err(error) = ack.send(&Reply::from(outcome)) {
        debug!(%error, "the sender of an event left before its answer");
    }
}

/// Answers an event that the namespace does not have.
pub async fn unknown_event(socket: SocketRef, ack: AckSender) {
    let message = format!("there is no such event in {}", socket.ns());
    answer::<()>(ack, Err(Failure::new(Code::UnknownEvent, message)));
}
