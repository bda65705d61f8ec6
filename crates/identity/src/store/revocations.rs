//! Rows of what tokens are no longer good for.

use base::Timestamp;
use db::{Error, Sql, SystemTx, params};

/// Times move forward only: of two cutoffs the later one holds.
const NOTE: Sql = Sql::One(
    "INSERT INTO identity_revocations (id, at) VALUES ($1, $2) \
     ON CONFLICT (id) DO UPDATE SET at = excluded.at WHERE identity_revocations.at < excluded.at",
);
const SINCE: Sql = Sql::One(
    "SELECT id, at FROM identity_revocations WHERE at >= $1 AND (at > $1 OR id > $2) ORDER BY at, id LIMIT $3",
);
const SWEEP: Sql = Sql::One("DELETE FROM identity_revocations WHERE at < $1");

pub(crate) fn note(tx: &mut SystemTx, id: &str, at: Timestamp) -> Result<(), Error> {
    tx.execute(&NOTE, &params![id, at])?;
    Ok(())
}

/// Those from a time on, by time and id, after the row `(at, id)`.
pub(crate) fn since(
    tx: &mut SystemTx,
    (at, id): (Timestamp, &str),
    limit: u32,
) -> Result<Vec<(String, Timestamp)>, Error> {
    let rows = tx.query(&SINCE, &params![at, id, limit])?;
    rows.iter().map(|row| Ok((row.get::<String>(0)?, row.get::<Timestamp>(1)?))).collect()
}

/// Forgets those from before a time.
pub(crate) fn sweep(tx: &mut SystemTx, before: Timestamp) -> Result<(), Error> {
    tx.execute(&SWEEP, &params![before])?;
    Ok(())
}
