//! Jobs that have not ended.

use base::{JobId, Timestamp};
use db::{Column, Error, Hits, Many, Param, Row, Rows, Sql, SystemTx, Value, params};

use crate::model::ids::lane_number;
use crate::model::state::State;

/// A whole row of `jobs_jobs`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct JobRow {
    pub(crate) id: JobId,
    pub(crate) queue: i64,
    pub(crate) tenant: String,
    pub(crate) state: State,
    pub(crate) priority: u8,
    pub(crate) run_at: Timestamp,
    pub(crate) attempt: u32,
    pub(crate) attempts: u32,
    pub(crate) fence: i64,
    pub(crate) lease_until: Option<Timestamp>,
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) created_at: Timestamp,
    pub(crate) flags: i64,
    pub(crate) bytes: u64,
    pub(crate) pending: u32,
    pub(crate) key: Option<String>,
    pub(crate) worker: Option<String>,
    pub(crate) payload: Option<String>,
    pub(crate) options: Option<String>,
}

/// The columns of a [`JobRow`].
macro_rules! columns {
    () => {
        "id, queue, tenant, state, priority, run_at, attempt, attempts, fence, lease_until, started_at, created_at, \
         flags, bytes, pending, key, worker, payload, options"
    };
}

pub(crate) fn job_id(row: &Row, index: usize) -> Result<JobId, Error> {
    Ok(JobId::from_uuid_bytes(row.get::<[u8; 16]>(index)?))
}

pub(crate) fn priority(row: &Row, index: usize) -> Result<u8, Error> {
    Ok(u8::try_from(row.get::<i64>(index)?).unwrap_or(crate::model::draft::PRIORITY_MAX))
}

impl JobRow {
    pub(crate) fn read(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            id: job_id(row, 0)?,
            queue: row.get(1)?,
            tenant: row.get(2)?,
            state: State::of(row.get(3)?)?,
            priority: priority(row, 4)?,
            run_at: row.get(5)?,
            attempt: row.get(6)?,
            attempts: row.get(7)?,
            fence: row.get(8)?,
            lease_until: row.get(9)?,
            started_at: row.get(10)?,
            created_at: row.get(11)?,
            flags: row.get(12)?,
            bytes: row.get(13)?,
            pending: row.get(14)?,
            key: row.get(15)?,
            worker: row.get(16)?,
            payload: row.get(17)?,
            options: row.get(18)?,
        })
    }

    pub(crate) fn has(&self, flag: i64) -> bool {
        self.flags & flag != 0
    }
}

pub(crate) fn rows(found: Vec<Row>) -> Result<Vec<JobRow>, Error> {
    found.iter().map(JobRow::read).collect()
}

const READ: Sql = Sql::One(concat!("SELECT ", columns!(), " FROM jobs_jobs WHERE id = $1"));

/// One job, if it has not ended.
pub(crate) fn read(tx: &mut SystemTx<'_>, id: JobId) -> Result<Option<JobRow>, Error> {
    let found = tx.query_opt(&READ, &params![id.as_bytes().as_slice()])?;
    found.as_ref().map(JobRow::read).transpose()
}

/// Columns of [`INSERT`], in its order.
const INSERT_COLUMNS: &[Column] = &[
    Column::Blob,
    Column::Int,
    Column::Text,
    Column::Int,
    Column::Int,
    Column::Int,
    Column::Int,
    Column::Int,
    Column::Int,
    Column::Int,
    Column::Int,
    Column::Text,
    Column::Text,
    Column::Text,
    Column::Int,
];

/// How many columns a new job gives.
pub(crate) const INSERT_WIDTH: usize = INSERT_COLUMNS.len();

