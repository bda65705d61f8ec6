//! Rows of environments. There are few; a list of all is one statement.

use base::{EnvironmentId, HostName, ProjectId, Slug, Timestamp};
use db::{Error, Row, Sql, SystemTx, params};
use ports::ResolveBy;

use super::unknown;
use crate::model::Environment;

/// Most environments of an installation: they are kept in memory and read as one list. Ten projects with a
/// hundred preview environments each fit.
pub(crate) const ENVIRONMENTS_MAX: u32 = 1_000;

const INSERT: Sql = Sql::One(
    "INSERT INTO tenants_environments (environment, project, slug, base_domain, resolve, default_plan, \
     revision, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, 1, $7, $7)",
);
const UPDATE: Sql = Sql::One(
    "UPDATE tenants_environments SET base_domain = $2, resolve = $3, default_plan = $4, updated_at = $5, \
     revision = revision + 1 WHERE environment = $1",
);
const APPLIED: Sql = Sql::One("UPDATE tenants_environments SET applied_at = $2 WHERE environment = $1");
const BY_ID: Sql = Sql::One(
    "SELECT e.environment, e.project, p.name, e.slug, e.base_domain, e.resolve, e.default_plan, e.applied_at, \
     e.revision, e.created_at, e.updated_at FROM tenants_environments e \
     JOIN tenants_projects p ON p.project = e.project WHERE e.environment = $1",
);
const BY_SLUG: Sql = Sql::One(
    "SELECT e.environment, e.project, p.name, e.slug, e.base_domain, e.resolve, e.default_plan, e.applied_at, \
     e.revision, e.created_at, e.updated_at FROM tenants_environments e \
     JOIN tenants_projects p ON p.project = e.project WHERE e.project = $1 AND e.slug = $2",
);
const BY_BASE_DOMAIN: Sql = Sql::One(
    "SELECT e.environment, e.project, p.name, e.slug, e.base_domain, e.resolve, e.default_plan, e.applied_at, \
     e.revision, e.created_at, e.updated_at FROM tenants_environments e \
     JOIN tenants_projects p ON p.project = e.project WHERE e.base_domain = $1",
);
const ALL: Sql = Sql::One(
    "SELECT e.environment, e.project, p.name, e.slug, e.base_domain, e.resolve, e.default_plan, e.applied_at, \
     e.revision, e.created_at, e.updated_at FROM tenants_environments e \
     JOIN tenants_projects p ON p.project = e.project ORDER BY e.environment LIMIT $1",
);

pub(crate) fn insert(tx: &mut SystemTx, environment: &Environment) -> Result<(), Error> {
    tx.execute(
        &INSERT,
        &params![
            environment.id,
            environment.project,
            environment.slug.clone(),
            environment.base_domain.as_str(),
            resolve_text(&environment.resolve),
            environment.default_plan.clone(),
            environment.created_at
        ],
    )?;
    Ok(())
}

/// Writes what the section `tenants` says.
pub(crate) fn update(tx: &mut SystemTx, environment: &Environment) -> Result<(), Error> {
    tx.execute(
        &UPDATE,
        &params![
            environment.id,
            environment.base_domain.as_str(),
            resolve_text(&environment.resolve),
            environment.default_plan.clone(),
            environment.updated_at
        ],
    )?;
    Ok(())
}

/// Notes when a project file was last applied.
pub(crate) fn set_applied(tx: &mut SystemTx, id: EnvironmentId, at: Timestamp) -> Result<(), Error> {
    tx.execute(&APPLIED, &params![id, at])?;
    Ok(())
}

pub(crate) fn by_id(tx: &mut SystemTx, id: EnvironmentId) -> Result<Option<Environment>, Error> {
    tx.query_opt(&BY_ID, &params![id])?.map(|row| read(&row)).transpose()
}

pub(crate) fn by_slug(
    tx: &mut SystemTx,
    project: ProjectId,
    slug: &Slug,
) -> Result<Option<Environment>, Error> {
    tx.query_opt(&BY_SLUG, &params![project, slug.clone()])?.map(|row| read(&row)).transpose()
}

pub(crate) fn by_base_domain(tx: &mut SystemTx, host: &HostName) -> Result<Option<Environment>, Error> {
    tx.query_opt(&BY_BASE_DOMAIN, &params![host.as_str()])?.map(|row| read(&row)).transpose()
}

/// Every environment of the installation, by id.
pub(crate) fn all(tx: &mut SystemTx) -> Result<Vec<Environment>, Error> {
    tx.query(&ALL, &params![ENVIRONMENTS_MAX])?.iter().map(read).collect()
}

fn read(row: &Row) -> Result<Environment, Error> {
    let base_domain = row.get::<String>(4)?;
    let resolve = row.get::<String>(5)?;
    Ok(Environment {
        id: row.get::<EnvironmentId>(0)?,
        project: row.get::<ProjectId>(1)?,
        project_slug: row.get::<Slug>(2)?,
        slug: row.get::<Slug>(3)?,
        base_domain: HostName::parse(&base_domain).map_err(|_| unknown("base_domain"))?,
        resolve: resolve
            .split_whitespace()
            .map(|word| resolve_by(word).ok_or_else(|| unknown("resolve")))
            .collect::<Result<_, _>>()?,
        default_plan: row.get::<Slug>(6)?,
        applied_at: row.get::<Option<Timestamp>>(7)?,
        revision: row.get::<i64>(8)?,
        created_at: row.get::<Timestamp>(9)?,
        updated_at: row.get::<Timestamp>(10)?,
    })
}

/// The word of a way to find the tenant, as in the project file.
pub(crate) const fn resolve_word(by: ResolveBy) -> &'static str {
    match by {
        ResolveBy::Domain => "domain",
        ResolveBy::Subdomain => "subdomain",
        ResolveBy::ApiKey => "api-key",
        ResolveBy::Jwt => "jwt",
        ResolveBy::Header => "header",
    }
}

/// The way for a word.
pub(crate) fn resolve_by(word: &str) -> Option<ResolveBy> {
    [ResolveBy::Domain, ResolveBy::Subdomain, ResolveBy::ApiKey, ResolveBy::Jwt, ResolveBy::Header]
        .into_iter()
        .find(|by| resolve_word(*by) == word)
}

fn resolve_text(resolve: &[ResolveBy]) -> String {
    resolve.iter().map(|by| resolve_word(*by)).collect::<Vec<_>>().join(" ")
}
