//! Rows of who people are at external issuers.

use base::{Timestamp, UserId};
use db::{Error, Row, Sql, SystemTx, params};

use crate::model::{Identity, IdentityId, Realm};

const INSERT: Sql = Sql::One(
    "INSERT INTO accounts_identities (realm, issuer, subject, id, user_id, name, email, created_at, used_at) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8)",
);
const BY_SUBJECT: Sql = Sql::One(
    "SELECT id, user_id, issuer, subject, name, email, created_at, used_at FROM accounts_identities \
     WHERE realm = $1 AND issuer = $2 AND subject = $3",
);
const OF_USER: Sql = Sql::One(
    "SELECT id, user_id, issuer, subject, name, email, created_at, used_at FROM accounts_identities \
     WHERE user_id = $1 ORDER BY issuer LIMIT $2",
);
const USED: Sql = Sql::One(
    "UPDATE accounts_identities SET used_at = $4, email = $5 WHERE realm = $1 AND issuer = $2 AND subject = $3",
);
const DELETE: Sql = Sql::One("DELETE FROM accounts_identities WHERE user_id = $1 AND id = $2");
const DELETE_OF: Sql = Sql::One("DELETE FROM accounts_identities WHERE user_id = $1");

/// Most that a person has: one at an issuer, of which a project has fewer.
const OF_USER_MAX: u32 = 200;

pub(crate) fn insert(tx: &mut SystemTx, realm: Realm, one: &Identity) -> Result<(), Error> {
    let Identity { id, user, issuer, subject, name, email, created_at, used_at: _ } = one;
    tx.execute(
        &INSERT,
        &params![
            realm.word(),
            issuer.as_str(),
            subject.as_str(),
            *id,
            *user,
            name.as_str(),
            email.as_deref(),
            *created_at
        ],
    )?;
    Ok(())
}

/// Who of a realm an issuer means by a subject.
pub(crate) fn by_subject(
    tx: &mut SystemTx,
    realm: Realm,
    (issuer, subject): (&str, &str),
) -> Result<Option<Identity>, Error> {
    tx.query_opt(&BY_SUBJECT, &params![realm.word(), issuer, subject])?.map(|row| read(&row)).transpose()
}

/// A person's, by the issuer's address.
pub(crate) fn of_user(tx: &mut SystemTx, user: UserId) -> Result<Vec<Identity>, Error> {
    tx.query(&OF_USER, &params![user, OF_USER_MAX])?.iter().map(read).collect()
}

/// Notes that the person came by it, and the address that the issuer knows now.
pub(crate) fn used(
    tx: &mut SystemTx,
    realm: Realm,
    (issuer, subject): (&str, &str),
    (at, email): (Timestamp, Option<&str>),
) -> Result<(), Error> {
    tx.execute(&USED, &params![realm.word(), issuer, subject, at, email])?;
    Ok(())
}

/// Whether the person had it.
pub(crate) fn delete(tx: &mut SystemTx, user: UserId, id: IdentityId) -> Result<bool, Error> {
    Ok(tx.execute(&DELETE, &params![user, id])? == 1)
}

pub(crate) fn delete_of(tx: &mut SystemTx, user: UserId) -> Result<(), Error> {
    tx.execute(&DELETE_OF, &params![user])?;
    Ok(())
}

fn read(row: &Row) -> Result<Identity, Error> {
    Ok(Identity {
        id: row.get(0)?,
        user: row.get(1)?,
        issuer: row.get(2)?,
        subject: row.get(3)?,
        name: row.get(4)?,
        email: row.get(5)?,
        created_at: row.get(6)?,
        used_at: row.get(7)?,
    })
}
