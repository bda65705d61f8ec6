//! All SQL of the capability.

use crate::model::{ROUTES_MAX, RouteSpec, StoredRoute};
use base::{EnvironmentId, RouteId, Timestamp};
use db::{Error, Row, Sql, SystemTx, params};
use ports::ManagedBy;

const INSERT: Sql = Sql::One(
    "INSERT INTO gateway_routes (environment, id, host, path, spec, managed_by, revision, created_at, updated_at) \
     VALUES ($1, $2, $3, $4, $5, $6, 1, $7, $7)",
);
const UPDATE: Sql = Sql::One(
    "UPDATE gateway_routes SET host = $3, path = $4, spec = $5, updated_at = $6, revision = revision + 1 \
     WHERE environment = $1 AND id = $2",
);
const DELETE: Sql = Sql::One("DELETE FROM gateway_routes WHERE environment = $1 AND id = $2");
const ONE: Sql = Sql::One(
    "SELECT id, spec, managed_by, revision, created_at, updated_at FROM gateway_routes \
     WHERE environment = $1 AND id = $2",
);
const BY_MATCH: Sql = Sql::One(
    "SELECT id, spec, managed_by, revision, created_at, updated_at FROM gateway_routes \
     WHERE environment = $1 AND host = $2 AND path = $3",
);
const PAGE: Sql = Sql::One(
    "SELECT id, spec, managed_by, revision, created_at, updated_at FROM gateway_routes \
     WHERE environment = $1 AND id > $2 ORDER BY id LIMIT $3",
);
const COUNT: Sql = Sql::One("SELECT COUNT(*) FROM gateway_routes WHERE environment = $1");

pub(crate) fn insert(
    tx: &mut SystemTx,
    environment: EnvironmentId,
    (id, spec): (RouteId, &RouteSpec),
    by: ManagedBy,
    now: Timestamp,
) -> Result<(), Error> {
    let values = params![environment, id, spec.host.clone(), spec.path.clone(), text(spec)?, by.word(), now];
    tx.execute(&INSERT, &values)?;
    Ok(())
}

pub(crate) fn update(
    tx: &mut SystemTx,
    environment: EnvironmentId,
    (id, spec): (RouteId, &RouteSpec),
    now: Timestamp,
) -> Result<(), Error> {
    tx.execute(&UPDATE, &params![environment, id, spec.host.clone(), spec.path.clone(), text(spec)?, now])?;
    Ok(())
}

pub(crate) fn delete(tx: &mut SystemTx, environment: EnvironmentId, id: RouteId) -> Result<(), Error> {
    tx.execute(&DELETE, &params![environment, id])?;
    Ok(())
}

pub(crate) fn one(
    tx: &mut SystemTx,
    environment: EnvironmentId,
    id: RouteId,
) -> Result<Option<StoredRoute>, Error> {
    tx.query_opt(&ONE, &params![environment, id])?.map(|row| read(&row)).transpose()
}

/// The route for a host and a path, in the form by which they are compared.
pub(crate) fn by_match(
    tx: &mut SystemTx,
    environment: EnvironmentId,
    spec: &RouteSpec,
) -> Result<Option<StoredRoute>, Error> {
    let values = params![environment, spec.host.clone(), spec.path.clone()];
    tx.query_opt(&BY_MATCH, &values)?.map(|row| read(&row)).transpose()
}

/// Up to `limit` routes by id, after `after` (empty for the first).
pub(crate) fn page(
    tx: &mut SystemTx,
    environment: EnvironmentId,
    after: &str,
    limit: u32,
) -> Result<Vec<StoredRoute>, Error> {
    tx.query(&PAGE, &params![environment, after, limit])?.iter().map(read).collect()
}

/// All routes of an environment.
pub(crate) fn all(tx: &mut SystemTx, environment: EnvironmentId) -> Result<Vec<StoredRoute>, Error> {
    page(tx, environment, "", u32::try_from(ROUTES_MAX).unwrap_or(u32::MAX))
}

pub(crate) fn count(tx: &mut SystemTx, environment: EnvironmentId) -> Result<usize, Error> {
    let count: i64 = tx.query_one(&COUNT, &params![environment])?.get(0)?;
    Ok(usize::try_from(count).unwrap_or(usize::MAX))
}

fn text(spec: &RouteSpec) -> Result<String, Error> {
    serde_json::to_string(spec).map_err(|error| Error::Decode(format!("write a route: {error}")))
}

fn read(row: &Row) -> Result<StoredRoute, Error> {
    let spec: String = row.get(1)?;
    let by: String = row.get(2)?;
    Ok(StoredRoute {
        id: row.get(0)?,
        spec: serde_json::from_str(&spec)
            .map_err(|_| Error::Decode("column spec holds no route".to_owned()))?,
        managed_by: ManagedBy::parse(&by)
            .ok_or_else(|| Error::Decode("column managed_by holds an unknown word".to_owned()))?,
        revision: row.get(3)?,
        created_at: row.get(4)?,
        updated_at: row.get(5)?,
    })
}
