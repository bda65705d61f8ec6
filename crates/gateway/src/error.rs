//! What the operations of routes refuse.

use shape::Fault;

/// Why an operation on a route did not happen. Knows nothing of HTTP; `api` maps it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The environment has no such route.
    #[error("there is no such route")]
    NotFound,
    /// The environment has a route for this host and path.
    #[error("there is a route for {0}")]
    Exists(String),
    /// The project file decides about the route.
    #[error("the route for {0} is managed by the project file")]
    ManagedByFile(String),
    /// What the route says cannot be.
    #[error("the route has {} mistake(s)", .0.len())]
    Invalid(Vec<Fault>),
    /// The environment has as many routes as it may.
    #[error("the environment has {0} routes, the most allowed")]
    TooMany(usize),
    /// The row has another revision than the caller knew.
    #[error("the route has changed since; its revision is {revision}")]
    Stale {
        /// The revision that it has now.
        revision: i64,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] db::Error),
}
