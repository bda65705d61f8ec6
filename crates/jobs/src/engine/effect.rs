//! What a transaction did to jobs, for memory to follow once it is durable.

use std::sync::Arc;

use base::{JobId, TenantId, Timestamp};

use super::window::Entry;
use crate::model::state::State;
use crate::store::queues::QueueRow;
use crate::{JobStatus, Payload};

/// One change. Queues are named by their numbers, tenants by their ids.
#[derive(Debug, Clone)]
pub(crate) enum Effect {
    /// A job came, went, or is in another state.
    Job(Box<Change>),
    /// A job's worker is to stop.
    Cancel { id: JobId, queue: i64, tenant: Option<TenantId> },
    /// How far a job is.
    Progress {
        id: JobId,
        queue: i64,
        tenant: Option<TenantId>,
        attempt: u32,
        percent: u8,
        note: Option<String>,
    },
    /// A queue is new or has changed.
    Queue(Box<QueueRow>),
    /// A queue is gone.
    QueueGone(i64),
    /// A queue was paused or goes on.
    Paused(i64, bool),
}

/// Where a job was and where it is now.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) id: JobId,
    pub(crate) queue: i64,
    pub(crate) tenant: Option<TenantId>,
    pub(crate) bytes: u64,
    /// Where it stood in its tenant's window: with no key when it was not ready.
    pub(crate) priority: u8,
    pub(crate) key: Option<Arc<str>>,
    pub(crate) attempt: u32,
    pub(crate) fence: i64,
    /// `None`: it is new, or came back from its end.
    pub(crate) from: Option<State>,
    pub(crate) to: To,
    /// How the attempt ended that `from: Running` was, for events.
    pub(crate) why: Option<Why>,
}

/// Where a job is now.
#[derive(Debug, Clone)]
pub(crate) enum To {
    Ready(Box<Entry>),
    Later(Timestamp),
    Blocked,
    /// In another queue, or forgotten: nobody is told.
    Away,
    Ended {
        status: JobStatus,
        result: Option<Payload>,
        error: Option<String>,
    },
}

/// Why an attempt ended.
#[derive(Debug, Clone)]
pub(crate) enum Why {
    Failed(String),
    Stalled,
    Released,
}
