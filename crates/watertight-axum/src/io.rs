//! The wrapper around a connection's IO: it notes who polls it, and it can be closed from outside.

use std::any::{Any, TypeId};
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use watertight::{
    Activity, CloseMode, Connection, Lagging, Notice, Registry, Scope, ScopeExt, Seal, ServerId, Transport,
    TransportTasks, Unread,
};

use crate::watch::Watch;

/// A connection's IO, guarded. It works as the one it wraps, and
///
/// - it notes the tasks that read and write, so that a panic of theirs is traced to this connection;
/// - it can be closed while nobody polls it any more, because its tasks are dead.
///
/// [`GuardedListener`](crate::GuardedListener) makes them; use [`new`](Self::new) with servers that are not
/// axum's, and put [`connection`](Self::connection) into the extensions of the requests that arrive on it.
pub struct GuardedIo<IO: AsyncRead + AsyncWrite + Unpin + Send + 'static> {
    shared: Arc<Shared<IO>>,
    server: ServerId,
}

/// What the wrapper and those who close it share. What reads and writes look at comes first and lies within two lines of the
/// processor's cache, where nothing else is: with many clients none of it is there, and each line is waited for.
#[repr(C, align(64))]
struct Shared<IO> {
    state: Mutex<State<IO>>,
    transport: Arc<Transport>,
}

#[repr(C)]
struct State<IO> {
    /// Reads answer "end of file" from now on, so that the transport's own code ends the connection.
    ended: bool,
    /// Set whenever `not_taken` or `watch` are: they are in a line that is not looked at otherwise.
    is_observed: bool,
    /// `None` once closed: the descriptor is gone then, whoever still holds the wrapper.
    open: Option<Open<IO>>,
    watch: Option<Box<Watch>>,
    /// Since when the client has taken nothing of what is written.
    not_taken: Option<(Instant, Lagging)>,
}

#[repr(C)]
struct Open<IO> {
    io: IO,
    /// What was read to see whether somebody else reads. In a box, as the watch is, since it is hardly ever there.
    unread: Option<Box<ReadAhead>>,
    /// The key of the compartment it belongs to alone, as the transport has it; 0 while that is not known here.
    key: u64,
    reader: Option<Waker>,
    tasks: TransportTasks,
    writer: Option<Waker>,
}

/// Bytes that came while nobody read: the next read gets them.
struct ReadAhead {
    bytes: Vec<u8>,
    /// Up to here they have been read.
    read: usize,
    /// What that was at the last look.
    read_before: usize,
    /// What the read after them answers.
    then: Option<io::Result<()>>,
}

