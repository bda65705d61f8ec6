//! Sinks and their secrets.

use base::{EnvironmentId, Secret, SinkId, Slug, Timestamp};
use db::{Error, Row, Sql, SystemTx, params};
use ports::ManagedBy;

use super::unknown;
use crate::model::{Definition, Secrets, Sink};

/// The columns that [`read`] takes, in its order; a statement's text is one literal, so they are a macro.
macro_rules! select {
    ($rest:literal) => {
        Sql::One(concat!(
            "SELECT id, environment, name, definition, managed_by, paused, since_at, position, next_delivery, next_batch, \
             CASE WHEN secret IS NULL THEN 0 ELSE 1 END, accepted, accepted_at, failure, failed_at, revision, created_at, \
             updated_at, rests_until FROM billing_sinks ",
            $rest
        ))
    };
}

const INSERT: Sql = Sql::One(
    "INSERT INTO billing_sinks (id, environment, name, definition, managed_by, paused, since_at, position, next_delivery, \
     next_batch, accepted, revision, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, 0, $6, 0, 1, 1, 0, 1, $7, $7)",
);
const UPDATE: Sql = Sql::One(
    "UPDATE billing_sinks SET definition = $2, managed_by = $3, paused = $4, since_at = $5, updated_at = $6, \
     rests_until = NULL, revision = revision + 1 WHERE id = $1",
);
const DELETE: Sql = Sql::One("DELETE FROM billing_sinks WHERE id = $1");
const BY_NAME: Sql = select!("WHERE environment = $1 AND name = $2");
const BY_ID: Sql = select!("WHERE id = $1");
const PAGE: Sql = select!("WHERE environment = $1 AND name > $2 ORDER BY name LIMIT $3");
const OF_FILE: Sql = select!("WHERE environment = $1 AND managed_by = 'file' ORDER BY name LIMIT $2");
const AFTER: Sql = select!("WHERE id > $1 ORDER BY id LIMIT $2");
const COUNT: Sql = Sql::One("SELECT count(*) FROM billing_sinks WHERE environment = $1");
const MOVE: Sql = Sql::One(
    "UPDATE billing_sinks SET position = $3, next_delivery = $4, next_batch = $5 WHERE id = $1 AND position = $2",
);
const NUMBERS: Sql = Sql::One("UPDATE billing_sinks SET next_delivery = $2, next_batch = $3 WHERE id = $1");
const SECRET: Sql = Sql::One(
    "UPDATE billing_sinks SET secret = $2, secret_before = $3, before_until = $4, updated_at = $5, rests_until = NULL, \
     revision = revision + 1 WHERE id = $1",
);
const SECRETS: Sql = Sql::One("SELECT secret, secret_before, before_until FROM billing_sinks WHERE id = $1");
const ACCEPTED: Sql = Sql::One(
    "UPDATE billing_sinks SET accepted = accepted + $2, accepted_at = $3, failure = NULL, failed_at = NULL WHERE id = $1",
);
const REST: Sql = Sql::One("UPDATE billing_sinks SET rests_until = $2 WHERE id = $1");
const FAILED: Sql = Sql::One("UPDATE billing_sinks SET failure = $2, failed_at = $3 WHERE id = $1");

/// Writes a new one; its revision is 1.
pub(crate) fn insert(tx: &mut SystemTx, sink: &Sink) -> Result<(), Error> {
    let Sink { id, environment, name, definition, managed_by, since, created_at, .. } = sink;
    let text = text_of(definition)?;
    tx.execute(&INSERT, &params![id, environment, name, text, managed_by.word(), *since, *created_at])?;
    Ok(())
}

/// Writes what somebody changed: +1 to the revision. A pause that the former one asked for is over.
pub(crate) fn update(tx: &mut SystemTx, sink: &Sink) -> Result<(), Error> {
    let Sink { id, definition, managed_by, paused, since, updated_at, .. } = sink;
    let text = text_of(definition)?;
    let paused = i64::from(*paused);
    tx.execute(&UPDATE, &params![id, text, managed_by.word(), paused, *since, *updated_at])?;
    Ok(())
}

pub(crate) fn delete(tx: &mut SystemTx, id: SinkId) -> Result<(), Error> {
    tx.execute(&DELETE, &params![id])?;
    Ok(())
}

pub(crate) fn by_name(
    tx: &mut SystemTx,
    environment: EnvironmentId,
    name: &Slug,
) -> Result<Option<Sink>, Error> {
    tx.query_opt(&BY_NAME, &params![environment, name])?.as_ref().map(read).transpose()
}

pub(crate) fn by_id(tx: &mut SystemTx, id: SinkId) -> Result<Option<Sink>, Error> {
    tx.query_opt(&BY_ID, &params![id])?.as_ref().map(read).transpose()
}

/// Up to `limit` of an environment by name, after `after`.
pub(crate) fn page(
    tx: &mut SystemTx,
    environment: EnvironmentId,
    after: &str,
    limit: u32,
) -> Result<Vec<Sink>, Error> {
    tx.query(&PAGE, &params![environment, after, limit])?.iter().map(read).collect()
}