/// New jobs: see [`insert`].
pub(crate) const INSERT: Many = Many {
    sqlite: "INSERT INTO jobs_jobs (id, queue, tenant, state, priority, run_at, attempts, created_at, flags, bytes, \
             pending, key, payload, options, lane, attempt, fence) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, 0, 0)",
    postgres: "INSERT INTO jobs_jobs (id, queue, tenant, state, priority, run_at, attempts, created_at, flags, bytes, \
               pending, key, payload, options, lane, attempt, fence) \
               SELECT u.id, u.queue, u.tenant, u.state, u.priority, u.run_at, u.attempts, u.created_at, u.flags, \
               u.bytes, u.pending, u.key, u.payload, u.options, u.lane, 0, 0 \
               FROM UNNEST($1::bytea[], $2::bigint[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[], \
               $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::text[], $13::text[], \
               $14::text[], $15::bigint[]) WITH ORDINALITY AS u(id, queue, tenant, state, priority, run_at, attempts, \
               created_at, flags, bytes, pending, key, payload, options, lane, ord)",
    columns: INSERT_COLUMNS,
};

/// New jobs: id, queue, tenant, state, priority, run_at, attempts, created_at, flags, bytes, pending, key, payload, options,
/// lane.
pub(crate) fn insert(tx: &mut SystemTx<'_>, rows: &Rows<'_>) -> Result<(), Error> {
    tx.many(&INSERT, rows).map(drop)
}

/// Large payloads: id, body.
pub(crate) const INSERT_BODIES: Many = Many {
    sqlite: "INSERT INTO jobs_payloads (id, body) VALUES ($1, $2)",
    postgres: "INSERT INTO jobs_payloads (id, body) SELECT u.id, u.body \
               FROM UNNEST($1::bytea[], $2::text[]) WITH ORDINALITY AS u(id, body, ord)",
    columns: &[Column::Blob, Column::Text],
};

/// Large payloads: id, body.
pub(crate) fn insert_bodies(tx: &mut SystemTx<'_>, rows: &Rows<'_>) -> Result<(), Error> {
    if rows.is_empty() { Ok(()) } else { tx.many(&INSERT_BODIES, rows).map(drop) }
}

/// Takes ready jobs, each if nobody was faster: id, fence, lease_until, started_at, worker.
// On PostgreSQL alone: SQLite claims beside the rows (`super::claims`).
// This table fills and empties, and PostgreSQL's planner goes by what it was when it was last looked at: of one that was empty
// it expects a single row, and would walk all jobs and look each up in the batch. So batches by id say
// `id = ANY (ARRAY[u.id])`, which an index can look up and cannot be walked by, and `state + 0`, which no partial index meets.
pub(crate) const CLAIM: Many = Many {
    sqlite: "",
    postgres: "UPDATE jobs_jobs j SET state = 2, fence = j.fence + 1, attempt = j.attempt + 1, \
               lease_until = u.lease_until, started_at = u.started_at, worker = u.worker \
               FROM UNNEST($1::bytea[], $2::bigint[], $3::bigint[], $4::bigint[], $5::text[]) \
               WITH ORDINALITY AS u(id, fence, lease_until, started_at, worker, ord) \
               WHERE j.id = ANY (ARRAY[u.id]) AND j.state + 0 = 0 AND j.fence = u.fence RETURNING u.ord",
    columns: &[Column::Blob, Column::Int, Column::Int, Column::Int, Column::Text],
};

/// [`CLAIM`] by a process that is alone, if it still is: its name is the last column. On PostgreSQL alone.
pub(crate) const CLAIM_ALONE: Many = Many {
    sqlite: "",
    postgres: "UPDATE jobs_jobs j SET state = 2, fence = j.fence + 1, attempt = j.attempt + 1, \
               lease_until = u.lease_until, started_at = u.started_at, worker = u.worker \
               FROM UNNEST($1::bytea[], $2::bigint[], $3::bigint[], $4::bigint[], $5::text[], $6::text[]) \
               WITH ORDINALITY AS u(id, fence, lease_until, started_at, worker, alone, ord) \
               WHERE j.id = ANY (ARRAY[u.id]) AND j.state + 0 = 0 AND j.fence = u.fence \
               AND u.alone = (SELECT a.name FROM jobs_alone a WHERE a.number = 1) RETURNING u.ord",
    columns: &[Column::Blob, Column::Int, Column::Int, Column::Int, Column::Text, Column::Text],
};

