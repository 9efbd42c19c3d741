//! The IO of a connection as hyper reads and writes it, with room for many requests of a client that polls, and small answers in
//! one piece.
//!
//! hyper reads a connection into a buffer, and what a request has of its head are slices of that. Before it has a request answered
//! it looks whether the client is still there, and takes a new buffer of 8 KiB for that, since the request holds the one before.
//! So each request takes one and gives one back. One of 16 KiB is enough for some thirty requests, and saves some 800 instructions
//! of an echo over polling. hyper has no setting for that, but it grows the buffer when the head of a request arrives in more than
//! one piece, and here it does, once for each buffer, while the client is [busy](BUSY). Who is not keeps what hyper takes by
//! itself.
//!
//! hyper writes the head of an answer and its body as two pieces in one system call, `writev`, which for small ones takes longer
//! than to put them together and `send` them.
//! hyper has a setting for that, which would also put together what is large, and keep the memory.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};

use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

/// A client is busy when the last three answers on its connection came within this time, in milliseconds. A heartbeat is answered
/// once or twice, every 25 s by default: whoever does no more should take little memory.
const BUSY: u64 = 1000;
/// The size of hyper's buffer when it has taken a new one: its `INIT_BUFFER_SIZE`. Were it another one day, nothing would be done
/// here.
const NEW: usize = 8192;
/// How much of a head is its first piece. Every head is longer.
const PIECE: usize = 8;
/// Up to so many bytes are put together before they are written: copying more takes longer than it saves, and more of the stack.
const SMALL: usize = 4096;

/// How busy the client of a connection is.
#[derive(Debug, Default)]
pub(crate) struct Room {
    /// When the last two requests were answered, the last one first, by [`coarse_ms`](watertight::coarse_ms).
    answered: [AtomicU64; 2],
    /// Whether what it sends next is to arrive in two pieces.
    is_wanted: AtomicBool,
}

impl Room {
    /// The head of a request has arrived. What follows may be its body, or no HTTP any more.
    #[inline]
    pub(crate) fn asked(&self) {
        self.is_wanted.store(false, Ordering::Relaxed);
    }

    /// A request of a client that polls has been read and answered: what it sends next is the head of another.
    #[inline]
    pub(crate) fn answered(&self) {
        self.answered_at(watertight::coarse_ms());
    }

    #[inline]
    fn answered_at(&self, now: u64) {
        // Requests of one connection are answered one after another; where they are not this is only a guess.
        let [last, before] = &self.answered;
        let is_busy = now.saturating_sub(before.load(Ordering::Relaxed)) < BUSY;
        before.store(last.load(Ordering::Relaxed), Ordering::Relaxed);
        last.store(now, Ordering::Relaxed);
        self.is_wanted.store(is_busy, Ordering::Relaxed);
    }

    /// Whether the next piece is to be a small one, which the one after it is not.
    fn take(&self) -> bool {
        self.is_wanted.load(Ordering::Relaxed) && self.is_wanted.swap(false, Ordering::Relaxed)
    }
}

/// See the module.
pub(crate) struct HttpIo<IO> {
    io: TokioIo<IO>,
    /// Shared with the service, which is gone once the connection has been upgraded.
    room: Arc<Room>,
}

impl<IO> HttpIo<IO> {
    pub(crate) fn new(io: IO, room: Arc<Room>) -> Self {
        Self { io: TokioIo::new(io), room }
    }
}

impl<IO: AsyncRead + Unpin> HttpIo<IO> {
    /// Reads the first piece of a head.
    #[cold]
    fn poll_piece(&mut self, cx: &mut Context<'_>, mut buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let mut bytes = [MaybeUninit::uninit(); PIECE];
        let mut piece = ReadBuf::uninit(&mut bytes);
        if Pin::new(&mut self.io).poll_read(cx, piece.unfilled())?.is_pending() {
            // It is still to come.
            self.room.is_wanted.store(true, Ordering::Relaxed);
            return Poll::Pending;
        }
        buf.put_slice(piece.filled());
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncRead + Unpin> Read for HttpIo<IO> {
    #[inline]
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if buf.remaining() == NEW && self.room.take() {
            return self.poll_piece(cx, buf);
        }
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<IO: AsyncWrite + Unpin> Write for HttpIo<IO> {
    #[inline]
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    #[inline]
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [only] = bufs {
            return Pin::new(&mut self.io).poll_write(cx, only);
        }
        if bufs.iter().map(|buf| buf.len()).sum::<usize>() > SMALL {
            return Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        }
        let mut bytes = [MaybeUninit::uninit(); SMALL];
        let mut together = ReadBuf::uninit(&mut bytes);
        for buf in bufs {
            together.unfilled().put_slice(buf);
        }
        Pin::new(&mut self.io).poll_write(cx, together.filled())
    }

    #[inline]
    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    #[inline]
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    /// What is written, call by call: how many pieces, and their bytes. Takes no more than so many bytes at once.
    struct Written {
        calls: Vec<(usize, Vec<u8>)>,
        most: usize,
    }

    impl AsyncWrite for Written {
        fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            self.poll_write_vectored(cx, &[IoSlice::new(buf)])
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bufs: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let most = self.most;
            let bytes: Vec<u8> = bufs.iter().flat_map(|buf| buf.iter().copied()).take(most).collect();
            let length = bytes.len();
            self.calls.push((bufs.len(), bytes));
            Poll::Ready(Ok(length))
        }

        fn is_write_vectored(&self) -> bool {
            true
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn what_is_small_is_written_in_one_piece() {
        let mut cx = Context::from_waker(Waker::noop());
        for (head, body, most) in
            [(200, 0, 9999), (200, SMALL - 200, 9999), (200, SMALL - 199, 9999), (200, 100, 250)]
        {
            let bytes: Vec<u8> = (0..head + body).map(|at| u8::try_from(at % 251).expect("small")).collect();
            let (first, second) = bytes.split_at(head);
            let mut io = HttpIo::new(Written { calls: Vec::new(), most }, Arc::default());
            let written =
                Pin::new(&mut io).poll_write_vectored(&mut cx, &[IoSlice::new(first), IoSlice::new(second)]);
            let expected = bytes.len().min(most);
            assert!(matches!(written, Poll::Ready(Ok(length)) if length == expected));
            let pieces = if bytes.len() > SMALL { 2 } else { 1 };
            assert_eq!(io.io.inner().calls, [(pieces, bytes[..expected].to_vec())]);
        }
    }

    #[test]
    fn who_is_answered_three_times_within_a_second_is_busy() {
        let room = Room::default();
        for (now, is_busy) in [(5000, false), (5001, false), (5999, true), (6001, false), (6998, true)] {
            room.answered_at(now);
            assert_eq!(room.take(), is_busy, "at {now}");
            assert!(!room.take(), "once for each answer");
        }
        room.answered_at(6999);
        room.asked();
        assert!(!room.take(), "what follows is no head");
    }

    /// Where a client that only answers heartbeats has one connection: a GET that brings a ping, and a POST with the pong.
    #[test]
    fn heartbeats_make_nobody_busy() {
        let room = Room::default();
        for beat in 1..10 {
            for after in [0, 5] {
                room.answered_at(beat * 25_000 + after);
                assert!(!room.take());
            }
        }
    }
}
