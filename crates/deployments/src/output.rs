//! Where the lines of processes go: to the logs, and to the tail of what is being deployed.

use crate::keeper::client::Heard;
use crate::keeper::protocol::Stream;
use crate::ops::OUTPUT_BYTES_MAX;
use base::{DeploymentId, SharedClock, Timestamp};
use parking_lot::Mutex;
use ports::LogSink;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use telemetry::{Level, LogRecord, Source};

/// What a line is attributed to. Given to the keeper with the process, so that whoever adopts it knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tag {
    /// The service's name.
    pub(crate) service: String,
    /// The service's id.
    pub(crate) service_id: String,
    /// The environment's slug, or its id while the slug is not known.
    pub(crate) environment: String,
    pub(crate) deployment: DeploymentId,
    /// The replica's id, or what else it is: `build`, `check`, `pre-deploy`.
    pub(crate) replica: String,
    /// Of a replica: which of the deployment's.
    pub(crate) ordinal: u32,
    /// Of a replica: where it listens.
    pub(crate) port: u16,
}

/// Lines of a tail that are told with a failure.
const LAST_LINES: usize = 5;

/// Keys under which programs put the text of a line that is JSON.
const MESSAGE_KEYS: [&str; 3] = ["message", "msg", "event"];

/// Keys under which programs put the level.
const LEVEL_KEYS: [&str; 3] = ["level", "severity", "lvl"];

/// Takes the lines of all processes.
pub(crate) struct Outputs {
    sink: Arc<dyn LogSink>,
    clock: SharedClock,
    tags: Mutex<HashMap<String, Tag>>,
    tails: Mutex<HashMap<DeploymentId, Tail>>,
}

/// The end of what a deployment printed.
#[derive(Debug, Default)]
struct Tail {
    lines: VecDeque<String>,
    bytes: usize,
}

impl Tail {
    fn push(&mut self, line: String) {
        self.bytes += line.len() + 1;
        self.lines.push_back(line);
        while self.bytes > OUTPUT_BYTES_MAX {
            let Some(first) = self.lines.pop_front() else { break };
            self.bytes -= first.len() + 1;
        }
    }

    fn text(&self) -> String {
        let mut text = String::with_capacity(self.bytes);
        for line in &self.lines {
            text.push_str(line);
            text.push('\n');
        }
        text
    }
}

impl Outputs {
    pub(crate) fn new(sink: Arc<dyn LogSink>, clock: SharedClock) -> Self {
        Self { sink, clock, tags: Mutex::default(), tails: Mutex::default() }
    }

    /// Attributes the lines of the process `name`.
    pub(crate) fn tag(&self, name: &str, tag: Tag) {
        self.tags.lock().insert(name.to_owned(), tag);
    }

    /// All processes whose lines are attributed, by name.
    pub(crate) fn tagged(&self) -> Vec<(String, Tag)> {
        let tags = self.tags.lock();
        let mut all: Vec<_> = tags.iter().map(|(name, tag)| (name.clone(), tag.clone())).collect();
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        all
    }

    /// Forgets the process `name`.
    pub(crate) fn untag(&self, name: &str) {
        self.tags.lock().remove(name);
    }

    /// Begins to keep the tail of a deployment's output.
    pub(crate) fn open_tail(&self, deployment: DeploymentId) {
        self.tails.lock().entry(deployment).or_default();
    }

    /// What a deployment printed so far; `None` when its tail is not kept.
    pub(crate) fn tail(&self, deployment: DeploymentId) -> Option<String> {
        self.tails.lock().get(&deployment).map(Tail::text)
    }

    /// Ends the tail of a deployment.
    pub(crate) fn close_tail(&self, deployment: DeploymentId) -> String {
        self.tails.lock().remove(&deployment).map(|tail| tail.text()).unwrap_or_default()
    }

    /// The last lines of a deployment, in one line of text; empty when there are none.
    pub(crate) fn last_lines(&self, deployment: DeploymentId) -> String {
        let tails = self.tails.lock();
        let Some(tail) = tails.get(&deployment) else { return String::new() };
        let own = |line: &&String| !line.trim().is_empty() && !line.starts_with(SAID_BY_US);
        let mut last: Vec<&str> =
            tail.lines.iter().rev().filter(own).take(LAST_LINES).map(|line| line.trim()).collect();
        last.reverse();
        last.join(" / ")
    }

    /// Adds a line of Switchyard's own to the tail of a deployment.
    pub(crate) fn say(&self, deployment: DeploymentId, line: &str) {
        if let Some(tail) = self.tails.lock().get_mut(&deployment) {
            tail.push(format!("{SAID_BY_US}{line}"));
        }
    }

    /// Takes what was heard of the process `name`.
    pub(crate) fn hear(&self, name: &str, heard: Heard<'_>) {
        let Some(tag) = self.tags.lock().get(name).cloned() else { return };
        match heard {
            Heard::Line { stream, at, text } => {
                if let Some(tail) = self.tails.lock().get_mut(&tag.deployment) {
                    // It is kept in the store, and in its backups.
                    tail.push(telemetry::redact(text).into_owned());
                }
                self.sink.append(record(&tag, stream, at, text));
            }
            Heard::Dropped(lines) => {
                let text = format!("{lines} lines were dropped: they came faster than they could be kept");
                let mut dropped = record(&tag, Stream::Stderr, self.clock.now(), &text);
                dropped.level = Level::Warn;
                self.sink.append(dropped);
            }
        }
    }
}

