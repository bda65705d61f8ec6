//! What the operations of clients refuse.

/// Why an operation on a client did not happen. Knows nothing of HTTP; `api` maps it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The environment has no such client.
    #[error("there is no such client")]
    NotFound,
    /// The environment has a client of this name.
    #[error("there is a client of this name")]
    Exists,
    /// A value is not allowed.
    #[error("{detail}")]
    Invalid {
        /// A JSON pointer to it.
        pointer: String,
        /// What is expected.
        detail: &'static str,
    },
    /// The environment has as many clients as it may.
    #[error("the environment has {0} clients, the most allowed")]
    TooMany(u32),
    /// A public client has no secret that could be replaced.
    #[error("a public client has no secret")]
    NoSecret,
    /// The row has another revision than the caller knew.
    #[error("the client has changed since; its revision is {revision}")]
    Stale {
        /// The revision that it has now.
        revision: i64,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] db::Error),
}
