//! What the operations of keys, members and roles refuse.

use authority::Role;

/// Why an operation on a key, member or role did not happen. Knows nothing of HTTP; `api` maps it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such key, member or role, or not in this tenant and environment.
    #[error("there is no such thing")]
    NotFound,
    /// A field's value is not allowed.
    #[error("{pointer}: {detail}")]
    Invalid {
        /// The field, as a JSON pointer into the request's body.
        pointer: &'static str,
        /// What is allowed.
        detail: String,
    },
    /// The key would allow more than its maker may.
    #[error("the key would allow more than whoever makes it may")]
    ScopeExceeds,
    /// The role to be given or taken away allows more than the caller may.
    #[error("the role {0} allows more than whoever hands it out may")]
    RoleExceeds(Role),
    /// The tenant's last owner would go.
    #[error("the last owner would go")]
    LastOwner,
    /// The person is a member already.
    #[error("the person is a member already")]
    MemberExists,
    /// The key does not work any more, so that there is nothing to rotate.
    #[error("the key is expired or revoked")]
    KeyEnded,
    /// The person has accepted, so that there is nothing to invite to.
    #[error("the person has accepted already")]
    Accepted,
    /// Members or keys have the role.
    #[error("members or keys have the role")]
    RoleInUse,
    /// There are as many as there may be.
    #[error("there are {max} {what}, the most allowed")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many it may have.
        max: u32,
    },
    /// The row has another revision than the caller knew.
    #[error("it has changed since; its revision is {revision}")]
    Stale {
        /// The revision that it has now.
        revision: i64,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] db::Error),
}
