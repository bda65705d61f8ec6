//! Use cases. Each runs inside a transaction that its caller opened, and writes its event there.

pub mod keys;
pub mod members;
pub mod roles;

use base::{SharedClock, SharedRandom};

/// What operations need besides their transaction.
#[derive(Debug, Clone)]
pub struct Sources {
    /// Where times come from.
    pub clock: SharedClock,
    /// Where ids and keys come from.
    pub random: SharedRandom,
}