/// Payloads by id, each with the ordinal of its row.
pub(crate) const BODIES: Many = Many {
    sqlite: "SELECT coalesce(j.payload, p.body) FROM jobs_jobs j LEFT JOIN jobs_payloads p ON p.id = j.id \
             WHERE j.id = $1",
    postgres: "SELECT u.ord, coalesce(j.payload, p.body) FROM UNNEST($1::bytea[]) WITH ORDINALITY AS u(id, ord) \
               JOIN jobs_jobs j ON j.id = ANY (ARRAY[u.id]) LEFT JOIN jobs_payloads p ON p.id = ANY (ARRAY[j.id])",
    columns: &[Column::Blob],
};

/// Extends leases: id, fence, lease_until. Finds the flags of those that are held.
pub(crate) const BEAT: Many = Many {
    sqlite: "UPDATE jobs_jobs SET lease_until = $3 WHERE id = $1 AND fence = $2 AND state = 2 RETURNING flags",
    postgres: "UPDATE jobs_jobs j SET lease_until = u.lease_until \
               FROM UNNEST($1::bytea[], $2::bigint[], $3::bigint[]) WITH ORDINALITY AS u(id, fence, lease_until, ord) \
               WHERE j.id = ANY (ARRAY[u.id]) AND j.fence = u.fence AND j.state + 0 = 2 RETURNING u.ord, j.flags",
    columns: &[Column::Blob, Column::Int, Column::Int],
};

/// Extends leases: id, fence, lease_until. Answers the flags of those that are held.
pub(crate) fn beat(tx: &mut SystemTx<'_>, rows: &Rows<'_>) -> Result<Vec<(usize, Row)>, Error> {
    if rows.is_empty() { Ok(Vec::new()) } else { tx.query_many(&BEAT, rows) }
}

/// Ends running jobs of which nothing is kept: id, fence.
pub(crate) const GONE: Many = Many {
    sqlite: "DELETE FROM jobs_jobs WHERE id = $1 AND fence = $2 AND state = 2",
    postgres: "DELETE FROM jobs_jobs j USING UNNEST($1::bytea[], $2::bigint[]) WITH ORDINALITY AS u(id, fence, ord) \
               WHERE j.id = ANY (ARRAY[u.id]) AND j.fence = u.fence AND j.state + 0 = 2 RETURNING u.ord",
    columns: &[Column::Blob, Column::Int],
};

const RESTORE: Sql = Sql::One(
    "INSERT INTO jobs_jobs (id, queue, tenant, state, priority, run_at, attempts, created_at, flags, bytes, key, \
     payload, options, fence, pending, lane, attempt) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, 0)",
);

/// Puts a job that had ended back, with none of its attempts counted. Its fence goes on: leases of before stay lost.
pub(crate) fn restore(tx: &mut SystemTx<'_>, row: &JobRow) -> Result<(), Error> {
    let values = params![
        row.id.as_bytes().as_slice(),
        row.queue,
        row.tenant.as_str(),
        row.state.number(),
        i64::from(row.priority),
        row.run_at,
        row.attempts,
        row.created_at,
        row.flags,
        i64::try_from(row.bytes).unwrap_or(i64::MAX),
        row.key.as_deref(),
        row.payload.as_deref(),
        row.options.as_deref(),
        row.fence,
        i64::from(row.pending),
        lane_number(&row.tenant)
    ];
    tx.execute(&RESTORE, &values).map(drop)
}

const REMOVE: Sql = Sql::One("DELETE FROM jobs_jobs WHERE id = $1 AND fence = $2 AND state = $3");

/// Removes one job if it is still as it was read.
pub(crate) fn remove(tx: &mut SystemTx<'_>, row: &JobRow) -> Result<bool, Error> {
    Ok(tx.execute(&REMOVE, &params![row.id.as_bytes().as_slice(), row.fence, row.state.number()])? > 0)
}

