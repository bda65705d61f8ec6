//! All SQL of the capability, one file a table.

pub(crate) mod identities;
pub(crate) mod impersonations;
pub(crate) mod links;
pub(crate) mod outbox;
pub(crate) mod recovery;
pub(crate) mod refresh;
pub(crate) mod sessions;
pub(crate) mod users;

use base::Email;
use db::Error;

/// Rows that the sweep removes at a time, so that nobody waits for it.
pub(crate) const SWEEP_ROWS: i64 = 1_000;

/// A stored word that the model does not know: a row written by a newer binary, or damage.
fn unknown(column: &str) -> Error {
    Error::Decode(format!("column {column} holds an unknown word"))
}

fn email(text: &str) -> Result<Email, Error> {
    Email::parse(text).map_err(|_| unknown("email"))
}
