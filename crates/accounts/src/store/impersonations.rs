//! Rows of operators who act as a tenant. What is over is removed with the next one that begins.

use base::{SessionId, TenantId, Timestamp};
use db::{Error, Sql, SystemTx, params};

use super::SWEEP_ROWS;

const INSERT: Sql =
    Sql::One("INSERT INTO accounts_impersonations (session, tenant, expires_at) VALUES ($1, $2, $3)");
const END: Sql = Sql::One("DELETE FROM accounts_impersonations WHERE session = $1 AND tenant = $2");
const DELETE_OF_TENANT: Sql = Sql::One("DELETE FROM accounts_impersonations WHERE tenant = $1");
const DELETE_EXPIRED: Sql = Sql::One(
    "DELETE FROM accounts_impersonations WHERE session IN \
     (SELECT session FROM accounts_impersonations WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)",
);

pub(crate) fn insert(
    tx: &mut SystemTx,
    (session, tenant): (SessionId, TenantId),
    (expires_at, now): (Timestamp, Timestamp),
) -> Result<(), Error> {
    tx.execute(&DELETE_EXPIRED, &params![now, SWEEP_ROWS])?;
    tx.execute(&INSERT, &params![session, tenant, expires_at])?;
    Ok(())
}

/// Whether there was one of this session and tenant.
pub(crate) fn end(tx: &mut SystemTx, session: SessionId, tenant: TenantId) -> Result<bool, Error> {
    Ok(tx.execute(&END, &params![session, tenant])? == 1)
}

pub(crate) fn delete_of_tenant(tx: &mut SystemTx, tenant: TenantId) -> Result<(), Error> {
    tx.execute(&DELETE_OF_TENANT, &params![tenant])?;
    Ok(())
}
