//! Jobs as they are seen from outside.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base::{JobId, TenantId, Timestamp};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use super::{QueueKey, Scope};

/// Where a job is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum JobStatus {
    /// Due, or waiting for its children.
    Waiting,
    /// Not due yet.
    Delayed,
    /// Held by a worker.
    Active,
    /// Ended well.
    Completed,
    /// Ended badly: all its attempts failed, or one fatally.
    Dead,
    /// Ended because somebody asked for it.
    Cancelled,
}

impl JobStatus {
    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Delayed => "delayed",
            Self::Active => "active",
            Self::Completed => "completed",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether nothing more happens to it.
    #[must_use]
    pub fn is_finished(self) -> bool {
        matches!(self, Self::Completed | Self::Dead | Self::Cancelled)
    }
}

impl fmt::Display for JobStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// JSON text that nobody here reads: what a client sends reaches a worker letter by letter. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Payload(Text);

#[derive(Debug, Clone)]
enum Text {
    /// Read as JSON once; written as it is.
    Known(Arc<RawValue>),
    /// From our own store; read when it is written.
    Kept(Arc<str>),
}

impl Payload {
    /// Takes a text over; the caller vouches that it is JSON.
    #[must_use]
    pub fn from_json(text: impl Into<Arc<str>>) -> Self {
        Self(Text::Kept(text.into()))
    }

    /// `null`.
    #[must_use]
    pub fn null() -> Self {
        Self::from_json("null")
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Text::Known(raw) => raw.get(),
            Text::Kept(text) => text,
        }
    }

    /// Its bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.as_str().len()
    }

    /// Whether there is no text; JSON never is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.as_str().is_empty()
    }
}

impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Payload {}

impl From<Box<RawValue>> for Payload {
    fn from(raw: Box<RawValue>) -> Self {
        Self(Text::Known(raw.into()))
    }
}

impl From<&serde_json::Value> for Payload {
    fn from(value: &serde_json::Value) -> Self {
        Self::from_json(value.to_string())
    }
}

impl Serialize for Payload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Text::Known(raw) => raw.serialize(serializer),
            Text::Kept(text) => {
                let raw: &RawValue = serde_json::from_str(text).map_err(serde::ser::Error::custom)?;
                raw.serialize(serializer)
            }
        }
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(deserializer).map(Self::from)
    }
}

impl JsonSchema for Payload {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Json".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        Schema::from(true)
    }
}

/// A job without its payload.
#[derive(Debug, Clone, PartialEq)]
pub struct JobView {
    /// Its id.
    pub id: JobId,
    /// Where it waits or waited.
    pub queue: Arc<QueueKey>,
    /// Whose work.
    pub tenant: Option<TenantId>,
    /// Where it is in its life.
    pub status: JobStatus,
    /// 0 (first) to 9.
    pub priority: u8,
    /// Attempts begun.
    pub attempt: u32,
    /// After how many it is dead.
    pub attempts: u32,
    /// When it is or was due.
    pub run_at: Timestamp,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its newest attempt began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Children that have not ended.
    pub pending_children: u32,
    /// Whether an enqueue found it there already, by its unique key.
    pub existing: bool,
}

/// Everything about a job.
#[derive(Debug, Clone, PartialEq)]
pub struct JobDetail {
    /// What lists show.
    pub view: JobView,
    /// What the worker is given.
    pub payload: Payload,
    /// What the worker answered.
    pub result: Option<Payload>,
    /// Why the newest attempt failed, or why it is dead.
    pub error: Option<String>,
    /// How far it is.
    pub progress: Option<ProgressNote>,
    /// What limits per key count it under.
    pub key: Option<String>,
    /// Its unique key.
    pub unique: Option<String>,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// Who holds it.
    pub worker: Option<String>,
    /// Until when.
    pub lease_until: Option<Timestamp>,
    /// How long one attempt may take.
    pub timeout: Option<Duration>,
    /// Whether its worker was asked to stop.
    pub cancel_asked: bool,
    /// Whose child it is.
    pub parent: Option<JobId>,
    /// Its children, at most 1,000.
    pub children: Vec<ChildView>,
    /// Attempts that failed, oldest first, at most the 100 newest.
    pub history: Vec<Attempt>,
}

