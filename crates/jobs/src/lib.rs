//! Jobs: durable queues that are fair between tenants.

pub mod api;
mod capability;
mod cli;
mod engine;
mod error;
mod metrics;
pub mod model;
mod section;
mod store;
pub mod workers;

pub use capability::{MANIFEST, Parts, build};
pub use cli::verbs;
pub use engine::{Deps, Engine, Events};
pub use error::Error;
pub use section::{QueuesApply, SECTION};
pub use model::{
    Ack, Attempt, Backoff, BackoffKind, Beat, ChildView, ClaimRequest, Claimed, Draft, EventKind, Failure,
    JobDetail, JobFilter, JobStatus, JobView, Keep, Limits, ManagedBy, OnChildFailure, OnDuplicate, Outcome,
    Payload, ProgressNote, Push, QueueEvent, QueueKey, QueueSettings, QueueStatus, QueueView, Retry, Scope, Unique,
};

/// The tables of queues and jobs.
pub const MIGRATIONS: db::MigrationSet = store::MIGRATIONS;
