//! What few jobs have: unique keys, children, history, progress.

use base::{JobId, Timestamp};
use db::{Error, Row, Sql, SystemTx, params};

use super::live::job_id;
use crate::model::state::{end_number, end_of};
use crate::{Attempt, JobStatus, Outcome, ProgressNote};

/// Attempts shown of a job, and children.
const ATTEMPTS_MAX: i64 = 100;
const CHILDREN_MAX: i64 = 1_000;

/// Where a unique key holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key<'a> {
    pub(crate) queue: i64,
    pub(crate) tenant: &'a str,
    pub(crate) key: &'a str,
}

const TAKE: Sql = Sql::One(
    "INSERT INTO jobs_unique (queue, tenant, key, id, until) VALUES ($1, $2, $3, $4, $5) \
     ON CONFLICT (queue, tenant, key) DO UPDATE SET id = $4, until = $5 WHERE jobs_unique.until <= $6",
);
const HOLDER: Sql = Sql::One("SELECT id FROM jobs_unique WHERE queue = $1 AND tenant = $2 AND key = $3");

/// Takes a unique key for a job; `Some` is the job that has it.
pub(crate) fn take_key(
    tx: &mut SystemTx<'_>,
    key: Key<'_>,
    id: JobId,
    until: Option<Timestamp>,
    now: Timestamp,
) -> Result<Option<JobId>, Error> {
    let Key { queue, tenant, key } = key;
    let values = params![queue, tenant, key, id.as_bytes().as_slice(), until, now];
    if tx.execute(&TAKE, &values)? > 0 {
        return Ok(None);
    }
    match tx.query_opt(&HOLDER, &params![queue, tenant, key])? {
        Some(row) => job_id(&row, 0).map(Some),
        // It was given back between the two statements: as good as busy, and the caller tries again.
        None => Err(Error::Busy),
    }
}

const GIVE_BACK: Sql = Sql::One(
    "DELETE FROM jobs_unique WHERE queue = $1 AND tenant = $2 AND key = $3 AND id = $4 AND until IS NULL",
);
const GIVE_BACK_ANY: Sql =
    Sql::One("DELETE FROM jobs_unique WHERE queue = $1 AND tenant = $2 AND key = $3 AND id = $4");

/// Gives back a key that a job held until its end. With `even_until` also one that it holds for a time.
pub(crate) fn give_back_key(
    tx: &mut SystemTx<'_>,
    key: Key<'_>,
    id: JobId,
    even_until: bool,
) -> Result<(), Error> {
    let Key { queue, tenant, key } = key;
    let sql = if even_until { &GIVE_BACK_ANY } else { &GIVE_BACK };
    tx.execute(sql, &params![queue, tenant, key, id.as_bytes().as_slice()]).map(drop)
}

/// Forgets keys whose time is over.
pub(crate) fn sweep_keys(tx: &mut SystemTx<'_>, now: Timestamp) -> Result<u64, Error> {
    const SWEEP: Sql = Sql::One("DELETE FROM jobs_unique WHERE until IS NOT NULL AND until <= $1");
    tx.execute(&SWEEP, &params![now])
}

/// Notes a child of a parent.
pub(crate) fn add_child(tx: &mut SystemTx<'_>, parent: JobId, child: JobId) -> Result<(), Error> {
    const ADD: Sql = Sql::One("INSERT INTO jobs_children (parent, child) VALUES ($1, $2)");
    tx.execute(&ADD, &params![parent.as_bytes().as_slice(), child.as_bytes().as_slice()]).map(drop)
}

/// Notes how a child ended; false when its parent forgot it or knew already.
pub(crate) fn end_child(
    tx: &mut SystemTx<'_>,
    parent: JobId,
    child: JobId,
    status: JobStatus,
) -> Result<bool, Error> {
    const END: Sql =
        Sql::One("UPDATE jobs_children SET ended = $3 WHERE parent = $1 AND child = $2 AND ended IS NULL");
    let values = params![parent.as_bytes().as_slice(), child.as_bytes().as_slice(), end_number(status)];
    Ok(tx.execute(&END, &values)? > 0)
}

/// Notes that a child that had ended runs again; false when its parent forgot it.
pub(crate) fn reopen_child(tx: &mut SystemTx<'_>, parent: JobId, child: JobId) -> Result<bool, Error> {
    const REOPEN: Sql = Sql::One(
        "UPDATE jobs_children SET ended = NULL WHERE parent = $1 AND child = $2 AND ended IS NOT NULL",
    );
    Ok(tx.execute(&REOPEN, &params![parent.as_bytes().as_slice(), child.as_bytes().as_slice()])? > 0)
}

