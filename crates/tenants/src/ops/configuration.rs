//! Apply a project file whole: every capability's section in one transaction.

use std::sync::Arc;

use base::{EnvironmentId, ProjectId, Slug};
use db::{NewEvent, SystemTx};
use ports::{ApplyError, Change, PlanLookup, SectionApply};
use serde_json::{Value, json};
use shape::Fault;

use super::Sources;
use crate::model::{Environment, Project};
use crate::section::{Wanted, check_base_domain, environment_view};
use crate::store::environments::ENVIRONMENTS_MAX;
use crate::store::{environments, projects};

/// The environment that a file is applied to.
#[derive(Debug, Clone)]
pub enum Target {
    /// One that exists.
    Id(EnvironmentId),
    /// That of the file's project with this name; made when there is none.
    Named(Slug),
}

/// A project file to be applied.
#[derive(Debug, Clone)]
pub struct Apply {
    /// To which environment.
    pub target: Target,
    /// The project that the file names.
    pub project: Slug,
    /// The file's value, already laid over for the environment and checked by the sections' schemas.
    pub document: Value,
    /// Whether things that hold data may be removed.
    pub prune: bool,
    /// Whether to undo it all and only tell.
    pub dry_run: bool,
}

/// What an apply did.
#[derive(Debug, Clone)]
pub struct Applied {
    /// The environment as it is now.
    pub environment: Environment,
    /// What changed, in the order of the sections; empty when all was so already.
    pub changes: Vec<Change>,
}

/// Why a file was not applied. The transaction is undone with each.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no environment of this id.
    #[error("there is no such environment")]
    NotFound,
    /// The environment belongs to another project than the file names.
    #[error("the environment belongs to project {0}")]
    OtherProject(Slug),
    /// The installation has as many environments as are kept in memory.
    #[error("there are {ENVIRONMENTS_MAX} environments, the most allowed")]
    TooMany,
    /// A section refuses.
    #[error(transparent)]
    Section(#[from] ApplyError),
    /// Nothing is wrong: the transaction was to be undone, and this is what it would have done.
    #[error("dry run")]
    DryRun(Box<Applied>),
}

impl From<db::Error> for Error {
    fn from(error: db::Error) -> Self {
        Error::Section(ApplyError::Store(error))
    }
}

/// Applies the file.
///
/// # Errors
/// [`Error`]; of a dry run always [`Error::DryRun`], so that the store undoes it.
pub fn apply(
    tx: &mut SystemTx,
    sources: &Sources,
    sections: &[Arc<dyn SectionApply>],
    plans: &dyn PlanLookup,
    command: &Apply,
) -> Result<Applied, Error> {
    let (environment, mut changes) = target(tx, sources, command)?;
    for section in sections {
        let value = command.document.get(section.key());
        changes.extend(section.apply(tx, environment.id, value, command.prune)?);
    }
    let mut environment = environments::by_id(tx, environment.id)?.ok_or(Error::NotFound)?;
    check_default_plan(tx, plans, &environment)?;
    let now = sources.clock.now();
    environments::set_applied(tx, environment.id, now)?;
    environment.applied_at = Some(now);
    if !changes.is_empty() {
        let subject = environment.project.to_string();
        let after = Some(json!({ "environment": environment.slug, "changes": changes }));
        let id = Some(environment.id);
        tx.emit(None, NewEvent { kind: "project.applied", subject, environment: id, before: None, after })?;
    }
    let applied = Applied { environment, changes };
    if command.dry_run { Err(Error::DryRun(Box::new(applied))) } else { Ok(applied) }
}

/// The environment to apply to, made with its project when it is named and missing.
fn target(
    tx: &mut SystemTx,
    sources: &Sources,
    command: &Apply,
) -> Result<(Environment, Vec<Change>), Error> {
    let slug = match &command.target {
        Target::Id(id) => {
            let found = environments::by_id(tx, *id)?.ok_or(Error::NotFound)?;
            if found.project_slug != command.project {
                return Err(Error::OtherProject(found.project_slug));
            }
            return Ok((found, Vec::new()));
        }
        Target::Named(slug) => slug,
    };
    let mut changes = Vec::new();
    let project = match projects::by_name(tx, &command.project)? {
        Some(project) => project,
        None => {
            changes.push(Change::created(format!("project {}", command.project)));
            make_project(tx, sources, &command.project)?
        }
    };
    let environment = match environments::by_slug(tx, project.id, slug)? {
        Some(environment) => environment,
        None => {
            changes.push(Change::created(format!("environment {slug}")));
            let wanted = Wanted::read(command.document.get("tenants"), slug)?;
            make_environment(tx, sources, &project, slug, wanted)?
        }
    };
    Ok((environment, changes))
}

fn make_project(tx: &mut SystemTx, sources: &Sources, name: &Slug) -> Result<Project, Error> {
    let id = ProjectId::new(&*sources.clock, &*sources.random);
    let project = Project { id, name: name.clone(), created_at: sources.clock.now() };
    projects::insert(tx, &project)?;
    let after = Some(json!({ "name": name }));
    let subject = id.to_string();
    tx.emit(None, NewEvent { kind: "project.created", subject, environment: None, before: None, after })?;
    Ok(project)
}

fn make_environment(
    tx: &mut SystemTx,
    sources: &Sources,
    project: &Project,
    slug: &Slug,
    wanted: Wanted,
) -> Result<Environment, Error> {
    if environments::all(tx)?.len() >= ENVIRONMENTS_MAX as usize {
        return Err(Error::TooMany);
    }
    check_base_domain(tx, &wanted.base_domain)?;
    let now = sources.clock.now();
    let Wanted { base_domain, resolve, default_plan } = wanted;
    let environment = Environment {
        id: EnvironmentId::new(&*sources.clock, &*sources.random),
        project: project.id,
        project_slug: project.name.clone(),
        slug: slug.clone(),
        base_domain,
        resolve,
        default_plan,
        applied_at: None,
        revision: 1,
        created_at: now,
        updated_at: now,
    };
    environments::insert(tx, &environment)?;
    tx.emit(
        None,
        NewEvent {
            kind: "environment.created",
            subject: environment.id.to_string(),
            environment: Some(environment.id),
            before: None,
            after: Some(environment_view(&environment)),
        },
    )?;
    Ok(environment)
}

/// The default plan must be one after all sections were applied: `plans` may have just made it.
fn check_default_plan(
    tx: &mut SystemTx,
    plans: &dyn PlanLookup,
    environment: &Environment,
) -> Result<(), Error> {
    if plans.exists(tx, environment.project, &environment.default_plan)? {
        return Ok(());
    }
    Err(Error::Section(ApplyError::Invalid(vec![Fault {
        pointer: "/tenants/default_plan".to_owned(),
        found: format!("{:?}", environment.default_plan.as_str()),
        message: "a plan of the section `plans`, or one of free, starter, pro, enterprise".to_owned(),
        nearest: None,
    }])))
}
