//! Rows of recovery codes: hashes of those that were not used yet.

use base::UserId;
use db::{Error, Sql, SystemTx, params};

const INSERT: Sql = Sql::One("INSERT INTO accounts_recovery_codes (user_id, hash) VALUES ($1, $2)");
const DELETE: Sql = Sql::One("DELETE FROM accounts_recovery_codes WHERE user_id = $1 AND hash = $2");
const DELETE_ALL: Sql = Sql::One("DELETE FROM accounts_recovery_codes WHERE user_id = $1");
const COUNT: Sql =
    Sql::One("SELECT CAST(COUNT(*) AS BIGINT) FROM accounts_recovery_codes WHERE user_id = $1");

/// Puts a set in the place of whatever there was.
pub(crate) fn replace(tx: &mut SystemTx, user: UserId, hashes: &[[u8; 32]]) -> Result<(), Error> {
    delete_all(tx, user)?;
    for hash in hashes {
        tx.execute(&INSERT, &params![user, *hash])?;
    }
    Ok(())
}

/// Uses a code up; `false` when there is none (any more).
pub(crate) fn take(tx: &mut SystemTx, user: UserId, hash: &[u8; 32]) -> Result<bool, Error> {
    Ok(tx.execute(&DELETE, &params![user, *hash])? == 1)
}

pub(crate) fn delete_all(tx: &mut SystemTx, user: UserId) -> Result<(), Error> {
    tx.execute(&DELETE_ALL, &params![user])?;
    Ok(())
}

/// How many are left.
pub(crate) fn left(tx: &mut SystemTx, user: UserId) -> Result<u32, Error> {
    tx.query_one(&COUNT, &params![user])?.get(0)
}
