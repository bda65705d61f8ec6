//! What the operations of usage refuse.

use base::{Amount, MeterName, ReservationId, Timestamp};

/// Why an operation did not happen. Knows nothing of HTTP; `api` maps it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// There is no such tenant in the environment's project.
    #[error("there is no such tenant")]
    TenantUnknown,
    /// The environment has no meter of that name.
    #[error("there is no meter {meter}")]
    MeterUnknown {
        /// As it was asked for.
        meter: MeterName,
        /// The one that may be meant.
        nearest: Option<String>,
    },
    /// The tenant is not served, so nothing is reserved for it.
    #[error("the tenant is suspended")]
    Suspended,
    /// It would go beyond the limit.
    #[error("the quota of {meter} is used up: {used} of {limit}")]
    Exceeded {
        /// The meter.
        meter: MeterName,
        /// The most that is allowed.
        limit: Amount,
        /// What is used or reserved.
        used: Amount,
        /// When the period ends; `None` for a gauge.
        resets_at: Option<Timestamp>,
    },
    /// There is no such reservation.
    #[error("there is no such reservation")]
    ReservationUnknown,
    /// The reservation has ended otherwise.
    #[error("the reservation {id} was {how}")]
    Ended {
        /// Which.
        id: ReservationId,
        /// How it ended: committed, released, or given back.
        how: &'static str,
    },
    /// More is to be committed than was reserved.
    #[error("{wanted} is more than the {reserved} that are reserved")]
    BeyondReserved {
        /// What was to be committed.
        wanted: Amount,
        /// What was reserved.
        reserved: Amount,
    },
    /// Only gauges are set.
    #[error("{0} is a counter; report usage events instead")]
    NoGauge(MeterName),
    /// The limit names no period, and the plan has none for this meter.
    #[error("the tenant's plan says no period of {0}; name one")]
    PeriodMissing(MeterName),
    /// Too much waits already.
    #[error("too many calls wait for the store")]
    Busy,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] db::Error),
}
