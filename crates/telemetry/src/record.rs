//! Records: what is kept of a log line or a request.

use std::borrow::Cow;
use std::fmt::Write;
use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use base::{ReplicaId, RequestId, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::redact::redact;
use crate::text::{
    push_decimal, push_json_escaped, push_time, truncated, write_json_object, write_json_string,
};

/// How much a record matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Every step.
    Trace,
    /// What helps to find a mistake.
    Debug,
    /// What happened.
    Info,
    /// Something is wrong but was dealt with.
    Warn,
    /// A person must act.
    Error,
}

impl Level {
    /// `trace`, `debug`, `info`, `warn`, `error`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Level::Trace => "trace",
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
        }
    }

    /// Reads what [`Level::as_str`] gives, in any case; also `warning` and `fatal`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Level> {
        match text.to_ascii_lowercase().as_str() {
            "trace" => Some(Level::Trace),
            "debug" => Some(Level::Debug),
            "info" => Some(Level::Info),
            "warn" | "warning" => Some(Level::Warn),
            "error" | "fatal" => Some(Level::Error),
            _ => None,
        }
    }
}

impl From<&tracing::Level> for Level {
    fn from(level: &tracing::Level) -> Level {
        match *level {
            tracing::Level::TRACE => Level::Trace,
            tracing::Level::DEBUG => Level::Debug,
            tracing::Level::INFO => Level::Info,
            tracing::Level::WARN => Level::Warn,
            tracing::Level::ERROR => Level::Error,
        }
    }
}

/// Which of a process's two outputs a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Who a record comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Source {
    /// Switchyard itself.
    Platform,
    /// A line that a replica of a service wrote.
    Service {
        /// The service's name.
        service: String,
        /// The replica's id.
        replica: String,
        /// The deployment's id.
        deployment: String,
        /// Where it wrote to.
        stream: Stream,
    },
    /// A request through the gateway.
    Access,
}

/// One record as it is stored and shown: one line of JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LogRecord {
    /// When it was captured.
    pub at: Timestamp,
    /// How much it matters.
    pub level: Level,
    /// Reads alone. At most 16 KiB are kept.
    pub message: String,
    /// Who it comes from.
    pub source: Source,
    /// The tenant's id (`ten_…`), when it belongs to one. Tenants see the records that name them, no others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// What can be searched for by name.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub fields: serde_json::Map<String, serde_json::Value>,
}

impl LogRecord {
    /// A record of Switchyard itself, without fields.
    #[must_use]
    pub fn platform(at: Timestamp, level: Level, message: impl Into<String>) -> LogRecord {
        LogRecord {
            at,
            level,
            message: message.into(),
            source: Source::Platform,
            tenant: None,
            fields: serde_json::Map::new(),
        }
    }

