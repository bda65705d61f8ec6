//! Pure rules: what jobs and queues are, when they run, who is next. No I/O, no locks.

pub mod backoff;
pub mod draft;
pub mod event;
pub(crate) mod fair;
pub mod filter;
pub(crate) mod ids;
pub mod job;
pub(crate) mod limits;
pub mod queue;
pub(crate) mod sketch;
pub(crate) mod state;

pub use backoff::{Backoff, BackoffKind};
pub use draft::{Draft, OnChildFailure, OnDuplicate, Unique};
pub use event::{EventKind, QueueEvent};
pub use filter::{JobFilter, Swept};
pub use job::{
    Ack, Attempt, Beat, ChildView, ClaimRequest, Claimed, Failure, JobDetail, JobStatus, JobView, Outcome,
    Payload, ProgressNote,
};
pub use queue::{
    Keep, Limits, ManagedBy, Push, QueueKey, QueueSettings, QueueStatus, QueueView, Retry, Scope,
};