impl ReadAhead {
    /// `None` when nothing is left.
    fn take(&mut self, buf: &mut ReadBuf<'_>) -> Option<io::Result<()>> {
        let left = &self.bytes[self.read..];
        if left.is_empty() {
            return self.then.take();
        }
        let length = left.len().min(buf.remaining());
        buf.put_slice(&left[..length]);
        self.read += length;
        Some(Ok(()))
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin + Send + 'static> GuardedIo<IO> {
    /// Guards `io`, a connection of `server` from `peer`.
    pub fn new(io: IO, peer: Option<SocketAddr>, server: ServerId) -> Self {
        let shared = Shared {
            transport: Transport::new(peer),
            state: Mutex::new(State {
                ended: false,
                is_observed: false,
                open: Some(Open {
                    io,
                    unread: None,
                    key: 0,
                    reader: None,
                    tasks: TransportTasks::new(),
                    writer: None,
                }),
                watch: None,
                not_taken: None,
            }),
        };
        Self { shared: Arc::new(shared), server }
    }

    /// The handle that the requests of this connection carry in their extensions.
    #[must_use]
    pub fn connection(&self) -> Connection {
        let part: Arc<dyn Seal> = self.shared.clone();
        Connection::new(Arc::clone(&self.shared.transport), part, self.server)
    }

    /// What closes it, as long as it lives.
    pub(crate) fn part(&self) -> Weak<dyn Part> {
        let part: Arc<dyn Part> = self.shared.clone();
        Arc::downgrade(&part)
    }
}

/// A connection as its listener knows it.
pub(crate) trait Part: Seal {
    /// Wakes whoever reads.
    fn wake(&self);
}

/// How long a connection that we end is read to its end: longer than a round trip to the other side of the world, short
/// enough that nothing of it is left a second later.
const LINGER: Duration = Duration::from_millis(300);

/// What can be guarded.
trait Io: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<IO: AsyncRead + AsyncWrite + Unpin + Send + 'static> Io for IO {}

/// Says that nothing more will come, and reads what the client still sends until it hangs up: closing with bytes unread
/// resets the connection, and a reset overtakes the notice that the client is about to read. Should that panic, it is still its
/// client's connection.
fn linger<IO: Io>(mut io: IO, transport: &Transport) {
    // Without a runtime nobody could wait: the connection is reset then.
    let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
    let reading = async move {
        let mut bytes = [0; 4096];
        poll_fn(|cx| Pin::new(&mut io).poll_shutdown(cx)).await?;
        loop {
            let mut buf = ReadBuf::new(&mut bytes);
            poll_fn(|cx| Pin::new(&mut io).poll_read(cx, &mut buf)).await?;
            if buf.filled().is_empty() {
                return io::Result::Ok(());
            }
        }
    };
    // An error is an end as well.
    match transport.compartment() {
        Some(lease) => {
            let scope = Scope::new(Arc::clone(lease), Activity::transport());
            runtime.spawn(async { tokio::time::timeout(LINGER, reading.scoped(scope)).await.is_ok() });
        }
        None => {
            runtime.spawn(async { tokio::time::timeout(LINGER, reading).await.is_ok() });
        }
    }
}

/// Reads what is there; `None` when there is nothing. Whoever waits with `waker` goes on waiting.
fn read_now<IO: Io>(io: &mut IO, waker: &Waker, buf: &mut ReadBuf<'_>) -> Option<io::Result<()>> {
    // That nothing has come to plain TCP, which is most often so, takes one look.
    if let Some(tcp) = (io as &dyn Any).downcast_ref::<TcpStream>() {
        return match tcp.try_read_buf(buf) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            read => Some(read.map(|_| ())),
        };
    }
    // With the reader's own waker, so that it is woken when something comes, as before.
    match Pin::new(io).poll_read(&mut Context::from_waker(waker), buf) {
        Poll::Ready(read) => Some(read),
        Poll::Pending => None,
    }
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the connection was closed by the server")
}

/// Whether somebody else polls than who waited the last time.
#[inline]
fn is_another(waits: Option<&Waker>, cx: &Context<'_>) -> bool {
    !waits.is_some_and(|waker| waker.will_wake(cx.waker()))
}

#[inline]
fn keep(slot: &mut Option<Waker>, cx: &Context<'_>) {
    if is_another(slot.as_ref(), cx) {
        *slot = Some(cx.waker().clone());
    }
}

impl<IO: Io> Shared<IO> {
    /// Takes the IO away, wakes whoever waits for it, and tells who waits for its end.
    fn cut(&self) {
        let (open, ended) = {
            let mut state = self.state.lock();
            let ended = std::mem::replace(&mut state.ended, true);
            state.not_taken = None;
            (state.open.take(), ended)
        };
        let Some(Open { io, tasks, reader, writer, unread: _, key: _ }) = open else { return };
        // Leaves the task table, outside of the lock; the descriptor is closed after it.
        drop(tasks);
        if ended {
            linger(io, &self.transport)
        } else {
            drop(io)
        }
        for waker in [reader, writer].into_iter().flatten() {
            waker.wake();
        }
        if let Some(compartment) = self.transport.compartment() {
            compartment.progress();
            Registry::global().forget_if_empty(compartment);
        }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin + Send + 'static> Drop for GuardedIo<IO> {
    fn drop(&mut self) {
        self.shared.cut();
    }
}

impl<IO: Io> Part for Shared<IO> {
    fn wake(&self) {
        let reader = self.state.lock().open.as_ref().and_then(|open| open.reader.clone());
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}

impl<IO: Io> Seal for Shared<IO> {
    fn is_transport(&self) -> bool {
        true
    }

