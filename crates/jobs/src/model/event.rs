//! What happens on queues, as a stream tells it.

use std::sync::Arc;

use base::{JobId, TenantId, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Payload, QueueKey};

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// A job was made.
    Added,
    /// A worker holds it.
    Active,
    /// The worker told how far it is.
    Progress,
    /// It ended well.
    Completed,
    /// An attempt failed; `retrying` or `dead` follows.
    Failed,
    /// It will be tried again.
    Retrying,
    /// It ended badly.
    Dead,
    /// It was cancelled, or its worker was asked to stop.
    Cancelled,
    /// Nothing was heard of its worker.
    Stalled,
    /// The queue has nothing waiting and nothing active.
    Drained,
    /// The queue was paused.
    Paused,
    /// The queue goes on.
    Resumed,
    /// Events before this one were lost to this listener.
    Gap,
}

impl EventKind {
    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Active => "active",
            Self::Progress => "progress",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Retrying => "retrying",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
            Self::Stalled => "stalled",
            Self::Drained => "drained",
            Self::Paused => "paused",
            Self::Resumed => "resumed",
            Self::Gap => "gap",
        }
    }
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq)]
pub struct QueueEvent {
    /// Grows by one with each event of this process.
    pub seq: u64,
    /// What happened.
    pub kind: EventKind,
    /// When.
    pub at: Timestamp,
    /// On which queue.
    pub queue: Arc<QueueKey>,
    /// To which job.
    pub job: Option<JobId>,
    /// Whose.
    pub tenant: Option<TenantId>,
    /// In which attempt; 0 before the first.
    pub attempt: u32,
    /// How far it is, with [`EventKind::Progress`].
    pub percent: Option<u8>,
    /// The worker's note, or why it failed.
    pub text: Option<Arc<str>>,
    /// What came out, when it is small (1 KiB); with [`EventKind::Completed`].
    pub result: Option<Payload>,
}
