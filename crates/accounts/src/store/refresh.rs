//! Rows of families of refresh tokens.

use base::{SessionId, TenantId};
use db::{Error, Sql, SystemTx, params};

use crate::model::token::RefreshHash;

const INSERT: Sql = Sql::One(
    "INSERT INTO accounts_refresh (family, session, tenant, secret, rotations) VALUES ($1, $2, $3, $4, 0)",
);
const ONE: Sql = Sql::One("SELECT session, tenant, secret FROM accounts_refresh WHERE family = $1");
const ROTATE: Sql = Sql::One(
    "UPDATE accounts_refresh SET secret = $2, tenant = $3, rotations = rotations + 1 WHERE family = $1",
);
const DELETE_OF: Sql = Sql::One("DELETE FROM accounts_refresh WHERE session = $1");
const COUNT: Sql = Sql::One("SELECT CAST(COUNT(*) AS BIGINT) FROM accounts_refresh WHERE session = $1");

/// A family as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Family {
    pub(crate) session: SessionId,
    pub(crate) tenant: Option<TenantId>,
    pub(crate) secret: [u8; 32],
}

pub(crate) fn insert(
    tx: &mut SystemTx,
    hash: &RefreshHash,
    session: SessionId,
    tenant: Option<TenantId>,
) -> Result<(), Error> {
    tx.execute(&INSERT, &params![hash.family, session, tenant, hash.secret])?;
    Ok(())
}

pub(crate) fn one(tx: &mut SystemTx, family: &[u8; 32]) -> Result<Option<Family>, Error> {
    let row = tx.query_opt(&ONE, &params![*family])?;
    row.map(|row| Ok(Family { session: row.get(0)?, tenant: row.get(1)?, secret: row.get(2)? })).transpose()
}

pub(crate) fn rotate(tx: &mut SystemTx, next: &RefreshHash, tenant: Option<TenantId>) -> Result<(), Error> {
    tx.execute(&ROTATE, &params![next.family, next.secret, tenant])?;
    Ok(())
}

pub(crate) fn delete_of(tx: &mut SystemTx, session: SessionId) -> Result<(), Error> {
    tx.execute(&DELETE_OF, &params![session])?;
    Ok(())
}

/// Families of a session.
pub(crate) fn count(tx: &mut SystemTx, session: SessionId) -> Result<u32, Error> {
    tx.query_one(&COUNT, &params![session])?.get(0)
}
