//! Logging from outside: one event is one line, secrets stay out, and no sink can stop or break the process.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use base::{ManualClock, Timestamp};
use parking_lot::{Condvar, Mutex};
use serde_json::Value;
use telemetry::{
    FIELD_BYTES_MAX, InitError, Level, LogConfig, LogFormat, LogHandle, QUEUE_LINES_MAX, Source,
};
use tracing::subscriber::with_default;

const PATIENCE: Duration = Duration::from_secs(30);

/// A sink in memory whose writes can be made to fail or to hang.
#[derive(Clone, Default)]
struct Sink(Arc<(Mutex<State>, Condvar)>);

#[derive(Default)]
struct State {
    bytes: Vec<u8>,
    error: Option<io::ErrorKind>,
    stuck: bool,
}

impl Sink {
    fn text(&self) -> String {
        String::from_utf8(self.0.0.lock().bytes.clone()).expect("lines are UTF-8")
    }

    fn fail_with(&self, error: Option<io::ErrorKind>) {
        self.0.0.lock().error = error;
    }

    fn stuck(&self, stuck: bool) {
        self.0.0.lock().stuck = stuck;
        self.0.1.notify_all();
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.0.0.lock();
        while state.stuck {
            self.0.1.wait(&mut state);
        }
        if let Some(kind) = state.error {
            return Err(kind.into());
        }
        state.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Runs `log` under a subscriber; gives the sink and the handle.
fn logged(format: LogFormat, log: impl FnOnce(&LogHandle, &Sink)) -> (String, LogHandle) {
    let sink = Sink::default();
    let clock = ManualClock::new(Timestamp::from_micros(1_700_000_000_123_456));
    let config =
        LogConfig { level: "info".to_owned(), format, sink: Box::new(sink.clone()), clock: clock.shared() };
    let (subscriber, handle) = telemetry::subscriber(config).expect("the level is one");
    with_default(subscriber, || log(&handle, &sink));
    assert!(handle.flush(PATIENCE), "the writer keeps up");
    (sink.text(), handle)
}

fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
}

#[test]
fn an_event_is_one_json_line_with_the_fields_of_its_spans() {
    let (text, _) = logged(LogFormat::Json, |_, _| {
        let outer = tracing::info_span!("request", tenant.id = "ten_a", status = tracing::field::Empty);
        let _outer = outer.enter();
        outer.record("status", 200);
        let _inner = tracing::info_span!("write", rows = 3).entered();
        tracing::warn!(took_ms = 1.5, level = "forged", "slow write");
        tracing::debug!("not at this level");
    });
    let lines = json_lines(&text);
    assert_eq!(lines.len(), 1);
    let line = &lines[0];
    assert_eq!(line["timestamp"], "2023-11-14T22:13:20.123456Z");
    assert_eq!((&line["level"], &line["message"]), (&"warn".into(), &"slow write".into()));
    assert_eq!(
        (&line["tenant.id"], &line["status"], &line["rows"]),
        (&"ten_a".into(), &200.into(), &3.into())
    );
    assert_eq!((&line["took_ms"], &line["span"]), (&1.5.into(), &"request:write".into()));
    assert_eq!(line["field.level"], "forged");
}

#[test]
fn m3_injection_and_size_are_contained() {
    let agent = format!("evil\n{{\"level\":\"error\"}}\r\u{1b}[2J{}", "x".repeat(1 << 20));
    for format in [LogFormat::Json, LogFormat::Pretty { color: false }] {
        let (text, _) = logged(format, |_, _| tracing::info!(agent, "request {agent}"));
        assert_eq!(text.lines().count(), 1);
        assert!(!text.trim_end().contains(|character: char| character.is_control()));
        assert!(text.len() < 3 * FIELD_BYTES_MAX, "{} bytes", text.len());
    }
}

#[test]
fn people_get_a_compact_line() {
    let (text, _) = logged(LogFormat::Pretty { color: false }, |_, _| {
        tracing::error!(tenant.id = "ten_a", reason = "no route to host", "service is down");
    });
    let expected =
        "22:13:20.123 ERROR it          service is down reason=\"no route to host\" tenant.id=ten_a\n";
    assert_eq!(text, expected);
    let (text, _) = logged(LogFormat::Pretty { color: true }, |_, _| tracing::info!("hello"));
    assert!(text.contains("\u{1b}[32m INFO\u{1b}[0m"), "{text:?}");
}

#[test]
fn s5_secrets_are_hidden_at_capture() {
    let key = "sy_live_0123456789abcdefABCDEF";
    let (text, handle) = logged(LogFormat::Json, |handle, _| {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let records = seen.clone();
        assert!(handle.tap(move |record| records.lock().push(record)));
        tracing::info!(api_key = "abc", url = "postgres://app:hunter2@db/x", code = ?Some(key), "used {key}");
        let all = format!("{:?}", seen.lock());
        assert!(!all.contains(key) && !all.contains("hunter2"), "{all}");
    });
    for secret in [key, "hunter2", "\"abc\""] {
        assert!(!text.contains(secret), "{secret} is in {text}");
    }
    assert_eq!(handle.dropped(), 0);
}

#[test]
fn the_tap_gets_records_and_cannot_feed_itself() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (text, _) = logged(LogFormat::Json, |handle, _| {
        let records = seen.clone();
        handle.tap(move |record| {
            tracing::info!("from within the tap");
            records.lock().push(record);
        });
        tracing::info!(tenant.id = "ten_a", "tenant made");
    });
    assert_eq!(json_lines(&text)[0]["message"], "tenant made");
    let records = seen.lock();
    assert_eq!(records.len(), 1);
    assert_eq!((records[0].level, &records[0].source), (Level::Info, &Source::Platform));
    assert_eq!(records[0].tenant.as_deref(), Some("ten_a"));
}

#[test]
fn f9_a_broken_sink_drops_counts_and_heals() {
    for broken in [io::ErrorKind::StorageFull, io::ErrorKind::BrokenPipe, io::ErrorKind::WouldBlock] {
        let (text, handle) = logged(LogFormat::Json, |handle, sink| {
            tracing::info!("before");
            assert!(handle.flush(PATIENCE));
            sink.fail_with(Some(broken));
            tracing::info!("lost");
            assert!(handle.flush(PATIENCE));
            sink.fail_with(None);
            tracing::info!("after");
        });
        let messages: Vec<Value> = json_lines(&text).iter().map(|line| line["message"].clone()).collect();
        assert_eq!(messages, ["before", "after"]);
        assert_eq!(handle.dropped(), 1);
    }
}

#[test]
fn f9_a_stuck_sink_blocks_nobody() {
    let written = 3 * QUEUE_LINES_MAX;
    let (text, handle) = logged(LogFormat::Json, |handle, sink| {
        sink.stuck(true);
        for _ in 0..written {
            tracing::info!("line");
        }
        assert!(!handle.flush(Duration::from_millis(1)), "it hangs");
        sink.stuck(false);
    });
    let lines = text.lines().count();
    assert_eq!(lines as u64 + handle.dropped(), written as u64);
    assert!(lines >= QUEUE_LINES_MAX, "the queue was used: {lines}");
}

#[test]
fn a_wrong_level_is_an_error() {
    for level in ["", "loud=very"] {
        let config = LogConfig {
            level: level.to_owned(),
            format: LogFormat::Json,
            sink: Box::new(io::sink()),
            clock: ManualClock::new(Timestamp::from_micros(0)).shared(),
        };
        assert!(matches!(telemetry::subscriber(config), Err(InitError::Level { .. })), "{level:?}");
    }
}
