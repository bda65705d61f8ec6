//! Rows of the keys that sign assertions.

use base::Timestamp;
use db::{Error, Row, Sql, SystemTx, params};

/// Signing keys that are published at once; a rotation each month leaves a year of them.
const KEYS_MAX: u32 = 12;

const INSERT: Sql =
    Sql::One("INSERT INTO identity_signing_keys (kid, public, sealed, created_at) VALUES ($1, $2, $3, $4)");
const ALL: Sql =
    Sql::One("SELECT kid, public, sealed FROM identity_signing_keys ORDER BY created_at DESC, kid LIMIT $1");

/// A signing key as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SigningRow {
    /// Its id in tokens: the thumbprint of the public key.
    pub(crate) kid: String,
    /// The public key, 32 bytes.
    pub(crate) public: [u8; 32],
    /// The seed, sealed under the installation's data key.
    pub(crate) sealed: Vec<u8>,
}

pub(crate) fn insert(tx: &mut SystemTx, key: &SigningRow, now: Timestamp) -> Result<(), Error> {
    tx.execute(&INSERT, &params![key.kid.as_str(), key.public, key.sealed.clone(), now])?;
    Ok(())
}

/// All published keys, the newest first: that one signs.
pub(crate) fn all(tx: &mut SystemTx) -> Result<Vec<SigningRow>, Error> {
    tx.query(&ALL, &params![KEYS_MAX])?.iter().map(read).collect()
}

fn read(row: &Row) -> Result<SigningRow, Error> {
    Ok(SigningRow {
        kid: row.get::<String>(0)?,
        public: row.get::<[u8; 32]>(1)?,
        sealed: row.get::<Vec<u8>>(2)?,
    })
}
