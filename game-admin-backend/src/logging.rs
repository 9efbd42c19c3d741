//! The log, always on standard error: text for people, or one JSON object per line.

use std::{
    fmt,
    io::{self, IsTerminal as _},
};

use serde_json::{Map, Value};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::{LevelFilter, Targets},
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::Writer,
        time::{FormatTime, SystemTime},
    },
    layer::SubscriberExt as _,
    registry::LookupSpan,
    util::SubscriberInitExt as _,
};

use crate::settings::{LogFormat, Logging};

/// Why the log could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoggingError {
    /// `logging.level` does not parse; the check of the settings finds this earlier.
    #[error("logging.level is not a filter")]
    Filter(#[source] tracing_subscriber::filter::ParseError),
    /// The process has a log already.
    #[error("the log is set up twice")]
    Twice(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// How many lines may wait to be written. What comes when standard error takes no more is left out.
const WAITING_LINES: usize = 16 * 1024;

/// Sets up the log of the whole process. The environment variable `RUST_LOG` plays no part in it.
///
/// Lines are written by a thread of their own: a standard error that nobody reads, or that is closed, costs lines and
/// nothing else. What waits is written when the answer is dropped.
///
/// # Errors
///
/// If the filter does not parse or the process has a log already.
pub fn install(settings: &Logging) -> Result<WorkerGuard, LoggingError> {
    let filter = EnvFilter::builder().parse(&settings.level).map_err(LoggingError::Filter)?;
    install_filtered(settings, filter)
}

/// [`install`] for a process that has to be small: directives about spans are left out, which it has none of.
///
/// # Errors
///
/// If the process has a log already.
pub(crate) fn install_in_parent(settings: &Logging) -> Result<WorkerGuard, LoggingError> {
    let directives = settings.level.split(',').filter(|directive| !directive.contains('['));
    let targets = directives.collect::<Vec<_>>().join(",").parse::<Targets>();
    install_filtered(settings, targets.unwrap_or_else(|_| Targets::new().with_default(LevelFilter::INFO)))
}

fn install_filtered<F>(settings: &Logging, filter: F) -> Result<WorkerGuard, LoggingError>
where
    F: Layer<Registry> + Send + Sync,
{
    let (writer, guard) =
        NonBlockingBuilder::default().lossy(true).buffered_lines_limit(WAITING_LINES).finish(io::stderr());
    // Its own errors would be printed to the same standard error, and that panics when it is closed.
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).log_internal_errors(false);
    let log = tracing_subscriber::registry().with(filter);
    match settings.format {
        LogFormat::Human => log.with(lines.with_ansi(io::stderr().is_terminal())).try_init(),
        LogFormat::Json => log.with(lines.with_ansi(false).event_format(JsonLines)).try_init(),
    }
    .map_err(|error| LoggingError::Twice(error.into()))?;
    Ok(guard)
}

/// Writes an event as one JSON object: `timestamp`, `level`, `target`, `message`, then the event's fields beside them, then
/// `spans` from the outermost to the innermost, by name.
///
/// The pictures at the beginning of messages are for people and left out. A field that has the name of one of the five
/// gets an underscore in front.
pub(crate) struct JsonLines;

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut timestamp = String::new();
        SystemTime.format_time(&mut Writer::new(&mut timestamp))?;

        let mut line = Map::new();
        line.insert("timestamp".to_owned(), timestamp.into());
        line.insert("level".to_owned(), event.metadata().level().as_str().into());
        line.insert("target".to_owned(), event.metadata().target().into());
        event.record(&mut JsonFields(&mut line));
        if let Some(scope) = context.event_scope() {
            let spans: Vec<Value> = scope.from_root().map(|span| span.name().into()).collect();
            line.insert("spans".to_owned(), spans.into());
        }
        writeln!(writer, "{}", Value::Object(line))
    }
}

struct JsonFields<'a>(&'a mut Map<String, Value>);

impl JsonFields<'_> {
    fn insert(&mut self, field: &Field, value: Value) {
        let name = match field.name() {
            "message" => {
                let text = value.as_str().map(without_picture).unwrap_or_default();
                self.0.insert("message".to_owned(), text.into());
                return;
            }
            reserved @ ("timestamp" | "level" | "target" | "spans") => format!("_{reserved}"),
            name => name.strip_prefix("r#").unwrap_or(name).to_owned(),
        };
        self.0.insert(name, value);
    }
}

impl Visit for JsonFields<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.insert(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.insert(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.insert(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.insert(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.insert(field, value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.insert(field, format!("{value:?}").into());
    }
}

/// A message without the symbols, and the space behind them, that it begins with.
fn without_picture(message: &str) -> &str {
    let words =
        message.trim_start_matches(|character: char| !character.is_ascii() && !character.is_alphanumeric());
    if words.len() < message.len() { words.trim_start() } else { message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_log::capture;

    #[test]
    fn a_json_line_has_the_fields_beside_the_message_and_no_picture() {
        let text = capture(LogFormat::Json, || {
            let _span = tracing::info_span!("drain").entered();
            tracing::warn!(
                socket_id = "a\"b", count = 3, wide = u64::MAX, open = true, level = "mine", peer = ?Some(1),
                "⚠️ Marking socket {} as problematic for disconnection", "a\"b\n"
            );
        });
        assert_eq!(text.lines().count(), 1);
        let mut line: Value = serde_json::from_str(&text).expect("JSON");
        let timestamp = line["timestamp"].take();
        assert!(timestamp.as_str().is_some_and(|time| time.ends_with('Z')), "{timestamp}");
        assert_eq!(
            line,
            serde_json::json!({
                "timestamp": null,
                "level": "WARN",
                "target": "game_admin_backend::logging::tests",
                "message": "Marking socket a\"b\n as problematic for disconnection",
                "socket_id": "a\"b",
                "count": 3,
                "wide": u64::MAX,
                "open": true,
                "_level": "mine",
                "peer": "Some(1)",
                "spans": ["drain"],
            })
        );
    }

    #[test]
    fn only_a_picture_is_taken_from_a_message() {
        assert_eq!(without_picture("🛠️ Server will"), "Server will");
        assert_eq!(without_picture("🔌 Socket"), "Socket");
        assert_eq!(without_picture("  indented"), "  indented");
        assert_eq!(without_picture("über 🔌"), "über 🔌");
        assert_eq!(without_picture(""), "");
    }
}
