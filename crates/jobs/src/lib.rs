//! Jobs: durable queues that are fair between tenants.

mod engine;
mod error;
mod metrics;
pub mod model;
mod store;

pub use engine::{Deps, Engine, Events};
pub use error::Error;
pub use model::{
    Ack, Attempt, Backoff, BackoffKind, Beat, ChildView, ClaimRequest, Claimed, Draft, EventKind, Failure,
    JobDetail, JobFilter, JobStatus, JobView, Keep, Limits, ManagedBy, OnChildFailure, OnDuplicate, Outcome,
    Payload, ProgressNote, Push, QueueEvent, QueueKey, QueueSettings, QueueStatus, QueueView, Retry, Scope, Unique,
};

/// The tables of queues and jobs.
pub const MIGRATIONS: db::MigrationSet = store::MIGRATIONS;
