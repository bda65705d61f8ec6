//! All SQL of the capability.

pub(crate) mod deliveries;
pub(crate) mod hours;
pub(crate) mod sinks;

use base::Amount;
use db::{Error, Row};

fn unknown(column: &str) -> Error {
    Error::Decode(format!("column {column} holds what this version does not know"))
}

fn amount(row: &Row, index: usize) -> Result<Amount, Error> {
    Ok(Amount::from_millionths(row.get(index)?))
}
