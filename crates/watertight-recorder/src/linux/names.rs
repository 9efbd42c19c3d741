//! The frames of a stack, by name.

use std::fmt::Write;

/// How many frames are kept, from the innermost outwards. Further out there is only the executor.
const MAX_FRAMES: usize = 24;

/// Where the application's code ends, seen from the inside: guards, executors, the beginnings of threads.
const OUTSIDE: [&str; 4] =
    ["watertight::guard::", "tokio::runtime::", "__rust_begin_short_backtrace", "std::rt::lang_start"];

/// Names frames as the standard library writes them; `None` when there are none.
pub(super) fn of(addresses: &[u64]) -> Option<String> {
    let mut frames = Vec::new();
    for address in addresses {
        let address = usize::try_from(*address).ok()?;
        let known = frames.len();
        // What the compiler inlined is several names at one address.
        backtrace::resolve(std::ptr::without_provenance_mut(address), |symbol| {
            let name = symbol.name().map_or_else(|| "<unknown>".to_owned(), |name| format!("{name:#}"));
            let place = symbol.filename().zip(symbol.lineno());
            frames.push((name, place.map(|(file, line)| format!("{}:{line}", file.display()))));
        });
        if frames.len() == known {
            frames.push((format!("<unknown at {address:#x}>"), None));
        }
        let outside = |(name, _): &(String, _)| OUTSIDE.iter().any(|outside| name.contains(outside));
        if let Some(end) = frames[known..].iter().position(outside)
            && known + end > 0
        {
            frames.truncate(known + end);
            break;
        }
        if frames.len() >= MAX_FRAMES {
            break;
        }
    }
    frames.truncate(MAX_FRAMES);
    let mut text = String::new();
    for (number, (name, place)) in frames.iter().enumerate() {
        // Never fails: it is a text that grows.
        let _ = writeln!(text, "{number:4}: {name}");
        if let Some(place) = place {
            let _ = writeln!(text, "             at {place}");
        }
    }
    (!text.is_empty()).then_some(text)
}
