//! Rows of the operators' keys. There is one, or during a recovery none.

use base::Timestamp;
use db::{Error, Sql, SystemTx, params};

const INSERT: Sql =
    Sql::One("INSERT INTO identity_operator_keys (hash, prefix, created_at) VALUES ($1, $2, $3)");
const FIND: Sql = Sql::One("SELECT hash FROM identity_operator_keys WHERE hash = $1");
const ANY: Sql = Sql::One("SELECT prefix FROM identity_operator_keys LIMIT 1");
const DELETE_ALL: Sql = Sql::One("DELETE FROM identity_operator_keys");

pub(crate) fn insert(tx: &mut SystemTx, hash: &[u8; 32], prefix: &str, now: Timestamp) -> Result<(), Error> {
    tx.execute(&INSERT, &params![*hash, prefix, now])?;
    Ok(())
}

/// The stored hash that equals this one.
pub(crate) fn find(tx: &mut SystemTx, hash: &[u8; 32]) -> Result<Option<[u8; 32]>, Error> {
    tx.query_opt(&FIND, &params![*hash])?.map(|row| row.get::<[u8; 32]>(0)).transpose()
}

/// The prefix of the operators' key, if there is one.
pub(crate) fn prefix(tx: &mut SystemTx) -> Result<Option<String>, Error> {
    tx.query_opt(&ANY, &params![])?.map(|row| row.get::<String>(0)).transpose()
}

pub(crate) fn delete_all(tx: &mut SystemTx) -> Result<(), Error> {
    tx.execute(&DELETE_ALL, &params![])?;
    Ok(())
}
