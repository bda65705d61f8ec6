//! Pages of a queue's jobs, for lists and for operations on many.

use base::{JobId, Timestamp};
use db::{Column, Error, Hits, Kind, Many, Rows, Sql, SystemTx, params};

use super::done::{DoneRow, done_columns};
use super::live::{JobRow, columns};
use crate::model::state::{State, end_number};
use crate::{JobFilter, JobStatus};

/// What is asked of the store; the rest of a filter is decided row by row.
#[derive(Debug, Clone)]
pub(crate) struct Scan {
    pub(crate) queue: i64,
    /// Empty for all.
    pub(crate) tenant: String,
    pub(crate) filter: JobFilter,
    /// The last id of the page before.
    pub(crate) after: Option<JobId>,
    /// The last id that is looked at, going up; `None` for all.
    pub(crate) until: Option<JobId>,
    pub(crate) newest_first: bool,
    pub(crate) limit: i64,
}

/// Beyond all ids.
const LAST: [u8; 17] = [0xff; 17];

/// Where jobs are.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place {
    /// Those that have not ended.
    Live,
    /// Those that have.
    Done,
}

const LIVE_REACH: Sql =
    Sql::One("SELECT id FROM jobs_jobs WHERE id > $1 AND id <= $2 ORDER BY id LIMIT 1 OFFSET $3");
const DONE_REACH: Sql =
    Sql::One("SELECT id FROM jobs_done WHERE id > $1 AND id <= $2 ORDER BY id LIMIT 1 OFFSET $3");

// A plan that was made, and kept, while the table was small reads all of it once it is large: page by page, or worse, row by
// row for each row of a batch. Here each statement is planned when it runs, and goes by an index.
const BY_INDEX: Sql = Sql::One(
    "SELECT set_config('plan_cache_mode', 'force_custom_plan', true), set_config('enable_seqscan', 'off', true), \
     set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true)",
);

/// Where a scan that goes up has passed `limit` ids, of whatever queue, so that no statement reads more however many jobs
/// there are; `None` when there are fewer. Keeps PostgreSQL's planner from reading
/// whole tables in the rest of the transaction.
pub(crate) fn reach(tx: &mut SystemTx<'_>, place: Place, scan: &Scan) -> Result<Option<JobId>, Error> {
    if tx.kind() == Kind::Postgres {
        tx.query(&BY_INDEX, &[])?;
    }
    let sql = match place {
        Place::Live => &LIVE_REACH,
        Place::Done => &DONE_REACH,
    };
    let found = tx.query_opt(sql, &params![scan.edge(), scan.until_edge(), scan.limit - 1])?;
    found.map(|row| super::live::job_id(&row, 0)).transpose()
}

impl Scan {
    fn until_edge(&self) -> Vec<u8> {
        self.until.map_or_else(|| LAST.to_vec(), |id| id.as_bytes().to_vec())
    }

    fn edge(&self) -> Vec<u8> {
        match (self.after, self.newest_first) {
            (Some(id), _) => id.as_bytes().to_vec(),
            (None, true) => LAST.to_vec(),
            (None, false) => Vec::new(),
        }
    }

    /// Whether some of the filter is decided row by row, so that a page may hold few that are meant.
    pub(crate) fn is_decided_by_rows(&self) -> bool {
        let JobFilter { status: _, tenant: _, ids, tag, error, from, to } = &self.filter;
        !ids.is_empty() || tag.is_some() || error.is_some() || from.is_some() || to.is_some()
    }

    /// Whether a job that has not ended is meant.
    pub(crate) fn means_live(&self, row: &JobRow) -> bool {
        let filter = &self.filter;
        let tagged = |tag: &String| {
            crate::model::state::Extras::read(row.options.as_deref())
                .is_ok_and(|extras| extras.tags.contains(tag))
        };
        (filter.ids.is_empty() || filter.ids.contains(&row.id))
            && filter.error.is_none()
            && filter.tag.as_ref().is_none_or(tagged)
            && filter.from.is_none_or(|from| row.created_at >= from)
            && filter.to.is_none_or(|to| row.created_at < to)
    }

    /// Whether a job that has ended is meant.
    pub(crate) fn means_done(&self, row: &DoneRow) -> bool {
        let filter = &self.filter;
        let tagged = |tag: &String| {
            crate::model::state::Extras::read(row.options.as_deref())
                .is_ok_and(|extras| extras.tags.contains(tag))
        };
        let wrong = |text: &String| row.error.as_ref().is_some_and(|error| error.contains(text.as_str()));
        (filter.ids.is_empty() || filter.ids.contains(&row.id))
            && filter.tag.as_ref().is_none_or(tagged)
            && filter.error.as_ref().is_none_or(wrong)
    }
}

/// Two states that are meant; -1 for all.
fn states(filter: &JobFilter) -> Option<(i64, i64)> {
    match filter.status {
        None => Some((-1, -1)),
        Some(JobStatus::Waiting) => Some((State::Ready.number(), State::Blocked.number())),
        Some(JobStatus::Delayed) => Some((State::Later.number(), State::Later.number())),
        Some(JobStatus::Active) => Some((State::Running.number(), State::Running.number())),
        Some(JobStatus::Completed | JobStatus::Dead | JobStatus::Cancelled) => None,
    }
}

