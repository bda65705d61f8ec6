//! Rows of custom roles, and of who has them.

use authority::{Pattern, Role};
use base::{EnvironmentId, ProjectId, Slug, TenantId, Timestamp};
use db::{Error, Row, Sql, SystemTx, params};

use super::{json_text, unknown};
use crate::model::CustomRole;

const INSERT: Sql = Sql::One(
    "INSERT INTO identity_roles (project, name, patterns, description, revision, created_at, updated_at) \
     VALUES ($1, $2, $3, $4, 1, $5, $5)",
);
const UPDATE: Sql = Sql::One(
    "UPDATE identity_roles SET patterns = $3, description = $4, updated_at = $5, revision = revision + 1 \
     WHERE project = $1 AND name = $2",
);
const DELETE: Sql = Sql::One("DELETE FROM identity_roles WHERE project = $1 AND name = $2");
const COUNT: Sql = Sql::One("SELECT CAST(COUNT(*) AS BIGINT) FROM identity_roles WHERE project = $1");
const ONE: Sql = Sql::One(
    "SELECT name, patterns, description, revision, created_at, updated_at FROM identity_roles \
     WHERE project = $1 AND name = $2",
);
const LIST: Sql = Sql::One(
    "SELECT name, patterns, description, revision, created_at, updated_at FROM identity_roles \
     WHERE project = $1 AND name > $2 ORDER BY name LIMIT $3",
);
/// crosses tenants: the tenants of a project share its roles.
const MEMBERS_GET: Sql = Sql::One(
    "UPDATE identity_members SET role = $3, updated_at = $4, revision = revision + 1 \
     WHERE role_project = $1 AND role_name = $2",
);
/// crosses tenants: as for members.
const KEYS_GET: Sql =
    Sql::One("UPDATE identity_keys SET role = $3 WHERE role_project = $1 AND role_name = $2");
/// crosses tenants: as for members.
const PLACES: Sql = Sql::One(
    "SELECT DISTINCT tenant, environment FROM identity_keys \
     WHERE role_project = $1 AND role_name = $2 AND revoked_at IS NULL ORDER BY tenant, environment LIMIT $3",
);
/// crosses tenants: as for members.
const MEMBER_OF: Sql =
    Sql::One("SELECT id FROM identity_members WHERE role_project = $1 AND role_name = $2 LIMIT 1");

pub(crate) fn insert(tx: &mut SystemTx, project: ProjectId, role: &CustomRole) -> Result<(), Error> {
    let (name, patterns) = (role.name.as_str(), json_text(&role.patterns)?);
    tx.execute(&INSERT, &params![project, name, patterns, role.description.as_str(), role.created_at])?;
    Ok(())
}

/// Writes patterns and description with the next revision.
pub(crate) fn update(tx: &mut SystemTx, project: ProjectId, role: &CustomRole) -> Result<(), Error> {
    let (name, patterns) = (role.name.as_str(), json_text(&role.patterns)?);
    tx.execute(&UPDATE, &params![project, name, patterns, role.description.as_str(), role.updated_at])?;
    Ok(())
}

pub(crate) fn delete(tx: &mut SystemTx, project: ProjectId, name: &Slug) -> Result<(), Error> {
    tx.execute(&DELETE, &params![project, name.as_str()])?;
    Ok(())
}

pub(crate) fn count(tx: &mut SystemTx, project: ProjectId) -> Result<u32, Error> {
    tx.query_one(&COUNT, &params![project])?.get::<u32>(0)
}

pub(crate) fn one(tx: &mut SystemTx, project: ProjectId, name: &Slug) -> Result<Option<CustomRole>, Error> {
    tx.query_opt(&ONE, &params![project, name.as_str()])?.map(|row| read(&row)).transpose()
}

/// A project's roles by name after `after` (empty for the first).
pub(crate) fn page(
    tx: &mut SystemTx,
    project: ProjectId,
    after: &str,
    limit: u32,
) -> Result<Vec<CustomRole>, Error> {
    tx.query(&LIST, &params![project, after, limit])?.iter().map(read).collect()
}

/// Gives every member and key that has the role what it grants now.
pub(crate) fn hand_on(
    tx: &mut SystemTx,
    (project, name): (ProjectId, &Slug),
    role: &Role,
    now: Timestamp,
) -> Result<(), Error> {
    let text = json_text(role)?;
    tx.execute(&MEMBERS_GET, &params![project, name.as_str(), text.as_str(), now])?;
    tx.execute(&KEYS_GET, &params![project, name.as_str(), text.as_str()])?;
    Ok(())
}

/// Where keys have the role that are not revoked, up to `limit` places.
pub(crate) fn places(
    tx: &mut SystemTx,
    (project, name): (ProjectId, &Slug),
    limit: u32,
) -> Result<Vec<(TenantId, EnvironmentId)>, Error> {
    let rows = tx.query(&PLACES, &params![project, name.as_str(), limit])?;
    rows.iter().map(|row| Ok((row.get::<TenantId>(0)?, row.get::<EnvironmentId>(1)?))).collect()
}

/// Whether any member has the role.
pub(crate) fn has_member(tx: &mut SystemTx, project: ProjectId, name: &Slug) -> Result<bool, Error> {
    Ok(tx.query_opt(&MEMBER_OF, &params![project, name.as_str()])?.is_some())
}

fn read(row: &Row) -> Result<CustomRole, Error> {
    let patterns: Vec<Pattern> =
        serde_json::from_str(&row.get::<String>(1)?).map_err(|_| unknown("patterns"))?;
    Ok(CustomRole {
        name: Slug::parse(&row.get::<String>(0)?).map_err(|_| unknown("name"))?,
        patterns,
        description: row.get::<String>(2)?,
        revision: row.get::<i64>(3)?,
        created_at: row.get::<Timestamp>(4)?,
        updated_at: row.get::<Timestamp>(5)?,
    })
}
