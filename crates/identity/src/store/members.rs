//! Rows of members.

use authority::Role;
use base::{Email, MemberId, TenantId, Timestamp};
use db::{Error, Row, Sql, SystemTx, TenantTx, params};

use super::{json_text, named_role, unknown};
use crate::model::{Member, MemberStatus};

const INSERT: Sql = Sql::One(
    "INSERT INTO identity_members (tenant, id, email, email_key, role, status, revision, created_at, \
     updated_at, role_project, role_name) VALUES ($1, $2, $3, $4, $5, $6, 1, $7, $7, $8, $9)",
);
const UPDATE: Sql = Sql::One(
    "UPDATE identity_members SET role = $3, status = $4, updated_at = $5, role_project = $6, role_name = $7, \
     revision = revision + 1 \
     WHERE tenant = $1 AND id = $2",
);
const DELETE: Sql = Sql::One("DELETE FROM identity_members WHERE tenant = $1 AND id = $2");
const DELETE_ALL: Sql = Sql::One("DELETE FROM identity_members WHERE tenant = $1");
const COUNT: Sql = Sql::One("SELECT CAST(COUNT(*) AS BIGINT) FROM identity_members WHERE tenant = $1");
const OWNERS: Sql = Sql::One("SELECT id, status FROM identity_members WHERE tenant = $1 AND role = $2");
const OWNERS_ADDRESSES: Sql = Sql::One(
    "SELECT email FROM identity_members WHERE tenant = $1 AND role = $2 AND status = $3 ORDER BY id LIMIT $4",
);
const ONE: Sql = Sql::One(
    "SELECT id, email, role, status, revision, created_at, updated_at, role_project, role_name FROM identity_members \
     WHERE tenant = $1 AND id = $2",
);
const BY_EMAIL: Sql = Sql::One(
    "SELECT id, email, role, status, revision, created_at, updated_at, role_project, role_name FROM identity_members \
     WHERE tenant = $1 AND email_key = $2",
);
const LIST: Sql = Sql::One(
    "SELECT id, email, role, status, revision, created_at, updated_at, role_project, role_name FROM identity_members \
     WHERE tenant = $1 AND id > $2 ORDER BY id LIMIT $3",
);

/// crosses tenants: a person may belong to several.
const OF_PERSON: Sql = Sql::One(
    "SELECT id, email, role, status, revision, created_at, updated_at, role_project, role_name, tenant \
     FROM identity_members WHERE email_key = $1 ORDER BY tenant, id LIMIT $2",
);

pub(crate) fn insert(tx: &mut TenantTx, member: &Member) -> Result<(), Error> {
    tx.execute(
        &INSERT,
        &params![
            member.id,
            member.email.as_str(),
            member.email.key(),
            json_text(&member.role)?,
            member.status.word(),
            member.created_at,
            member.role_name.as_ref().map(|named| named.project.to_string()),
            member.role_name.as_ref().map(|named| named.name.to_string())
        ],
    )?;
    Ok(())
}

/// Writes role and status with the next revision.
pub(crate) fn update(tx: &mut TenantTx, member: &Member, now: Timestamp) -> Result<(), Error> {
    tx.execute(
        &UPDATE,
        &params![
            member.id,
            json_text(&member.role)?,
            member.status.word(),
            now,
            member.role_name.as_ref().map(|named| named.project.to_string()),
            member.role_name.as_ref().map(|named| named.name.to_string())
        ],
    )?;
    Ok(())
}

pub(crate) fn delete(tx: &mut TenantTx, id: MemberId) -> Result<(), Error> {
    tx.execute(&DELETE, &params![id])?;
    Ok(())
}

pub(crate) fn delete_all(tx: &mut TenantTx) -> Result<(), Error> {
    tx.execute(&DELETE_ALL, &params![])?;
    Ok(())
}

pub(crate) fn count(tx: &mut TenantTx) -> Result<u32, Error> {
    tx.query_one(&COUNT, &params![])?.get::<u32>(0)
}

/// The tenant's owners. Read in the transaction that takes one away: transactions are serializable, so that of
/// two that each count on the other's owner, one is repeated and sees the change.
pub(crate) fn owners(tx: &mut TenantTx) -> Result<Vec<(MemberId, MemberStatus)>, Error> {
    let rows = tx.query(&OWNERS, &params![json_text(&Role::Owner)?])?;
    rows.iter().map(|row| Ok((row.get::<MemberId>(0)?, status(row, 1)?))).collect()
}

/// Where owners who have accepted get their letters, the first by id.
pub(crate) fn owners_addresses(tx: &mut TenantTx, limit: u32) -> Result<Vec<Email>, Error> {
    let params = params![json_text(&Role::Owner)?, MemberStatus::Active.word(), limit];
    tx.query(&OWNERS_ADDRESSES, &params)?.iter().map(|row| address(row, 0)).collect()
}

pub(crate) fn one(tx: &mut TenantTx, id: MemberId) -> Result<Option<Member>, Error> {
    tx.query_opt(&ONE, &params![id])?.map(|row| read(&row)).transpose()
}

pub(crate) fn by_email(tx: &mut TenantTx, email: &Email) -> Result<Option<Member>, Error> {
    tx.query_opt(&BY_EMAIL, &params![email.key()])?.map(|row| read(&row)).transpose()
}

/// The tenant's members by id after `after` (empty for the first).
pub(crate) fn page(tx: &mut TenantTx, after: &str, limit: u32) -> Result<Vec<Member>, Error> {
    tx.query(&LIST, &params![after, limit])?.iter().map(read).collect()
}

/// The memberships of an address, by tenant.
pub(crate) fn of_person(
    tx: &mut SystemTx,
    email: &Email,
    limit: u32,
) -> Result<Vec<(TenantId, Member)>, Error> {
    let rows = tx.query(&OF_PERSON, &params![email.key(), limit])?;
    rows.iter().map(|row| Ok((row.get::<TenantId>(9)?, read(row)?))).collect()
}

fn read(row: &Row) -> Result<Member, Error> {
    Ok(Member {
        id: row.get::<MemberId>(0)?,
        email: address(row, 1)?,
        role: serde_json::from_str(&row.get::<String>(2)?).map_err(|_| unknown("role"))?,
        status: status(row, 3)?,
        revision: row.get::<i64>(4)?,
        created_at: row.get::<Timestamp>(5)?,
        updated_at: row.get::<Timestamp>(6)?,
        role_name: named_role(row, (7, 8))?,
    })
}

fn address(row: &Row, index: usize) -> Result<Email, Error> {
    Email::parse(&row.get::<String>(index)?).map_err(|_| unknown("email"))
}

fn status(row: &Row, index: usize) -> Result<MemberStatus, Error> {
    MemberStatus::parse(&row.get::<String>(index)?).ok_or_else(|| unknown("status"))
}
