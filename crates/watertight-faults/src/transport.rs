//! Faults of the transport: panics inside its own tasks, and clients that take nothing.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use axum::serve::Listener;
use bytes::Bytes;
use http_body::Frame;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::outlet::Outlet;
use crate::panic_now;

/// Which connections and sessions are to panic the next time that they read, and which take nothing more. Clones
/// share.
#[derive(Debug, Clone, Default)]
pub struct TransportFaults(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    any: AtomicBool,
    /// With what their panics say beside where they are.
    connections: Mutex<HashMap<SocketAddr, String>>,
    sessions: Mutex<HashMap<String, String>>,
    outlets: Mutex<HashMap<SocketAddr, &'static [u8]>>,
}

impl TransportFaults {
    /// Nothing is armed.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The next read from this client's TCP connection panics, in whatever task it happens.
    pub fn arm_connection(&self, peer: SocketAddr) {
        self.arm_connection_saying(peer, "");
    }

    /// The same, and the panic's text ends in `whose`: for those who compare it with whom it is traced to.
    pub fn arm_connection_saying(&self, peer: SocketAddr, whose: impl Into<String>) {
        self.0.connections.lock().insert(peer, whose.into());
        self.0.any.store(true, Ordering::Release);
    }

    /// The next POST of this Engine.IO session panics while the engine reads its body.
    pub fn arm_session(&self, session: impl Into<String>) {
        self.arm_session_saying(session, "");
    }

    /// The same, and the panic's text ends in `whose`.
    pub fn arm_session_saying(&self, session: impl Into<String>, whose: impl Into<String>) {
        self.0.sessions.lock().insert(session.into(), whose.into());
        self.0.any.store(true, Ordering::Release);
    }

    /// This client's TCP connection takes what is written up to and with `last_words`, and then nothing more, as if
    /// its client did not read: writes stay pending, and nobody is woken for them. It can still be closed.
    pub fn close_outlet(&self, peer: SocketAddr, last_words: &'static [u8]) {
        self.0.outlets.lock().insert(peer, last_words);
        self.0.any.store(true, Ordering::Release);
    }

    fn takes_outlet(&self, peer: SocketAddr) -> Option<&'static [u8]> {
        if self.0.any.load(Ordering::Acquire) { self.0.outlets.lock().remove(&peer) } else { None }
    }

    fn takes_connection(&self, peer: SocketAddr) -> Option<String> {
        if self.0.any.load(Ordering::Acquire) { self.0.connections.lock().remove(&peer) } else { None }
    }

    fn takes_session(&self, session: &str) -> Option<String> {
        if self.0.any.load(Ordering::Acquire) { self.0.sessions.lock().remove(session) } else { None }
    }
}

/// Panics there, for whom it was armed.
#[track_caller]
fn panic_in(place: &str, whose: &str) -> ! {
    if whose.is_empty() { panic_now(place) } else { panic_now(&format!("{place}, {whose}")) }
}

/// A listener whose connections fail when armed. Goes below the guarded one.
#[derive(Debug)]
pub struct FaultyListener<L> {
    listener: L,
    faults: TransportFaults,
}

impl<L> FaultyListener<L> {
    /// Wraps `listener`.
    pub fn new(listener: L, faults: TransportFaults) -> Self {
        Self { listener, faults }
    }
}

impl<L: Listener<Addr = SocketAddr>> Listener for FaultyListener<L> {
    type Io = FaultyIo<L::Io>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        let (io, peer) = self.listener.accept().await;
        (FaultyIo::new(io, peer, self.faults.clone()), peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that fails when armed.
#[derive(Debug)]
pub struct FaultyIo<IO> {
    io: IO,
    peer: SocketAddr,
    faults: TransportFaults,
    outlet: Outlet,
}

impl<IO> FaultyIo<IO> {
    fn new(io: IO, peer: SocketAddr, faults: TransportFaults) -> Self {
        Self { io, peer, faults, outlet: Outlet::default() }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for FaultyIo<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(whose) = self.faults.takes_connection(self.peer) {
            panic_in("the engine's reader task", &whose);
        }
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for FaultyIo<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if let Some(last_words) = self.faults.takes_outlet(self.peer) {
            self.outlet = Outlet::until(last_words);
        }
        if self.outlet.is_closed() {
            // Nobody is woken for it: whoever writes waits for as long as the client does not read.
            return Poll::Pending;
        }
        let written = ready!(Pin::new(&mut self.io).poll_write(cx, buf))?;
        self.outlet.wrote(&buf[..written]);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// An axum middleware, to be put around the Socket.IO layer: bodies of armed sessions panic when read.
pub async fn fail_bodies(State(faults): State<TransportFaults>, request: Request, next: Next) -> Response {
    let session =
        request.uri().query().unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix("sid="));
    let armed = if request.method() == axum::http::Method::POST {
        session.and_then(|session| faults.takes_session(session))
    } else {
        None
    };
    let request = match armed {
        Some(whose) => request.map(|_| Body::new(PanickingBody { whose })),
        None => request,
    };
    next.run(request).await
}

#[derive(Debug)]
struct PanickingBody {
    whose: String,
}

impl http_body::Body for PanickingBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        panic_in("the engine's reading of a request", &self.whose)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;
    use tokio::io::duplex;

    #[test]
    fn a_closed_outlet_takes_its_last_words_and_nothing_more() {
        let faults = TransportFaults::new();
        let peers = [1, 2].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let ends = peers.map(|peer| {
            let (near, far) = duplex(1024);
            (FaultyIo::new(near, peer, faults.clone()), far)
        });
        let [(mut armed, _armed_client), (mut other, _client)] = ends;
        let cx = &mut Context::from_waker(Waker::noop());
        let mut write = |io: &mut FaultyIo<_>, text: &str| Pin::new(io).poll_write(cx, text.as_bytes());

        faults.close_outlet(peers[0], b"armed");
        assert!(write(&mut armed, "before").is_ready());
        assert!(write(&mut armed, "[armed]").is_ready());
        for _ in 0..2 {
            assert!(write(&mut armed, "after").is_pending());
            assert!(write(&mut other, "armed").is_ready(), "another connection");
        }
    }
}
