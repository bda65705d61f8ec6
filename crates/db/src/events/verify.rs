use std::time::Duration;

use base::TenantId;

/// What a verification of the log found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyReport {
    /// True when nothing was changed or removed.
    pub ok: bool,
    /// Sequenced events that were read.
    pub events: u64,
    /// Chains that were read.
    pub chains: u64,
    /// The first place where the log is not what it was.
    pub first_bad: Option<FirstBad>,
    /// Events that have no position yet, and so are not covered.
    pub unsequenced_tail: u64,
    /// Age of the oldest of them.
    pub tail_age: Duration,
}

/// Where and how the log was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirstBad {
    /// Global position; for something that is gone, where it was.
    pub position: i64,
    /// The chain; `None` for the installation's own.
    pub tenant: Option<TenantId>,
    /// Index in that chain, from 1.
    pub chain_index: i64,
    /// What is wrong there.
    pub why: String,
}
