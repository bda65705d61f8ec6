//! Rows of custom domains.

use base::{EnvironmentId, HostName, TenantId, Timestamp};
use db::{Error, Row, Sql, SystemTx, TenantTx, params};

use super::unknown;
use crate::model::{DOMAINS_MAX, Domain, Proof};

macro_rules! columns {
    () => {
        "host, environment, token, verified_at, proof, checked_at, next_check_at, failing_since, problem, created_at"
    };
}

const INSERT: Sql = Sql::One(
    "INSERT INTO tenants_domains (tenant, host, environment, token, verified_at, proof, next_check_at, created_at) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
);
const UPDATE: Sql = Sql::One(
    "UPDATE tenants_domains SET environment = $3, verified_at = $4, proof = $5, checked_at = $6, next_check_at = $7, \
     failing_since = $8, problem = $9 WHERE tenant = $1 AND host = $2",
);
const TAKE: Sql = Sql::One(
    "UPDATE tenants_domains SET next_check_at = $4 WHERE tenant = $1 AND host = $2 AND next_check_at = $3",
);
const OWN: Sql =
    Sql::One(concat!("SELECT ", columns!(), " FROM tenants_domains WHERE tenant = $1 AND host = $2"));
const DELETE: Sql = Sql::One("DELETE FROM tenants_domains WHERE tenant = $1 AND host = $2");
const DELETE_ALL: Sql = Sql::One("DELETE FROM tenants_domains WHERE tenant = $1");
const LIST: Sql = Sql::One(concat!(
    "SELECT ",
    columns!(),
    " FROM tenants_domains WHERE tenant = $1 AND host > $2 ORDER BY host LIMIT $3"
));
const COUNT: Sql = Sql::One("SELECT CAST(COUNT(*) AS BIGINT) FROM tenants_domains WHERE tenant = $1");
const RELEASE: Sql = Sql::One(
    "INSERT INTO tenants_released (tenant, host, released_at) VALUES ($1, $2, $3) \
     ON CONFLICT (tenant, host) DO UPDATE SET released_at = excluded.released_at",
);
/// crosses tenants: a domain rests after any other had it.
const RELEASED_BY_OTHERS: Sql =
    Sql::One("SELECT MAX(released_at) FROM tenants_released WHERE host = $1 AND tenant <> $2");
/// crosses tenants: what has rested is forgotten.
const FORGET_RELEASED: Sql = Sql::One("DELETE FROM tenants_released WHERE released_at <= $1");
/// crosses tenants: domains of all tenants are looked at again in turn.
const DUE: Sql = Sql::One(concat!(
    "SELECT ",
    columns!(),
    ", tenant FROM tenants_domains WHERE next_check_at <= $1 ORDER BY next_check_at LIMIT $2"
));
/// crosses tenants: a proven name is unique in the installation.
const OWNER: Sql = Sql::One("SELECT tenant FROM tenants_domains WHERE host = $1 AND verified_at IS NOT NULL");
/// crosses tenants: a base domain must not lie above any tenant's name.
const UNDER: Sql = Sql::One(
    "SELECT host FROM tenants_domains WHERE verified_at IS NOT NULL AND (host = $1 OR host LIKE $2) LIMIT 1",
);
/// crosses tenants: gateways hold the names of all tenants.
const VERIFIED_BETWEEN: Sql = Sql::One(
    "SELECT tenant, host FROM tenants_domains WHERE tenant >= $1 AND tenant <= $2 \
     AND verified_at IS NOT NULL AND (environment IS NULL OR environment = $3) ORDER BY tenant, host",
);

pub(crate) fn insert(tx: &mut TenantTx, domain: &Domain) -> Result<(), Error> {
    tx.execute(
        &INSERT,
        &params![
            domain.host.as_str(),
            domain.environment,
            domain.token.as_deref(),
            domain.verified_at,
            domain.proof.map(Proof::word),
            domain.next_check_at,
            domain.created_at
        ],
    )?;
    Ok(())
}