/// How many children of a job have not ended. They cannot end elsewhere before the transaction has.
pub(crate) fn hold_children(tx: &mut SystemTx<'_>, parent: JobId) -> Result<u32, Error> {
    // Writing what is there already keeps others from writing, on both databases.
    const HOLD: Sql = Sql::One("UPDATE jobs_children SET ended = NULL WHERE parent = $1 AND ended IS NULL");
    let held = tx.execute(&HOLD, &params![parent.as_bytes().as_slice()])?;
    Ok(u32::try_from(held).unwrap_or(u32::MAX))
}

/// The children of a job, and how those ended that did.
pub(crate) fn children(
    tx: &mut SystemTx<'_>,
    parent: JobId,
) -> Result<Vec<(JobId, Option<JobStatus>)>, Error> {
    const LIST: Sql =
        Sql::One("SELECT child, ended FROM jobs_children WHERE parent = $1 ORDER BY child LIMIT $2");
    let child = |row: &Row| {
        let ended: Option<i64> = row.get(1)?;
        Ok((job_id(row, 0)?, ended.map(end_of).transpose()?))
    };
    tx.query(&LIST, &params![parent.as_bytes().as_slice(), CHILDREN_MAX])?.iter().map(child).collect()
}

/// Notes an attempt that did not end well.
pub(crate) fn add_attempt(tx: &mut SystemTx<'_>, id: JobId, attempt: &Attempt) -> Result<(), Error> {
    const ADD: Sql = Sql::One(
        "INSERT INTO jobs_attempts (id, attempt, ended_at, started_at, outcome, error, worker) \
         VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (id, ended_at, attempt) DO NOTHING",
    );
    let values = params![
        id.as_bytes().as_slice(),
        attempt.attempt,
        attempt.ended_at,
        attempt.started_at,
        attempt.outcome.as_str(),
        attempt.error.as_str(),
        attempt.worker.as_deref()
    ];
    tx.execute(&ADD, &values).map(drop)
}

/// Attempts that did not end well, oldest first.
pub(crate) fn attempts(tx: &mut SystemTx<'_>, id: JobId) -> Result<Vec<Attempt>, Error> {
    const LIST: Sql = Sql::One(
        "SELECT attempt, started_at, ended_at, outcome, error, worker FROM jobs_attempts WHERE id = $1 \
         ORDER BY ended_at DESC, attempt DESC LIMIT $2",
    );
    let attempt = |row: &Row| {
        Ok(Attempt {
            attempt: row.get(0)?,
            started_at: row.get(1)?,
            ended_at: row.get(2)?,
            outcome: Outcome::parse(&row.get::<String>(3)?)?,
            error: row.get(4)?,
            worker: row.get(5)?,
        })
    };
    let found = tx.query(&LIST, &params![id.as_bytes().as_slice(), ATTEMPTS_MAX])?;
    found.iter().rev().map(attempt).collect()
}

/// Notes how far a job is.
pub(crate) fn set_progress(tx: &mut SystemTx<'_>, id: JobId, note: &ProgressNote) -> Result<(), Error> {
    const SET: Sql = Sql::One(
        "INSERT INTO jobs_progress (id, percent, note, at) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (id) DO UPDATE SET percent = $2, note = $3, at = $4",
    );
    let values = params![id.as_bytes().as_slice(), i64::from(note.percent), note.note.as_deref(), note.at];
    tx.execute(&SET, &values).map(drop)
}

/// How far a job is.
pub(crate) fn progress(tx: &mut SystemTx<'_>, id: JobId) -> Result<Option<ProgressNote>, Error> {
    const READ: Sql = Sql::One("SELECT percent, note, at FROM jobs_progress WHERE id = $1");
    let Some(row) = tx.query_opt(&READ, &params![id.as_bytes().as_slice()])? else { return Ok(None) };
    let percent: i64 = row.get(0)?;
    Ok(Some(ProgressNote {
        percent: u8::try_from(percent).unwrap_or(100),
        note: row.get(1)?,
        at: row.get(2)?,
    }))
}

/// A payload from the table of large ones.
pub(crate) fn body(tx: &mut SystemTx<'_>, id: JobId) -> Result<Option<String>, Error> {
    const READ: Sql = Sql::One("SELECT body FROM jobs_payloads WHERE id = $1");
    tx.query_opt(&READ, &params![id.as_bytes().as_slice()])?.map(|row| row.get(0)).transpose()
}
