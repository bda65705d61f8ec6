//! Use cases. Each runs inside a transaction that its caller opened, and writes its event there.

pub mod configuration;
pub mod domains;
pub mod health;
pub mod onboarding;
pub mod tenants;

use base::{SharedClock, SharedRandom};

/// What operations need besides their transaction.
#[derive(Debug, Clone)]
pub struct Sources {
    /// Where times come from.
    pub clock: SharedClock,
    /// Where ids come from.
    pub random: SharedRandom,
}