const MOVE: Sql = Sql::One(
    "UPDATE jobs_jobs SET state = $4, run_at = $5, attempt = $6, flags = $7, lease_until = NULL, started_at = NULL, \
     worker = NULL WHERE id = $1 AND fence = $2 AND state = $3",
);

/// Makes `row` what it is now, if the store still has it as `was`. Answers whether it did.
pub(crate) fn shift(tx: &mut SystemTx<'_>, was: State, row: &JobRow) -> Result<bool, Error> {
    let values = params![
        row.id.as_bytes().as_slice(),
        row.fence,
        was.number(),
        row.state.number(),
        row.run_at,
        row.attempt,
        row.flags
    ];
    Ok(tx.execute(&MOVE, &values)? > 0)
}

const FLAG: Sql = Sql::One("UPDATE jobs_jobs SET flags = $3 WHERE id = $1 AND fence = $2");

/// Changes the flags of a job that is still held by the same worker.
pub(crate) fn flag(tx: &mut SystemTx<'_>, row: &JobRow) -> Result<bool, Error> {
    Ok(tx.execute(&FLAG, &params![row.id.as_bytes().as_slice(), row.fence, row.flags])? > 0)
}

const WAIT_AGAIN: Sql = Sql::One(
    "UPDATE jobs_jobs SET pending = pending + 1, state = 3 WHERE id = $1 AND fence = $2 AND state = $3",
);

/// Has a parent that has not begun wait for one child more.
pub(crate) fn wait_again(tx: &mut SystemTx<'_>, row: &JobRow) -> Result<bool, Error> {
    let values = params![row.id.as_bytes().as_slice(), row.fence, row.state.number()];
    Ok(tx.execute(&WAIT_AGAIN, &values)? > 0)
}

const CHILD_ENDED: Sql = Sql::One(
    "UPDATE jobs_jobs SET pending = pending - 1, state = CASE WHEN pending > 1 THEN 3 WHEN run_at > $2 THEN 1 \
     ELSE 0 END WHERE id = $1 AND state = 3",
);

/// Counts a child of a blocked job as ended; after the last one the job is due.
pub(crate) fn child_ended(tx: &mut SystemTx<'_>, parent: JobId, now: Timestamp) -> Result<bool, Error> {
    Ok(tx.execute(&CHILD_ENDED, &params![parent.as_bytes().as_slice(), now])? > 0)
}

/// What a claim needs of a ready job, in an order that `engine/refill.rs` knows.
macro_rules! window_columns {
    () => {
        "id, priority, run_at, attempt, attempts, fence, created_at, flags, bytes, key, payload, options"
    };
}

/// The next ready jobs of a tenant in a queue after a place. On SQLite those at the start may have been claimed beside their
/// rows; what lies beyond a window can hardly be.
pub(crate) const WINDOW: Sql = Sql::Split {
    sqlite: concat!(
        "SELECT ",
        window_columns!(),
        " FROM jobs_jobs WHERE queue = $1 AND lane = $2 AND tenant = $3 AND state = 0 AND (priority, id) > ($4, $5) \
         AND ($4 >= 0 OR NOT EXISTS (SELECT 1 FROM jobs_claims c WHERE c.id = jobs_jobs.id)) \
         ORDER BY priority, id LIMIT $6"
    ),
    postgres: concat!(
        "SELECT ",
        window_columns!(),
        " FROM jobs_jobs WHERE queue = $1 AND lane = $2 AND tenant = $3 AND state = 0 AND (priority, id) > ($4, $5) \
         ORDER BY priority, id LIMIT $6"
    ),
};

/// The parameters of [`WINDOW`].
pub(crate) fn window_params(
    queue: i64,
    tenant: &str,
    after: Option<(u8, JobId)>,
    limit: usize,
) -> [Value; 6] {
    let (priority, id) = match &after {
        Some((priority, id)) => (i64::from(*priority), id.as_bytes().as_slice()),
        None => (-1, [].as_slice()),
    };
    params![queue, lane_number(tenant), tenant, priority, id, i64::try_from(limit).unwrap_or(i64::MAX)]
}

