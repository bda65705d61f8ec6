//! What can be asked for, and where a record lies.

use std::fmt;

use base::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use telemetry::{Level, LogRecord, Source, write_json_string};

/// Who a record comes from, without details.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SourceKind {
    /// Switchyard itself.
    Platform,
    /// Replicas of services.
    Service,
    /// Requests through the gateway.
    Access,
}

/// Which records are wanted. Every condition that is given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// The service that wrote it, or answered the request.
    pub service: Option<String>,
    /// The replica's id.
    pub replica: Option<String>,
    /// The deployment's id.
    pub deployment: Option<String>,
    /// The environment's slug.
    pub environment: Option<String>,
    /// The tenant's id.
    pub tenant: Option<String>,
    /// The request's id.
    pub request: Option<String>,
    /// At least so important.
    pub level: Option<Level>,
    /// Only these.
    pub source: Option<SourceKind>,
    /// In the message or a field's value; ASCII letters in either case.
    pub text: Option<String>,
    /// Not before.
    pub since: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
    /// Without what the platform says about itself, which is for operators only.
    pub hide_platform: bool,
    /// Without requests to the control API that went well: the command line makes many of them.
    pub hide_control: bool,
}

impl Filter {
    /// Whether the record is wanted.
    #[must_use]
    pub fn matches(&self, record: &LogRecord) -> bool {
        self.matches_origin(record)
            && self.level.is_none_or(|level| record.level >= level)
            && self.since.is_none_or(|since| record.at >= since)
            && self.until.is_none_or(|until| record.at < until)
            && self.request.as_deref().is_none_or(|id| text_field(record, "request.id") == Some(id))
            && self.text.as_deref().is_none_or(|text| mentions(record, text))
    }

    fn matches_origin(&self, record: &LogRecord) -> bool {
        let kind = match record.source {
            Source::Platform => SourceKind::Platform,
            Source::Service { .. } => SourceKind::Service,
            Source::Access => SourceKind::Access,
        };
        let (replica, deployment) = match &record.source {
            Source::Service { replica, deployment, .. } => {
                (Some(replica.as_str()), Some(deployment.as_str()))
            }
            Source::Platform | Source::Access => {
                (text_field(record, "replica"), text_field(record, "deployment"))
            }
        };
        let is =
            |wanted: &Option<String>, found: Option<&str>| wanted.is_none() || wanted.as_deref() == found;
        self.source.is_none_or(|wanted| wanted == kind)
            && !(self.hide_platform && kind == SourceKind::Platform)
            && !(self.hide_control && is_control(record))
            && is(&self.tenant, record.tenant.as_deref())
            && is(&self.service, record.service())
            && is(&self.replica, replica)
            && is(&self.deployment, deployment)
            && is(&self.environment, text_field(record, "environment"))
    }

    /// Texts that the stored line of every wanted record holds, as JSON escapes them.
    pub(crate) fn needles(&self) -> Needles {
        let exact =
            [&self.service, &self.replica, &self.deployment, &self.environment, &self.tenant, &self.request];
        Needles {
            exact: exact.into_iter().flatten().map(|text| quoted(text)).collect(),
            // Within a value, so without the quotes. What is no ASCII may be escaped or not; it is left to `matches`.
            text: self.text.as_deref().filter(|text| text.is_ascii()).map(|text| {
                let quoted = quoted(text);
                quoted[1..quoted.len() - 1].to_owned()
            }),
        }
    }
}

/// What a raw line is sifted for before it is parsed.
pub(crate) struct Needles {
    pub(crate) exact: Vec<String>,
    pub(crate) text: Option<String>,
}

fn quoted(text: &str) -> String {
    let mut out = String::new();
    write_json_string(&mut out, text);
    out
}

fn text_field<'a>(record: &'a LogRecord, name: &str) -> Option<&'a str> {
    record.fields.get(name).and_then(Value::as_str)
}

/// Requests to the API are told by the surface that they came to.
fn is_control(record: &LogRecord) -> bool {
    record.source == Source::Platform && record.level < Level::Warn && record.fields.contains_key("surface")
}

