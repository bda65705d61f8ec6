//! Rows of custom domains.

use base::{HostName, TenantId, Timestamp};
use db::{Error, Row, Sql, SystemTx, TenantTx, params};

use super::unknown;
use crate::model::Domain;

const INSERT: Sql =
    Sql::One("INSERT INTO tenants_domains (tenant, host, verified_at, created_at) VALUES ($1, $2, $3, $4)");
const VERIFY: Sql = Sql::One("UPDATE tenants_domains SET verified_at = $3 WHERE tenant = $1 AND host = $2");
const OWN: Sql =
    Sql::One("SELECT host, verified_at, created_at FROM tenants_domains WHERE tenant = $1 AND host = $2");
const DELETE: Sql = Sql::One("DELETE FROM tenants_domains WHERE tenant = $1 AND host = $2");
const DELETE_ALL: Sql = Sql::One("DELETE FROM tenants_domains WHERE tenant = $1");
const LIST: Sql = Sql::One(
    "SELECT host, verified_at, created_at FROM tenants_domains WHERE tenant = $1 AND host > $2 \
     ORDER BY host LIMIT $3",
);
const COUNT: Sql = Sql::One("SELECT CAST(COUNT(*) AS BIGINT) FROM tenants_domains WHERE tenant = $1");
/// crosses tenants: a proven name is unique in the installation.
const OWNER: Sql = Sql::One("SELECT tenant FROM tenants_domains WHERE host = $1 AND verified_at IS NOT NULL");
/// crosses tenants: a base domain must not lie above any tenant's name.
const UNDER: Sql = Sql::One(
    "SELECT host FROM tenants_domains WHERE verified_at IS NOT NULL AND (host = $1 OR host LIKE $2) LIMIT 1",
);
/// crosses tenants: gateways hold the names of all tenants.
const VERIFIED_BETWEEN: Sql = Sql::One(
    "SELECT tenant, host FROM tenants_domains WHERE tenant >= $1 AND tenant <= $2 \
     AND verified_at IS NOT NULL ORDER BY tenant, host",
);

pub(crate) fn insert(tx: &mut TenantTx, domain: &Domain) -> Result<(), Error> {
    tx.execute(&INSERT, &params![domain.host.as_str(), domain.verified_at, domain.created_at])?;
    Ok(())
}

/// Marks the tenant's claim as proven.
pub(crate) fn verify(tx: &mut TenantTx, host: &HostName, at: Timestamp) -> Result<(), Error> {
    tx.execute(&VERIFY, &params![host.as_str(), at])?;
    Ok(())
}

/// The tenant's own row of a host.
pub(crate) fn own(tx: &mut TenantTx, host: &HostName) -> Result<Option<Domain>, Error> {
    tx.query_opt(&OWN, &params![host.as_str()])?.map(|row| read(&row)).transpose()
}

/// Whether there was such a domain to delete.
pub(crate) fn delete(tx: &mut TenantTx, host: &HostName) -> Result<bool, Error> {
    Ok(tx.execute(&DELETE, &params![host.as_str()])? > 0)
}

pub(crate) fn delete_all(tx: &mut TenantTx) -> Result<(), Error> {
    tx.execute(&DELETE_ALL, &params![])?;
    Ok(())
}

/// The tenant's domains by name after `after` (empty for the first).
pub(crate) fn page(tx: &mut TenantTx, after: &str, limit: u32) -> Result<Vec<Domain>, Error> {
    tx.query(&LIST, &params![after, limit])?.iter().map(read).collect()
}

pub(crate) fn count(tx: &mut TenantTx) -> Result<u32, Error> {
    let count = tx.query_one(&COUNT, &params![])?.get::<i64>(0)?;
    Ok(u32::try_from(count).unwrap_or(u32::MAX))
}

/// Whose proven domain a host is, over all tenants.
pub(crate) fn owner(tx: &mut SystemTx, host: &HostName) -> Result<Option<TenantId>, Error> {
    tx.query_opt(&OWNER, &params![host.as_str()])?.map(|row| row.get::<TenantId>(0)).transpose()
}

/// A proven domain that is the host or lies under it, if any tenant has one.
/// Host names are lower case and hold neither `%` nor `_`, so that LIKE means the same on both databases.
pub(crate) fn at_or_under(tx: &mut SystemTx, host: &HostName) -> Result<Option<HostName>, Error> {
    let row = tx.query_opt(&UNDER, &params![host.as_str(), format!("%.{host}")])?;
    row.map(|row| host_of(&row, 0)).transpose()
}

/// Verified domains of the tenants whose ids lie in a range, by tenant.
pub(crate) fn verified_between(
    tx: &mut SystemTx,
    first: TenantId,
    last: TenantId,
) -> Result<Vec<(TenantId, HostName)>, Error> {
    let rows = tx.query(&VERIFIED_BETWEEN, &params![first, last])?;
    rows.iter().map(|row| Ok((row.get::<TenantId>(0)?, host_of(row, 1)?))).collect()
}

fn read(row: &Row) -> Result<Domain, Error> {
    Ok(Domain {
        host: host_of(row, 0)?,
        verified_at: row.get::<Option<Timestamp>>(1)?,
        created_at: row.get::<Timestamp>(2)?,
    })
}

fn host_of(row: &Row, index: usize) -> Result<HostName, Error> {
    HostName::parse(&row.get::<String>(index)?).map_err(|_| unknown("host"))
}
