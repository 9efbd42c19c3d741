//! Backtraces: addresses are taken in the hook, names are looked up on the recovery thread.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::stacks::Stack;

/// Both taking a backtrace and naming its frames hold one lock of the standard library, the latter for
/// milliseconds. Whoever takes this gate first keeps the hook from ever waiting for that.
static GATE: Mutex<()> = Mutex::new(());

/// The longest backtrace that is kept, in bytes.
const MAX_LEN: usize = 16 * 1024;
/// How many frames are kept, from the panic outwards. Further out there is only the executor.
const MAX_FRAMES: usize = 24;

/// Frame addresses, not yet named.
#[derive(Debug)]
pub(crate) enum Frames {
    /// Of a panic, from the hook inwards.
    Panic(std::backtrace::Backtrace),
    /// Of a thread that blocks.
    Stall(Arc<Stack>),
}

impl Frames {
    /// Takes the frames, or `None` at once when somebody else is at it. For the panic hook.
    pub(crate) fn try_capture() -> Option<Self> {
        let _gate = GATE.try_lock()?;
        Some(Self::Panic(std::backtrace::Backtrace::force_capture()))
    }

    /// Names the frames: slow, never in the hook.
    pub(crate) fn symbolise(&self) -> Option<Arc<str>> {
        match self {
            Self::Panic(backtrace) => {
                let _gate = GATE.lock();
                let mut text = from_the_panic_on(&backtrace.to_string());
                super::truncated(&mut text, MAX_LEN);
                Some(text.into())
            }
            Self::Stall(stack) => stack.named(),
        }
    }
}

/// Leaves out the frames of the hook and of the panic machinery, and those beyond [`MAX_FRAMES`].
fn from_the_panic_on(text: &str) -> String {
    const MACHINERY: [&str; 4] =
        ["rust_begin_unwind", "core::panicking::", "begin_panic", "rust_panic_with_hook"];
    let lines: Vec<&str> = text.lines().collect();
    let is_frame = |line: &str| {
        line.trim_start().split_once(": ").is_some_and(|(number, _)| number.parse::<u32>().is_ok())
    };
    let frames: Vec<usize> = (0..lines.len()).filter(|at| is_frame(lines[*at])).collect();
    let machinery = frames.iter().rposition(|at| MACHINERY.iter().any(|name| lines[*at].contains(name)));
    let first = machinery.map_or(0, |frame| frame + 1);
    let start = frames.get(first).copied().unwrap_or(0);
    let end = frames.get(first + MAX_FRAMES).copied().unwrap_or(lines.len());
    lines[start..end].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_frames_from_the_panic_outwards() {
        let mut text = String::from(
            "   0: watertight::hook\n             at ./hook.rs:1\n   1: core::panicking::panic_fmt\n",
        );
        for frame in 2..100 {
            text.push_str(&format!("  {frame}: app::f{frame}\n             at ./app.rs:{frame}\n"));
        }
        let kept = from_the_panic_on(&text);
        assert!(kept.starts_with("  2: app::f2\n             at ./app.rs:2"), "{kept}");
        assert_eq!(kept.lines().count(), 2 * MAX_FRAMES);
        assert_eq!(from_the_panic_on("disabled backtrace"), "disabled backtrace");
        assert_eq!(from_the_panic_on(""), "");
    }
}
