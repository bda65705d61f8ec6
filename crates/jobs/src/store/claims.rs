//! Claims beside their jobs, on SQLite: what is hot writes one small row here instead of changing a job's row and its
//! indexes, and many are taken over at once.
//!
//! A job with a row here runs, or has ended where `finished_at` says so, whatever its own row says. Only the hot
//! transactions know of this table. All others take everything over ([`take_over`]) before they look at a job, in the same
//! transaction, and readers have it done before they read.

use db::{Column, Error, Kind, Many, Sql, SystemTx};

/// Claims ready jobs: id, fence, lease_until, started_at, worker. Raises the fence by one. On SQLite alone.
pub(crate) const CLAIM: Many = Many {
    sqlite: "INSERT OR IGNORE INTO jobs_claims (id, fence, lease_until, started_at, worker) \
             SELECT id, fence + 1, $3, $4, $5 FROM jobs_jobs WHERE id = $1 AND state = 0 AND fence = $2",
    postgres: "",
    columns: &[Column::Blob, Column::Int, Column::Int, Column::Int, Column::Text],
};

/// Ends running jobs well: id, fence, finished_at, keep_until (null when nothing is kept), result. On SQLite alone.
pub(crate) const END: Many = Many {
    sqlite: "UPDATE jobs_claims SET finished_at = $3, keep_until = $4, result = $5 \
             WHERE id = $1 AND fence = $2 AND finished_at IS NULL",
    postgres: "",
    columns: &[Column::Blob, Column::Int, Column::Int, Column::Int, Column::Text],
};

/// Extends leases: id, fence, lease_until. Finds the flags of the jobs that are held. On SQLite alone.
pub(crate) const BEAT: Many = Many {
    sqlite: "UPDATE jobs_claims SET lease_until = $3 WHERE id = $1 AND fence = $2 AND finished_at IS NULL \
             RETURNING (SELECT j.flags FROM jobs_jobs j WHERE j.id = jobs_claims.id)",
    postgres: "",
    columns: &[Column::Blob, Column::Int, Column::Int],
};

const ANY: Sql = Sql::One("SELECT 1 FROM jobs_claims LIMIT 1");

const KEEP: Sql = Sql::One(
    "INSERT INTO jobs_done (id, queue, tenant, status, priority, run_at, attempt, attempts, fence, created_at, \
     started_at, finished_at, keep_until, flags, bytes, key, worker, payload, options, result) \
     SELECT j.id, j.queue, j.tenant, 0, j.priority, j.run_at, j.attempt + 1, j.attempts, c.fence, j.created_at, \
     c.started_at, c.finished_at, c.keep_until, j.flags, j.bytes, j.key, c.worker, j.payload, j.options, c.result \
     FROM jobs_claims c CROSS JOIN jobs_jobs j WHERE j.id = c.id AND c.keep_until IS NOT NULL",
);

const GONE: Sql = Sql::One(
    "DELETE FROM jobs_jobs WHERE id IN (SELECT c.id FROM jobs_claims c WHERE c.finished_at IS NOT NULL)",
);

const FORGET: Sql = Sql::One("DELETE FROM jobs_claims WHERE finished_at IS NOT NULL");

const BEGIN: Sql = Sql::One(
    "UPDATE jobs_jobs SET state = 2, attempt = attempt + 1, (fence, lease_until, started_at, worker) = \
     (SELECT c.fence, c.lease_until, c.started_at, c.worker FROM jobs_claims c WHERE c.id = jobs_jobs.id) \
     WHERE id IN (SELECT c.id FROM jobs_claims c)",
);

const CLEAR: Sql = Sql::One("DELETE FROM jobs_claims");

/// Takes over what has ended. What runs stays beside its jobs.
pub(crate) fn take_over_ended(tx: &mut SystemTx<'_>) -> Result<(), Error> {
    for sql in [&KEEP, &GONE, &FORGET] {
        tx.execute(sql, &[])?;
    }
    Ok(())
}

/// Takes everything over: after this the jobs' own rows say all, until the next hot transaction.
pub(crate) fn take_over(tx: &mut SystemTx<'_>) -> Result<(), Error> {
    if tx.kind() == Kind::Sqlite && any(tx)? { take_over_all(tx) } else { Ok(()) }
}

/// Whether anything is to be taken over: on PostgreSQL only what came there with a copy of an SQLite store.
pub(crate) fn any(tx: &mut SystemTx<'_>) -> Result<bool, Error> {
    Ok(tx.query_opt(&ANY, &[])?.is_some())
}

/// As [`take_over`], on both stores.
pub(crate) fn take_over_all(tx: &mut SystemTx<'_>) -> Result<(), Error> {
    take_over_ended(tx)?;
    for sql in [&BEGIN, &CLEAR] {
        tx.execute(sql, &[])?;
    }
    Ok(())
}
