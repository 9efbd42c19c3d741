//! What the code under test logs, for tests that read it.
//!
//! One subscriber serves the whole process and sorts by thread. A subscriber per test would lose events: the first thread
//! to reach a log statement decides for all whether anyone listens to it, and that thread may be another test's.

use std::{cell::RefCell, io, sync::Once};

use tracing_subscriber::{fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::{logging::JsonLines, settings::LogFormat};

thread_local! {
    static LOGS: RefCell<Option<Logs>> = const { RefCell::new(None) };
}

#[derive(Default)]
struct Logs {
    human: Vec<u8>,
    json: Vec<u8>,
}

/// Runs the code and answers what it logged on this thread.
pub(crate) fn capture(format: LogFormat, code: impl FnOnce()) -> String {
    install();
    LOGS.set(Some(Logs::default()));
    code();
    let logs = LOGS.take().expect("set above");
    let log = match format {
        LogFormat::Human => logs.human,
        LogFormat::Json => logs.json,
    };
    String::from_utf8(log).expect("a log is text")
}

fn install() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        tracing_subscriber::registry()
            .with(fmt::layer().with_ansi(false).with_writer(|| ThreadLog(LogFormat::Human)))
            .with(fmt::layer().event_format(JsonLines).with_writer(|| ThreadLog(LogFormat::Json)))
            .init();
        // Statements that were reached before have been told that nobody listens.
        tracing::callsite::rebuild_interest_cache();
    });
}

struct ThreadLog(LogFormat);

impl io::Write for ThreadLog {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOGS.with_borrow_mut(|logs| match (logs, self.0) {
            (Some(logs), LogFormat::Human) => logs.human.extend_from_slice(bytes),
            (Some(logs), LogFormat::Json) => logs.json.extend_from_slice(bytes),
            (None, _) => {}
        });
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