const DUE: Sql = Sql::One(concat!(
    "SELECT ",
    columns!(),
    " FROM jobs_jobs WHERE state = 1 AND run_at <= $1 ORDER BY run_at, id LIMIT $2"
));

/// Delayed jobs that are due.
pub(crate) fn due(tx: &mut SystemTx<'_>, now: Timestamp, limit: i64) -> Result<Vec<JobRow>, Error> {
    rows(tx.query(&DUE, &params![now, limit])?)
}

const PROMOTE: Many = Many {
    sqlite: "UPDATE jobs_jobs SET state = 0 WHERE id = $1 AND fence = $2 AND state = 1",
    postgres: "UPDATE jobs_jobs j SET state = 0 \
               FROM UNNEST($1::bytea[], $2::bigint[]) WITH ORDINALITY AS u(id, fence, ord) \
               WHERE j.id = ANY (ARRAY[u.id]) AND j.fence = u.fence AND j.state + 0 = 1 RETURNING u.ord",
    columns: &[Column::Blob, Column::Int],
};

/// Makes delayed jobs ready: id, fence.
pub(crate) fn promote(tx: &mut SystemTx<'_>, rows: &Rows<'_>) -> Result<Hits, Error> {
    tx.many(&PROMOTE, rows)
}

const NEXT_DUE: Sql = Sql::One("SELECT run_at FROM jobs_jobs WHERE state = 1 ORDER BY run_at LIMIT 1");

/// When the next delayed job is due.
pub(crate) fn next_due(tx: &mut SystemTx<'_>) -> Result<Option<Timestamp>, Error> {
    tx.query_opt(&NEXT_DUE, &[])?.map(|row| row.get(0)).transpose()
}

const EXPIRED: Sql = Sql::One(concat!(
    "SELECT ",
    columns!(),
    " FROM jobs_jobs WHERE state = 2 AND lease_until <= $1 ORDER BY lease_until LIMIT $2"
));

/// Running jobs whose lease is over.
pub(crate) fn expired(tx: &mut SystemTx<'_>, now: Timestamp, limit: i64) -> Result<Vec<JobRow>, Error> {
    rows(tx.query(&EXPIRED, &params![now, limit])?)
}

const RUNNING: Sql = Sql::One(concat!(
    "SELECT ",
    columns!(),
    " FROM jobs_jobs WHERE state = 2 AND id > $1 ORDER BY id LIMIT $2"
));

/// All running jobs, page by page.
pub(crate) fn running(tx: &mut SystemTx<'_>, after: Option<JobId>, limit: i64) -> Result<Vec<JobRow>, Error> {
    let after = after.map(|id| id.as_bytes().to_vec()).unwrap_or_default();
    rows(tx.query(&RUNNING, &params![after, limit])?)
}

/// How many jobs of a tenant are in a state of a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) queue: i64,
    pub(crate) tenant: String,
    pub(crate) state: State,
    pub(crate) jobs: u64,
    pub(crate) bytes: u64,
    /// Of them, those from before jobs had lanes: see [`place`].
    pub(crate) unplaced: u64,
}

const COUNTS: Sql = Sql::One(
    "SELECT queue, tenant, state, count(*), CAST(sum(bytes) AS BIGINT), \
     CAST(sum(CASE WHEN lane = 0 THEN 1 ELSE 0 END) AS BIGINT) FROM jobs_jobs GROUP BY queue, tenant, state",
);

/// All that has not ended, counted. Reads every job.
pub(crate) fn counts(tx: &mut SystemTx<'_>) -> Result<Vec<Count>, Error> {
    let found = tx.query(&COUNTS, &[])?;
    let count = |row: &Row| {
        Ok(Count {
            queue: row.get(0)?,
            tenant: row.get(1)?,
            state: State::of(row.get(2)?)?,
            jobs: row.get(3)?,
            bytes: row.get(4)?,
            unplaced: row.get(5)?,
        })
    };
    found.iter().map(count).collect()
}

