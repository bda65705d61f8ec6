//! Rows of grants, codes, refresh tokens and browsers.

use base::{ClientId, EnvironmentId, SessionId, TenantId, Timestamp, UserId};
use db::{Error, Row, Sql, SystemTx, params};

use crate::model::{CODE_REMEMBERED, Grant, SWEPT, Scopes};

const INSERT: Sql = Sql::One(
    "INSERT INTO oidc_grants (id, environment, client, user_id, session, tenant, scopes, signed_in_at, created_at, \
     expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
);
const ONE: Sql = Sql::One(
    "SELECT id, environment, client, user_id, session, tenant, scopes, signed_in_at, created_at, expires_at, ended_at \
     FROM oidc_grants WHERE id = $1",
);
const EXTEND: Sql = Sql::One("UPDATE oidc_grants SET expires_at = $2 WHERE id = $1 AND ended_at IS NULL");
const END: Sql = Sql::One("UPDATE oidc_grants SET ended_at = $2 WHERE id = $1 AND ended_at IS NULL");
const LIVE_OF_SESSION: Sql =
    Sql::One("SELECT id FROM oidc_grants WHERE session = $1 AND ended_at IS NULL LIMIT $2");
const END_OF_CLIENT: Sql = Sql::One(
    "UPDATE oidc_grants SET ended_at = $3 WHERE environment = $1 AND client = $2 AND ended_at IS NULL",
);
const DELETE_OF_TENANT: Sql = Sql::One("DELETE FROM oidc_grants WHERE tenant = $1");
const SWEEP_GRANTS: Sql = Sql::One(
    "DELETE FROM oidc_grants WHERE id IN \
     (SELECT id FROM oidc_grants WHERE expires_at < $1 ORDER BY expires_at LIMIT $2)",
);
const INSERT_CODE: Sql = Sql::One(
    "INSERT INTO oidc_codes (hash, grant_id, redirect_uri, challenge, nonce, expires_at) \
     VALUES ($1, $2, $3, $4, $5, $6)",
);
const CODE: Sql = Sql::One(
    "SELECT grant_id, redirect_uri, challenge, nonce, expires_at, used_at FROM oidc_codes WHERE hash = $1",
);
const USE_CODE: Sql = Sql::One("UPDATE oidc_codes SET used_at = $2 WHERE hash = $1 AND used_at IS NULL");
const SWEEP_CODES: Sql = Sql::One(
    "DELETE FROM oidc_codes WHERE hash IN \
     (SELECT hash FROM oidc_codes WHERE expires_at < $1 ORDER BY expires_at LIMIT $2)",
);
const INSERT_REFRESH: Sql =
    Sql::One("INSERT INTO oidc_refresh_tokens (hash, grant_id, expires_at) VALUES ($1, $2, $3)");
const REFRESH: Sql =
    Sql::One("SELECT grant_id, expires_at, used_at FROM oidc_refresh_tokens WHERE hash = $1");
const USE_REFRESH: Sql =
    Sql::One("UPDATE oidc_refresh_tokens SET used_at = $2 WHERE hash = $1 AND used_at IS NULL");
const SWEEP_REFRESH: Sql = Sql::One(
    "DELETE FROM oidc_refresh_tokens WHERE hash IN \
     (SELECT hash FROM oidc_refresh_tokens WHERE expires_at < $1 ORDER BY expires_at LIMIT $2)",
);
const INSERT_BROWSER: Sql =
    Sql::One("INSERT INTO oidc_browsers (hash, environment, session, expires_at) VALUES ($1, $2, $3, $4)");
const BROWSER: Sql =
    Sql::One("SELECT session FROM oidc_browsers WHERE hash = $1 AND environment = $2 AND expires_at > $3");
const DELETE_BROWSER: Sql = Sql::One("DELETE FROM oidc_browsers WHERE hash = $1");
const SWEEP_BROWSERS: Sql = Sql::One(
    "DELETE FROM oidc_browsers WHERE hash IN \
     (SELECT hash FROM oidc_browsers WHERE expires_at < $1 ORDER BY expires_at LIMIT $2)",
);

/// Grants of one session that are looked at: a browser is signed in to a few apps.
const OF_SESSION_MAX: u32 = 1_000;

/// A code, by its fingerprint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Code {
    pub(crate) grant: SessionId,
    pub(crate) redirect_uri: String,
    pub(crate) challenge: String,
    pub(crate) nonce: Option<String>,
    pub(crate) expires_at: Timestamp,
    pub(crate) used: bool,
}

/// A refresh token, by its fingerprint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refresh {
    pub(crate) grant: SessionId,
    pub(crate) expires_at: Timestamp,
    pub(crate) used: bool,
}

pub(crate) fn insert(tx: &mut SystemTx, grant: &Grant) -> Result<(), Error> {
    tx.execute(
        &INSERT,
        &params![
            grant.id,
            grant.environment,
            grant.client,
            grant.user,
            grant.session,
            grant.tenant,
            grant.scopes.to_string(),
            grant.signed_in_at,
            grant.created_at,
            grant.expires_at
        ],
    )?;
    tx.execute(&SWEEP_GRANTS, &params![grant.created_at, SWEPT])?;
    Ok(())
}

pub(crate) fn one(tx: &mut SystemTx, id: SessionId) -> Result<Option<Grant>, Error> {
    tx.query_opt(&ONE, &params![id])?.map(|row| read(&row)).transpose()
}

