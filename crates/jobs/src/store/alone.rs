//! Who claims alone: a process that nobody else is beside counts what runs in memory, and needs neither the lock of a queue
//! nor a look at what all processes run.
//!
//! The name of that process is in the store, under an advisory lock: who claims with limits holds it shared until its
//! transaction ends, who changes the name holds it alone. So whoever claims under its own name knows that nobody else
//! claims otherwise, and whoever finds another's name takes that out, and waits, before it claims. Names are of one
//! start of a process: one that is left behind is nobody's. Nothing of this is needed on SQLite.

use std::collections::HashMap;

use base::JobId;
use db::{Error, Sql, SystemTx, Told, params};

use super::live::job_id;

/// Of this crate, among the advisory locks of the database.
pub(crate) const HOLD: Sql =
    Sql::Split { sqlite: "SELECT 1", postgres: "SELECT pg_advisory_xact_lock_shared(6006905486180352010)" };
const HOLD_ALONE: Sql =
    Sql::Split { sqlite: "SELECT 1", postgres: "SELECT pg_advisory_xact_lock(6006905486180352010)" };

/// The name, if there is one: the answer that [`name`] reads.
pub(crate) const NAME: Sql = Sql::One("SELECT name FROM jobs_alone WHERE number = 1");

/// The name that [`NAME`] found, empty when nobody's.
pub(crate) fn name(told: Told) -> Result<String, Error> {
    let rows = told.rows()?;
    rows.first().map_or(Ok(String::new()), |row| row.get(0))
}

/// Puts a name in; an empty one takes out whoever's there is. Waits until nobody claims.
pub(crate) fn put(tx: &mut SystemTx<'_>, name: &str) -> Result<(), Error> {
    const PUT: Sql = Sql::One(
        "INSERT INTO jobs_alone (number, name) VALUES (1, $1) ON CONFLICT (number) DO UPDATE SET name = excluded.name",
    );
    tx.query(&HOLD_ALONE, &[])?;
    tx.execute(&PUT, &params![name]).map(drop)
}

/// Jobs that run, each with its fence and its tenant.
pub(crate) type RunningOf = Vec<(JobId, i64, String)>;

/// Which jobs of these queues run, whoever claimed them.
pub(crate) fn running(tx: &mut SystemTx<'_>, queues: &[i64]) -> Result<HashMap<i64, RunningOf>, Error> {
    const RUNNING: Sql = Sql::One("SELECT id, fence, tenant FROM jobs_jobs WHERE state = 2 AND queue = $1");
    let mut found = HashMap::with_capacity(queues.len());
    for queue in queues {
        let rows = tx.query(&RUNNING, &params![*queue])?;
        let jobs = rows.iter().map(|row| Ok((job_id(row, 0)?, row.get(1)?, row.get(2)?)));
        found.insert(*queue, jobs.collect::<Result<_, Error>>()?);
    }
    Ok(found)
}
