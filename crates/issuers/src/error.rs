//! What the operations of issuers refuse.

use base::Slug;

use crate::model::DefinitionFault;

/// Why an operation on an issuer did not happen. Knows nothing of HTTP; `api` maps it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The project has no such issuer.
    #[error("there is no such issuer")]
    NotFound,
    /// The project has an issuer of this name, or of this address.
    #[error("there is an issuer {0}, or one of its address")]
    Exists(Slug),
    /// All environments trust the issuer, and whoever calls may decide about some of them alone.
    #[error("the issuer {0} is trusted in all environments")]
    Everywhere(Slug),
    /// The project file decides about the issuer.
    #[error("the issuer {0} is managed by the project file")]
    ManagedByFile(Slug),
    /// The definition is not allowed.
    #[error("{} value(s) are not allowed", .0.len())]
    Invalid(Vec<DefinitionFault>),
    /// The project has as many issuers as it may.
    #[error("the project has {0} issuers, the most allowed")]
    TooMany(u32),
    /// The row has another revision than the caller knew.
    #[error("the issuer has changed since; its revision is {revision}")]
    Stale {
        /// The revision that it has now.
        revision: i64,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] db::Error),
}