const LIVE_UP: Sql = Sql::One(concat!(
    "SELECT ",
    columns!(),
    " FROM jobs_jobs WHERE queue = $1 AND ($2 = '' OR tenant = $2) AND ($3 < 0 OR state = $3 OR state = $4) \
     AND id > $5 AND id <= $7 ORDER BY id LIMIT $6"
));
const LIVE_DOWN: Sql = Sql::One(concat!(
    "SELECT ",
    columns!(),
    " FROM jobs_jobs WHERE queue = $1 AND ($2 = '' OR tenant = $2) AND ($3 < 0 OR state = $3 OR state = $4) \
     AND id < $5 AND id <= $7 ORDER BY id DESC LIMIT $6"
));

/// A page of jobs that have not ended.
pub(crate) fn live(tx: &mut SystemTx<'_>, scan: &Scan) -> Result<Vec<JobRow>, Error> {
    let Some((one, other)) = states(&scan.filter) else { return Ok(Vec::new()) };
    let sql = if scan.newest_first { &LIVE_DOWN } else { &LIVE_UP };
    let values =
        params![scan.queue, scan.tenant.as_str(), one, other, scan.edge(), scan.limit, scan.until_edge()];
    tx.query(sql, &values)?.iter().map(JobRow::read).collect()
}

const DONE_UP: Sql = Sql::One(concat!(
    "SELECT ",
    done_columns!(),
    " FROM jobs_done WHERE queue = $1 AND ($2 = '' OR tenant = $2) AND ($3 < 0 OR status = $3) \
     AND finished_at >= $4 AND finished_at < $5 AND id > $6 AND id <= $8 ORDER BY id LIMIT $7"
));
const DONE_DOWN: Sql = Sql::One(concat!(
    "SELECT ",
    done_columns!(),
    " FROM jobs_done WHERE queue = $1 AND ($2 = '' OR tenant = $2) AND ($3 < 0 OR status = $3) \
     AND finished_at >= $4 AND finished_at < $5 AND id < $6 AND id <= $8 ORDER BY id DESC LIMIT $7"
));

/// A page of jobs that have ended.
pub(crate) fn done(tx: &mut SystemTx<'_>, scan: &Scan) -> Result<Vec<DoneRow>, Error> {
    let status = match scan.filter.status {
        None => -1,
        Some(status) if status.is_finished() => end_number(status),
        Some(_) => return Ok(Vec::new()),
    };
    let sql = if scan.newest_first { &DONE_DOWN } else { &DONE_UP };
    let from = scan.filter.from.unwrap_or(Timestamp::from_micros(i64::MIN));
    let to = scan.filter.to.unwrap_or(Timestamp::from_micros(i64::MAX));
    let values = params![
        scan.queue,
        scan.tenant.as_str(),
        status,
        from,
        to,
        scan.edge(),
        scan.limit,
        scan.until_edge()
    ];
    tx.query(sql, &values)?.iter().map(DoneRow::read).collect()
}

const REMOVE: Many = Many {
    sqlite: "DELETE FROM jobs_jobs WHERE id = $1 AND fence = $2 AND state = $3",
    postgres: "DELETE FROM jobs_jobs j USING UNNEST($1::bytea[], $2::bigint[], $3::bigint[]) \
               WITH ORDINALITY AS u(id, fence, state, ord) \
               WHERE j.id = ANY (ARRAY[u.id]) AND j.fence = u.fence AND j.state = u.state RETURNING u.ord",
    columns: &[Column::Blob, Column::Int, Column::Int],
};

/// Removes jobs that are still as they were read: id, fence, state.
pub(crate) fn remove(tx: &mut SystemTx<'_>, rows: &Rows<'_>) -> Result<Hits, Error> {
    tx.many(&REMOVE, rows)
}

const REQUEUE: Many = Many {
    sqlite: "UPDATE jobs_jobs SET queue = $4 WHERE id = $1 AND fence = $2 AND state = $3",
    postgres: "UPDATE jobs_jobs j SET queue = u.queue \
               FROM UNNEST($1::bytea[], $2::bigint[], $3::bigint[], $4::bigint[]) \
               WITH ORDINALITY AS u(id, fence, state, queue, ord) \
               WHERE j.id = ANY (ARRAY[u.id]) AND j.fence = u.fence AND j.state = u.state RETURNING u.ord",
    columns: &[Column::Blob, Column::Int, Column::Int, Column::Int],
};

/// Moves jobs that are still as they were read: id, fence, state, queue.
pub(crate) fn requeue(tx: &mut SystemTx<'_>, rows: &Rows<'_>) -> Result<Hits, Error> {
    tx.many(&REQUEUE, rows)
}

const OF_TENANT: Sql = Sql::One(concat!(
    "SELECT ",
    columns!(),
    " FROM jobs_jobs WHERE tenant = $1 AND id > $2 ORDER BY id LIMIT $3"
));
const DONE_OF_TENANT: Sql =
    Sql::One("SELECT id, flags FROM jobs_done WHERE tenant = $1 AND id > $2 ORDER BY id LIMIT $3");

/// A tenant's jobs that have not ended, in all queues.
pub(crate) fn live_of_tenant(
    tx: &mut SystemTx<'_>,
    tenant: &str,
    after: &[u8],
    limit: i64,
) -> Result<Vec<JobRow>, Error> {
    tx.query(&OF_TENANT, &params![tenant, after, limit])?.iter().map(JobRow::read).collect()
}

/// A tenant's jobs that have ended, in all queues, with their flags.
pub(crate) fn done_of_tenant(
    tx: &mut SystemTx<'_>,
    tenant: &str,
    after: &[u8],
    limit: i64,
) -> Result<Vec<(JobId, i64)>, Error> {
    let found = tx.query(&DONE_OF_TENANT, &params![tenant, after, limit])?;
    found.iter().map(|row| Ok((super::live::job_id(row, 0)?, row.get(1)?))).collect()
}
