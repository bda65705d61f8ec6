//! Rows of the keys that sign assertions and tokens.

use base::Timestamp;
use db::{Error, Row, Sql, SystemTx, params};
use tokens::Algorithm;

use super::unknown;
use crate::keyring::Times;

const INSERT: Sql = Sql::One(
    "INSERT INTO identity_signing_keys (kid, public, sealed, created_at, algorithm, signs_from) \
     VALUES ($1, $2, $3, $4, $5, $6)",
);
const SCHEDULE: Sql = Sql::One("UPDATE identity_signing_keys SET signs_from = $2 WHERE kid = $1");
const DELETE: Sql = Sql::One("DELETE FROM identity_signing_keys WHERE kid = $1");
const ALL: Sql = Sql::One(
    "SELECT kid, public, sealed, created_at, algorithm, signs_from FROM identity_signing_keys \
     ORDER BY created_at, kid",
);

/// A signing key as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SigningRow {
    /// Its id in tokens: the thumbprint of the public key.
    pub(crate) kid: String,
    /// What it signs by.
    pub(crate) algorithm: Algorithm,
    /// The public key: 32 bytes of Ed25519, or 65 of a point on P-256.
    pub(crate) public: Vec<u8>,
    /// The private key, sealed under the installation's data key.
    pub(crate) sealed: Vec<u8>,
    /// Its times.
    pub(crate) times: Times,
}

pub(crate) fn insert(tx: &mut SystemTx, key: &SigningRow) -> Result<(), Error> {
    let SigningRow { kid, algorithm, public, sealed, times } = key;
    tx.execute(
        &INSERT,
        &params![
            kid.as_str(),
            public.clone(),
            sealed.clone(),
            times.created_at,
            algorithm.as_str(),
            times.signs_from
        ],
    )?;
    Ok(())
}

/// From when on a key signs.
pub(crate) fn schedule(tx: &mut SystemTx, kid: &str, from: Timestamp) -> Result<(), Error> {
    tx.execute(&SCHEDULE, &params![kid, from])?;
    Ok(())
}

pub(crate) fn delete(tx: &mut SystemTx, kid: &str) -> Result<(), Error> {
    tx.execute(&DELETE, &params![kid])?;
    Ok(())
}

/// All keys, the oldest first.
pub(crate) fn all(tx: &mut SystemTx) -> Result<Vec<SigningRow>, Error> {
    tx.query(&ALL, &params![])?.iter().map(read).collect()
}

fn read(row: &Row) -> Result<SigningRow, Error> {
    Ok(SigningRow {
        kid: row.get::<String>(0)?,
        public: row.get::<Vec<u8>>(1)?,
        sealed: row.get::<Vec<u8>>(2)?,
        algorithm: Algorithm::parse(&row.get::<String>(4)?).ok_or_else(|| unknown("algorithm"))?,
        times: Times { created_at: row.get::<Timestamp>(3)?, signs_from: row.get::<Option<Timestamp>>(5)? },
    })
}