/// A child, as its parent shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct ChildView {
    /// Its id.
    pub id: JobId,
    /// How it ended; `None` while it has not.
    pub ended: Option<JobStatus>,
    /// What it answered, while it is kept.
    pub result: Option<Payload>,
}

/// How far a job is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgressNote {
    /// 0 to 100.
    pub percent: u8,
    /// In the worker's words; at most 1 KiB.
    pub note: Option<String>,
    /// When it said so.
    pub at: Timestamp,
}

/// What became of an attempt that did not end well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The worker said so.
    Failed,
    /// Nothing was heard of the worker for the length of the lease.
    LeaseExpired,
    /// It took longer than it may.
    TimedOut,
}

impl Outcome {
    /// As it is stored and written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::LeaseExpired => "lease_expired",
            Self::TimedOut => "timed_out",
        }
    }

    pub(crate) fn parse(text: &str) -> Result<Self, db::Error> {
        match text {
            "failed" => Ok(Self::Failed),
            "lease_expired" => Ok(Self::LeaseExpired),
            "timed_out" => Ok(Self::TimedOut),
            _ => Err(db::Error::Decode("an attempt has an unknown outcome".into())),
        }
    }
}

/// An attempt that did not end well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Which, from 1.
    pub attempt: u32,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// How.
    pub outcome: Outcome,
    /// Why, in the worker's words; at most 4 KiB.
    pub error: String,
    /// Who held it.
    pub worker: Option<String>,
}

/// Asks for jobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimRequest {
    /// Of which queue.
    pub queue: QueueKey,
    /// On whose account: a tenant gets its own jobs only.
    pub scope: Scope,
    /// At most so many; 1 to 1,000.
    pub limit: u32,
    /// For how long; `None` is the queue's lease.
    pub lease: Option<Duration>,
    /// How long to wait while there is none; 0 to 60 s.
    pub wait: Duration,
    /// What the worker calls itself; at most 128 bytes, shown to people.
    pub worker: Option<Arc<str>>,
}

/// Jobs of one claim.
pub const CLAIM_MAX: u32 = 1_000;
/// How long a claim may wait: below what proxies between commonly bear.
pub const WAIT_MAX: Duration = Duration::from_secs(60);

impl ClaimRequest {
    /// One job at once or none, with the queue's lease.
    #[must_use]
    pub fn one(queue: QueueKey, scope: Scope) -> Self {
        Self { queue, scope, limit: 1, lease: None, wait: Duration::ZERO, worker: None }
    }
}

/// A job in the hands of a worker.
#[derive(Debug, Clone, PartialEq)]
pub struct Claimed {
    /// Its id, the same in each attempt.
    pub id: JobId,
    /// Of which queue.
    pub queue: Arc<QueueKey>,
    /// Whose work.
    pub tenant: Option<TenantId>,
    /// What is to be done.
    pub payload: Payload,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// After how many it is dead.
    pub attempts: u32,
    /// What proves the lease: `lease` on the wire.
    pub fence: i64,
    /// Until when, by the store's clock.
    pub lease_until: Timestamp,
    /// How long the attempt may take.
    pub timeout: Option<Duration>,
    /// 0 (first) to 9.
    pub priority: u8,
    /// What limits per key count it under.
    pub key: Option<Arc<str>>,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Says that a job is done.
#[derive(Debug, Clone, PartialEq)]
pub struct Ack {
    /// Which.
    pub id: JobId,
    /// What proves the lease.
    pub fence: i64,
    /// What came out; kept with the job. At most 256 KiB.
    pub result: Option<Payload>,
}

/// Says that an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Why; kept with the job. More than 4 KiB are cut.
    pub error: String,
    /// Whether another attempt may help; `false` makes the job dead.
    pub retry: bool,
    /// The pause before it, instead of the job's backoff.
    pub retry_in: Option<Duration>,
}

/// Bytes kept of an error.
pub const ERROR_BYTES_MAX: usize = 4 << 10;
/// Bytes kept of a note.
pub const NOTE_BYTES_MAX: usize = 1 << 10;
/// Bytes kept of a worker's name.
pub const WORKER_BYTES_MAX: usize = 128;

/// What a heartbeat is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beat {
    /// Until when the lease is now.
    pub lease_until: Timestamp,
    /// Whether the worker should stop: the job was cancelled.
    pub cancel: bool,
}