    fn watch(&self, notice: &Notice) {
        let mut state = self.state.lock();
        state.watch = Some(Box::new(Watch::new(notice.id)));
        state.is_observed = true;
    }

    fn not_taken(&self) -> Option<Duration> {
        let state = self.state.lock();
        state.open.as_ref()?;
        state.not_taken.as_ref().map(|(since, _)| since.elapsed())
    }

    fn delivered(&self, _notice: &Notice, copies: usize) -> Option<bool> {
        let state = self.state.lock();
        // A closed one delivers nothing more: there is nothing to wait for.
        Some(state.open.is_none() || state.watch.as_ref().is_some_and(|watch| watch.flushed() >= copies))
    }

    fn unread(&self) -> Unread {
        let mut state = self.state.lock();
        let State { open, ended, .. } = &mut *state;
        let (Some(Open { io, unread, reader, .. }), false) = (open, *ended) else { return Unread::Nothing };
        if let Some(ahead) = unread {
            let moves = ahead.read > ahead.read_before;
            ahead.read_before = ahead.read;
            return if moves { Unread::Found } else { Unread::Waits };
        }
        // Nobody waits for bytes: whoever reads is at work, or has not begun.
        let Some(waker) = reader else { return Unread::Nothing };
        let mut bytes = [MaybeUninit::uninit(); 1024];
        let mut buf = ReadBuf::uninit(&mut bytes);
        let Some(result) = read_now(io, waker, &mut buf) else { return Unread::Nothing };
        let waker = waker.clone();
        let bytes = buf.filled().to_vec();
        let then = (result.is_err() || bytes.is_empty()).then_some(result);
        *unread = Some(Box::new(ReadAhead { bytes, read: 0, read_before: 0, then }));
        drop(state);
        waker.wake();
        Unread::Found
    }

    fn close(&self, mode: CloseMode) {
        match mode {
            CloseMode::Polite => {
                let reader = {
                    let mut state = self.state.lock();
                    state.ended = true;
                    state.open.as_mut().and_then(|open| open.reader.take())
                };
                if let Some(reader) = reader {
                    reader.wake();
                }
            }
            CloseMode::Forced => {
                self.state.lock().ended = true;
                self.cut();
            }
        }
    }

