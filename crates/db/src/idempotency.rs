//! Idempotency keys: the claim is a row in the transaction of the change, so that of two equal requests
//! one does the work and the other finds its reply (TORTURE F36, J3).

use base::Timestamp;

use crate::tx::Core;
use crate::{Error, Sql, Value};

/// Expired rows deleted in one transaction of the sweep: about a millisecond of the writer.
pub(crate) const SWEEP_ROWS_MAX: i64 = 500;

/// What stands under an idempotency key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    /// Hash of the request that claimed the key; another one under the same key is a conflict.
    pub fingerprint: Vec<u8>,
    /// The sealed reply. `None` only while the claiming transaction has not stored one.
    pub reply: Option<Vec<u8>>,
}

pub(crate) struct Claim<'a> {
    pub(crate) key_hash: &'a [u8],
    pub(crate) fingerprint: &'a [u8],
    pub(crate) now: Timestamp,
    pub(crate) expires_at: Timestamp,
}

const FORGET: Sql =
    Sql::One("DELETE FROM sy_idempotency WHERE tenant = $1 AND key_hash = $2 AND expires_at <= $3");
const CLAIM: Sql = Sql::One(
    "INSERT INTO sy_idempotency (tenant, key_hash, fingerprint, expires_at) VALUES ($1, $2, $3, $4)
     ON CONFLICT (tenant, key_hash) DO NOTHING",
);
const FIND: Sql =
    Sql::One("SELECT fingerprint, reply FROM sy_idempotency WHERE tenant = $1 AND key_hash = $2");
const KEEP: Sql = Sql::One("UPDATE sy_idempotency SET reply = $3 WHERE tenant = $1 AND key_hash = $2");
const SWEEP: Sql = Sql::One(
    "DELETE FROM sy_idempotency WHERE (tenant, key_hash) IN
     (SELECT tenant, key_hash FROM sy_idempotency WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)",
);

pub(crate) fn begin(
    core: &mut Core<'_>,
    scope: &Value,
    claim: &Claim<'_>,
) -> Result<Option<Remembered>, Error> {
    let key = Value::from(claim.key_hash);
    core.execute(&FORGET, &[scope.clone(), key.clone(), claim.now.into()])?;
    let claimed = core
        .execute(&CLAIM, &[scope.clone(), key.clone(), claim.fingerprint.into(), claim.expires_at.into()])?;
    if claimed == 1 {
        return Ok(None);
    }
    let rows = core.query(&FIND, &[scope.clone(), key])?;
    // Under serializable isolation the row that won is visible, or this transaction is repeated.
    let row = rows.first().ok_or(Error::Busy)?;
    Ok(Some(Remembered { fingerprint: row.get(0)?, reply: row.get(1)? }))
}

pub(crate) fn finish(core: &mut Core<'_>, scope: &Value, key_hash: &[u8], reply: &[u8]) -> Result<(), Error> {
    match core.execute(&KEEP, &[scope.clone(), key_hash.into(), reply.into()])? {
        1 => Ok(()),
        _ => Err(Error::Statement("an idempotency key is finished that was not begun".into())),
    }
}

/// Deletes a batch of expired rows; answers how many.
pub(crate) fn sweep(core: &mut Core<'_>, now: Timestamp) -> Result<u64, Error> {
    core.execute(&SWEEP, &[now.into(), SWEEP_ROWS_MAX.into()])
}
