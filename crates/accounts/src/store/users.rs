//! Rows of people.

use authority::Role;
use base::{Email, Timestamp, UserId};
use db::{Error, Row, Sql, SystemTx, params};

use super::{email, unknown};
use crate::model::{Factor, Realm, User};

const INSERT: Sql = Sql::One(
    "INSERT INTO accounts_users (id, realm, email, email_key, name, role, password, factor_step, revision, \
     created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, 0, 1, $8, $8)",
);
const UPDATE: Sql = Sql::One(
    "UPDATE accounts_users SET name = $2, role = $3, password = $4, factor = $5, factor_since = $6, \
     factor_step = $7, disabled_at = $8, updated_at = $9, revision = revision + 1 WHERE id = $1",
);
const STEP: Sql = Sql::One("UPDATE accounts_users SET factor_step = $2 WHERE id = $1 AND factor_step < $2");
const DELETE: Sql = Sql::One("DELETE FROM accounts_users WHERE id = $1");
const ONE: Sql = Sql::One(
    "SELECT id, realm, email, name, role, password, factor, factor_since, factor_step, disabled_at, revision, \
     created_at, updated_at FROM accounts_users WHERE id = $1",
);
const BY_EMAIL: Sql = Sql::One(
    "SELECT id, realm, email, name, role, password, factor, factor_since, factor_step, disabled_at, revision, \
     created_at, updated_at FROM accounts_users WHERE realm = $1 AND email_key = $2",
);
const PAGE: Sql = Sql::One(
    "SELECT id, realm, email, name, role, password, factor, factor_since, factor_step, disabled_at, revision, \
     created_at, updated_at FROM accounts_users WHERE realm = $1 AND id > $2 ORDER BY id LIMIT $3",
);
const ANY: Sql = Sql::One("SELECT id FROM accounts_users WHERE realm = $1 LIMIT 1");
const OTHER_OWNERS: Sql = Sql::One(
    "SELECT CAST(COUNT(*) AS BIGINT) FROM accounts_users WHERE realm = $1 AND role = $2 AND disabled_at IS NULL \
     AND id <> $3",
);

pub(crate) fn insert(tx: &mut SystemTx, user: &User) -> Result<(), Error> {
    tx.execute(
        &INSERT,
        &params![
            user.id,
            user.realm.word(),
            user.email.as_str(),
            user.email.key(),
            user.name.as_str(),
            role_text(user.role.as_ref())?,
            user.password.clone(),
            user.created_at
        ],
    )?;
    Ok(())
}

/// Writes what can change, with the next revision.
pub(crate) fn update(tx: &mut SystemTx, user: &User, now: Timestamp) -> Result<(), Error> {
    tx.execute(
        &UPDATE,
        &params![
            user.id,
            user.name.as_str(),
            role_text(user.role.as_ref())?,
            user.password.clone(),
            user.factor.sealed.clone(),
            user.factor.since,
            user.factor.step,
            user.disabled_at,
            now
        ],
    )?;
    Ok(())
}

/// Uses up a time step; `false` when it or a later one was used before (A17).
pub(crate) fn use_step(tx: &mut SystemTx, id: UserId, step: i64) -> Result<bool, Error> {
    Ok(tx.execute(&STEP, &params![id, step])? == 1)
}

pub(crate) fn delete(tx: &mut SystemTx, id: UserId) -> Result<(), Error> {
    tx.execute(&DELETE, &params![id])?;
    Ok(())
}

pub(crate) fn one(tx: &mut SystemTx, id: UserId) -> Result<Option<User>, Error> {
    tx.query_opt(&ONE, &params![id])?.map(|row| read(&row)).transpose()
}

pub(crate) fn by_email(tx: &mut SystemTx, realm: Realm, email: &Email) -> Result<Option<User>, Error> {
    tx.query_opt(&BY_EMAIL, &params![realm.word(), email.key()])?.map(|row| read(&row)).transpose()
}

/// The people of a realm by id after `after` (empty for the first).
pub(crate) fn page(tx: &mut SystemTx, realm: Realm, after: &str, limit: u32) -> Result<Vec<User>, Error> {
    tx.query(&PAGE, &params![realm.word(), after, limit])?.iter().map(read).collect()
}

/// Whether the realm has anybody.
pub(crate) fn any(tx: &mut SystemTx, realm: Realm) -> Result<bool, Error> {
    Ok(tx.query_opt(&ANY, &params![realm.word()])?.is_some())
}

/// Whether the team has another owner who can sign in. Read in the transaction that takes one away.
pub(crate) fn other_owner(tx: &mut SystemTx, id: UserId) -> Result<bool, Error> {
    let owner = role_text(Some(&Role::Owner))?;
    let count: i64 = tx.query_one(&OTHER_OWNERS, &params![Realm::Operators.word(), owner, id])?.get(0)?;
    Ok(count > 0)
}

fn role_text(role: Option<&Role>) -> Result<Option<String>, Error> {
    let text = role.map(serde_json::to_string).transpose();
    text.map_err(|_| Error::Decode("write a role".to_owned()))
}

fn read(row: &Row) -> Result<User, Error> {
    let role = row.get::<Option<String>>(4)?;
    Ok(User {
        id: row.get(0)?,
        realm: Realm::parse(&row.get::<String>(1)?).ok_or_else(|| unknown("realm"))?,
        email: email(&row.get::<String>(2)?)?,
        name: row.get(3)?,
        role: role.map(|text| serde_json::from_str(&text)).transpose().map_err(|_| unknown("role"))?,
        password: row.get(5)?,
        factor: Factor { sealed: row.get(6)?, since: row.get(7)?, step: row.get(8)? },
        disabled_at: row.get(9)?,
        revision: row.get(10)?,
        created_at: row.get(11)?,
        updated_at: row.get(12)?,
    })
}
