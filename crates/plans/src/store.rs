//! All SQL of the capability.

use base::{EnvironmentId, ProjectId, Rate, Slug, Timestamp};
use db::{Error, Row, Sql, SystemTx, params};

use crate::model::{Limits, ManagedBy, PLANS_MAX, Plan};

const INSERT: Sql = Sql::One(
    "INSERT INTO plans_plans (environment, name, project, requests, managed_by, revision, created_at, \
     updated_at, meters) VALUES ($1, $2, $3, $4, $5, 1, $6, $6, $7)",
);
const UPDATE: Sql = Sql::One(
    "UPDATE plans_plans SET requests = $3, managed_by = $4, updated_at = $5, meters = $6, revision = revision + 1 \
     WHERE environment = $1 AND name = $2",
);
const DELETE: Sql = Sql::One("DELETE FROM plans_plans WHERE environment = $1 AND name = $2");
const ONE: Sql = Sql::One(
    "SELECT name, requests, managed_by, revision, created_at, updated_at, meters FROM plans_plans \
     WHERE environment = $1 AND name = $2",
);
const ALL: Sql = Sql::One(
    "SELECT name, requests, managed_by, revision, created_at, updated_at, meters FROM plans_plans \
     WHERE environment = $1 ORDER BY name LIMIT $2",
);
const ANYWHERE: Sql =
    Sql::One("SELECT environment FROM plans_plans WHERE project = $1 AND name = $2 LIMIT 2");

/// The environment whose plans are meant, and its project.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The environment.
    pub environment: EnvironmentId,
    /// The project that it is a copy of.
    pub project: ProjectId,
}

pub(crate) fn insert(
    tx: &mut SystemTx,
    place: Place,
    name: &Slug,
    (limits, by): (&Limits, ManagedBy),
    now: Timestamp,
) -> Result<(), Error> {
    tx.execute(
        &INSERT,
        &params![
            place.environment,
            name,
            place.project,
            limits.requests.to_string(),
            by.word(),
            now,
            meters(limits)?
        ],
    )?;
    Ok(())
}

pub(crate) fn update(
    tx: &mut SystemTx,
    place: Place,
    name: &Slug,
    (limits, by): (&Limits, ManagedBy),
    now: Timestamp,
) -> Result<(), Error> {
    let requests = limits.requests.to_string();
    tx.execute(&UPDATE, &params![place.environment, name, requests, by.word(), now, meters(limits)?])?;
    Ok(())
}

pub(crate) fn delete(tx: &mut SystemTx, place: Place, name: &Slug) -> Result<(), Error> {
    tx.execute(&DELETE, &params![place.environment, name])?;
    Ok(())
}

pub(crate) fn one(tx: &mut SystemTx, place: Place, name: &Slug) -> Result<Option<Plan>, Error> {
    tx.query_opt(&ONE, &params![place.environment, name])?.map(|row| read(&row)).transpose()
}

/// The environment's rows by name, without the defaults that have none.
pub(crate) fn all(tx: &mut SystemTx, environment: EnvironmentId) -> Result<Vec<Plan>, Error> {
    tx.query(&ALL, &params![environment, PLANS_MAX])?.iter().map(read).collect()
}

/// Environments of the project (two at most) that have a row of this name.
pub(crate) fn anywhere(
    tx: &mut SystemTx,
    project: ProjectId,
    name: &Slug,
) -> Result<Vec<EnvironmentId>, Error> {
    tx.query(&ANYWHERE, &params![project, name])?.iter().map(|row| row.get::<EnvironmentId>(0)).collect()
}

fn meters(limits: &Limits) -> Result<String, Error> {
    serde_json::to_string(&limits.meters).map_err(|error| Error::Statement(error.to_string()))
}

fn read(row: &Row) -> Result<Plan, Error> {
    let unknown = |column: &str| Error::Decode(format!("column {column} holds an unknown word"));
    Ok(Plan {
        name: row.get::<Slug>(0)?,
        limits: Limits {
            requests: Rate::parse(&row.get::<String>(1)?).map_err(|_| unknown("requests"))?,
            meters: serde_json::from_str(&row.get::<String>(6)?).map_err(|_| unknown("meters"))?,
        },
        managed_by: ManagedBy::parse(&row.get::<String>(2)?).ok_or_else(|| unknown("managed_by"))?,
        revision: row.get::<i64>(3)?,
        created_at: row.get::<Option<Timestamp>>(4)?,
        updated_at: row.get::<Option<Timestamp>>(5)?,
    })
}
