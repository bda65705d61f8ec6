//! What the operations of schedules refuse.

use base::Slug;

use crate::model::Faults;

/// Why an operation on a schedule did not happen. Knows nothing of HTTP; `api` maps it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// The environment has no such schedule.
    #[error("there is no such schedule")]
    NotFound,
    /// The definition is wrong.
    #[error(transparent)]
    Wrong(#[from] Faults),
    /// The environment has no such queue.
    #[error("there is no queue {0}")]
    QueueUnknown(Slug),
    /// The project file decides about the schedule.
    #[error("the schedule {0} is managed by the project file")]
    ManagedByFile(Slug),
    /// The API decides about the schedule that the project file names.
    #[error("the schedule {0} is managed by API")]
    ManagedByApi(Slug),
    /// It comes with Switchyard.
    #[error("the schedule {0} comes along and can only be paused, resumed and run")]
    BuiltIn(Slug),
    /// The environment has as many as it may.
    #[error("the environment has {0} schedules, the most allowed")]
    TooMany(u32),
    /// The row has another revision than the caller knew.
    #[error("the schedule has changed since; its revision is {revision}")]
    Stale {
        /// The revision that it has now.
        revision: i64,
    },
    /// Its tenant is suspended or cancelled, so it makes no jobs.
    #[error("its tenant is not served")]
    TenantResting,
    /// The queue did not take the job of a firing that was asked for.
    #[error(transparent)]
    Refused(ports::EnqueueError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] db::Error),
}
