//! The tracing subscriber: from an event to its line.

use std::cell::Cell;
use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use base::{SharedClock, Timestamp};
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use crate::record::{Level, LogRecord, Source};
use crate::redact::{REDACTED, is_sensitive_name, redact};
use crate::text::{printable, short_time, truncated, write_json_string};
use crate::writer::Writer;

/// Bytes kept of a field or a message; the rest is cut and `…` says so.
pub const FIELD_BYTES_MAX: usize = 8 * 1024;

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people: time, level, where, message, fields.
    Pretty {
        /// Whether to use the terminal's colours.
        color: bool,
    },
    /// For programs: one JSON object a line.
    Json,
}

/// What to log, how, and where to.
pub struct LogConfig {
    /// `LOG_LEVEL`: a level, or directives like `info,gateway=debug`.
    pub level: String,
    /// `LOG_FORMAT`.
    pub format: LogFormat,
    /// Where lines go: stdout, or a buffer in tests. Written by one thread, which it may block.
    pub sink: Box<dyn Write + Send>,
    /// Gives each line its time.
    pub clock: SharedClock,
}

/// Why logging could not start.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The level is none, nor directives.
    #[error(
        "LOG_LEVEL is {found:?}: expected trace, debug, info, warn, error, off, or like info,gateway=debug"
    )]
    Level {
        /// What was given.
        found: String,
    },
    /// Somebody set a subscriber before.
    #[error("logging was started twice")]
    Twice,
    /// No thread could be started.
    #[error("start the log writer")]
    Thread(#[source] io::Error),
}

type Tap = Box<dyn Fn(LogRecord) + Send + Sync>;

/// What is left to do with logging once it runs. Cloning shares it.
#[derive(Clone)]
pub struct LogHandle {
    writer: Writer,
    tap: Arc<OnceLock<Tap>>,
}

impl LogHandle {
    /// Gives every further record to `tap` as well, which must not block; what it logs itself is not given to it.
    /// Returns whether it was the first: there is one tap.
    pub fn tap(&self, tap: impl Fn(LogRecord) + Send + Sync + 'static) -> bool {
        self.tap.set(Box::new(tap)).is_ok()
    }

    /// Lines lost to a full queue or a broken sink since the start.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.writer.dropped()
    }

    /// Waits until all lines are out, at most `patience`. Returns whether they are.
    pub fn flush(&self, patience: Duration) -> bool {
        self.writer.flush(patience)
    }
}

impl fmt::Debug for LogHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogHandle").field("dropped", &self.dropped()).finish_non_exhaustive()
    }
}

/// Starts logging for the whole process, panics included. Call once, first of all.
///
/// # Errors
/// [`InitError`].
pub fn init(config: LogConfig) -> Result<LogHandle, InitError> {
    let (subscriber, handle) = subscriber(config)?;
    tracing::subscriber::set_global_default(subscriber).map_err(|_| InitError::Twice)?;
    std::panic::set_hook(Box::new(|panic| {
        let message = panic.payload_as_str().unwrap_or("without a message");
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        let thread = std::thread::current().name().unwrap_or("unnamed").to_owned();
        tracing::error!(location, thread, "panicked: {message}");
    }));
    Ok(handle)
}

/// The subscriber alone, for tests (`tracing::subscriber::with_default`).
///
/// # Errors
/// [`InitError::Level`], [`InitError::Thread`].
pub fn subscriber(config: LogConfig) -> Result<(impl Subscriber + Send + Sync, LogHandle), InitError> {
    let filter = EnvFilter::try_new(&config.level).ok().filter(|_| !config.level.trim().is_empty());
    let filter = filter.ok_or_else(|| InitError::Level { found: config.level.clone() })?;
    let writer = Writer::start(config.sink).map_err(InitError::Thread)?;
    let handle = LogHandle { writer, tap: Arc::default() };
    let layer = LineLayer { format: config.format, clock: config.clock, handle: handle.clone() };
    Ok((Registry::default().with(filter).with(layer), handle))
}

struct LineLayer {
    format: LogFormat,
    clock: SharedClock,
    handle: LogHandle,
}

/// Fields of a span or event, as captured: cut, and without secrets.
#[derive(Default)]
struct Fields {
    message: String,
    others: Map<String, Value>,
}

impl<S> Layer<S> for LineLayer
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        span.extensions_mut().insert(fields);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(fields) = span.extensions_mut().get_mut::<Fields>() {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        let mut spans = Vec::new();
        for span in context.event_scope(event).into_iter().flatten().collect::<Vec<_>>().into_iter().rev() {
            spans.push(span.name());
            if let Some(of_span) = span.extensions().get::<Fields>() {
                fields
                    .others
                    .extend(of_span.others.iter().map(|(name, value)| (name.clone(), value.clone())));
            }
        }
        event.record(&mut fields);
        let metadata = event.metadata();
        let line = Line {
            at: self.clock.now(),
            level: metadata.level().into(),
            target: metadata.target(),
            span: spans.join(":"),
            fields,
        };
        self.handle.writer.write(match self.format {
            LogFormat::Json => line.json(),
            LogFormat::Pretty { color } => line.pretty(color),
        });
        self.give_to_tap(line);
    }
}

