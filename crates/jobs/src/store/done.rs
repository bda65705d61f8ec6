//! Jobs that have ended and are kept.

use base::{JobId, Timestamp};
use db::{Column, Error, Many, Row, Rows, Sql, SystemTx, params};

use super::live::{JobRow, job_id};
use crate::JobStatus;
use crate::model::state::{end_number, end_of, flags};

/// A whole row of `jobs_done`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DoneRow {
    pub(crate) id: JobId,
    pub(crate) queue: i64,
    pub(crate) tenant: String,
    pub(crate) status: JobStatus,
    pub(crate) priority: u8,
    pub(crate) run_at: Timestamp,
    pub(crate) attempt: u32,
    pub(crate) attempts: u32,
    pub(crate) fence: i64,
    pub(crate) created_at: Timestamp,
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) finished_at: Timestamp,
    pub(crate) flags: i64,
    pub(crate) bytes: u64,
    pub(crate) key: Option<String>,
    pub(crate) worker: Option<String>,
    pub(crate) payload: Option<String>,
    pub(crate) options: Option<String>,
    pub(crate) result: Option<String>,
    pub(crate) error: Option<String>,
}

macro_rules! done_columns {
    () => {
        "id, queue, tenant, status, priority, run_at, attempt, attempts, created_at, started_at, finished_at, flags, \
         bytes, key, worker, payload, options, result, error, fence"
    };
}
pub(crate) use done_columns;

impl DoneRow {
    pub(crate) fn read(row: &Row) -> Result<Self, Error> {
        let priority: i64 = row.get(4)?;
        Ok(Self {
            id: job_id(row, 0)?,
            queue: row.get(1)?,
            tenant: row.get(2)?,
            status: end_of(row.get(3)?)?,
            priority: u8::try_from(priority).unwrap_or(crate::model::draft::PRIORITY_MAX),
            run_at: row.get(5)?,
            attempt: row.get(6)?,
            attempts: row.get(7)?,
            created_at: row.get(8)?,
            started_at: row.get(9)?,
            finished_at: row.get(10)?,
            flags: row.get(11)?,
            bytes: row.get(12)?,
            key: row.get(13)?,
            worker: row.get(14)?,
            payload: row.get(15)?,
            options: row.get(16)?,
            result: row.get(17)?,
            error: row.get(18)?,
            fence: row.get(19)?,
        })
    }

    pub(crate) fn has(&self, flag: i64) -> bool {
        self.flags & flag != 0
    }
}

const READ: Sql = Sql::One(concat!("SELECT ", done_columns!(), " FROM jobs_done WHERE id = $1"));

/// One job, if it has ended and is kept.
pub(crate) fn read(tx: &mut SystemTx<'_>, id: JobId) -> Result<Option<DoneRow>, Error> {
    let found = tx.query_opt(&READ, &params![id.as_bytes().as_slice()])?;
    found.as_ref().map(DoneRow::read).transpose()
}

/// Ends running jobs well and keeps them: id, fence, finished_at, keep_until, result. On SQLite the row is copied and then
/// removed ([`super::live::GONE`]); on PostgreSQL one statement does both.
pub(crate) const KEEP: Many = Many {
    sqlite: "INSERT INTO jobs_done (id, queue, tenant, status, priority, run_at, attempt, attempts, fence, created_at, \
             started_at, finished_at, keep_until, flags, bytes, key, worker, payload, options, result) \
             SELECT id, queue, tenant, 0, priority, run_at, attempt, attempts, fence, created_at, started_at, $3, $4, flags, \
             bytes, key, worker, payload, options, $5 FROM jobs_jobs WHERE id = $1 AND fence = $2 AND state = 2",
    postgres: "WITH gone AS (DELETE FROM jobs_jobs j USING UNNEST($1::bytea[], $2::bigint[], $3::bigint[], \
               $4::bigint[], $5::text[]) WITH ORDINALITY AS u(id, fence, finished_at, keep_until, result, ord) \
               WHERE j.id = ANY (ARRAY[u.id]) AND j.fence = u.fence AND j.state + 0 = 2 \
               RETURNING j.*, u.finished_at, u.keep_until, u.result, u.ord), \
               kept AS (INSERT INTO jobs_done (id, queue, tenant, status, priority, run_at, attempt, attempts, fence, \
               created_at, started_at, finished_at, keep_until, flags, bytes, key, worker, payload, options, result) \
               SELECT id, queue, tenant, 0, priority, run_at, attempt, attempts, fence, created_at, started_at, finished_at, \
               keep_until, flags, bytes, key, worker, payload, options, result FROM gone) SELECT ord FROM gone",
    columns: &[Column::Blob, Column::Int, Column::Int, Column::Int, Column::Text],
};

const ADD: Sql = Sql::One(
    "INSERT INTO jobs_done (id, queue, tenant, status, priority, run_at, attempt, attempts, created_at, started_at, \
     finished_at, flags, bytes, key, worker, payload, options, result, error, keep_until, \
     fence) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21)",
);

/// How a job ended.
#[derive(Debug, Clone)]
pub(crate) struct End<'a> {
    pub(crate) status: JobStatus,
    pub(crate) at: Timestamp,
    pub(crate) keep_until: Timestamp,
    pub(crate) result: Option<&'a str>,
    pub(crate) error: Option<&'a str>,
}

