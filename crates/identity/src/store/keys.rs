//! Rows of API keys.

use authority::{Pattern, Role};
use base::{Cidr, EnvironmentId, KeyId, TenantId, Timestamp};
use db::{Error, Row, Sql, SystemTx, TenantTx, params};
use ports::KeyRecord;

use super::{json_text, named_role, unknown};
use crate::model::Key;

const INSERT: Sql = Sql::One(
    "INSERT INTO identity_keys (tenant, id, environment, name, hash, prefix, role, scopes, expires_at, \
     created_by, created_at, allowed_ips, role_project, role_name) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
);
const REPLACE: Sql =
    Sql::One("UPDATE identity_keys SET expires_at = $3, replaced_by = $4 WHERE tenant = $1 AND id = $2");
const REVOKE: Sql = Sql::One("UPDATE identity_keys SET revoked_at = $3 WHERE tenant = $1 AND id = $2");
const USED: Sql = Sql::One(
    "UPDATE identity_keys SET last_used_at = $3 \
     WHERE tenant = $1 AND id = $2 AND (last_used_at IS NULL OR last_used_at < $3)",
);
const DELETE_ALL: Sql = Sql::One("DELETE FROM identity_keys WHERE tenant = $1");
const COUNT: Sql = Sql::One(
    "SELECT CAST(COUNT(*) AS BIGINT) FROM identity_keys \
     WHERE tenant = $1 AND environment = $2 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $3)",
);
const ONE: Sql = Sql::One(
    "SELECT tenant, id, environment, name, hash, prefix, role, scopes, expires_at, revoked_at, replaced_by, \
     last_used_at, created_by, created_at, allowed_ips, role_project, role_name FROM identity_keys WHERE tenant = $1 AND id = $2",
);
const LIST: Sql = Sql::One(
    "SELECT tenant, id, environment, name, hash, prefix, role, scopes, expires_at, revoked_at, replaced_by, \
     last_used_at, created_by, created_at, allowed_ips, role_project, role_name FROM identity_keys \
     WHERE tenant = $1 AND environment = $2 AND id > $3 ORDER BY id LIMIT $4",
);
const LIST_UNREVOKED: Sql = Sql::One(
    "SELECT tenant, id, environment, name, hash, prefix, role, scopes, expires_at, revoked_at, replaced_by, \
     last_used_at, created_by, created_at, allowed_ips, role_project, role_name FROM identity_keys \
     WHERE tenant = $1 AND environment = $2 AND id > $3 AND revoked_at IS NULL ORDER BY id LIMIT $4",
);
/// crosses tenants: authentication knows the tenant only after it has found the key.
const BY_HASH: Sql = Sql::One(
    "SELECT tenant, id, environment, name, hash, prefix, role, scopes, expires_at, revoked_at, replaced_by, \
     last_used_at, created_by, created_at, allowed_ips, role_project, role_name FROM identity_keys WHERE hash = $1",
);
/// Only what a gateway needs: it reads a million of them at its start.
/// crosses tenants: gateways hold the keys of all tenants.
const RECORDS: Sql = Sql::One(
    "SELECT id, hash, tenant, role, scopes, expires_at, name, allowed_ips FROM identity_keys \
     WHERE environment = $1 AND id > $2 AND revoked_at IS NULL ORDER BY id LIMIT $3",
);
const RECORDS_OF_TENANT: Sql = Sql::One(
    "SELECT id, hash, tenant, role, scopes, expires_at, name, allowed_ips FROM identity_keys \
     WHERE tenant = $1 AND environment = $2 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $3) \
     ORDER BY id LIMIT $4",
);

pub(crate) fn insert(tx: &mut TenantTx, key: &Key) -> Result<(), Error> {
    let scopes = key.scopes.as_ref().map(json_text).transpose()?;
    let ranges = Some(&key.allowed_ips).filter(|ranges| !ranges.is_empty());
    let allowed_ips = ranges.map(json_text).transpose()?;
    tx.execute(
        &INSERT,
        &params![
            key.id,
            key.environment,
            key.name.as_str(),
            key.hash,
            key.prefix.as_str(),
            json_text(&key.role)?,
            scopes,
            key.expires_at,
            key.created_by.as_str(),
            key.created_at,
            allowed_ips,
            key.role_name.as_ref().map(|named| named.project.to_string()),
            key.role_name.as_ref().map(|named| named.name.to_string())
        ],
    )?;
    Ok(())
}

/// Ends a key at a time, and names what is in its place.
pub(crate) fn replace(tx: &mut TenantTx, id: KeyId, ends_at: Timestamp, by: KeyId) -> Result<(), Error> {
    tx.execute(&REPLACE, &params![id, ends_at, by])?;
    Ok(())
}

pub(crate) fn revoke(tx: &mut TenantTx, id: KeyId, at: Timestamp) -> Result<(), Error> {
    tx.execute(&REVOKE, &params![id, at])?;
    Ok(())
}

