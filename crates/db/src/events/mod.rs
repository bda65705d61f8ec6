//! The event log: the record of every change, the only bus of facts, the audit log.
//!
//! An event is written *unsequenced* in the transaction of its change, its payload sealed under the tenant's
//! data key ([`emit`]). One leased [`sequencer`] gives it its global position and its link in the tenant's
//! SHA-256 chain, in batches, within 100 ms. Followers ([`EventLog::after`]) read by position: a position never
//! appears below one that was already seen. (A chain head in the transaction would serialise each tenant; a
//! database sequence commits out of order, so followers would skip rows.)
//!
//! The chain hashes the sealed form: erasing a tenant destroys its key, not its links.

mod anchor;
mod chain;
mod emit;
mod follow;
mod head;
mod sequencer;
mod verify;

use std::net::IpAddr;

use base::{EnvironmentId, EventId, TenantId, Timestamp};

pub use anchor::{Anchor, AnchorError};
pub(crate) use emit::{Author, emit, emit_many};
pub use follow::EventLog;
pub(crate) use head::Head;
pub(crate) use sequencer::Sequencer;
pub use verify::{FirstBad, VerifyReport};

/// An event to be written. Values hold no secrets: they are sealed, but members read them.
#[derive(Debug, Clone, PartialEq)]
pub struct NewEvent {
    /// What happened, `thing.past_participle`: `tenant.created`.
    pub kind: &'static str,
    /// The id of what it happened to.
    pub subject: String,
    /// The environment, where the thing belongs to one.
    pub environment: Option<EnvironmentId>,
    /// The thing before, without secrets; `None` for a creation.
    pub before: Option<serde_json::Value>,
    /// The thing after, without secrets; `None` for a removal.
    pub after: Option<serde_json::Value>,
}

/// An event as it stands in the log.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Place in the whole log, from 1, without gaps.
    pub position: i64,
    /// Its id.
    pub id: EventId,
    /// The tenant; `None` for the installation's own.
    pub tenant: Option<TenantId>,
    /// The environment, where it belongs to one.
    pub environment: Option<EnvironmentId>,
    /// What happened.
    pub kind: String,
    /// The id of what it happened to.
    pub subject: String,
    /// Who did it: `api_key:key_…`, `user:usr_…`, `operator:name`, `system:reason`.
    pub actor: String,
    /// Why an operator or the system acted across tenants; `None` for a tenant's own acts.
    pub reason: Option<String>,
    /// When, by the clock of the process that wrote it.
    pub at: Timestamp,
    /// From which address; `None` when there was none or the payload's key is gone.
    pub ip: Option<IpAddr>,
    /// The client's self-description; `None` like `ip`.
    pub agent: Option<String>,
    /// The thing before; `None` for a creation, or when the payload's key is gone.
    pub before: Option<serde_json::Value>,
    /// The thing after; `None` for a removal, or when the payload's key is gone.
    pub after: Option<serde_json::Value>,
    /// Place in the tenant's chain, from 1.
    pub chain_index: i64,
    /// The chain's link: covers this event and, through its predecessor, all before it.
    pub hash: [u8; 32],
}

/// What to list of the log. Everything that is set must hold.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EventFilter {
    /// The kind, or with a trailing `.*` its beginning: `tenant.*`.
    pub kind: Option<String>,
    /// The thing that it happened to.
    pub subject: Option<String>,
    /// Not before this time.
    pub since: Option<Timestamp>,
    /// Before this time.
    pub until: Option<Timestamp>,
    /// For [`EventLog::list`]: one tenant's only.
    pub tenant: Option<TenantId>,
}
