//! Rows of single-use links; a used one has none.

use base::{TenantId, Timestamp};
use db::{Error, Row, Sql, SystemTx, params};

use super::{SWEEP_ROWS, unknown};
use crate::model::{Link, LinkKind, Realm};

const INSERT: Sql = Sql::One(
    "INSERT INTO accounts_links (hash, kind, subject, realm, email, tenant, created_at, expires_at) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
);
const ONE: Sql = Sql::One(
    "SELECT kind, subject, realm, email, tenant, created_at, expires_at FROM accounts_links WHERE hash = $1",
);
const NEWEST: Sql = Sql::One(
    "SELECT kind, subject, realm, email, tenant, created_at, expires_at FROM accounts_links \
     WHERE kind = $1 AND subject = $2 ORDER BY created_at DESC LIMIT 1",
);
const DELETE_OF: Sql = Sql::One("DELETE FROM accounts_links WHERE kind = $1 AND subject = $2");
const DELETE_OF_TENANT: Sql = Sql::One("DELETE FROM accounts_links WHERE kind = $1 AND tenant = $2");
const DELETE_EXPIRED: Sql = Sql::One(
    "DELETE FROM accounts_links WHERE hash IN \
     (SELECT hash FROM accounts_links WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)",
);

pub(crate) fn insert(tx: &mut SystemTx, hash: &[u8; 32], link: &Link) -> Result<(), Error> {
    tx.execute(
        &INSERT,
        &params![
            *hash,
            link.kind.word(),
            link.subject.as_str(),
            link.realm.word(),
            link.email.as_str(),
            link.tenant,
            link.created_at,
            link.expires_at
        ],
    )?;
    Ok(())
}

/// The link of a token, if it is of this kind and its time is not over.
pub(crate) fn one(
    tx: &mut SystemTx,
    kind: LinkKind,
    hash: &[u8; 32],
    now: Timestamp,
) -> Result<Option<Link>, Error> {
    let found = tx.query_opt(&ONE, &params![*hash])?.map(|row| read(&row)).transpose()?;
    Ok(found.filter(|link| link.kind == kind && now < link.expires_at))
}

/// The newest link of a subject.
pub(crate) fn newest(tx: &mut SystemTx, kind: LinkKind, subject: &str) -> Result<Option<Link>, Error> {
    tx.query_opt(&NEWEST, &params![kind.word(), subject])?.map(|row| read(&row)).transpose()
}

/// Ends all links of a kind and subject; answers how many.
pub(crate) fn delete_of(tx: &mut SystemTx, kind: LinkKind, subject: &str) -> Result<u64, Error> {
    tx.execute(&DELETE_OF, &params![kind.word(), subject])
}

/// Ends all invitations of a tenant.
pub(crate) fn delete_of_tenant(tx: &mut SystemTx, tenant: TenantId) -> Result<(), Error> {
    tx.execute(&DELETE_OF_TENANT, &params![LinkKind::Invitation.word(), tenant])?;
    Ok(())
}

/// Removes some of those whose time is over; answers how many.
pub(crate) fn delete_expired(tx: &mut SystemTx, now: Timestamp) -> Result<u64, Error> {
    tx.execute(&DELETE_EXPIRED, &params![now, SWEEP_ROWS])
}

fn read(row: &Row) -> Result<Link, Error> {
    Ok(Link {
        kind: LinkKind::parse(&row.get::<String>(0)?).ok_or_else(|| unknown("kind"))?,
        subject: row.get(1)?,
        realm: Realm::parse(&row.get::<String>(2)?).ok_or_else(|| unknown("realm"))?,
        email: row.get(3)?,
        tenant: row.get(4)?,
        created_at: row.get(5)?,
        expires_at: row.get(6)?,
    })
}
