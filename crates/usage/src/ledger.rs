//! The ledger for whoever bills by it, and who would be over a limit.

use std::sync::Arc;

use authority::SystemCtx;
use base::{EnvironmentId, SharedClock, Timestamp};
use db::{Db, SystemTx};
use ports::{
    BoxFuture, LimitCensus, MeterPeriod, OVER_MAX, OverLimit, PlannedLimit, TenantTermsOf, Unavailable,
    UsageEntry, UsageLedger, UsageTotal,
};

use crate::model::{Calendar, Span};
use crate::store::{ledger, limits};

/// Entries of one read.
const ENTRIES_MAX: u32 = 5_000;
/// Slugs that are told of those who are over a limit.
const EXAMPLES_MAX: usize = 10;
/// No billing period is longer, microseconds.
const MONTH_MICROS: i64 = 32 * 86_400 * 1_000_000;

/// Reads the ledger.
#[derive(Clone)]
pub struct Ledger {
    db: Db,
}

impl Ledger {
    /// Over a store.
    #[must_use]
    pub fn new(db: Db) -> Self {
        Self { db }
    }
}

impl UsageLedger for Ledger {
    fn after(
        &self,
        environment: EnvironmentId,
        position: i64,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<UsageEntry>, Unavailable>> {
        Box::pin(async move {
            let ctx = SystemCtx::because("read the ledger of usage");
            let limit = limit.min(ENTRIES_MAX);
            let read = self.db.read_system(&ctx, move |tx| ledger::after(tx, environment, position, limit));
            read.await.map_err(|error| unavailable(&error))
        })
    }

    fn totals(
        &self,
        environment: EnvironmentId,
        from: Timestamp,
        until: Timestamp,
    ) -> BoxFuture<'_, Result<Vec<UsageTotal>, Unavailable>> {
        Box::pin(async move {
            let ctx = SystemCtx::because("read totals of usage");
            let span = Span { from: from.micros(), until: until.micros() };
            let read = self.db.read_system(&ctx, move |tx| ledger::totals(tx, environment, span));
            read.await.map_err(|error| unavailable(&error))
        })
    }
}

fn unavailable(error: &db::Error) -> Unavailable {
    tracing::warn!(%error, "the ledger of usage cannot be read");
    Unavailable::new("usage")
}

/// Tells who would be over a limit.
#[derive(Clone)]
pub struct Census {
    terms: Arc<dyn TenantTermsOf>,
    clock: SharedClock,
}

impl Census {
    /// Over tenants' plans and calendars.
    #[must_use]
    pub fn new(terms: Arc<dyn TenantTermsOf>, clock: SharedClock) -> Self {
        Self { terms, clock }
    }
}

impl LimitCensus for Census {
    fn over(
        &self,
        tx: &mut SystemTx,
        environment: EnvironmentId,
        planned: PlannedLimit<'_>,
    ) -> Result<OverLimit, db::Error> {
        let PlannedLimit { plan, meter, limit } = planned;
        let mut over = OverLimit::default();
        let Some(max) = limit.max else { return Ok(over) };
        let now = self.clock.now();
        let since = if limit.period == MeterPeriod::None { 0 } else { now.micros() - MONTH_MICROS };
        for tenant in ledger::most(tx, environment, meter, since, OVER_MAX)? {
            let Some(terms) = self.terms.terms(tx, tenant)?.filter(|terms| terms.plan == *plan) else {
                continue;
            };
            if limits::of_tenant(tx, tenant, environment)?.contains_key(meter) {
                continue;
            }
            let span = Calendar::new(&terms.time_zone, terms.billing_anchor_day).span(limit.period, now);
            if ledger::sum(tx, (tenant, environment), meter, span)? > max {
                over.count += 1;
                if over.examples.len() < EXAMPLES_MAX {
                    over.examples.push(terms.slug);
                }
            }
        }
        Ok(over)
    }
}
