//! Rows of clients.

use base::{ClientId, EnvironmentId, Timestamp};
use db::{Error, Row, Sql, SystemTx, params};

use super::unknown;
use crate::model::{CLIENTS_MAX, Client, ClientKind, Scopes};

const INSERT: Sql = Sql::One(
    "INSERT INTO oidc_clients (environment, id, name, kind, secret_hash, redirect_uris, logout_uris, scopes, revision, \
     created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 1, $9, $9)",
);
const UPDATE: Sql = Sql::One(
    "UPDATE oidc_clients SET name = $3, secret_hash = $4, redirect_uris = $5, logout_uris = $6, scopes = $7, \
     updated_at = $8, revision = revision + 1 WHERE environment = $1 AND id = $2",
);
const DELETE: Sql = Sql::One("DELETE FROM oidc_clients WHERE environment = $1 AND id = $2");
const ONE: Sql = Sql::One(
    "SELECT environment, id, name, kind, secret_hash, redirect_uris, logout_uris, scopes, revision, created_at, updated_at \
     FROM oidc_clients WHERE environment = $1 AND id = $2",
);
const NAMED: Sql = Sql::One("SELECT id FROM oidc_clients WHERE environment = $1 AND name = $2");
const ALL: Sql = Sql::One(
    "SELECT environment, id, name, kind, secret_hash, redirect_uris, logout_uris, scopes, revision, created_at, updated_at \
     FROM oidc_clients WHERE environment = $1 ORDER BY id LIMIT $2",
);

pub(crate) fn insert(tx: &mut SystemTx, client: &Client) -> Result<(), Error> {
    tx.execute(
        &INSERT,
        &params![
            client.environment,
            client.id,
            client.name.as_str(),
            client.kind.word(),
            client.secret_hash.as_deref(),
            list(&client.redirect_uris)?,
            list(&client.logout_uris)?,
            Scopes(client.scopes.clone()).to_string(),
            client.created_at
        ],
    )?;
    Ok(())
}

/// Writes what may change of a client.
pub(crate) fn update(tx: &mut SystemTx, client: &Client, now: Timestamp) -> Result<(), Error> {
    tx.execute(
        &UPDATE,
        &params![
            client.environment,
            client.id,
            client.name.as_str(),
            client.secret_hash.as_deref(),
            list(&client.redirect_uris)?,
            list(&client.logout_uris)?,
            Scopes(client.scopes.clone()).to_string(),
            now
        ],
    )?;
    Ok(())
}

pub(crate) fn delete(tx: &mut SystemTx, environment: EnvironmentId, id: ClientId) -> Result<(), Error> {
    tx.execute(&DELETE, &params![environment, id])?;
    Ok(())
}

pub(crate) fn one(
    tx: &mut SystemTx,
    environment: EnvironmentId,
    id: ClientId,
) -> Result<Option<Client>, Error> {
    tx.query_opt(&ONE, &params![environment, id])?.map(|row| read(&row)).transpose()
}

pub(crate) fn named(
    tx: &mut SystemTx,
    environment: EnvironmentId,
    name: &str,
) -> Result<Option<ClientId>, Error> {
    tx.query_opt(&NAMED, &params![environment, name])?.map(|row| row.get::<ClientId>(0)).transpose()
}

/// All of an environment, oldest first.
pub(crate) fn all(tx: &mut SystemTx, environment: EnvironmentId) -> Result<Vec<Client>, Error> {
    tx.query(&ALL, &params![environment, CLIENTS_MAX])?.iter().map(read).collect()
}

fn list(values: &[String]) -> Result<String, Error> {
    serde_json::to_string(values).map_err(|error| Error::Decode(error.to_string()))
}

fn read(row: &Row) -> Result<Client, Error> {
    let uris = |index: usize, name: &str| {
        serde_json::from_str::<Vec<String>>(&row.get::<String>(index)?).map_err(|_| unknown(name))
    };
    Ok(Client {
        environment: row.get::<EnvironmentId>(0)?,
        id: row.get::<ClientId>(1)?,
        name: row.get::<String>(2)?,
        kind: ClientKind::parse(&row.get::<String>(3)?).ok_or_else(|| unknown("kind"))?,
        secret_hash: row.get::<Option<String>>(4)?,
        redirect_uris: uris(5, "redirect_uris")?,
        logout_uris: uris(6, "logout_uris")?,
        scopes: Scopes::parse(&row.get::<String>(7)?).0,
        revision: row.get::<i64>(8)?,
        created_at: row.get::<Timestamp>(9)?,
        updated_at: row.get::<Timestamp>(10)?,
    })
}