impl LineLayer {
    fn give_to_tap(&self, line: Line<'_>) {
        thread_local! {
            static TAPPING: Cell<bool> = const { Cell::new(false) };
        }
        let Some(tap) = self.handle.tap.get() else { return };
        if TAPPING.replace(true) {
            return;
        }
        tap(line.into_record());
        TAPPING.set(false);
    }
}

/// One event, complete.
struct Line<'a> {
    at: Timestamp,
    level: Level,
    target: &'a str,
    span: String,
    fields: Fields,
}

impl Line<'_> {
    fn json(&self) -> String {
        let mut out = String::with_capacity(256);
        // Writing to a String cannot fail.
        let _ = write!(out, r#"{{"timestamp":"{}","level":"{}","target":"#, self.at, self.level.as_str());
        write_json_string(&mut out, self.target);
        out.push_str(r#","message":"#);
        write_json_string(&mut out, &self.fields.message);
        if !self.span.is_empty() {
            out.push_str(r#","span":"#);
            write_json_string(&mut out, &self.span);
        }
        for (name, value) in &self.fields.others {
            out.push(',');
            let taken = matches!(name.as_str(), "timestamp" | "level" | "target" | "message" | "span");
            write_json_string(&mut out, &if taken { format!("field.{name}") } else { name.clone() });
            out.push(':');
            match value {
                Value::String(text) => write_json_string(&mut out, text),
                other => out.push_str(&other.to_string()),
            }
        }
        out.push_str("}\n");
        out
    }

    fn pretty(&self, color: bool) -> String {
        let (level, code) = match self.level {
            Level::Trace => ("TRACE", "35"),
            Level::Debug => ("DEBUG", "34"),
            Level::Info => (" INFO", "32"),
            Level::Warn => (" WARN", "33"),
            Level::Error => ("ERROR", "1;31"),
        };
        let paint = |code: &str, text: &str| {
            if color { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
        };
        // A person at the terminal knows the day.
        let time = short_time(self.at);
        let time = time.get(6..).unwrap_or_default();
        let target = self.target.split("::").next().unwrap_or_default();
        let mut out = format!(
            "{} {} {} {}",
            paint("2", time),
            paint(code, level),
            paint("2", &format!("{target:<11}")),
            printable(&self.fields.message)
        );
        for (name, value) in &self.fields.others {
            let value = match value {
                Value::String(text) if !text.is_empty() && !text.contains([' ', '"', '=']) => text.clone(),
                other => other.to_string(),
            };
            let _ = write!(out, " {}{}", paint("2", &format!("{}=", printable(name))), printable(&value));
        }
        out.push('\n');
        out
    }

    fn into_record(self) -> LogRecord {
        let mut fields = self.fields.others;
        let tenant = fields.get("tenant.id").and_then(Value::as_str).map(str::to_owned);
        fields.insert("target".to_owned(), self.target.into());
        LogRecord {
            at: self.at,
            level: self.level,
            message: self.fields.message,
            source: Source::Platform,
            tenant,
            fields,
        }
    }
}

impl Fields {
    fn text(&mut self, field: &Field, text: &str) {
        let name = field.name();
        if name == "message" {
            self.message = captured(text);
        } else if is_sensitive_name(name) {
            self.others.insert(name.to_owned(), REDACTED.into());
        } else {
            self.others.insert(name.to_owned(), captured(text).into());
        }
    }

    fn value(&mut self, field: &Field, value: Value) {
        if field.name() == "message" {
            self.message = value.to_string();
        } else if is_sensitive_name(field.name()) {
            self.others.insert(field.name().to_owned(), REDACTED.into());
        } else {
            self.others.insert(field.name().to_owned(), value);
        }
    }
}

/// Without secrets, then cut: a secret cut in half might not look like one.
fn captured(text: &str) -> String {
    // What is far above the limit is cut before it is searched, with room for a secret across the border.
    let text = truncated(text, 2 * FIELD_BYTES_MAX);
    let hidden = redact(text);
    if hidden.len() <= FIELD_BYTES_MAX {
        return hidden.into_owned();
    }
    format!("{}…", truncated(&hidden, FIELD_BYTES_MAX))
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.value(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.value(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.value(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.value(field, value.into());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.text(field, &value.to_string());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field, &format!("{value:?}"));
    }
}
