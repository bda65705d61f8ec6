//! What tenants use: meters that the gateway counts by, and the ledger that billing reads.

use base::{Amount, EnvironmentId, MeterName, ProjectId, Slug, TenantId, Timestamp};
use db::SystemTx;
use serde::{Deserialize, Serialize};

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
    fn count(&self, environment: EnvironmentId, tenant: TenantId, meter: &MeterName) -> MeterVerdict;
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
    pub meter: MeterName,
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
    pub meter: MeterName,
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

/// How long a limit counts before it begins anew. A meter that never does is a gauge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MeterPeriod {
    /// An hour of the tenant's clock.
    Hour,
    /// A day of the tenant's calendar.
    Day,
    /// From the tenant's billing anchor day to the one before the next.
    Month,
    /// Never: how much there is at once, such as running agents.
    None,
}

/// What happens at the end of a quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Grace {
    /// What would go beyond is refused.
    Hard,
    /// It goes on, as overage.
    Soft,
}

/// How much of a meter a plan allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeterLimit {
    /// The most in a period; `None` for no end.
    pub max: Option<Amount>,
    /// When it begins anew.
    pub period: MeterPeriod,
    /// What happens at its end.
    pub grace: Grace,
    /// Whether people are told at 80 and 100 %.
    pub notify: bool,
}

/// One meter of one plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanMeter {
    /// The plan.
    pub plan: Slug,
    /// The meter.
    pub meter: MeterName,
    /// How much of it.
    pub limit: MeterLimit,
}

/// Knows the meters of plans. Plans implement it; usage asks.
pub trait PlanLimits: Send + Sync + 'static {
    /// The meters of all plans in force in an environment.
    ///
    /// # Errors
    /// When the store fails.
    fn limits(&self, tx: &mut SystemTx, environment: EnvironmentId) -> Result<Vec<PlanMeter>, db::Error>;
}

/// Tenants that a limit would leave with more used than allowed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OverLimit {
    /// How many; at most [`OVER_MAX`] are looked at.
    pub count: u64,
    /// Slugs of some, those that use most first.
    pub examples: Vec<Slug>,
}

/// Tenants with the most use of a meter that [`LimitCensus::over`] looks at.
pub const OVER_MAX: u32 = 1_000;

/// A limit that a plan is to have.
#[derive(Debug, Clone, Copy)]
pub struct PlannedLimit<'a> {
    /// The plan.
    pub plan: &'a Slug,
    /// The meter.
    pub meter: &'a MeterName,
    /// How much of it.
    pub limit: MeterLimit,
}

/// Knows who would be over a limit. Usage implements it; plans ask before a change.
pub trait LimitCensus: Send + Sync + 'static {
    /// The tenants on a plan that have used more of a meter in their present period than the limit would allow. Tenants with
    /// a limit of their own are left out.
    ///
    /// # Errors
    /// When the store fails.
    fn over(
        &self,
        tx: &mut SystemTx,
        environment: EnvironmentId,
        planned: PlannedLimit<'_>,
    ) -> Result<OverLimit, db::Error>;
}

/// What usage needs to know of a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantTerms {
    /// The tenant.
    pub id: TenantId,
    /// Its project.
    pub project: ProjectId,
    /// Its slug.
    pub slug: Slug,
    /// Its plan.
    pub plan: Slug,
    /// Whether it is served.
    pub status: crate::TenantStatus,
    /// Its time zone, by the name in the IANA database.
    pub time_zone: String,
    /// The day of the month on which its billing periods begin, 1 to 28.
    pub billing_anchor_day: u8,
    /// Where it is written to.
    pub email: base::Email,
}

/// Knows tenants' plans and calendars. Tenants implement it; usage asks.
pub trait TenantTermsOf: Send + Sync + 'static {
    /// A tenant's terms; `None` when there is no such tenant.
    ///
    /// # Errors
    /// When the store fails.
    fn terms(&self, tx: &mut SystemTx, tenant: TenantId) -> Result<Option<TenantTerms>, db::Error>;
}
