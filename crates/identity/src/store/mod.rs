//! All SQL of the capability, one file a table.

pub(crate) mod keys;
pub(crate) mod members;
pub(crate) mod operators;
pub(crate) mod signing;

use db::Error;

/// A stored word that the model does not know: a row written by a newer binary, or damage.
fn unknown(column: &str) -> Error {
    Error::Decode(format!("column {column} holds an unknown word"))
}

fn json_text(value: &impl serde::Serialize) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|_| Error::Decode("write a JSON column".to_owned()))
}
