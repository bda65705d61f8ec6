//! What can go wrong with queues and jobs.

use std::time::Duration;

use base::JobId;

/// Why an operation on queues or jobs was not done. Nothing was changed then, but with [`Error::Store`] of an
/// uncertain kind (see [`db::Error`]).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no such queue.
    #[error("there is no queue {name}{}", nearest.as_deref().map(|near| format!("; did you mean {near}?")).unwrap_or_default())]
    QueueUnknown {
        /// As it was asked for.
        name: String,
        /// One of the environment's queues with a name like it.
        nearest: Option<String>,
    },
    /// There is no such job, or it is another tenant's or environment's: nobody can tell which.
    #[error("there is no such job")]
    NotFound,
    /// The lease is over or was given to another worker: what the worker says about the job no longer counts.
    #[error("the lease of job {0} is lost")]
    LeaseLost(JobId),
    /// A job with the same unique key is there already.
    #[error("the unique job is there already: {existing}")]
    Duplicate {
        /// That one.
        existing: JobId,
    },
    /// The queue holds as much as it may.
    #[error("queue {queue} is full: {what}")]
    QueueFull {
        /// The queue's name.
        queue: String,
        /// Which limit, in words.
        what: String,
        /// When to try again.
        retry_after: Duration,
    },
    /// A payload, result or the like is above its limit.
    #[error("{what} has {bytes} bytes; at most {bytes_max} are allowed")]
    PayloadTooLarge {
        /// Such as `payload`.
        what: &'static str,
        /// How much it has.
        bytes: usize,
        /// How much it may have.
        bytes_max: usize,
    },
    /// The job is not in a state in which that can be done.
    #[error("job {id} is {status}; {wanted}")]
    NotWaiting {
        /// The job.
        id: JobId,
        /// What it is.
        status: crate::JobStatus,
        /// What would be needed, in words.
        wanted: &'static str,
    },
    /// The queue is managed by the project file.
    #[error("queue {0} is managed by the project file")]
    ManagedByFile(String),
    /// The queue is managed by API, and the project file claims it.
    #[error("queue {0} is managed by API")]
    ManagedByApi(String),
    /// The queue still has jobs, and removing them was not asked for.
    #[error("queue {queue} still has jobs that have not ended: {jobs}")]
    HoldsJobs {
        /// The queue's name.
        queue: String,
        /// How many have not ended.
        jobs: u64,
    },
    /// A value that cannot be, by its JSON pointer within the request.
    #[error("{pointer}: {detail}")]
    Invalid {
        /// Such as `/priority`.
        pointer: String,
        /// What is allowed.
        detail: String,
    },
    /// More work waits for the store than may; try again.
    #[error("too much waits for the store")]
    Overloaded,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] db::Error),
}

impl Error {
    pub(crate) fn invalid(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::Invalid { pointer: pointer.into(), detail: detail.into() }
    }
}
