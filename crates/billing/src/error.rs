//! What the operations of billing refuse.

use base::Slug;
use shape::Fault;

/// Why an operation on a sink did not happen. Knows nothing of HTTP; `api` maps it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// The environment has no such sink, or the sink no such delivery.
    #[error("there is no such sink or delivery")]
    NotFound,
    /// Values are wrong; each with its place.
    #[error("{} value(s) are wrong", .0.len())]
    Wrong(Vec<Fault>),
    /// The project file decides about the sink.
    #[error("the sink {0} is managed by the project file")]
    ManagedByFile(Slug),
    /// The API decides about the sink that the project file names.
    #[error("the sink {0} is managed by API")]
    ManagedByApi(Slug),
    /// The environment has as many as it may.
    #[error("the environment has {0} sinks, the most allowed")]
    TooMany(u32),
    /// Usage of the sink was not accepted yet, and would never be sent.
    #[error("{open} deliveries of {name} are not accepted yet")]
    Open {
        /// The sink.
        name: Slug,
        /// How many are not accepted.
        open: u64,
    },
    /// The delivery is accepted or dropped already, or is being sent.
    #[error("the delivery is {0}, so there is nothing to settle")]
    Settled(&'static str),
    /// The row has another revision than the caller knew.
    #[error("the sink has changed since; its revision is {revision}")]
    Stale {
        /// The revision that it has now.
        revision: i64,
    },
    /// The queue did not take the job that sends.
    #[error("the queue of billing takes no job: {0}")]
    Queue(String),
    /// What is asked of the sink's side cannot be answered.
    #[error("the sink did not answer: {0}")]
    Remote(String),
    /// Another capability does not answer.
    #[error(transparent)]
    Unavailable(#[from] ports::Unavailable),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] db::Error),
}

impl From<ports::EnqueueError> for Error {
    fn from(error: ports::EnqueueError) -> Error {
        match error {
            ports::EnqueueError::Store(error) => Error::Store(error),
            other => Error::Queue(other.to_string()),
        }
    }
}