/// Those that the project file manages.
pub(crate) fn of_file(tx: &mut SystemTx, environment: EnvironmentId, limit: u32) -> Result<Vec<Sink>, Error> {
    tx.query(&OF_FILE, &params![environment, limit])?.iter().map(read).collect()
}

/// Up to `limit` of all environments by id, after `after`.
pub(crate) fn after(tx: &mut SystemTx, after: &str, limit: u32) -> Result<Vec<Sink>, Error> {
    tx.query(&AFTER, &params![after, limit])?.iter().map(read).collect()
}

pub(crate) fn count(tx: &mut SystemTx, environment: EnvironmentId) -> Result<u64, Error> {
    tx.query_one(&COUNT, &params![environment])?.get(0)
}

/// Moves a sink on, unless another was quicker: the compare-and-set by which an entry of the ledger is delivered once.
pub(crate) fn advance(tx: &mut SystemTx, sink: &Sink, from: i64) -> Result<bool, Error> {
    let Sink { id, position, next_delivery, next_batch, .. } = sink;
    Ok(tx.execute(&MOVE, &params![id, from, *position, *next_delivery, *next_batch])? == 1)
}

/// Writes the numbers that come next.
pub(crate) fn set_numbers(tx: &mut SystemTx, sink: &Sink) -> Result<(), Error> {
    tx.execute(&NUMBERS, &params![sink.id, sink.next_delivery, sink.next_batch])?;
    Ok(())
}

/// Seals and keeps a secret; the one before goes on for a while where `before_until` says so.
pub(crate) fn set_secret(
    tx: &mut SystemTx,
    id: SinkId,
    secret: &Secret<String>,
    before_until: Option<Timestamp>,
    now: Timestamp,
) -> Result<(), Error> {
    let sealed = tx.seal(&aad(id), secret.expose().as_bytes())?;
    let before: Option<Vec<u8>> = match before_until {
        Some(_) => tx.query_opt(&SECRETS, &params![id])?.map(|row| row.get(0)).transpose()?.flatten(),
        None => None,
    };
    let until = before_until.filter(|_| before.is_some());
    tx.execute(&SECRET, &params![id, sealed, before, until, now])?;
    Ok(())
}

/// The secrets in force; `None` when there is none yet.
pub(crate) fn secrets(tx: &mut SystemTx, id: SinkId, now: Timestamp) -> Result<Option<Secrets>, Error> {
    let Some(row) = tx.query_opt(&SECRETS, &params![id])? else { return Ok(None) };
    let (sealed, before): (Option<Vec<u8>>, Option<Vec<u8>>) = (row.get(0)?, row.get(1)?);
    let until: Option<Timestamp> = row.get(2)?;
    let Some(sealed) = sealed else { return Ok(None) };
    let before = before.filter(|_| until.is_some_and(|until| until > now));
    let before = before.map(|before| opened(tx, id, &before)).transpose()?;
    Ok(Some(Secrets { now: opened(tx, id, &sealed)?, before }))
}

fn opened(tx: &mut SystemTx, id: SinkId, sealed: &[u8]) -> Result<Secret<String>, Error> {
    let bytes = tx.open(&aad(id), sealed)?;
    String::from_utf8(bytes).map(Secret::new).map_err(|_| unknown("secret"))
}

/// What a sealed secret is bound to.
fn aad(id: SinkId) -> Vec<u8> {
    format!("billing secret {id}").into_bytes()
}

/// Notes how a job went: deliveries that were accepted, and why the rest was not.
pub(crate) fn tell(
    tx: &mut SystemTx,
    id: SinkId,
    (accepted, failure): (u32, Option<&str>),
    now: Timestamp,
) -> Result<(), Error> {
    if accepted > 0 {
        tx.execute(&ACCEPTED, &params![id, accepted, now])?;
    }
    if let Some(failure) = failure {
        tx.execute(&FAILED, &params![id, failure, now])?;
    }
    Ok(())
}

/// Nothing is sent before then.
pub(crate) fn rest(tx: &mut SystemTx, id: SinkId, until: Timestamp) -> Result<(), Error> {
    tx.execute(&REST, &params![id, until])?;
    Ok(())
}

fn text_of(definition: &Definition) -> Result<String, Error> {
    serde_json::to_string(definition)
        .map_err(|error| Error::Statement(format!("write a definition: {error}")))
}

fn read(row: &Row) -> Result<Sink, Error> {
    let definition: String = row.get(3)?;
    Ok(Sink {
        id: row.get(0)?,
        environment: row.get(1)?,
        name: row.get(2)?,
        definition: serde_json::from_str(&definition).map_err(|_| unknown("definition"))?,
        managed_by: ManagedBy::parse(&row.get::<String>(4)?).ok_or_else(|| unknown("managed_by"))?,
        paused: row.get::<i64>(5)? != 0,
        since: row.get(6)?,
        position: row.get(7)?,
        next_delivery: row.get(8)?,
        next_batch: row.get(9)?,
        has_secret: row.get::<i64>(10)? != 0,
        accepted: row.get(11)?,
        accepted_at: row.get(12)?,
        failure: row.get(13)?,
        failed_at: row.get(14)?,
        revision: row.get(15)?,
        created_at: row.get(16)?,
        updated_at: row.get(17)?,
        rests_until: row.get(18)?,
    })
}