    fn is_gone(&self) -> bool {
        self.state.lock().open.is_none()
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin + Send + 'static> AsyncRead for GuardedIo<IO> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut state = self.shared.state.lock();
        let State { open, ended, .. } = &mut *state;
        let Some(Open { io, unread, key, reader, tasks, .. }) = open else {
            // Whoever was read on this thread before has no part in what comes of it.
            Transport::reads(0);
            return Poll::Ready(Err(closed()));
        };
        if *ended {
            Transport::reads(*key);
            return Poll::Ready(Ok(()));
        }
        if let Some(waiting) = unread {
            if let Some(read) = waiting.take(buf) {
                tasks.note(&self.shared.transport);
                Transport::reads(self.shared.transport.key());
                return Poll::Ready(read);
            }
            *unread = None;
        }
        let room = buf.remaining();
        let is_another = is_another(reader.as_ref(), cx);
        if is_another {
            // Before, because what reads may panic.
            tasks.note(&self.shared.transport);
        }
        let polled = Pin::new(io).poll_read(cx, buf);
        // Whoever waits as before is known, and has nothing to make sense of. One waker can be of several tasks.
        if polled.is_pending() {
            if is_another {
                *reader = Some(cx.waker().clone());
            }
        } else if !is_another {
            tasks.note(&self.shared.transport);
        }
        // Whoever dies next on this thread, outside of any scope, dies of these bytes.
        let bytes = buf.remaining() < room;
        if bytes && *key == 0 {
            *key = self.shared.transport.key();
        }
        Transport::reads(if bytes { *key } else { 0 });
        polled
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin + Send + 'static> GuardedIo<IO> {
    /// Whether it is plain TCP: what that is given is on its way, and nothing is there to be flushed.
    fn is_tcp() -> bool {
        TypeId::of::<IO>() == TypeId::of::<TcpStream>()
    }

    /// One operation on the writing side.
    #[inline]
    fn poll_out<R>(
        &self,
        cx: &mut Context<'_>,
        operate: impl FnOnce(&mut Open<IO>, &mut Context<'_>) -> Poll<io::Result<R>>,
        then: impl FnOnce(&R, &mut Watch),
    ) -> Poll<io::Result<R>> {
        let mut state = self.shared.state.lock();
        let State { open, is_observed, watch, not_taken, .. } = &mut *state;
        let Some(open) = open else {
            return Poll::Ready(Err(closed()));
        };
        let polled = operate(open, cx);
        if polled.is_pending() {
            keep(&mut open.writer, cx);
            not_taken.get_or_insert_with(|| (Instant::now(), Lagging::new()));
            *is_observed = true;
            return Poll::Pending;
        }
        if !*is_observed {
            debug_assert!(watch.is_none() && not_taken.is_none(), "they are there");
            return polled;
        }
        *not_taken = None;
        *is_observed = watch.is_some();
        let done = ready!(polled)?;
        if let Some(watch) = watch {
            let before = watch.flushed();
            then(&done, watch);
            if watch.flushed() > before
                && let Some(compartment) = self.shared.transport.compartment()
            {
                compartment.progress();
            }
        }
        Poll::Ready(Ok(done))
    }

    /// As [`poll_out`](Self::poll_out), of bytes. Whoever flushes or shuts down has written: here it is noted who does.
    #[inline]
    fn poll_written(
        &self,
        cx: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut IO>, &mut Context<'_>) -> Poll<io::Result<usize>>,
        watched: impl FnOnce(usize, &mut Watch),
    ) -> Poll<io::Result<usize>> {
        self.poll_out(
            cx,
            |open, cx| {
                open.tasks.note(&self.shared.transport);
                write(Pin::new(&mut open.io), cx)
            },
            |written, watch| {
                watched(*written, watch);
                if Self::is_tcp() {
                    watch.flush();
                }
            },
        )
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin + Send + 'static> AsyncWrite for GuardedIo<IO> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_written(
            cx,
            |io, cx| io.poll_write(cx, buf),
            |written, watch| watch.written(&buf[..written]),
        )
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_written(
            cx,
            |io, cx| io.poll_write_vectored(cx, bufs),
            |written, watch| {
                let mut left = written;
                for buf in bufs {
                    let part = left.min(buf.len());
                    watch.written(&buf[..part]);
                    left -= part;
                }
            },
        )
    }

    fn is_write_vectored(&self) -> bool {
        self.shared.state.lock().open.as_ref().is_some_and(|open| open.io.is_write_vectored())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if Self::is_tcp() {
            return Poll::Ready(Ok(()));
        }
        self.poll_out(cx, |open, cx| Pin::new(&mut open.io).poll_flush(cx), |(), watch| watch.flush())
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_out(cx, |open, cx| Pin::new(&mut open.io).poll_shutdown(cx), |(), _| ())
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin + Send + 'static> fmt::Debug for GuardedIo<IO> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardedIo").field("transport", &self.shared.transport).finish_non_exhaustive()
    }
}

#[cfg(all(test, unix, target_pointer_width = "64"))]
mod tests {
    use std::mem::offset_of;

    use super::*;

    /// Would reveal a field that is put among them.
    #[test]
    fn what_reads_and_writes_look_at_is_in_two_lines_of_the_cache() {
        let state = size_of::<Mutex<State<TcpStream>>>() - size_of::<State<TcpStream>>();
        let open = state + offset_of!(State<TcpStream>, open);
        assert_eq!(align_of::<Shared<TcpStream>>(), 64);
        assert_eq!(size_of::<Option<Open<TcpStream>>>(), size_of::<Open<TcpStream>>());
        assert_eq!(open + offset_of!(Open<TcpStream>, key), 64);
        // The tasks begin with those that are known: four numbers.
        assert!(open + offset_of!(Open<TcpStream>, tasks) + 4 * size_of::<u64>() <= 128);
    }
}