const UNPLACED: Sql = Sql::One(
    "SELECT id FROM jobs_jobs WHERE queue = $1 AND tenant = $2 AND lane = 0 AND id > $3 ORDER BY id LIMIT $4",
);

const PLACE: Many = Many {
    sqlite: "UPDATE jobs_jobs SET lane = $2 WHERE id = $1",
    postgres: "UPDATE jobs_jobs j SET lane = u.lane \
               FROM UNNEST($1::bytea[], $2::bigint[]) WITH ORDINALITY AS u(id, lane, ord) \
               WHERE j.id = ANY (ARRAY[u.id]) RETURNING u.ord",
    columns: &[Column::Blob, Column::Int],
};

/// Puts a tenant's jobs of before into the index, page by page: answers where it goes on, `None` at the end.
pub(crate) fn place(
    tx: &mut SystemTx<'_>,
    queue: i64,
    tenant: &str,
    after: Option<JobId>,
    limit: i64,
) -> Result<Option<JobId>, Error> {
    let after = after.map(|id| id.as_bytes().to_vec()).unwrap_or_default();
    let found = tx.query(&UNPLACED, &params![queue, tenant, after, limit])?;
    let ids: Vec<JobId> = found.iter().map(|row| job_id(row, 0)).collect::<Result<_, _>>()?;
    let mut rows = Rows::new(2, ids.len());
    ids.iter().for_each(|id| rows.push([Param::Blob(id.as_bytes()), lane_number(tenant).into()]));
    if !rows.is_empty() {
        tx.many(&PLACE, &rows)?;
    }
    Ok(ids.last().copied())
}

/// The queue's tenants with ready jobs, one index search each: `DISTINCT` would read all jobs.
const TENANTS: Sql = Sql::One(
    "WITH RECURSIVE t(lane) AS (SELECT min(lane) FROM jobs_jobs WHERE queue = $1 AND state = 0 UNION ALL \
     SELECT (SELECT min(j.lane) FROM jobs_jobs j WHERE j.queue = $1 AND j.state = 0 AND j.lane > t.lane) \
     FROM t WHERE t.lane IS NOT NULL) SELECT (SELECT j.tenant FROM jobs_jobs j \
     WHERE j.queue = $1 AND j.lane = t.lane AND j.state = 0 ORDER BY j.priority, j.id LIMIT 1) \
     FROM t WHERE t.lane IS NOT NULL",
);

/// Tenants that have ready jobs in a queue.
pub(crate) fn tenants(tx: &mut SystemTx<'_>, queue: i64) -> Result<Vec<String>, Error> {
    tx.query(&TENANTS, &params![queue])?.iter().map(|row| row.get(0)).collect()
}

const OLDEST: Sql = Sql::One(
    "SELECT run_at FROM jobs_jobs WHERE queue = $1 AND lane = $2 AND tenant = $3 AND state = 0 \
     ORDER BY priority, id LIMIT 1",
);

/// Since when the first of a tenant's ready jobs has been due.
pub(crate) fn oldest(tx: &mut SystemTx<'_>, queue: i64, tenant: &str) -> Result<Option<Timestamp>, Error> {
    tx.query_opt(&OLDEST, &params![queue, lane_number(tenant), tenant])?.map(|row| row.get(0)).transpose()
}

/// How many jobs of each tenant run: read by [`active_rows`].
pub(crate) const ACTIVE: Sql =
    Sql::One("SELECT tenant, count(*) FROM jobs_jobs WHERE state = 2 AND queue = $1 GROUP BY tenant");

/// How many jobs of each tenant run, whoever claimed them.
pub(crate) fn active(tx: &mut SystemTx<'_>, queue: i64) -> Result<Vec<(String, u64)>, Error> {
    active_rows(&tx.query(&ACTIVE, &params![queue])?)
}

/// What [`ACTIVE`] found.
pub(crate) fn active_rows(rows: &[Row]) -> Result<Vec<(String, u64)>, Error> {
    rows.iter().map(|row| Ok((row.get(0)?, row.get(1)?))).collect()
}

