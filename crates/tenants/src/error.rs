//! What the operations of tenants refuse.

use base::{HostName, Slug, Timestamp};

use crate::model::{FieldFault, Refused};

/// Why an operation on a tenant did not happen. Knows nothing of HTTP; `api` maps it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such tenant, domain or environment, or not for this caller.
    #[error("there is no such thing")]
    NotFound,
    /// The slug names something of the platform's own.
    #[error("the slug {0} is reserved")]
    SlugReserved(Slug),
    /// Names that another tenant of the project has, with the field of each.
    #[error("a name is taken")]
    Taken(Vec<FieldFault>),
    /// Fields whose values are not allowed, all of them.
    #[error("{} fields are not allowed", .0.len())]
    Invalid(Vec<FieldFault>),
    /// No environment of the project has this plan.
    #[error("there is no plan {0}")]
    PlanUnknown(Slug),
    /// The state machine has no such transition.
    #[error("a tenant that is {from} cannot become {to}", from = .0.from.word(), to = .0.to.word())]
    Status(Refused),
    /// Only a cancelled tenant may be deleted.
    #[error("the tenant is not cancelled")]
    NotCancelled,
    /// The row has another revision than the caller knew.
    #[error("the tenant has changed since; its revision is {revision}")]
    Stale {
        /// The revision that it has now.
        revision: i64,
    },
    /// The host is a domain of some tenant already.
    #[error("the domain {0} is taken")]
    DomainTaken(HostName),
    /// Another tenant had the host a short while ago.
    #[error("the domain {host} was another tenant's; it can be proven from {until} on")]
    DomainRests {
        /// The host.
        host: HostName,
        /// When it has rested.
        until: Timestamp,
    },
    /// The host is or lies under the base domain of an environment, whose subdomains are tenants.
    #[error("the domain {host} lies under the base domain {base}")]
    DomainUnderBase {
        /// The host that was to be added.
        host: HostName,
        /// The base domain.
        base: HostName,
    },
    /// The tenant has as many domains as it may.
    #[error("the tenant has {0} domains, the most allowed")]
    TooManyDomains(u32),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] db::Error),
}
