//! All SQL of the capability.
//!
//! What many callers wait for runs in one transaction over all of it. Locks are taken in one order, by everybody: heads of ledgers,
//! reservations, counters, and within each in the order of keys.

pub(crate) mod counters;
pub(crate) mod ledger;
pub(crate) mod limits;
pub(crate) mod reservations;

use base::TenantId;
use db::{Error, Sql, SystemTx, params};

const GONE: [Sql; 5] = [
    Sql::One("DELETE FROM usage_events WHERE tenant = $1"),
    Sql::One("DELETE FROM usage_totals WHERE tenant = $1"),
    Sql::One("DELETE FROM usage_counters WHERE tenant = $1"),
    Sql::One("DELETE FROM usage_reservations WHERE tenant = $1"),
    Sql::One("DELETE FROM usage_limits WHERE tenant = $1"),
];

const PARTS: [Sql; 3] = [
    Sql::One(
        "DELETE FROM usage_events WHERE tenant = $1 AND (environment, id) IN \
         (SELECT environment, id FROM usage_events WHERE tenant = $1 LIMIT $2)",
    ),
    Sql::One(
        "DELETE FROM usage_totals WHERE tenant = $1 AND (environment, meter, bucket) IN \
         (SELECT environment, meter, bucket FROM usage_totals WHERE tenant = $1 LIMIT $2)",
    ),
    Sql::One(
        "DELETE FROM usage_reservations WHERE tenant = $1 AND id IN \
         (SELECT id FROM usage_reservations WHERE tenant = $1 LIMIT $2)",
    ),
];

/// Removes up to `limit` rows of those that a tenant may have many of; answers how many there were.
pub(crate) fn remove_part(tx: &mut SystemTx<'_>, tenant: TenantId, limit: u32) -> Result<u64, Error> {
    let mut own = tx.for_tenant(tenant);
    for statement in &PARTS {
        let count = own.execute(statement, &params![limit])?;
        if count > 0 {
            return Ok(count);
        }
    }
    Ok(0)
}

/// Removes all rows of a tenant.
pub(crate) fn remove_tenant(tx: &mut SystemTx<'_>, tenant: TenantId) -> Result<(), Error> {
    let mut own = tx.for_tenant(tenant);
    for statement in &GONE {
        own.execute(statement, &[])?;
    }
    Ok(())
}
