//! All SQL of the capability, one file a table.

pub(crate) mod keys;
pub(crate) mod members;
pub(crate) mod operators;
pub(crate) mod revocations;
pub(crate) mod roles;
pub(crate) mod signing;

use base::{ProjectId, Slug};
use db::{Error, Row};

use crate::model::NamedRole;

/// A stored word that the model does not know: a row written by a newer binary, or damage.
fn unknown(column: &str) -> Error {
    Error::Decode(format!("column {column} holds an unknown word"))
}

fn json_text(value: &impl serde::Serialize) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|_| Error::Decode("write a JSON column".to_owned()))
}

/// The custom role that a member or key has, from the columns of its project and name.
fn named_role(row: &Row, (project, name): (usize, usize)) -> Result<Option<NamedRole>, Error> {
    match (row.get::<Option<String>>(project)?, row.get::<Option<String>>(name)?) {
        (Some(project), Some(name)) => Ok(Some(NamedRole {
            project: ProjectId::parse(&project).map_err(|_| unknown("role_project"))?,
            name: Slug::parse(&name).map_err(|_| unknown("role_name"))?,
        })),
        _ => Ok(None),
    }
}
