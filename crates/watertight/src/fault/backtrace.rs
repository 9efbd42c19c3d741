//! Backtraces: addresses are taken in the hook, names are looked up on the recovery thread.

use std::sync::Arc;

use parking_lot::Mutex;

/// Both taking a backtrace and naming its frames hold one lock of the standard library, the latter for
/// milliseconds. Whoever takes this gate first keeps the hook from ever waiting for that.
static GATE: Mutex<()> = Mutex::new(());

/// The longest backtrace that is kept, in bytes.
const MAX_LEN: usize = 16 * 1024;

/// Frame addresses, not yet named.
#[derive(Debug)]
pub(crate) struct Frames(std::backtrace::Backtrace);

impl Frames {
    /// Takes the frames, or `None` at once when somebody else is at it. For the panic hook.
    pub(crate) fn try_capture() -> Option<Self> {
        let _gate = GATE.try_lock()?;
        Some(Self(std::backtrace::Backtrace::force_capture()))
    }

    /// Names the frames: slow, never in the hook.
    pub(crate) fn symbolise(&self) -> Arc<str> {
        let _gate = GATE.lock();
        let mut text = self.0.to_string();
        super::truncated(&mut text, MAX_LEN);
        text.into()
    }
}