/// Begins the lines that come from Switchyard, not from the program.
const SAID_BY_US: &str = "==> ";

/// One line as a record. A line that is a JSON object is taken apart: its text, level and other fields.
fn record(tag: &Tag, stream: Stream, at: Timestamp, line: &str) -> LogRecord {
    let structured =
        if line.starts_with('{') { serde_json::from_str::<Map<String, Value>>(line).ok() } else { None };
    let (level, message, mut fields) = match structured {
        Some(fields) => take_apart(line, fields),
        None => (guess_level(line, stream), telemetry::redact(line).into_owned(), Map::new()),
    };
    fields.insert("environment".to_owned(), Value::String(tag.environment.clone()));
    let stream = match stream {
        Stream::Stdout => telemetry::Stream::Stdout,
        Stream::Stderr => telemetry::Stream::Stderr,
    };
    let source = Source::Service {
        service: tag.service.clone(),
        replica: tag.replica.clone(),
        deployment: tag.deployment.to_string(),
        stream,
    };
    // Whose line it is, only the program knows, and it is not believed: tenants see the records that name them.
    LogRecord { at, level, message, source, tenant: None, fields }
}

fn take_apart(line: &str, mut fields: Map<String, Value>) -> (Level, String, Map<String, Value>) {
    let mut text = |keys: &[&str]| {
        let key = keys.iter().find(|key| fields.get(**key).is_some_and(Value::is_string))?;
        fields.remove(*key)?.as_str().map(str::to_owned)
    };
    let message = text(&MESSAGE_KEYS);
    let level = text(&LEVEL_KEYS).and_then(|level| Level::parse(&level));
    let level = level.or_else(|| fields.get("level").and_then(Value::as_i64).map(numeric_level));
    let message = message.unwrap_or_else(|| line.to_owned());
    for (name, value) in &mut fields {
        if telemetry::is_sensitive_name(name) {
            *value = Value::String(telemetry::REDACTED.to_owned());
        } else if let Value::String(text) = value
            && let std::borrow::Cow::Owned(redacted) = telemetry::redact(text)
        {
            *text = redacted;
        }
    }
    (level.unwrap_or(Level::Info), telemetry::redact(&message).into_owned(), fields)
}

/// Levels of Node's usual loggers: 10 trace, 20 debug, 30 info, 40 warn, 50 error, 60 fatal.
fn numeric_level(level: i64) -> Level {
    match level {
        ..=10 => Level::Trace,
        11..=20 => Level::Debug,
        21..=30 => Level::Info,
        31..=40 => Level::Warn,
        _ => Level::Error,
    }
}

/// The level of a line of plain text: what it says at its start. Many programs write all their lines to standard
/// error, so that the stream says nothing.
fn guess_level(line: &str, _stream: Stream) -> Level {
    let head: String = line.chars().take(64).collect::<String>().to_ascii_uppercase();
    let has = |word: &str| head.split(|c: char| !c.is_ascii_alphanumeric()).any(|part| part == word);
    if has("ERROR") || has("FATAL") || has("PANIC") || has("CRITICAL") {
        Level::Error
    } else if has("WARN") || has("WARNING") {
        Level::Warn
    } else if has("DEBUG") {
        Level::Debug
    } else if has("TRACE") {
        Level::Trace
    } else {
        Level::Info
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::{SeededRandom, SystemClock};

    fn tag() -> Tag {
        let (clock, random) = (SystemClock::shared(), SeededRandom::new(1));
        Tag {
            service: "web".to_owned(),
            service_id: "svc".to_owned(),
            environment: "development".to_owned(),
            deployment: DeploymentId::new(&*clock, &random),
            replica: "rep_1".to_owned(),
            ordinal: 0,
            port: 20_000,
        }
    }

    fn heard(line: &str) -> LogRecord {
        record(&tag(), Stream::Stdout, Timestamp::from_micros(5), line)
    }

    #[test]
    fn json_lines_are_taken_apart() {
        let record = heard(r#"{"level":"warning","msg":"disk is full","free":5,"password":"x"}"#);
        assert_eq!((record.level, record.message.as_str()), (Level::Warn, "disk is full"));
        assert_eq!(record.fields["free"], 5);
        assert_ne!(record.fields["password"], "x");
        assert_eq!(record.service(), Some("web"));
        let pino = heard(r#"{"level":50,"msg":"oh","tenant":"ten_x"}"#);
        assert_eq!((pino.level, pino.tenant), (Level::Error, None));
    }

    #[test]
    fn plain_lines_say_their_level() {
        assert_eq!(heard("2026-01-01 ERROR oh").level, Level::Error);
        assert_eq!(heard("[warn] careful").level, Level::Warn);
        assert_eq!(heard("no errors were found").level, Level::Info);
        assert_eq!(heard("{ not json").message, "{ not json");
    }

    #[test]
    fn a_tail_keeps_the_end() {
        let mut tail = Tail::default();
        for number in 0..100_000 {
            tail.push(format!("line {number}"));
        }
        let text = tail.text();
        assert!(text.len() <= OUTPUT_BYTES_MAX && text.ends_with("line 99999\n"));
    }
}
