//! What workers and people ask of jobs that there are.

use base::{HumanDuration, JobId, Slug, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use web::{HotBody, PageQuery};

use super::json::Lease;
use crate::model::job::CLAIM_MAX;
use crate::{JobStatus, Payload};

/// Jobs of one request about many.
pub(crate) const LEASES_MAX: usize = 1_000;

/// Asks for jobs.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ClaimBody {
    /// At most so many.
    #[schemars(range(min = 1, max = 1_000))]
    pub limit: u32,
    /// For how long, from 1 s to 1 h; the queue's lease when nothing is said.
    pub lease: Option<HumanDuration>,
    /// How long to wait while there is none, up to 60 s.
    pub wait: Option<HumanDuration>,
    /// What the worker calls itself, for people.
    #[schemars(length(min = 1, max = 128))]
    pub worker: Option<String>,
}

impl Default for ClaimBody {
    fn default() -> Self {
        Self { limit: 1, lease: None, wait: None, worker: None }
    }
}

impl HotBody for ClaimBody {
    fn is_within(&self) -> bool {
        (1..=CLAIM_MAX).contains(&self.limit)
            && self.worker.as_deref().is_none_or(|name| (1..=128).contains(&name.len()))
    }
}

/// Says that one of several jobs is done.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Done {
    /// Which.
    pub id: JobId,
    /// The lease of its claim.
    pub lease: Lease,
    /// What came out: any JSON of at most 256 KiB, kept with the job.
    #[serde(default)]
    pub result: Option<Payload>,
}

/// Says that jobs are done, and asks for more.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CompleteMany {
    /// The jobs.
    #[schemars(length(max = 1_000))]
    pub jobs: Vec<Done>,
    /// Claims more in the same transaction.
    #[serde(default)]
    pub claim: Option<ClaimBody>,
}

impl HotBody for CompleteMany {
    fn is_within(&self) -> bool {
        self.jobs.len() <= LEASES_MAX && self.claim.as_ref().is_none_or(HotBody::is_within)
    }
}

/// One of several leases.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Held {
    /// Which job.
    pub id: JobId,
    /// The lease of its claim.
    pub lease: Lease,
}

/// Several leases.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Leases {
    /// The jobs.
    #[schemars(length(max = 1_000))]
    pub jobs: Vec<Held>,
}

impl HotBody for Leases {
    fn is_within(&self) -> bool {
        self.jobs.len() <= LEASES_MAX
    }
}

impl Leases {
    pub(crate) fn pairs(&self) -> Vec<(JobId, i64)> {
        self.jobs.iter().map(|held| (held.id, held.lease.0)).collect()
    }
}

/// Says that a job is done.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CompleteBody {
    /// The lease of its claim.
    pub lease: Lease,
    /// What came out: any JSON of at most 256 KiB, kept with the job.
    #[serde(default)]
    pub result: Option<Payload>,
}

impl HotBody for CompleteBody {
    fn is_within(&self) -> bool {
        true
    }
}

/// Says that an attempt failed.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FailBody {
    /// The lease of the claim.
    pub lease: Lease,
    /// Why, for people; the first 4 KiB are kept.
    #[schemars(length(max = 65_536))]
    pub error: String,
    /// Whether another attempt may help.
    #[serde(default = "yes")]
    pub retry: bool,
    /// The pause before it, instead of the job's own.
    #[serde(default)]
    pub retry_in: Option<HumanDuration>,
}

const fn yes() -> bool {
    true
}

impl HotBody for FailBody {
    fn is_within(&self) -> bool {
        self.error.len() <= 65_536
    }
}

/// Says that a worker is still at it, or gives the job back.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LeaseBody {
    /// The lease of the claim.
    pub lease: Lease,
}

impl HotBody for LeaseBody {
    fn is_within(&self) -> bool {
        true
    }
}

/// Says how far a job is.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProgressBody {
    /// The lease of the claim.
    pub lease: Lease,
    /// 0 to 100.
    #[schemars(range(max = 100))]
    pub percent: u8,
    /// A note for people.
    #[serde(default)]
    #[schemars(length(max = 1_024))]
    pub note: Option<String>,
}

impl HotBody for ProgressBody {
    fn is_within(&self) -> bool {
        self.percent <= 100 && self.note.as_deref().is_none_or(|note| note.len() <= 1_024)
    }
}

/// Which jobs of a queue a list shows.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
pub struct JobQuery {
    /// Limit and cursor.
    #[serde(flatten)]
    pub page: PageQuery,
    /// In this state.
    #[serde(default)]
    pub status: Option<JobStatus>,
    /// Of this tenant, by id or slug.
    #[serde(default)]
    #[schemars(length(min = 1, max = 64))]
    pub tenant: Option<String>,
    /// With this tag.
    #[serde(default)]
    #[schemars(length(min = 1, max = 64))]
    pub tag: Option<String>,
    /// Whose error contains this text.
    #[serde(default)]
    #[schemars(length(min = 1, max = 256))]
    pub error: Option<String>,
    /// Made (those that have ended: ended) at or after.
    #[serde(default)]
    pub from: Option<Timestamp>,
    /// Made (those that have ended: ended) before.
    #[serde(default)]
    pub to: Option<Timestamp>,
}

/// Jobs of a queue that meet all that is said.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FilterBody {
    /// These only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1_000))]
    pub ids: Vec<JobId>,
    /// In this state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<JobStatus>,
    /// Of this tenant, by id or slug.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub tenant: Option<String>,
    /// With this tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub tag: Option<String>,
    /// Whose error contains this text.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub error: Option<String>,
    /// Made (those that have ended: ended) at or after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
    /// Made (those that have ended: ended) before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Timestamp>,
}

/// Which dead jobs are due again.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RetryDead {
    /// Those that meet it; all when nothing is said.
    pub filter: FilterBody,
    /// At most so many, oldest first.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub limit: Option<u64>,
}

/// Which jobs go to another queue.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MoveBody {
    /// The other queue, of the same environment.
    pub to: Slug,
    /// Those that meet it; all that wait or are delayed when nothing is said.
    #[serde(default)]
    pub filter: FilterBody,
}

/// How a queue is removed.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
pub struct RemoveQuery {
    /// With the jobs that have not ended.
    #[serde(default)]
    pub force: bool,
}

/// How long to wait for a job's end.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
pub struct WaitQuery {
    /// Up to 60 s; 30 s when nothing is said.
    #[serde(default)]
    pub timeout: Option<HumanDuration>,
}

/// Where a stream of events begins.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
pub struct EventsQuery {
    /// After this event; `Last-Event-ID` says the same.
    #[serde(default)]
    pub after: Option<u64>,
}

/// Which queues are listed.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
pub struct QueuesQuery {
    /// Limit and cursor.
    #[serde(flatten)]
    pub page: PageQuery,
    /// The installation's own queues instead of the environment's; for operators.
    #[serde(default)]
    pub built_in: bool,
}
