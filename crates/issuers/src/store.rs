//! All SQL of the capability.

use base::{EnvironmentId, IssuerId, ProjectId, Slug, Timestamp};
use db::{Error, Row, Sql, SystemTx, params};
use ports::ManagedBy;

use crate::model::Definition;

/// The scope of an issuer that all environments of a project trust.
const EVERYWHERE: &str = "*";

const INSERT: Sql = Sql::One(
    "INSERT INTO issuers_issuers (id, project, scope, name, url, definition, secret, managed_by, revision, created_at, \
     updated_at) VALUES ($1, $2, $3, $4, $5, $6, NULL, $7, 1, $8, $8)",
);
const UPDATE: Sql = Sql::One(
    "UPDATE issuers_issuers SET url = $2, definition = $3, updated_at = $4, revision = revision + 1 WHERE id = $1",
);
const SECRET: Sql = Sql::One(
    "UPDATE issuers_issuers SET secret = $2, updated_at = $3, revision = revision + 1 WHERE id = $1",
);
const DELETE: Sql = Sql::One("DELETE FROM issuers_issuers WHERE id = $1");
const OF_PROJECT: Sql = Sql::One(
    "SELECT id, project, scope, name, definition, secret, managed_by, revision, created_at, updated_at \
     FROM issuers_issuers WHERE project = $1 ORDER BY name, scope",
);
const ALL: Sql = Sql::One(
    "SELECT id, project, scope, name, definition, secret, managed_by, revision, created_at, updated_at \
     FROM issuers_issuers ORDER BY project, name, scope",
);
const FORGET_KEYS: Sql = Sql::One("DELETE FROM issuers_keys WHERE issuer = $1");
const KEEP: Sql =
    Sql::One("INSERT INTO issuers_keys (issuer, source, known, fetched_at) VALUES ($1, $2, $3, $4)");
const KEPT: Sql = Sql::One("SELECT known, fetched_at FROM issuers_keys WHERE issuer = $1 AND source = $2");
const RETURN: Sql = Sql::One("INSERT INTO issuers_returned (state, until) VALUES ($1, $2)");
const RETURNED: Sql = Sql::One("SELECT 1 FROM issuers_returned WHERE state = $1");
const FORGET: Sql = Sql::One("DELETE FROM issuers_returned WHERE until < $1");

/// An issuer as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer {
    /// Its id.
    pub id: IssuerId,
    /// The project that trusts it.
    pub project: ProjectId,
    /// The one environment that trusts it; `None`: all.
    pub environment: Option<EnvironmentId>,
    /// Its name.
    pub name: Slug,
    /// What it is.
    pub definition: Definition,
    /// The client's secret, sealed.
    pub secret: Option<Vec<u8>>,
    /// Who decides about it.
    pub managed_by: ManagedBy,
    /// Counts its changes.
    pub revision: i64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

fn scope(environment: Option<EnvironmentId>) -> String {
    environment.map_or_else(|| EVERYWHERE.to_owned(), |environment| environment.to_string())
}

fn written(definition: &Definition) -> Result<String, Error> {
    serde_json::to_string(definition).map_err(|error| Error::Statement(error.to_string()))
}

pub(crate) fn insert(tx: &mut SystemTx, issuer: &Issuer) -> Result<(), Error> {
    let Issuer { id, project, environment, name, definition, managed_by, created_at, .. } = issuer;
    tx.execute(
        &INSERT,
        &params![
            id,
            project,
            scope(*environment),
            name,
            &definition.url,
            written(definition)?,
            managed_by.word(),
            *created_at
        ],
    )?;
    Ok(())
}

pub(crate) fn update(
    tx: &mut SystemTx,
    id: IssuerId,
    definition: &Definition,
    now: Timestamp,
) -> Result<(), Error> {
    tx.execute(&UPDATE, &params![id, &definition.url, written(definition)?, now])?;
    Ok(())
}

pub(crate) fn set_secret(
    tx: &mut SystemTx,
    id: IssuerId,
    sealed: Option<Vec<u8>>,
    now: Timestamp,
) -> Result<(), Error> {
    tx.execute(&SECRET, &params![id, sealed, now])?;
    Ok(())
}

pub(crate) fn delete(tx: &mut SystemTx, id: IssuerId) -> Result<(), Error> {
    tx.execute(&DELETE, &params![id])?;
    tx.execute(&FORGET_KEYS, &params![id])?;
    Ok(())
}

/// Keeps what was fetched of a source, in place of what was before.
pub(crate) fn keep(
    tx: &mut SystemTx,
    id: IssuerId,
    (source, known): (&str, &str),
    now: Timestamp,
) -> Result<(), Error> {
    tx.execute(&FORGET_KEYS, &params![id])?;
    tx.execute(&KEEP, &params![id, source, known, now])?;
    Ok(())
}

/// What was fetched of this source, and when.
pub(crate) fn kept(
    tx: &mut SystemTx,
    id: IssuerId,
    source: &str,
) -> Result<Option<(String, Timestamp)>, Error> {
    let row = tx.query_opt(&KEPT, &params![id, source])?;
    row.map(|row| Ok((row.get(0)?, row.get(1)?))).transpose()
}

/// A project's issuers by name.
pub(crate) fn of_project(tx: &mut SystemTx, project: ProjectId) -> Result<Vec<Issuer>, Error> {
    tx.query(&OF_PROJECT, &params![project])?.iter().map(read).collect()
}

/// All issuers of the installation.
pub(crate) fn all(tx: &mut SystemTx) -> Result<Vec<Issuer>, Error> {
    tx.query(&ALL, &params![])?.iter().map(read).collect()
}

/// Notes that a sign-in came back. `false` when it had before. Those before `now` are forgotten.
pub(crate) fn returned(
    tx: &mut SystemTx,
    state: &str,
    now: Timestamp,
    until: Timestamp,
) -> Result<bool, Error> {
    tx.execute(&FORGET, &params![now])?;
    if tx.query_opt(&RETURNED, &params![state])?.is_some() {
        return Ok(false);
    }
    tx.execute(&RETURN, &params![state, until])?;
    Ok(true)
}

fn read(row: &Row) -> Result<Issuer, Error> {
    let broken = |column: &str| Error::Decode(format!("column {column} cannot be read"));
    let scope = row.get::<String>(2)?;
    let environment = match scope.as_str() {
        EVERYWHERE => None,
        id => Some(base::id::Id::parse(id).map_err(|_| broken("scope"))?),
    };
    Ok(Issuer {
        id: row.get(0)?,
        project: row.get(1)?,
        environment,
        name: row.get(3)?,
        definition: serde_json::from_str(&row.get::<String>(4)?).map_err(|_| broken("definition"))?,
        secret: row.get(5)?,
        managed_by: ManagedBy::parse(&row.get::<String>(6)?).ok_or_else(|| broken("managed_by"))?,
        revision: row.get(7)?,
        created_at: row.get(8)?,
        updated_at: row.get(9)?,
    })
}