pub(crate) use columns;

#[cfg(test)]
mod tests {
    use db::{Db, Kind};

    use super::*;

    fn ids(count: usize, of: u8) -> Vec<[u8; 16]> {
        (0..count).map(|number| (u128::from(of) << 64 | number as u128).to_be_bytes()).collect()
    }

    fn add(tx: &mut SystemTx<'_>, ids: &[[u8; 16]]) -> Result<(), Error> {
        let mut rows = Rows::new(INSERT_WIDTH, ids.len());
        for id in ids {
            let number = Param::Int(0);
            rows.push([
                id.into(),
                1_i64.into(),
                "-".into(),
                number,
                number,
                number,
                number,
                number,
                number,
                number,
                number,
                Param::Null,
                "{}".into(),
                Param::Null,
                lane_number("-").into(),
            ]);
        }
        insert(tx, &rows)
    }

    /// Rows of jobs that one claim and end of `count` jobs, and one look into a window, read.
    fn read_by_a_batch(tx: &mut SystemTx<'_>, ids: &[[u8; 16]]) -> Result<i64, Error> {
        const READ: Sql = Sql::One(
            "SELECT CAST(seq_tup_read + idx_tup_fetch AS BIGINT) FROM pg_stat_xact_user_tables WHERE relname = 'jobs_jobs'",
        );
        let (mut claims, mut ends, mut bodies) = (Rows::new(5, 8), Rows::new(2, 8), Rows::new(1, 8));
        for id in ids {
            claims.push([id.into(), 0_i64.into(), 1_i64.into(), 1_i64.into(), Param::Null]);
            ends.push([id.into(), 1_i64.into()]);
            bodies.push([id.into()]);
        }
        let before: i64 = tx.query_one(&READ, &[])?.get(0)?;
        assert!(tx.many(&CLAIM, &claims)?.all());
        assert_eq!(tx.query_many(&BODIES, &bodies)?.len(), ids.len());
        assert!(tx.many(&GONE, &ends)?.all());
        let window = tx.query(&WINDOW, &window_params(1, "-", None, 8))?;
        assert_eq!(window.len(), 8);
        Ok(tx.query_one(&READ, &[])?.get::<i64>(0)? - before)
    }

    async fn vacuumed(db: &Db, ctx: &authority::SystemCtx, times: i64) {
        const COUNT: Sql =
            Sql::One("SELECT vacuum_count FROM pg_stat_user_tables WHERE relname = 'jobs_jobs'");
        db.vacuum(&["jobs_jobs"]);
        let count = |tx: &mut SystemTx<'_>| tx.query_one(&COUNT, &[])?.get::<i64>(0);
        while db.read_system::<_, Error, _>(ctx, count).await.unwrap() < times {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_batch_reads_its_own_jobs_however_many_came_and_went() {
        testkit::stores(&[crate::MIGRATIONS], |store| async move {
            if store.db.kind() == Kind::Sqlite {
                return;
            }
            const EMPTY: Sql = Sql::One("DELETE FROM jobs_jobs");
            let (db, ctx) = (store.db.clone(), store.system());
            let fill = |of| move |tx: &mut SystemTx<'_>| add(tx, &ids(4_000, of));
            // The server last looked at the table when it had been filled and emptied.
            db.write_hot(&ctx, fill(1)).await.unwrap();
            db.write_hot(&ctx, |tx: &mut SystemTx<'_>| tx.execute(&EMPTY, &[])).await.unwrap();
            vacuumed(&db, &ctx, 1).await;
            db.write_hot(&ctx, fill(2)).await.unwrap();
            let batch = |tx: &mut SystemTx<'_>| read_by_a_batch(tx, &ids(20, 2));
            let read = db.write_hot(&ctx, batch).await.unwrap();
            assert!(read <= 4 * 20 + 8, "{read} rows of 4,000 are read for 20 jobs");
        })
        .await;
    }
}