pub(crate) fn extend(tx: &mut SystemTx, id: SessionId, until: Timestamp) -> Result<(), Error> {
    tx.execute(&EXTEND, &params![id, until])?;
    Ok(())
}

/// Whether it had not ended before.
pub(crate) fn end(tx: &mut SystemTx, id: SessionId, now: Timestamp) -> Result<bool, Error> {
    Ok(tx.execute(&END, &params![id, now])? == 1)
}

pub(crate) fn live_of_session(tx: &mut SystemTx, session: SessionId) -> Result<Vec<SessionId>, Error> {
    let rows = tx.query(&LIVE_OF_SESSION, &params![session, OF_SESSION_MAX])?;
    rows.iter().map(|row| row.get::<SessionId>(0)).collect()
}

pub(crate) fn end_of_client(
    tx: &mut SystemTx,
    environment: EnvironmentId,
    client: ClientId,
    now: Timestamp,
) -> Result<(), Error> {
    tx.execute(&END_OF_CLIENT, &params![environment, client, now])?;
    Ok(())
}

pub(crate) fn delete_of_tenant(tx: &mut SystemTx, tenant: TenantId) -> Result<(), Error> {
    tx.execute(&DELETE_OF_TENANT, &params![tenant])?;
    Ok(())
}

pub(crate) fn insert_code(tx: &mut SystemTx, hash: &str, code: &Code, now: Timestamp) -> Result<(), Error> {
    let Code { grant, redirect_uri, challenge, nonce, expires_at, used: _ } = code;
    tx.execute(
        &INSERT_CODE,
        &params![hash, *grant, redirect_uri.as_str(), challenge.as_str(), nonce.as_deref(), *expires_at],
    )?;
    tx.execute(&SWEEP_CODES, &params![now - CODE_REMEMBERED, SWEPT])?;
    Ok(())
}

pub(crate) fn code(tx: &mut SystemTx, hash: &str) -> Result<Option<Code>, Error> {
    let read = |row: Row| {
        Ok(Code {
            grant: row.get::<SessionId>(0)?,
            redirect_uri: row.get::<String>(1)?,
            challenge: row.get::<String>(2)?,
            nonce: row.get::<Option<String>>(3)?,
            expires_at: row.get::<Timestamp>(4)?,
            used: row.get::<Option<Timestamp>>(5)?.is_some(),
        })
    };
    tx.query_opt(&CODE, &params![hash])?.map(read).transpose()
}

/// Whether it had not been used before.
pub(crate) fn use_code(tx: &mut SystemTx, hash: &str, now: Timestamp) -> Result<bool, Error> {
    Ok(tx.execute(&USE_CODE, &params![hash, now])? == 1)
}

pub(crate) fn insert_refresh(
    tx: &mut SystemTx,
    hash: &str,
    grant: SessionId,
    (expires_at, now): (Timestamp, Timestamp),
) -> Result<(), Error> {
    tx.execute(&INSERT_REFRESH, &params![hash, grant, expires_at])?;
    tx.execute(&SWEEP_REFRESH, &params![now, SWEPT])?;
    Ok(())
}

pub(crate) fn refresh(tx: &mut SystemTx, hash: &str) -> Result<Option<Refresh>, Error> {
    let read = |row: Row| {
        Ok(Refresh {
            grant: row.get::<SessionId>(0)?,
            expires_at: row.get::<Timestamp>(1)?,
            used: row.get::<Option<Timestamp>>(2)?.is_some(),
        })
    };
    tx.query_opt(&REFRESH, &params![hash])?.map(read).transpose()
}

/// Whether it had not been used before.
pub(crate) fn use_refresh(tx: &mut SystemTx, hash: &str, now: Timestamp) -> Result<bool, Error> {
    Ok(tx.execute(&USE_REFRESH, &params![hash, now])? == 1)
}

pub(crate) fn insert_browser(
    tx: &mut SystemTx,
    hash: &str,
    environment: EnvironmentId,
    session: SessionId,
    (expires_at, now): (Timestamp, Timestamp),
) -> Result<(), Error> {
    tx.execute(&INSERT_BROWSER, &params![hash, environment, session, expires_at])?;
    tx.execute(&SWEEP_BROWSERS, &params![now, SWEPT])?;
    Ok(())
}

/// The session of a browser's cookie in an environment.
pub(crate) fn browser(
    tx: &mut SystemTx,
    hash: &str,
    environment: EnvironmentId,
    now: Timestamp,
) -> Result<Option<SessionId>, Error> {
    let row = tx.query_opt(&BROWSER, &params![hash, environment, now])?;
    row.map(|row| row.get::<SessionId>(0)).transpose()
}

pub(crate) fn delete_browser(tx: &mut SystemTx, hash: &str) -> Result<(), Error> {
    tx.execute(&DELETE_BROWSER, &params![hash])?;
    Ok(())
}

fn read(row: &Row) -> Result<Grant, Error> {
    Ok(Grant {
        id: row.get::<SessionId>(0)?,
        environment: row.get::<EnvironmentId>(1)?,
        client: row.get::<ClientId>(2)?,
        user: row.get::<UserId>(3)?,
        session: row.get::<SessionId>(4)?,
        tenant: row.get::<TenantId>(5)?,
        scopes: Scopes::parse(&row.get::<String>(6)?),
        signed_in_at: row.get::<Timestamp>(7)?,
        created_at: row.get::<Timestamp>(8)?,
        expires_at: row.get::<Timestamp>(9)?,
        ended_at: row.get::<Option<Timestamp>>(10)?,
    })
}