/// Keeps a job that was removed from the others.
pub(crate) fn add(tx: &mut SystemTx<'_>, row: &JobRow, end: &End<'_>) -> Result<(), Error> {
    let values = params![
        row.id.as_bytes().as_slice(),
        row.queue,
        row.tenant.as_str(),
        end_number(end.status),
        i64::from(row.priority),
        row.run_at,
        row.attempt,
        row.attempts,
        row.created_at,
        row.started_at,
        end.at,
        row.flags,
        i64::try_from(row.bytes).unwrap_or(i64::MAX),
        row.key.as_deref(),
        row.worker.as_deref(),
        row.payload.as_deref(),
        row.options.as_deref(),
        end.result,
        end.error,
        end.keep_until,
        row.fence
    ];
    tx.execute(&ADD, &values).map(drop)
}

const REMOVE: Sql = Sql::One("DELETE FROM jobs_done WHERE id = $1");

/// Takes a job out, with nothing that belongs to it. Answers whether it was there.
pub(crate) fn remove(tx: &mut SystemTx<'_>, id: JobId) -> Result<bool, Error> {
    Ok(tx.execute(&REMOVE, &params![id.as_bytes().as_slice()])? > 0)
}

/// Forgets what belongs to a job beside its row.
pub(crate) fn forget_parts(tx: &mut SystemTx<'_>, id: JobId, of: i64) -> Result<(), Error> {
    const BODY: Sql = Sql::One("DELETE FROM jobs_payloads WHERE id = $1");
    const ATTEMPTS: Sql = Sql::One("DELETE FROM jobs_attempts WHERE id = $1");
    const CHILDREN: Sql = Sql::One("DELETE FROM jobs_children WHERE parent = $1");
    const PROGRESS: Sql = Sql::One("DELETE FROM jobs_progress WHERE id = $1");
    let parts = [
        (flags::BIG, BODY),
        (flags::HISTORY, ATTEMPTS),
        (flags::PARENT, CHILDREN),
        (flags::PROGRESS, PROGRESS),
    ];
    for (flag, sql) in parts {
        if of & flag != 0 {
            tx.execute(&sql, &params![id.as_bytes().as_slice()])?;
        }
    }
    Ok(())
}

const OVER: Sql =
    Sql::One("SELECT id, flags FROM jobs_done WHERE keep_until <= $1 ORDER BY keep_until LIMIT $2");

/// Jobs that were kept long enough, with their flags.
pub(crate) fn over(tx: &mut SystemTx<'_>, now: Timestamp, limit: i64) -> Result<Vec<(JobId, i64)>, Error> {
    tx.query(&OVER, &params![now, limit])?.iter().map(|row| Ok((job_id(row, 0)?, row.get(1)?))).collect()
}

const FORGET: Many = Many {
    sqlite: "DELETE FROM jobs_done WHERE id = $1",
    postgres: "DELETE FROM jobs_done d USING UNNEST($1::bytea[]) WITH ORDINALITY AS u(id, ord) WHERE d.id = ANY (ARRAY[u.id]) \
               RETURNING u.ord",
    columns: &[Column::Blob],
};

/// Forgets many jobs that have ended, with all that belongs to them. Answers how many there were.
pub(crate) fn forget_many(tx: &mut SystemTx<'_>, jobs: &[(JobId, i64)]) -> Result<u64, Error> {
    let mut rows = Rows::new(1, jobs.len());
    jobs.iter().for_each(|(id, _)| rows.push([db::Param::Blob(id.as_bytes())]));
    if rows.is_empty() {
        return Ok(0);
    }
    let hits = tx.many(&FORGET, &rows)?;
    for (id, of) in jobs.iter().filter(|(_, of)| of & flags::SLOW != 0) {
        forget_parts(tx, *id, *of)?;
    }
    Ok(hits.count() as u64)
}

const DEAD: Sql = Sql::One("SELECT count(*) FROM jobs_done WHERE queue = $1 AND status = 1");
const DEAD_OF: Sql =
    Sql::One("SELECT count(*) FROM jobs_done WHERE queue = $1 AND status = 1 AND tenant = $2");

/// How many dead jobs of a queue (and tenant) are kept.
pub(crate) fn dead(tx: &mut SystemTx<'_>, queue: i64, tenant: Option<&str>) -> Result<u64, Error> {
    match tenant {
        Some(tenant) => tx.query_one(&DEAD_OF, &params![queue, tenant])?.get(0),
        None => tx.query_one(&DEAD, &params![queue])?.get(0),
    }
}

/// Of the newest dead jobs of each queue, so that many of others do not make it slow.
const RECENT_DEAD: Sql = Sql::One(
    "SELECT name, jobs FROM (SELECT q.name AS name, (SELECT CAST(COUNT(*) AS BIGINT) FROM (SELECT d.tenant AS tenant \
     FROM jobs_done d WHERE d.queue = q.number AND d.status = 1 ORDER BY d.finished_at DESC LIMIT $3) newest \
     WHERE newest.tenant = $2) AS jobs FROM jobs_queues q WHERE q.environment = $1) counted \
     WHERE jobs > 0 ORDER BY jobs DESC, name LIMIT 10",
);
/// Dead jobs of a queue that are looked through for one tenant's.
const RECENT_DEAD_MAX: i64 = 5_000;

/// How many of the newest dead jobs of an environment's queues are a tenant's: the ten worst queues.
pub(crate) fn recent_dead(
    tx: &mut SystemTx<'_>,
    environment: base::EnvironmentId,
    tenant: base::TenantId,
) -> Result<Vec<(String, u64)>, Error> {
    let values = params![environment.to_string(), tenant.to_string(), RECENT_DEAD_MAX];
    tx.query(&RECENT_DEAD, &values)?.iter().map(|row| Ok((row.get(0)?, row.get(1)?))).collect()
}
