//! What the operations of plans refuse.

use base::Slug;
use ports::PlanUsers;

/// Why an operation on a plan did not happen. Knows nothing of HTTP; `api` maps it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The environment has no such plan.
    #[error("there is no such plan")]
    NotFound,
    /// The environment has a plan of this name that somebody made.
    #[error("there is a plan {0}")]
    Exists(Slug),
    /// The project file decides about the plan.
    #[error("the plan {0} is managed by the project file")]
    ManagedByFile(Slug),
    /// One of the four that come along cannot be removed, only changed.
    #[error("the plan {0} comes along and cannot be removed")]
    ComesAlong(Slug),
    /// Tenants are on the plan.
    #[error("{} tenants are on the plan {name}", .users.count)]
    InUse {
        /// The plan.
        name: Slug,
        /// Who is on it.
        users: PlanUsers,
    },
    /// The environment has as many plans as it may.
    #[error("the environment has {0} plans, the most allowed")]
    TooMany(u32),
    /// The plan names more meters than it may.
    #[error("the plan would name {0} meters; at most 100 are allowed")]
    TooManyMeters(usize),
    /// The row has another revision than the caller knew.
    #[error("the plan has changed since; its revision is {revision}")]
    Stale {
        /// The revision that it has now.
        revision: i64,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] db::Error),
}
