//! Jobs and queues, as they are shown.

use base::{EnvironmentId, HumanDuration, JobId, Slug, TenantId, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::json::Lease;
use crate::{
    Attempt, ChildView, Claimed, Error, EventKind, JobDetail, JobStatus, JobView, ManagedBy, Outcome,
    Payload, ProgressNote, QueueEvent, QueueSettings, QueueStatus, Swept,
};

/// A job without what it carries.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// The queue it waits or waited in.
    pub queue: Slug,
    /// Whose work it is; `null` for work of no tenant.
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// Children that have not ended.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub pending_children: u32,
    /// Whether it was there already, by its unique key.
    #[serde(default, skip_serializing_if = "is_false")]
    pub existing: bool,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

fn is_false(flag: &bool) -> bool {
    !*flag
}

impl From<JobView> for Job {
    fn from(view: JobView) -> Self {
        let JobView {
            id,
            queue,
            tenant,
            status,
            priority,
            attempt,
            attempts,
            run_at,
            created_at,
            started_at,
            finished_at,
            pending_children,
            existing,
        } = view;
        let queue = queue.name.clone();
        Self {
            id,
            queue,
            tenant,
            status,
            priority,
            attempt,
            attempts,
            run_at,
            created_at,
            started_at,
            finished_at,
            pending_children,
            existing,
        }
    }
}

/// One job, or many in the order in which they were sent.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Made {
    /// Of a request for many.
    Many {
        /// The jobs.
        data: Vec<Job>,
    },
    /// Of a request for one.
    One(Job),
}

/// A job with all that is known of it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Detail {
    /// Its id.
    pub id: JobId,
    /// The queue it waits or waited in.
    pub queue: Slug,
    /// Whose work it is; `null` for work of no tenant.
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// What the worker is given.
    pub payload: Payload,
    /// What came out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Payload>,
    /// Why the newest attempt failed, or why it is dead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// How far it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// What the queue's limits per key count it under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Its unique key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unique: Option<String>,
    /// Words to find it by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Who holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// Until when it is held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_until: Option<Timestamp>,
    /// How long one attempt may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<HumanDuration>,
    /// Whether its worker was asked to stop.
    #[serde(default, skip_serializing_if = "is_false")]
    pub cancel: bool,
    /// Whose child it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<JobId>,
    /// Children that have not ended.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub pending_children: u32,
    /// Its children.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<Child>,
    /// Attempts that failed, oldest first, at most the 100 newest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<PastAttempt>,
}

/// How far a job is, in its worker's words.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Progress {
    /// 0 to 100.
    pub percent: u8,
    /// A note.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// When the worker said so.
    pub at: Timestamp,
}

/// A child of a job.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Child {
    /// Its id.
    pub id: JobId,
    /// How it ended; left out while it has not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<JobStatus>,
    /// What came out, while it is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Payload>,
}

/// An attempt that did not end well.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct PastAttempt {
    /// Which, from 1.
    pub attempt: u32,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// How.
    pub outcome: Outcome,
    /// Why.
    pub error: String,
    /// Who held it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
}

impl From<JobDetail> for Detail {
    fn from(detail: JobDetail) -> Self {
        let JobDetail {
            view,
            payload,
            result,
            error,
            progress,
            key,
            unique,
            tags,
            worker,
            lease_until,
            timeout,
            cancel_asked,
            parent,
            children,
            history,
        } = detail;
        Self {
            id: view.id,
            queue: view.queue.name.clone(),
            tenant: view.tenant,
            status: view.status,
            priority: view.priority,
            attempt: view.attempt,
            attempts: view.attempts,
            run_at: view.run_at,
            created_at: view.created_at,
            started_at: view.started_at,
            finished_at: view.finished_at,
            payload,
            result,
            error,
            progress: progress.map(|ProgressNote { percent, note, at }| Progress { percent, note, at }),
            key,
            unique,
            tags,
            worker,
            lease_until,
            timeout: timeout.map(HumanDuration),
            cancel: cancel_asked,
            parent,
            pending_children: view.pending_children,
            children: children.into_iter().map(Child::from).collect(),
            history: history.into_iter().map(PastAttempt::from).collect(),
        }
    }
}

impl From<ChildView> for Child {
    fn from(ChildView { id, ended, result }: ChildView) -> Self {
        Self { id, status: ended, result }
    }
}

impl From<Attempt> for PastAttempt {
    fn from(past: Attempt) -> Self {
        let Attempt { attempt, started_at, ended_at, outcome, error, worker } = past;
        Self { attempt, started_at, ended_at, outcome, error, worker }
    }
}

/// A job in the hands of a worker.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ClaimedJob {
    /// Its id: the same in each attempt, so that effects can be tied to it.
    pub id: JobId,
    /// Its queue.
    pub queue: Slug,
    /// Whose work it is; `null` for work of no tenant.
    pub tenant: Option<TenantId>,
    /// What is to be done.
    pub payload: Payload,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// After how many it is dead.
    pub attempts: u32,
    /// Proves the lease to `complete`, `fail`, `heartbeat` and `progress`.
    pub lease: Lease,
    /// Until when the job is held without a heartbeat.
    pub lease_until: Timestamp,
    /// 0 (first) to 9.
    pub priority: u8,
    /// When it was made.
    pub created_at: Timestamp,
    /// How long the attempt may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<HumanDuration>,
    /// What the queue's limits per key count it under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Words to find it by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
}

