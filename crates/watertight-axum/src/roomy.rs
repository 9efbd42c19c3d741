//! The IO of a connection as hyper reads it, with room for many requests of a client that polls.
//!
//! hyper reads a connection into a buffer, and what a request has of its head are slices of that. Before it has a request answered
//! it looks whether the client is still there, and takes a new buffer of 8 KiB for that, since the request holds the one before.
//! So each request takes one and gives one back. One of 16 KiB is enough for some thirty requests, and saves some 800 instructions
//! of an echo over polling. hyper has no setting for that, but it grows the buffer when the head of a request arrives in more than
//! one piece, and here it does, once for each buffer, while the client is [busy](BUSY). Who is not keeps what hyper takes by
//! itself.

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
pub(crate) struct RoomyIo<IO> {
    io: TokioIo<IO>,
    /// Shared with the service, which is gone once the connection has been upgraded.
    room: Arc<Room>,
}

impl<IO> RoomyIo<IO> {
    pub(crate) fn new(io: IO, room: Arc<Room>) -> Self {
        Self { io: TokioIo::new(io), room }
    }
}

impl<IO: AsyncRead + Unpin> RoomyIo<IO> {
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

impl<IO: AsyncRead + Unpin> Read for RoomyIo<IO> {
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

impl<IO: AsyncWrite + Unpin> Write for RoomyIo<IO> {
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
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
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
    use super::*;

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
