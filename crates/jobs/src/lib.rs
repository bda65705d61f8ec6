//! Jobs: durable queues that are fair between tenants.
//!
//! # Purpose
//! Work that must happen is left in a queue of an environment ([`Engine::enqueue`], or [`ports::Enqueue`] inside another
//! capability's transaction), waits there for its time and its turn, and is claimed by a worker, which ends it. What an
//! app's team would take Redis and a queue library for.
//!
//! # Invariants
//! * What was answered is on disk: a job that was taken is run, at least once, and one that was ended is not run again.
//! * A worker holds a job by a lease and its *fence*, a number that every claim raises. A lease that is over or was given
//!   to another never ends a job, nor does one of before a retry.
//! * An attempt is counted when it begins. A job that takes its worker down with it is dead after its attempts.
//! * A tenant's backlog delays another tenant's job by no more than the jobs that run: fairness is by running time, within a
//!   priority, by weight; and no priority is starved.
//! * Another tenant's job is the same [`Error::NotFound`] as one that never was.
//! * Memory proposes, the store disposes: nothing that memory believes has to be right for a job to run as its rules say.
//!
//! # Deliberately absent
//! Workflows (durable functions over jobs), payloads above 256 KiB (they are kept in storage and named in the payload),
//! exactly-once delivery (it does not exist: effects are made idempotent by a job's id), events of jobs in the audit log
//! (a ring in memory tells them).
//!
//! # Life of the main operation
//! `enqueue` checks the drafts, gives them ids that grow, promises them room, and appends them to what waits; if the store
//! is free, it posts a batch. The batch is one transaction; once it is durable, its thread puts the jobs into their tenants'
//! windows, answers the producer, and posts the next batch. A claim that waits is served by that one: the scheduler picks
//! the tenant whose turn it is, its first job is proposed, and one `UPDATE` takes it if it is still there. The worker does the
//! job and calls [`Engine::complete`] with its fence and its next claim: the row goes, its place is free, and the next
//! job is taken in the same transaction. If the worker is not heard of, [`Engine::run`] notices that the lease is over.

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
pub use engine::{Deps, Engine, Events, Listed, worker_name};
pub use error::Error;
pub use model::{
    Ack, Attempt, Backoff, BackoffKind, Beat, ChildView, ClaimRequest, Claimed, Draft, EventKind, Failure,
    JobDetail, JobFilter, JobStatus, JobView, Keep, Limits, ManagedBy, OnChildFailure, OnDuplicate, Outcome,
    Payload, ProgressNote, Push, QueueEvent, QueueKey, QueueSettings, QueueStatus, QueueView, Retry, Scope,
    Swept, Unique,
};
pub use section::{QueuesApply, SECTION};

/// The tables of queues and jobs.
pub const MIGRATIONS: db::MigrationSet = store::MIGRATIONS;