impl From<Claimed> for ClaimedJob {
    fn from(claimed: Claimed) -> Self {
        let Claimed {
            id,
            queue,
            tenant,
            payload,
            attempt,
            attempts,
            fence,
            lease_until,
            timeout,
            priority,
            key,
            tags,
            created_at,
        } = claimed;
        Self {
            id,
            queue: queue.name.clone(),
            tenant,
            payload,
            attempt,
            attempts,
            lease: Lease(fence),
            lease_until,
            priority,
            created_at,
            timeout: timeout.map(HumanDuration),
            key: key.map(|key| key.as_ref().to_owned()),
            tags,
        }
    }
}

/// A queue: its settings and figures. Under a tenant's key the figures are those of its own jobs.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Queue {
    /// Its name.
    pub name: Slug,
    /// The environment; `null` for one of the installation's own.
    pub environment: Option<EnvironmentId>,
    /// Whether no job of it begins.
    pub paused: bool,
    /// Who may change it.
    pub managed_by: ManagedBy,
    /// Due and not begun; parents that wait for children too.
    pub waiting: u64,
    /// Not due yet; pauses between attempts too.
    pub delayed: u64,
    /// Held by workers.
    pub active: u64,
    /// Dead ones that are kept.
    pub dead: u64,
    /// Ended well since Switchyard started.
    pub completed: u64,
    /// Attempts that failed since Switchyard started.
    pub failed: u64,
    /// Bytes of payloads that wait.
    pub bytes: u64,
    /// How long the oldest waiting job has been due; 0 when none waits.
    pub oldest_waiting_ms: u64,
    /// Tenants with waiting jobs.
    pub tenants_waiting: u64,
    /// 1 when tenants with a backlog were served by their shares in the last minute, 1/n when one of n had it all.
    pub fairness: f64,
    /// From due to begun.
    pub wait_ms: Percentiles,
    /// From begun to ended.
    pub run_ms: Percentiles,
    /// Claims that wait for jobs.
    pub claims_waiting: u64,
    /// Its settings.
    pub settings: QueueSettings,
    /// When it was declared.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// Times of the last minutes, in milliseconds.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
pub struct Percentiles {
    /// Half of them were no longer.
    pub p50: f64,
    /// 99 of 100 were no longer.
    pub p99: f64,
}

impl From<QueueStatus> for Queue {
    fn from(status: QueueStatus) -> Self {
        let QueueStatus {
            queue,
            waiting,
            delayed,
            active,
            dead,
            completed,
            failed,
            bytes,
            oldest_waiting_ms,
            tenants_waiting,
            fairness,
            wait_ms,
            run_ms,
            claims_waiting,
        } = status;
        let percentiles = |(p50, p99)| Percentiles { p50, p99 };
        Self {
            name: queue.key.name,
            environment: queue.key.environment,
            paused: queue.paused,
            managed_by: queue.managed_by,
            waiting,
            delayed,
            active,
            dead,
            completed,
            failed,
            bytes,
            oldest_waiting_ms,
            tenants_waiting,
            fairness,
            wait_ms: percentiles(wait_ms),
            run_ms: percentiles(run_ms),
            claims_waiting,
            settings: queue.settings,
            created_at: queue.created_at,
            updated_at: queue.updated_at,
        }
    }
}

/// What became of one of several jobs: `status` or `error`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Outcomes {
    /// Which.
    pub id: JobId,
    /// What it is now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<JobStatus>,
    /// Why nothing was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Refusal>,
}

/// Why nothing was done about one of several jobs.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Refusal {
    /// The code, as in a problem document.
    pub code: String,
    /// In words.
    pub detail: String,
}

impl Refusal {
    pub(crate) fn of(error: &Error) -> Self {
        let code = super::problem::code_of(error);
        // What the store says is for the log only.
        let detail = match error {
            Error::Store(_) => code.title.to_owned(),
            other => other.to_string(),
        };
        Self { code: code.name.to_owned(), detail }
    }
}

/// Something that happened on a queue, as the stream tells it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Happened {
    /// Grows by one with each event; what `Last-Event-ID` names.
    pub seq: u64,
    /// What happened.
    pub kind: EventKind,
    /// To which job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobId>,
    /// Whose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantId>,
    /// When.
    pub at: Timestamp,
    /// In which attempt; left out before the first.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub attempt: u32,
    /// How far it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<u8>,
    /// The worker's note on that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What came out, when it is small.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Payload>,
}

impl From<QueueEvent> for Happened {
    fn from(event: QueueEvent) -> Self {
        let QueueEvent { seq, kind, at, queue: _, job, tenant, attempt, percent, text, result } = event;
        let text = text.map(|text| text.as_ref().to_owned());
        let (note, error) = if kind == EventKind::Progress { (text, None) } else { (None, text) };
        Self { seq, kind, job, tenant, at, attempt, percent, note, error, result }
    }
}

/// How many jobs an operation was about.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
pub struct Count {
    /// So many.
    pub count: u64,
    /// Whether the call ended for its time (a minute) and the same call would go on. Never after a replay.
    #[serde(default)]
    pub more: bool,
}

impl From<Swept> for Count {
    fn from(Swept { count, more }: Swept) -> Self {
        Self { count, more }
    }
}
