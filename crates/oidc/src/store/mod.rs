//! All SQL of the capability.

pub(crate) mod clients;
pub(crate) mod grants;

use db::Error;

fn unknown(column: &str) -> Error {
    Error::Decode(format!("column {column} holds what is not known"))
}
