//! What tenants use: meters that the gateway counts by, and the ledger that billing reads.

use base::{Amount, EnvironmentId, Slug, TenantId, Timestamp};

use crate::{BoxFuture, Unavailable};

/// Whether a request that a meter counts may go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MeterVerdict {
    /// It may, and was counted.
    Counted,
    /// The quota is used up; nothing was counted.
    Exceeded {
        /// The most that the plan or an override allows.
        limit: Amount,
        /// What is used.
        used: Amount,
        /// When the period ends; `None` for a meter without one.
        resets_at: Option<Timestamp>,
    },
}

/// Counts requests of routes with a `meter`. Usage implements it; the gateway asks at each such request.
pub trait RouteMeters: Send + Sync + 'static {
    /// Counts one and judges, from memory: never waits. What was counted is durable within a second; a crash loses at most
    /// that, in the tenant's favour, and several processes differ by what they count in a second.
    fn count(&self, environment: EnvironmentId, tenant: TenantId, meter: &Slug) -> MeterVerdict;
}

/// One accepted usage event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageEntry {
    /// Its place in the ledger of the environment: later ones are higher, and none appears below one that was read.
    pub position: i64,
    /// Its id, unique in environment and tenant.
    pub id: String,
    /// Whose.
    pub tenant: TenantId,
    /// Of what.
    pub meter: Slug,
    /// How much.
    pub value: Amount,
    /// When it was used.
    pub at: Timestamp,
}

/// Usage of one meter over a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageTotal {
    /// Whose.
    pub tenant: TenantId,
    /// Of what.
    pub meter: Slug,
    /// How much.
    pub value: Amount,
    /// Events.
    pub events: u64,
}

/// Reads the ledger of usage. Usage implements it; billing sends it on.
pub trait UsageLedger: Send + Sync + 'static {
    /// Up to `limit` entries of an environment after a position, in order.
    fn after(
        &self,
        environment: EnvironmentId,
        position: i64,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<UsageEntry>, Unavailable>>;

    /// Totals of all tenants of an environment from `from` (included) to `until` (excluded), by the events' own times.
    fn totals(
        &self,
        environment: EnvironmentId,
        from: Timestamp,
        until: Timestamp,
    ) -> BoxFuture<'_, Result<Vec<UsageTotal>, Unavailable>>;
}

/// A tenant's ids at others, such as Stripe's customer. Tenants implement it.
pub trait ExternalIds: Send + Sync + 'static {
    /// The id under a name, such as `stripe_customer`; `None` when the tenant has none.
    fn external_id<'a>(
        &'a self,
        tenant: TenantId,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<String>, Unavailable>>;
}
