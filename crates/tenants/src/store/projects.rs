//! Rows of projects.

use base::{ProjectId, Slug, Timestamp};
use db::{Error, Row, Sql, SystemTx, params};

use crate::model::Project;

const INSERT: Sql = Sql::One("INSERT INTO tenants_projects (project, name, created_at) VALUES ($1, $2, $3)");
const BY_NAME: Sql = Sql::One("SELECT project, name, created_at FROM tenants_projects WHERE name = $1");
const ALL: Sql = Sql::One(
    "SELECT project, name, created_at FROM tenants_projects WHERE project > $1 ORDER BY project LIMIT $2",
);

pub(crate) fn insert(tx: &mut SystemTx, project: &Project) -> Result<(), Error> {
    tx.execute(&INSERT, &params![project.id, project.name.clone(), project.created_at])?;
    Ok(())
}

pub(crate) fn by_name(tx: &mut SystemTx, name: &Slug) -> Result<Option<Project>, Error> {
    tx.query_opt(&BY_NAME, &params![name.clone()])?.map(|row| read(&row)).transpose()
}

/// Projects by id after `after` (empty for the first).
pub(crate) fn page(tx: &mut SystemTx, after: &str, limit: u32) -> Result<Vec<Project>, Error> {
    tx.query(&ALL, &params![after, limit])?.iter().map(read).collect()
}

fn read(row: &Row) -> Result<Project, Error> {
    Ok(Project {
        id: row.get::<ProjectId>(0)?,
        name: row.get::<Slug>(1)?,
        created_at: row.get::<Timestamp>(2)?,
    })
}