fn mentions(record: &LogRecord, text: &str) -> bool {
    contains(&record.message, text)
        || record.fields.values().any(|value| match value {
            Value::String(value) => contains(value, text),
            Value::Null => false,
            other => contains(&other.to_string(), text),
        })
}

/// ASCII letters in either case, all else as it is.
fn contains(text: &str, wanted: &str) -> bool {
    let (text, wanted) = (text.as_bytes(), wanted.as_bytes());
    wanted.is_empty() || text.windows(wanted.len()).any(|window| window.eq_ignore_ascii_case(wanted))
}

/// Where a line begins. Later lines are greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Number of the segment.
    pub segment: u64,
    /// Bytes before it in the segment, uncompressed.
    pub offset: u64,
}

impl Position {
    /// Reads what `Display` writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Position> {
        let (segment, offset) = text.split_once('.')?;
        Some(Position { segment: segment.parse().ok()?, offset: offset.parse().ok()? })
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.segment, self.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use telemetry::Stream;

    fn record() -> LogRecord {
        let mut record = LogRecord::platform(Timestamp::from_micros(1_000), Level::Warn, "Disk is FULL");
        record.source = Source::Service {
            service: "web".to_owned(),
            replica: "rep_1".to_owned(),
            deployment: "dep_1".to_owned(),
            stream: Stream::Stderr,
        };
        record.tenant = Some("ten_1".to_owned());
        record.fields.insert("status".to_owned(), 503.into());
        record
    }

    #[track_caller]
    fn check(filter: Filter, wanted: bool) {
        assert_eq!(filter.matches(&record()), wanted, "{filter:?}");
    }

    #[test]
    fn every_condition_counts() {
        let text = |text: &str| Some(text.to_owned());
        check(Filter::default(), true);
        check(Filter { service: text("web"), tenant: text("ten_1"), ..Filter::default() }, true);
        check(Filter { service: text("web"), tenant: text("ten_2"), ..Filter::default() }, false);
        check(Filter { replica: text("rep_1"), deployment: text("dep_2"), ..Filter::default() }, false);
        check(Filter { level: Some(Level::Warn), ..Filter::default() }, true);
        check(Filter { level: Some(Level::Error), ..Filter::default() }, false);
        check(Filter { source: Some(SourceKind::Access), ..Filter::default() }, false);
        check(Filter { text: text("is full"), ..Filter::default() }, true);
        check(Filter { text: text("503"), ..Filter::default() }, true);
        check(Filter { text: text("web"), ..Filter::default() }, false);
        check(Filter { since: Some(Timestamp::from_micros(1_000)), ..Filter::default() }, true);
        check(Filter { until: Some(Timestamp::from_micros(1_000)), ..Filter::default() }, false);
        check(Filter { environment: text("test"), ..Filter::default() }, false);
        check(Filter { hide_platform: true, ..Filter::default() }, true);
    }

    #[test]
    fn control_requests_can_be_left_out() {
        let filter = Filter { hide_control: true, ..Filter::default() };
        let mut request =
            LogRecord::platform(Timestamp::from_micros(0), Level::Info, "GET /api/v1/tenants 200");
        assert!(filter.matches(&request));
        request.fields.insert("surface".to_owned(), "control".into());
        assert!(!filter.matches(&request));
        request.level = Level::Warn;
        assert!(filter.matches(&request), "what went wrong is shown");
    }

    #[test]
    fn needles_are_in_the_line_of_what_matches() {
        let filter = Filter {
            service: Some("web".to_owned()),
            text: Some("disk \"x".to_owned()),
            ..Filter::default()
        };
        let needles = filter.needles();
        assert_eq!(needles.exact, ["\"web\""]);
        assert_eq!(needles.text.as_deref(), Some("disk \\\"x"));
    }

    #[test]
    fn positions_read_back_and_are_ordered() {
        let early = Position { segment: 2, offset: 900 };
        let late = Position { segment: 10, offset: 0 };
        assert!(early < late);
        assert_eq!(Position::parse(&early.to_string()), Some(early));
        assert_eq!(Position::parse("x.1"), None);
    }
}
