//! Which jobs an operation on many is about.

use base::{JobId, TenantId, Timestamp};

use super::JobStatus;

/// Jobs of a queue that meet all that is said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobFilter {
    /// These only; empty means all. At most 1,000.
    pub ids: Vec<JobId>,
    /// In this state.
    pub status: Option<JobStatus>,
    /// Of this tenant.
    pub tenant: Option<TenantId>,
    /// With this tag.
    pub tag: Option<String>,
    /// Whose error contains this text, letters as they are.
    pub error: Option<String>,
    /// Made (those that have ended: ended) at or after.
    pub from: Option<Timestamp>,
    /// Made (those that have ended: ended) before.
    pub to: Option<Timestamp>,
}

/// What an operation on many jobs came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Jobs that it was done to.
    pub count: u64,
    /// Whether it ended for its time, and the same call would go on.
    pub more: bool,
}