    /// Appends the record as one JSON object, without a newline and without a character that could forge one.
    pub fn write_json(&self, out: &mut String) {
        // Writing to a String cannot fail.
        let _ = write!(out, r#"{{"at":"{}","level":"{}","message":"#, self.at, self.level.as_str());
        write_json_string(out, &self.message);
        match &self.source {
            Source::Platform => out.push_str(r#","source":{"kind":"platform"}"#),
            Source::Access => out.push_str(r#","source":{"kind":"access"}"#),
            Source::Service { service, replica, deployment, stream } => {
                out.push_str(r#","source":{"kind":"service","service":"#);
                write_json_string(out, service);
                out.push_str(r#","replica":"#);
                write_json_string(out, replica);
                out.push_str(r#","deployment":"#);
                write_json_string(out, deployment);
                out.push_str(match stream {
                    Stream::Stdout => r#","stream":"stdout"}"#,
                    Stream::Stderr => r#","stream":"stderr"}"#,
                });
            }
        }
        if let Some(tenant) = &self.tenant {
            out.push_str(r#","tenant":"#);
            write_json_string(out, tenant);
        }
        if !self.fields.is_empty() {
            out.push_str(r#","fields":"#);
            write_json_object(out, &self.fields);
        }
        out.push('}');
    }

    /// The service it is about: the one that wrote it, or that answered the request.
    #[must_use]
    pub fn service(&self) -> Option<&str> {
        match &self.source {
            Source::Service { service, .. } => Some(service),
            Source::Access | Source::Platform => {
                self.fields.get("service").and_then(serde_json::Value::as_str)
            }
        }
    }
}

/// Bytes kept of a text of [`AccessParts`].
const PART_BYTES_MAX: usize = 16 * 1024;

/// What requests of one client to one service usually have in common.
#[derive(Debug, Clone, PartialEq)]
pub struct AccessParts {
    /// The tenant's id (`ten_…`), when it was found.
    pub tenant: Option<Arc<str>>,
    /// The tenant's slug.
    pub tenant_slug: Option<Arc<str>>,
    /// The environment's slug.
    pub environment: Option<Arc<str>>,
    /// The route's pattern, not the path: `*.localhost/`.
    pub route: Option<Arc<str>>,
    /// The service's name.
    pub service: Option<Arc<str>>,
    /// Who called: a key's or user's id.
    pub principal: Option<Arc<str>>,
    /// The method as received; unknown ones are truncated by the gateway.
    pub method: Cow<'static, str>,
    /// The canonical host.
    pub host: Arc<str>,
    /// The client's address, after trusted proxies.
    pub client: IpAddr,
    /// The client's `User-Agent`, truncated by the gateway.
    pub agent: Option<Arc<str>>,
}

/// [`AccessParts`] without secrets, and as they stand in a line of JSON: written once for many requests.
#[derive(Debug, PartialEq)]
pub struct AccessOrigin {
    parts: AccessParts,
    /// From the source up to the first field that each request has for itself.
    json: Box<str>,
}

impl AccessOrigin {
    /// Hides secrets in what the client says, cuts it to 16 KiB a text, and writes it out.
    #[must_use]
    pub fn new(mut parts: AccessParts) -> Arc<AccessOrigin> {
        // Shared with who made them: replaced, never changed in place.
        for text in [Some(&mut parts.host), parts.agent.as_mut()].into_iter().flatten() {
            let clean = redact(truncated(text, PART_BYTES_MAX));
            if *clean != **text {
                *text = clean.into();
            }
        }
        let mut json = String::with_capacity(512);
        json.push_str(r#","source":{"kind":"access"}"#);
        if let Some(tenant) = &parts.tenant {
            json.push_str(r#","tenant":"#);
            write_json_string(&mut json, tenant);
        }
        json.push_str(r#","fields":{"method":"#);
        write_json_string(&mut json, &parts.method);
        for (name, value) in parts.texts() {
            if let Some(value) = value {
                // Writing to a String cannot fail.
                let _ = write!(json, r#","{name}":"#);
                write_json_string(&mut json, value);
            }
        }
        let _ = write!(json, r#","client":"{}""#, parts.client);
        Arc::new(AccessOrigin { parts, json: json.into() })
    }
}

impl Deref for AccessOrigin {
    type Target = AccessParts;

    fn deref(&self) -> &AccessParts {
        &self.parts
    }
}

impl AccessParts {
    fn texts(&self) -> [(&'static str, Option<&str>); 7] {
        [
            ("tenant.slug", self.tenant_slug.as_deref()),
            ("environment", self.environment.as_deref()),
            ("route", self.route.as_deref()),
            ("service", self.service.as_deref()),
            ("principal", self.principal.as_deref()),
            ("host", Some(&self.host)),
            ("user_agent", self.agent.as_deref()),
        ]
    }
}

/// One request through the gateway, compact: what it has in common with others is shared by one pointer, and nothing
/// of its own is formatted before the record is written, on another thread.
#[derive(Debug, Clone, PartialEq)]
pub struct AccessRecord {
    /// Whose it is, where it came from and where it went.
    pub origin: Arc<AccessOrigin>,
    /// When its head was read.
    pub at: Timestamp,
    /// Its id, as the app and the client saw it.
    pub request: RequestId,
    /// Who answered, if a replica did.
    pub replica: Option<ReplicaId>,
    /// Path without query: queries carry secrets.
    pub path: Box<str>,
    /// Status of the answer, 0 when the client had gone.
    pub status: u16,
    /// The problem's code when Switchyard itself refused.
    pub code: Option<&'static str>,
    /// From the head's first byte to the answer's last.
    pub duration: Duration,
    /// Until the upstream's head was there; `None` when none was asked.
    pub upstream: Option<Duration>,
    /// How often an upstream was tried.
    pub tries: u8,
    /// Body bytes received.
    pub bytes_in: u64,
    /// Body bytes sent.
    pub bytes_out: u64,
}

impl AccessRecord {
    /// `error` for what is Switchyard's or the upstream's fault, `warn` for refusals, else `info`.
    #[must_use]
    pub fn level(&self) -> Level {
        match self.status {
            500.. => Level::Error,
            401 | 403 | 429 => Level::Warn,
            _ => Level::Info,
        }
    }

    /// Appends the JSON object that the same record has as a [`LogRecord`], without a newline. The hot form: no map,
    /// no formatter, and what is shared is copied as it was written once.
    pub fn write_json(&self, out: &mut String) {
        out.push_str(r#"{"at":""#);
        push_time(out, self.at);
        out.push_str(r#"","level":""#);
        out.push_str(self.level().as_str());
        out.push_str(r#"","message":"#);
        out.push('"');
        push_json_escaped(out, &self.origin.method);
        out.push(' ');
        push_json_escaped(out, &self.path);
        out.push(' ');
        push_decimal(out, u64::from(self.status));
        out.push('"');
        out.push_str(&self.origin.json);
        out.push_str(r#","path":"#);
        write_json_string(out, &self.path);
        push_id(out, r#","request.id":""#, &self.request);
        if let Some(replica) = &self.replica {
            push_id(out, r#","replica":""#, replica);
        }
        if let Some(code) = self.code {
            out.push_str(r#","code":"#);
            write_json_string(out, code);
        }
        if let Some(upstream) = self.upstream {
            push_number(out, r#","upstream_us":"#, micros(upstream));
        }
        push_number(out, r#","status":"#, u64::from(self.status));
        push_number(out, r#","duration_us":"#, micros(self.duration));
        push_number(out, r#","tries":"#, u64::from(self.tries));
        push_number(out, r#","bytes_in":"#, self.bytes_in);
        push_number(out, r#","bytes_out":"#, self.bytes_out);
        out.push_str("}}");
    }

    /// The same as a general record: for whoever follows live, and for sinks without a hot path.
    #[must_use]
    pub fn to_record(&self) -> LogRecord {
        let mut fields = serde_json::Map::new();
        fields.insert("request.id".to_owned(), self.request.to_string().into());
        fields.insert("method".to_owned(), (&*self.origin.method).into());
        let texts = self
            .origin
            .texts()
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?.into())));
        fields.extend(texts);
        fields.insert("path".to_owned(), (&*self.path).into());
        if let Some(code) = self.code {
            fields.insert("code".to_owned(), code.into());
        }
        if let Some(replica) = &self.replica {
            fields.insert("replica".to_owned(), replica.to_string().into());
        }
        if let Some(upstream) = self.upstream {
            fields.insert("upstream_us".to_owned(), micros(upstream).into());
        }
        fields.insert("status".to_owned(), self.status.into());
        fields.insert("duration_us".to_owned(), micros(self.duration).into());
        fields.insert("tries".to_owned(), self.tries.into());
        fields.insert("bytes_in".to_owned(), self.bytes_in.into());
        fields.insert("bytes_out".to_owned(), self.bytes_out.into());
        fields.insert("client".to_owned(), self.origin.client.to_string().into());
        LogRecord {
            at: self.at,
            level: self.level(),
            message: format!("{} {} {}", self.origin.method, self.path, self.status),
            source: Source::Access,
            tenant: self.origin.tenant.as_deref().map(str::to_owned),
            fields,
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// `start` opens the string that the id is.
fn push_id(out: &mut String, start: &str, id: &impl std::fmt::Display) {
    // Writing to a String cannot fail.
    let _ = write!(out, "{start}{id}\"");
}

fn push_number(out: &mut String, start: &str, number: u64) {
    out.push_str(start);
    push_decimal(out, number);
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::{ManualClock, SeededRandom};

    #[test]
    fn a_record_reads_back() {
        let mut record = LogRecord::platform(Timestamp::from_micros(7), Level::Warn, "a\nb\u{1b}\"");
        record.source = Source::Service {
            service: "web".to_owned(),
            replica: "rep_1".to_owned(),
            deployment: "dep_1".to_owned(),
            stream: Stream::Stderr,
        };
        for step in 0..2 {
            let mut line = String::new();
            record.write_json(&mut line);
            assert!(!line.contains(['\n', '\u{1b}']));
            assert_eq!(serde_json::from_str::<LogRecord>(&line).expect("it is JSON"), record, "step {step}");
            record.tenant = Some("ten_1".to_owned());
            record.fields.insert("n".to_owned(), 1.into());
        }
    }

    #[test]
    fn an_access_record_reads_as_a_log_record() {
        let clock = ManualClock::new(Timestamp::from_micros(1_700_000_000_000_000));
        let random = SeededRandom::new(1);
        let origin = AccessOrigin::new(AccessParts {
            tenant: Some("ten_01".into()),
            tenant_slug: Some("acme".into()),
            environment: None,
            route: Some("*.localhost/".into()),
            service: Some("web".into()),
            principal: None,
            method: "GET".into(),
            host: "acme.localhost".into(),
            client: "127.0.0.1".parse().expect("an address"),
            agent: Some("curl\u{1b}[31m token=abcdef".into()),
        });
        let access = AccessRecord {
            origin,
            at: Timestamp::from_micros(1_700_000_000_000_070),
            request: RequestId::new(&clock, &random),
            replica: Some(ReplicaId::new(&clock, &random)),
            path: "/a\n\"b\"".into(),
            status: 429,
            code: Some("rate_limited"),
            duration: Duration::from_micros(1234),
            upstream: None,
            tries: 0,
            bytes_in: 0,
            bytes_out: u64::MAX,
        };
        let mut line = String::new();
        access.write_json(&mut line);
        assert!(!line.contains(['\n', '\u{1b}']));
        let record: LogRecord = serde_json::from_str(&line).expect("the line is a record");
        assert_eq!(record, access.to_record());
        assert_eq!((record.at, record.level), (access.at, Level::Warn));
        assert_eq!((record.tenant.as_deref(), record.service()), (Some("ten_01"), Some("web")));
        assert_eq!(record.source, Source::Access);
        assert_eq!(record.message, "GET /a\n\"b\" 429");
        assert_eq!(record.fields["status"], 429);
        assert_eq!(record.fields["user_agent"], "curl\u{1b}[31m token=[redacted]");
    }
}