/// Writes what a look or an operator's word changed. Refused ([`Error::Conflict`]) when another tenant has it.
pub(crate) fn update(tx: &mut TenantTx, domain: &Domain) -> Result<(), Error> {
    tx.execute(
        &UPDATE,
        &params![
            domain.host.as_str(),
            domain.environment,
            domain.verified_at,
            domain.proof.map(Proof::word),
            domain.checked_at,
            domain.next_check_at,
            domain.failing_since,
            domain.problem.as_deref()
        ],
    )?;
    Ok(())
}

/// Moves the next look from one time to another; whether it still was due then. Who moves it looks.
pub(crate) fn take(
    tx: &mut TenantTx,
    host: &HostName,
    due: Timestamp,
    next: Timestamp,
) -> Result<bool, Error> {
    Ok(tx.execute(&TAKE, &params![host.as_str(), due, next])? > 0)
}

/// The tenant's own row of a host.
pub(crate) fn own(tx: &mut TenantTx, host: &HostName) -> Result<Option<Domain>, Error> {
    tx.query_opt(&OWN, &params![host.as_str()])?.map(|row| read(&row)).transpose()
}

/// Whether there was such a domain to delete.
pub(crate) fn delete(tx: &mut TenantTx, host: &HostName) -> Result<bool, Error> {
    Ok(tx.execute(&DELETE, &params![host.as_str()])? > 0)
}

/// Removes all of the tenant's; those that were proven are noted as released.
pub(crate) fn delete_all(tx: &mut TenantTx, now: Timestamp) -> Result<(), Error> {
    for domain in page(tx, "", DOMAINS_MAX)?.iter().filter(|domain| domain.verified_at.is_some()) {
        release(tx, &domain.host, now)?;
    }
    tx.execute(&DELETE_ALL, &params![])?;
    Ok(())
}

/// Notes that the tenant had a domain until now.
pub(crate) fn release(tx: &mut TenantTx, host: &HostName, now: Timestamp) -> Result<(), Error> {
    tx.execute(&RELEASE, &params![host.as_str(), now])?;
    Ok(())
}

/// When another tenant last gave a domain away, as far as it is remembered.
pub(crate) fn released_by_others(
    tx: &mut SystemTx,
    host: &HostName,
    tenant: TenantId,
) -> Result<Option<Timestamp>, Error> {
    tx.query_one(&RELEASED_BY_OTHERS, &params![host.as_str(), tenant])?.get(0)
}

/// Forgets releases of then and before.
pub(crate) fn forget_released(tx: &mut SystemTx, until: Timestamp) -> Result<(), Error> {
    tx.execute(&FORGET_RELEASED, &params![until])?;
    Ok(())
}

/// Domains that are to be looked at, longest due first.
pub(crate) fn due(tx: &mut SystemTx, now: Timestamp, limit: u32) -> Result<Vec<(TenantId, Domain)>, Error> {
    tx.query(&DUE, &params![now, limit])?.iter().map(|row| Ok((row.get(10)?, read(row)?))).collect()
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

/// Proven domains of the tenants whose ids lie in a range, by tenant: those that lead to the environment.
pub(crate) fn verified_between(
    tx: &mut SystemTx,
    first: TenantId,
    last: TenantId,
    environment: EnvironmentId,
) -> Result<Vec<(TenantId, HostName)>, Error> {
    let rows = tx.query(&VERIFIED_BETWEEN, &params![first, last, environment])?;
    rows.iter().map(|row| Ok((row.get::<TenantId>(0)?, host_of(row, 1)?))).collect()
}

fn read(row: &Row) -> Result<Domain, Error> {
    let proof = row.get::<Option<String>>(4)?;
    Ok(Domain {
        host: host_of(row, 0)?,
        environment: row.get(1)?,
        token: row.get(2)?,
        verified_at: row.get(3)?,
        proof: proof.map(|word| Proof::parse(&word).ok_or_else(|| unknown("proof"))).transpose()?,
        checked_at: row.get(5)?,
        next_check_at: row.get(6)?,
        failing_since: row.get(7)?,
        problem: row.get(8)?,
        created_at: row.get(9)?,
    })
}

fn host_of(row: &Row, index: usize) -> Result<HostName, Error> {
    HostName::parse(&row.get::<String>(index)?).map_err(|_| unknown("host"))
}
