//! `/api/v1/projects` and `/api/v1/environments`.

use std::sync::Arc;

use authority::permissions;
use base::{EnvironmentId, HostName, Page, ProjectId, Slug, Timestamp};
use db::SystemTx;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use web::{Call, PageQuery, Problem, Reply, Routes, Spec};

use super::State;
use crate::error::Error;
use crate::model::{Environment, Project};
use crate::store::{environments as rows, projects};

const PROJECTS: &str = "/api/v1/projects";
const ENVIRONMENTS: &str = "/api/v1/environments";
const ENVIRONMENT: &str = "/api/v1/environments/{e}";

pub(super) fn routes(state: &Arc<State>) -> Routes {
    Routes::new("tenants")
        .route(
            Spec::get(PROJECTS, permissions::PROJECTS_READ).summary("List projects"),
            Arc::clone(state),
            list_projects,
        )
        .route(
            Spec::get(ENVIRONMENTS, permissions::ENVIRONMENTS_READ)
                .summary("List environments")
                .details("Of all projects, by age. Applying a project file makes them."),
            Arc::clone(state),
            list,
        )
        .route(
            Spec::get(ENVIRONMENT, permissions::ENVIRONMENTS_READ)
                .summary("Get an environment")
                .details("By id, or by name in the project of the call."),
            Arc::clone(state),
            get,
        )
}

/// A project, as the API shows it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ProjectView {
    /// Its id.
    pub id: ProjectId,
    /// Its name, unique in the installation.
    pub name: Slug,
    /// When it was made.
    pub created_at: Timestamp,
}

impl From<Project> for ProjectView {
    fn from(project: Project) -> ProjectView {
        let Project { id, name, created_at } = project;
        ProjectView { id, name, created_at }
    }
}

/// An environment, as the API shows it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct EnvironmentView {
    /// Its id.
    pub id: EnvironmentId,
    /// The project it is a copy of.
    pub project: ProjectId,
    /// That project's name.
    pub project_name: Slug,
    /// Its name, unique in the project.
    pub slug: Slug,
    /// The domain whose subdomains are tenants.
    pub base_domain: HostName,
    /// How a request finds its tenant, in order.
    pub resolve: Vec<String>,
    /// The plan of tenants made without one.
    pub default_plan: Slug,
    /// When a project file was last applied.
    pub applied_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

impl From<Environment> for EnvironmentView {
    fn from(environment: Environment) -> EnvironmentView {
        EnvironmentView {
            id: environment.id,
            project: environment.project,
            project_name: environment.project_slug,
            slug: environment.slug,
            base_domain: environment.base_domain,
            resolve: environment.resolve.iter().map(|by| rows::resolve_word(*by).to_owned()).collect(),
            default_plan: environment.default_plan,
            applied_at: environment.applied_at,
            created_at: environment.created_at,
            updated_at: environment.updated_at,
        }
    }
}

async fn list_projects(
    state: Arc<State>,
    call: Call<(), PageQuery>,
) -> Result<Reply<Page<ProjectView>>, Problem> {
    let ctx = call.caller.system_ctx("list projects")?;
    let page = call.query.page();
    let request = page.clone();
    let read = state.db.read_system(&ctx, move |tx| {
        projects::page(tx, request.after().unwrap_or_default(), request.fetch())
    });
    let page = Page::of(read.await?, &page, |project| project.id.to_string());
    Ok(Reply::ok(page.map(ProjectView::from)))
}

async fn list(state: Arc<State>, call: Call<(), PageQuery>) -> Result<Reply<Page<EnvironmentView>>, Problem> {
    let ctx = call.caller.system_ctx("list environments")?;
    let page = call.query.page();
    let after = page.after().unwrap_or_default().to_owned();
    // All of them fit one read; the page is cut here.
    let all = state.db.read_system(&ctx, rows::all).await?;
    let rest = all.into_iter().filter(|one| one.id.to_string() > after).take(page.fetch() as usize);
    let page = Page::of(rest.collect(), &page, |environment| environment.id.to_string());
    Ok(Reply::ok(page.map(EnvironmentView::from)))
}

async fn get(state: Arc<State>, call: Call) -> Result<Reply<EnvironmentView>, Problem> {
    let ctx = call.caller.system_ctx("get an environment")?;
    let name = call.path.get("e")?.to_owned();
    let project = state.project(&call).ok();
    let found = state.db.read_system(&ctx, move |tx| find(tx, project, &name)).await?;
    let revision = found.revision;
    Ok(Reply::ok(EnvironmentView::from(found)).etag(revision))
}

fn find(tx: &mut SystemTx, project: Option<ProjectId>, name: &str) -> Result<Environment, Error> {
    let found = match (EnvironmentId::parse(name), Slug::parse(name), project) {
        (Ok(id), _, _) => rows::by_id(tx, id)?,
        (Err(_), Ok(slug), Some(project)) => rows::by_slug(tx, project, &slug)?,
        (Err(_), Ok(_), None) | (Err(_), Err(_), _) => None,
    };
    found.ok_or(Error::NotFound)
}
