//! All SQL of the capability, one file a table.

pub(crate) mod domains;
pub(crate) mod environments;
pub(crate) mod onboarding;
pub(crate) mod projects;
pub(crate) mod tenants;

use db::Error;

/// A stored word that the model does not know: a row written by a newer binary, or damage.
fn unknown(column: &str) -> Error {
    Error::Decode(format!("column {column} holds an unknown word"))
}