/// Notes a use, unless a later one is noted. The key may be gone.
pub(crate) fn used(tx: &mut TenantTx, id: KeyId, at: Timestamp) -> Result<(), Error> {
    tx.execute(&USED, &params![id, at])?;
    Ok(())
}

pub(crate) fn delete_all(tx: &mut TenantTx) -> Result<(), Error> {
    tx.execute(&DELETE_ALL, &params![])?;
    Ok(())
}

/// How many keys the tenant has in an environment that work or will.
pub(crate) fn count(tx: &mut TenantTx, environment: EnvironmentId, now: Timestamp) -> Result<u32, Error> {
    tx.query_one(&COUNT, &params![environment, now])?.get::<u32>(0)
}

pub(crate) fn one(tx: &mut TenantTx, id: KeyId) -> Result<Option<Key>, Error> {
    tx.query_opt(&ONE, &params![id])?.map(|row| read(&row)).transpose()
}

/// The tenant's keys in an environment by id after `after` (empty for the first).
pub(crate) fn page(
    tx: &mut TenantTx,
    environment: EnvironmentId,
    revoked_too: bool,
    after: &str,
    limit: u32,
) -> Result<Vec<Key>, Error> {
    let sql = if revoked_too { &LIST } else { &LIST_UNREVOKED };
    tx.query(sql, &params![environment, after, limit])?.iter().map(read).collect()
}

/// The key of a hash, whosever it is: authentication does not know the tenant before.
pub(crate) fn by_hash(tx: &mut SystemTx, hash: &[u8; 32]) -> Result<Option<Key>, Error> {
    tx.query_opt(&BY_HASH, &params![*hash])?.map(|row| read(&row)).transpose()
}

/// Keys of an environment that are not revoked, by id after `after` (empty for the first).
pub(crate) fn records(
    tx: &mut SystemTx,
    environment: EnvironmentId,
    after: &str,
    limit: u32,
) -> Result<Vec<KeyRecord>, Error> {
    let rows = tx.query(&RECORDS, &params![environment, after, limit])?;
    rows.iter().map(|row| record(row, environment)).collect()
}

/// The tenant's keys in an environment that are neither revoked nor expired.
pub(crate) fn records_of_tenant(
    tx: &mut TenantTx,
    environment: EnvironmentId,
    now: Timestamp,
    limit: u32,
) -> Result<Vec<KeyRecord>, Error> {
    let rows = tx.query(&RECORDS_OF_TENANT, &params![environment, now, limit])?;
    rows.iter().map(|row| record(row, environment)).collect()
}

fn record(row: &Row, environment: EnvironmentId) -> Result<KeyRecord, Error> {
    Ok(KeyRecord {
        id: row.get::<KeyId>(0)?,
        hash: row.get::<[u8; 32]>(1)?,
        tenant: row.get::<TenantId>(2)?,
        environment,
        role: role(row, 3)?,
        scopes: scopes(row, 4)?,
        expires_at: row.get::<Option<Timestamp>>(5)?,
        name: row.get::<String>(6)?,
        allowed_ips: allowed_ips(row, 7)?,
    })
}

fn role(row: &Row, index: usize) -> Result<Role, Error> {
    serde_json::from_str(&row.get::<String>(index)?).map_err(|_| unknown("role"))
}

fn scopes(row: &Row, index: usize) -> Result<Option<Vec<Pattern>>, Error> {
    let text = row.get::<Option<String>>(index)?;
    text.map(|text| serde_json::from_str(&text).map_err(|_| unknown("scopes"))).transpose()
}

fn allowed_ips(row: &Row, index: usize) -> Result<Vec<Cidr>, Error> {
    let text = row.get::<Option<String>>(index)?;
    let read = |text: String| serde_json::from_str(&text).map_err(|_| unknown("allowed_ips"));
    text.map_or_else(|| Ok(Vec::new()), read)
}

fn read(row: &Row) -> Result<Key, Error> {
    Ok(Key {
        tenant: row.get::<TenantId>(0)?,
        id: row.get::<KeyId>(1)?,
        environment: row.get::<EnvironmentId>(2)?,
        name: row.get::<String>(3)?,
        hash: row.get::<[u8; 32]>(4)?,
        prefix: row.get::<String>(5)?,
        role: role(row, 6)?,
        scopes: scopes(row, 7)?,
        expires_at: row.get::<Option<Timestamp>>(8)?,
        revoked_at: row.get::<Option<Timestamp>>(9)?,
        replaced_by: row.get::<Option<KeyId>>(10)?,
        last_used_at: row.get::<Option<Timestamp>>(11)?,
        created_by: row.get::<String>(12)?,
        created_at: row.get::<Timestamp>(13)?,
        allowed_ips: allowed_ips(row, 14)?,
        role_name: named_role(row, (15, 16))?,
    })
}
