//! What the operations of people refuse.

use std::time::Duration;

use authority::Role;

/// Why an operation did not happen. Knows nothing of HTTP; `api` maps it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such user or session, or not in the caller's reach.
    #[error("there is no such thing")]
    NotFound,
    /// A field's value is not allowed.
    #[error("{pointer}: {detail}")]
    Invalid {
        /// The field, as a JSON pointer into the request's body.
        pointer: &'static str,
        /// What is allowed.
        detail: &'static str,
    },
    /// Address, password or code are wrong.
    #[error("address, password or code are wrong")]
    Wrong,
    /// The password is right; a code of the second factor is needed.
    #[error("a code is needed")]
    CodeNeeded,
    /// Too many tries.
    #[error("too many tries; again in {0:?}")]
    Slow(Duration),
    /// The link was used, is too old, or never was.
    #[error("the link is not valid")]
    LinkInvalid,
    /// The refresh token was used, is too old, or never was.
    #[error("the refresh token is not valid")]
    RefreshInvalid,
    /// The credential is a key's or the operators', not a person's.
    #[error("the credential is no person's")]
    NoPerson,
    /// More passwords are being checked than the machine can.
    #[error("too many passwords at once")]
    Busy,
    /// The role to be given or taken away allows more than the caller may.
    #[error("the role {0} allows more than whoever hands it out may")]
    RoleExceeds(Role),
    /// The team's last owner would go.
    #[error("the last owner would go")]
    LastOwner,
    /// There is somebody of this address.
    #[error("the address is taken")]
    Exists,
    /// The second factor is on, or off, already.
    #[error("the second factor is {0} already")]
    Factor(&'static str),
    /// The person could not sign in any more.
    #[error("it is the person's last way to sign in")]
    LastWay,
    /// The row has another revision than the caller knew.
    #[error("the user has changed since; its revision is {revision}")]
    Stale {
        /// The revision that it has now.
        revision: i64,
    },
    /// No token can be signed.
    #[error(transparent)]
    Unsigned(#[from] ports::AssertionError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] db::Error),
}
