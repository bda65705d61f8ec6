//! Rows of sessions that go on; an ended one has none.

use base::{SessionId, Timestamp, UserId};
use db::{Error, Row, Sql, SystemTx, params};

use super::SWEEP_ROWS;
use crate::model::Session;

const INSERT: Sql = Sql::One(
    "INSERT INTO accounts_sessions (id, user_id, how, ip, agent, created_at, used_at, expires_at, \
     environment) VALUES ($1, $2, $3, $4, $5, $6, $6, $7, $8)",
);
const USED: Sql = Sql::One("UPDATE accounts_sessions SET used_at = $2, expires_at = $3 WHERE id = $1");
const DELETE: Sql = Sql::One("DELETE FROM accounts_sessions WHERE id = $1");
const ONE: Sql = Sql::One(
    "SELECT id, user_id, how, ip, agent, created_at, used_at, expires_at, environment FROM accounts_sessions \
     WHERE id = $1",
);
const OF_USER: Sql = Sql::One(
    "SELECT id, user_id, how, ip, agent, created_at, used_at, expires_at, environment FROM accounts_sessions \
     WHERE user_id = $1 ORDER BY id LIMIT $2",
);
const EXPIRED: Sql =
    Sql::One("SELECT id FROM accounts_sessions WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2");

pub(crate) fn insert(tx: &mut SystemTx, session: &Session) -> Result<(), Error> {
    tx.execute(
        &INSERT,
        &params![
            session.id,
            session.user,
            session.how.as_str(),
            session.ip.clone(),
            session.agent.clone(),
            session.created_at,
            session.expires_at,
            session.environment
        ],
    )?;
    Ok(())
}

/// Notes that a session was refreshed, and until when it goes on.
pub(crate) fn used(tx: &mut SystemTx, id: SessionId, at: Timestamp, until: Timestamp) -> Result<(), Error> {
    tx.execute(&USED, &params![id, at, until])?;
    Ok(())
}

pub(crate) fn delete(tx: &mut SystemTx, id: SessionId) -> Result<(), Error> {
    tx.execute(&DELETE, &params![id])?;
    Ok(())
}

pub(crate) fn one(tx: &mut SystemTx, id: SessionId) -> Result<Option<Session>, Error> {
    tx.query_opt(&ONE, &params![id])?.map(|row| read(&row)).transpose()
}

/// A person's sessions, the oldest first.
pub(crate) fn of_user(tx: &mut SystemTx, user: UserId, limit: u32) -> Result<Vec<Session>, Error> {
    tx.query(&OF_USER, &params![user, limit])?.iter().map(read).collect()
}

/// Some of those whose time is over.
pub(crate) fn expired(tx: &mut SystemTx, now: Timestamp) -> Result<Vec<SessionId>, Error> {
    tx.query(&EXPIRED, &params![now, SWEEP_ROWS])?.iter().map(|row| row.get(0)).collect()
}

fn read(row: &Row) -> Result<Session, Error> {
    Ok(Session {
        id: row.get(0)?,
        user: row.get(1)?,
        how: row.get(2)?,
        ip: row.get(3)?,
        agent: row.get(4)?,
        created_at: row.get(5)?,
        used_at: row.get(6)?,
        expires_at: row.get(7)?,
        environment: row.get(8)?,
    })
}
