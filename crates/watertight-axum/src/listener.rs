//! A listener whose connections are guarded.

use std::any::Any;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};

use axum::serve::Listener;
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::sync::watch;
use watertight::{CloseMode, ServerId};

use crate::io::{GuardedIo, Part};
use crate::pace::Pace;

/// Wraps a listener: every connection it accepts is a [`GuardedIo`].
///
/// Plain TCP connections are [tuned](tune). They get `TCP_NODELAY`: without it a second small frame waits for the client's delayed
/// acknowledgement, and a client learns of its incident after 46 ms instead of 2. A listener that wraps TCP
/// in something else (TLS) does it itself, before the handshake.
pub struct GuardedListener<L> {
    listener: L,
    server: ServerId,
    accepted: Accepted,
    pace: Option<Pace>,
    /// Whether the next connection may be accepted, as far as the pace goes.
    may_accept: bool,
    /// Whether others accept from now on.
    stopped: watch::Sender<bool>,
}

/// How much the system buffers for a client that does not read; Linux takes twice of that. Enough for 5 MB/s over 100 ms,
/// and little enough to see soon that nothing is taken.
const SEND_BUFFER: usize = 256 * 1024;

/// Sets what guarded connections need: `TCP_NODELAY`, and a send buffer of 256 KiB. [`GuardedListener`] does it for plain
/// TCP; a listener that wraps TCP in something else calls it before the handshake.
///
/// # Errors
///
/// Those of the operating system, such as for a connection that is gone already.
pub fn tune(tcp: &TcpStream) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    socket2::SockRef::from(tcp).set_send_buffer_size(SEND_BUFFER)
}

/// The connections of one server that may still be open. Clones share.
#[derive(Clone, Default)]
pub(crate) struct Accepted(Arc<Mutex<Vec<Weak<dyn Part>>>>);

impl Accepted {
    fn add(&self, part: Weak<dyn Part>) {
        let mut parts = self.0.lock();
        // Those that are gone make room before the list grows, so it stays within twice of what is open.
        if parts.len() == parts.capacity() {
            parts.retain(|part| part.strong_count() > 0);
            let open = parts.len();
            parts.reserve(open.max(16));
        }
        parts.push(part);
    }

    /// How many are still open.
    pub(crate) fn open(&self) -> usize {
        let parts = self.0.lock();
        parts.iter().filter_map(Weak::upgrade).filter(|part| !part.is_gone()).count()
    }

    /// Wakes whoever reads from them.
    pub(crate) fn wake(&self) {
        let parts: Vec<_> = self.0.lock().iter().filter_map(Weak::upgrade).collect();
        for part in parts {
            part.wake();
        }
    }

    /// Cuts whatever is still open.
    pub(crate) fn cut(&self) {
        let parts = std::mem::take(&mut *self.0.lock());
        for part in parts.iter().filter_map(Weak::upgrade) {
            part.close(CloseMode::Forced);
        }
    }
}

impl<L: Listener> GuardedListener<L> {
    /// Guards what `listener` accepts.
    pub fn new(listener: L) -> Self {
        let (server, accepted) = (ServerId::new(), Accepted::default());
        let (stopped, _) = watch::channel(false);
        Self { listener, server, accepted, pace: None, may_accept: false, stopped }
    }

    /// Accepts at this pace. Default: as fast as it can.
    #[must_use]
    pub fn pace(mut self, pace: Pace) -> Self {
        self.pace = Some(pace);
        self
    }

    /// What makes it accept nothing any more.
    pub(crate) fn stopper(&self) -> watch::Sender<bool> {
        self.stopped.clone()
    }

    pub(crate) fn accepted(&self) -> Accepted {
        self.accepted.clone()
    }

    /// Names this server, for [`Watertight::drain`](watertight::Watertight::drain).
    #[must_use]
    pub fn server(&self) -> ServerId {
        self.server
    }
}

impl<L: Listener> Listener for GuardedListener<L> {
    type Io = GuardedIo<L::Io>;
    type Addr = L::Addr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let mut stopped = self.stopped.subscribe();
        let stop = async move {
            // The sender is here.
            let _ = stopped.wait_for(|stopped| *stopped).await;
        };
        let accepting = async {
            if !self.may_accept
                && let Some(pace) = &self.pace
            {
                pace.wait().await;
            }
            self.may_accept = true;
            self.listener.accept().await
        };
        let (io, address) = tokio::select! {
            biased;
            () = stop => std::future::pending().await,
            accepted = accepting => accepted,
        };
        self.may_accept = false;
        if let Some(tcp) = (&io as &dyn Any).downcast_ref::<TcpStream>() {
            // A connection that is reset already fails here, and will soon enough elsewhere.
            let _ = tune(tcp);
        }
        let peer = (&address as &dyn Any).downcast_ref::<SocketAddr>().copied();
        let io = GuardedIo::new(io, peer, self.server);
        self.accepted.add(io.part());
        (io, address)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

impl<L: fmt::Debug> fmt::Debug for GuardedListener<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardedListener")
            .field("listener", &self.listener)
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}
