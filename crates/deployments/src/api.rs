//! Routes of services and deployments.

use crate::error::Error;
use crate::ops::{self, NewDeployment};
use crate::runtime::Runtime;
use crate::source::{self, Scope};
use crate::store::{self, DeploymentRow};
use crate::views::{self, DeploymentView, PushSecretView, ServiceView};
use authority::permissions;
use base::{DeploymentId, EnvironmentId, Page, codes};
use schemars::JsonSchema;
use serde::Deserialize;
use std::path::PathBuf;
use std::sync::Arc;
use web::{Call, PageQuery, Problem, Reply, Routes, Spec};

const SERVICES: &str = "/api/v1/services";
const SERVICE: &str = "/api/v1/services/{s}";
const DEPLOYMENTS: &str = "/api/v1/services/{s}/deployments";
const SCALE: &str = "/api/v1/services/{s}/scale";
const RESTART: &str = "/api/v1/services/{s}/restart";
const PUSH_SECRET: &str = "/api/v1/services/{s}/push-secret";
const ALL_DEPLOYMENTS: &str = "/api/v1/deployments";
const DEPLOYMENT: &str = "/api/v1/deployments/{d}";
const ROLLBACK: &str = "/api/v1/deployments/{d}/rollback";

/// What handlers share.
type State = Arc<Runtime>;

/// The routes of this capability.
pub(crate) fn routes(runtime: &Arc<Runtime>) -> Routes {
    of_services(runtime).and(of_deployments(runtime))
}

fn of_services(runtime: &Arc<Runtime>) -> Routes {
    let state = || Arc::new(Arc::clone(runtime));
    Routes::new("deployments")
        .route(
            Spec::get(SERVICES, permissions::SERVICES_READ)
                .summary("List services")
                .details("All of the call's environment, with what runs of them now.")
                .in_environment(),
            state(),
            list_services,
        )
        .route(
            Spec::get(SERVICE, permissions::SERVICES_READ).summary("Get a service").in_environment(),
            state(),
            get_service,
        )
        .route(
            Spec::get(PUSH_SECRET, permissions::SERVICES_WRITE)
                .summary("Show the push secret of a service")
                .details(
                    "By which it knows that a job comes from Switchyard. Replicas have it as SWITCHYARD_PUSH_SECRET; a \
                     service that runs elsewhere (`urls`) is given it by hand.",
                )
                .codes(&[&codes::SEALED])
                .in_environment(),
            state(),
            push_secret,
        )
        .route(
            Spec::post(SCALE, permissions::SERVICES_WRITE)
                .summary("Set the number of replicas")
                .details("Between `min` and `max` of the project file's `replicas`, until the file changes.")
                .success(202)
                .codes(&[&codes::CONFLICT])
                .example(r#"{"replicas": 3}"#)
                .in_environment(),
            state(),
            scale,
        )
        .route(
            Spec::post(RESTART, permissions::SERVICES_WRITE)
                .summary("Restart a service")
                .details("Replaces its replicas one by one by new ones of the same deployment.")
                .success(202)
                .codes(&[&codes::CONFLICT])
                .in_environment(),
            state(),
            restart,
        )
}

fn of_deployments(runtime: &Arc<Runtime>) -> Routes {
    let state = || Arc::new(Arc::clone(runtime));
    Routes::new("deployments")
        .route(
            Spec::get(ALL_DEPLOYMENTS, permissions::DEPLOYMENTS_READ)
                .summary("List deployments")
                .details("Of all services of the call's environment, the newest first, without their output.")
                .in_environment(),
            state(),
            list_all_deployments,
        )
        .route(
            Spec::get(DEPLOYMENTS, permissions::DEPLOYMENTS_READ)
                .summary("List deployments of a service")
                .details("The newest first, without their output.")
                .in_environment(),
            state(),
            list_deployments,
        )
        .route(
            Spec::post(DEPLOYMENTS, permissions::DEPLOYMENTS_WRITE)
                .summary("Deploy a service")
                .details(
                    "From the project folder, or from another folder of this machine (`source`), or once more what is \
                     live (`same_build`). What serves goes on until the new replicas are healthy.",
                )
                .success(202)
                .codes(&[&codes::CONFLICT, &codes::INVALID])
                .example(r#"{"source": "/srv/agents"}"#)
                .in_environment(),
            state(),
            deploy,
        )
        .route(
            Spec::get(DEPLOYMENT, permissions::DEPLOYMENTS_READ)
                .summary("Get a deployment")
                .details("With the end of its output, also while it is on its way.")
                .in_environment(),
            state(),
            get_deployment,
        )
        .route(
            Spec::post(ROLLBACK, permissions::DEPLOYMENTS_WRITE)
                .summary("Go back to a deployment")
                .details("Makes a new deployment of its build and its variables; nothing is built again.")
                .success(202)
                .codes(&[&codes::CONFLICT])
                .in_environment(),
            state(),
            rollback,
        )
}

/// What to deploy.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Deploy {
    /// An absolute path of this machine: the folder to take the source from. The project folder when nothing is said.
    #[serde(default)]
    source: Option<String>,
    /// Whether to deploy once more what is live, without a build.
    #[serde(default)]
    same_build: bool,
}

/// How many replicas.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scale {
    /// So many.
    #[schemars(range(min = 1, max = 64))]
    replicas: u32,
}

async fn list_services(
    state: Arc<State>,
    call: Call<(), PageQuery>,
) -> Result<Reply<Page<ServiceView>>, Problem> {
    let environment = call.environment()?.id;
    let ctx = call.caller.system_ctx("list the services of an environment")?;
    let page = call.query.page();
    let after = page.after().unwrap_or_default().to_owned();
    let known = state.db.read_system(&ctx, move |tx| views::known(tx, environment)).await?;
    let rest =
        known.into_iter().filter(|(row, _)| row.name.as_str() > after.as_str()).take(page.fetch() as usize);
    let page = Page::of(rest.collect(), &page, |(row, _): &views::Known| row.name.to_string());
    Ok(Reply::ok(page.map(|known| views::service(&state, known))))
}

async fn get_service(state: Arc<State>, call: Call) -> Result<Reply<ServiceView>, Problem> {
    let environment = call.environment()?.id;
    let ctx = call.caller.system_ctx("show a service")?;
    let name = call.path.get("s")?.to_owned();
    let known = state
        .db
        .read_system(&ctx, move |tx| {
            let row = store::service(tx, environment, &name)?;
            views::with_latest(tx, row)
        })
        .await?;
    let view = views::service(&state, known);
    let revision = view.revision;
    Ok(Reply::ok(view).etag(revision))
}

async fn push_secret(state: Arc<State>, call: Call) -> Result<Reply<PushSecretView>, Problem> {
    let environment = call.environment()?.id;
    let ctx = call.caller.system_ctx("show the push secret of a service")?;
    let name = call.path.get("s")?.to_owned();
    let row = state.db.read_system(&ctx, move |tx| store::service(tx, environment, &name)).await?;
    let secret = state.processes.push_secret(row.id).ok_or_else(|| Problem::new(&codes::SEALED))?;
    Ok(Reply::ok(PushSecretView { push_secret: secret.expose().clone() }))
}

async fn list_deployments(
    state: Arc<State>,
    call: Call<(), PageQuery>,
) -> Result<Reply<Page<DeploymentView>>, Problem> {
    let environment = call.environment()?.id;
    let ctx = call.caller.system_ctx("list the deployments of a service")?;
    let name = call.path.get("s")?.to_owned();
    let page = call.query.page();
    let asked = page.clone();
    let rows = state
        .db
        .read_system(&ctx, move |tx| {
            let service = store::service(tx, environment, &name)?;
            store::deployments(tx, service.id, &asked)
        })
        .await?;
    let page = Page::of(rows, &page, |row: &DeploymentRow| row.id.to_string());
    Ok(Reply::ok(page.map(DeploymentView::brief)))
}

async fn list_all_deployments(
    state: Arc<State>,
    call: Call<(), PageQuery>,
) -> Result<Reply<Page<DeploymentView>>, Problem> {
    let environment = call.environment()?.id;
    let ctx = call.caller.system_ctx("list the deployments of an environment")?;
    let page = call.query.page();
    let asked = page.clone();
    let rows = state.db.read_system(&ctx, move |tx| store::all_deployments(tx, environment, &asked)).await?;
    let page = Page::of(rows, &page, |row: &DeploymentRow| row.id.to_string());
    Ok(Reply::ok(page.map(DeploymentView::brief)))
}

async fn deploy(state: Arc<State>, call: Call<Deploy>) -> Result<Reply<DeploymentView>, Problem> {
    let environment = call.environment()?.id;
    let ctx = call.caller.system_ctx("deploy a service")?;
    let name = call.path.get("s")?.to_owned();
    let Deploy { source, same_build } = call.body;
    if same_build && source.is_some() {
        let problem = Problem::new(&codes::INVALID);
        return Err(problem.fault("/source", "`same_build` deploys what is live: it takes no `source`"));
    }
    let from = if same_build { None } else { Some(examine(&state, environment, &name, &ctx, source).await?) };
    let once = call.idempotency.clone();
    let runtime = Arc::clone(&state);
    let made = state
        .db
        .write_system(&ctx, move |tx| {
            once.once(tx, |tx| {
                let service = store::service(tx, environment, &name)?;
                let row = match &from {
                    None => ops::redeploy(tx, &service, runtime.ambient())?,
                    Some((dir, digest)) => {
                        let new = NewDeployment {
                            reason: "api",
                            origin: None,
                            source_dir: Some(dir.clone()),
                            source_digest: Some(digest.clone()),
                        };
                        ops::enqueue(tx, &service, new, runtime.ambient())?
                    }
                };
                Ok::<_, Error>(DeploymentView::brief(row))
            })
        })
        .await?;
    state.nudge();
    Ok(Reply::accepted(made))
}

/// The folder to deploy from and the digest of what is in it.
async fn examine(
    state: &State,
    environment: EnvironmentId,
    name: &str,
    ctx: &authority::SystemCtx,
    source: Option<String>,
) -> Result<(String, String), Problem> {
    let name = name.to_owned();
    let service = state.db.read_system(ctx, move |tx| store::service(tx, environment, &name)).await?;
    let spec = service.process().ok_or_else(|| Error::Elsewhere(service.name.clone()))?;
    let dir = match source {
        Some(source) => PathBuf::from(source),
        None => state.config.project_dir.clone().ok_or(Error::NoSource)?,
    };
    if !dir.is_absolute() {
        return Err(Problem::new(&codes::INVALID).fault("/source", "an absolute path of this machine"));
    }
    let volumes: Vec<PathBuf> =
        spec.volumes.values().filter_map(|volume| volume.path.as_ref().map(PathBuf::from)).collect();
    let data_dir = state.folders.data_dir().to_path_buf();
    let shown = dir.display().to_string();
    let digest = lifecycle::blocking(move || {
        source::digest(Scope { dir: &dir, data_dir: &data_dir, volumes: &volumes })
    });
    let digest = digest.await.ok_or_else(|| Problem::new(&codes::UNAVAILABLE))?.map_err(Error::from)?;
    Ok((shown, digest))
}

async fn get_deployment(state: Arc<State>, call: Call) -> Result<Reply<DeploymentView>, Problem> {
    let environment = call.environment()?.id;
    let ctx = call.caller.system_ctx("show a deployment")?;
    let id: DeploymentId = call.path.id("d")?;
    let row = state.db.read_system(&ctx, move |tx| own(store::deployment(tx, id)?, environment)).await?;
    Ok(Reply::ok(DeploymentView::whole(&state, row)))
}

async fn rollback(state: Arc<State>, call: Call) -> Result<Reply<DeploymentView>, Problem> {
    let environment = call.environment()?.id;
    let ctx = call.caller.system_ctx("go back to a deployment")?;
    let id: DeploymentId = call.path.id("d")?;
    let once = call.idempotency.clone();
    let runtime = Arc::clone(&state);
    let made = state
        .db
        .write_system(&ctx, move |tx| {
            once.once(tx, |tx| {
                own(store::deployment(tx, id)?, environment)?;
                ops::rollback(tx, id, runtime.ambient()).map(DeploymentView::brief)
            })
        })
        .await?;
    state.nudge();
    Ok(Reply::accepted(made))
}

/// A deployment of another environment is as one that never was.
fn own(row: DeploymentRow, environment: EnvironmentId) -> Result<DeploymentRow, Error> {
    if row.environment == environment { Ok(row) } else { Err(Error::NoDeployment(row.id.to_string())) }
}

async fn scale(state: Arc<State>, call: Call<Scale>) -> Result<Reply<ServiceView>, Problem> {
    let environment = call.environment()?.id;
    let ctx = call.caller.system_ctx("scale a service")?;
    let name = call.path.get("s")?.to_owned();
    let wanted = call.body.replicas;
    let once = call.idempotency.clone();
    let runtime = Arc::clone(&state);
    let scaled = state
        .db
        .write_system(&ctx, move |tx| {
            once.once(tx, |tx| {
                let service = store::service(tx, environment, &name)?;
                let service = ops::scale(tx, &service, wanted, runtime.ambient())?;
                let known = views::with_latest(tx, service)?;
                Ok::<_, Error>(views::service(&runtime, known))
            })
        })
        .await?;
    state.nudge();
    Ok(Reply::accepted(scaled))
}

async fn restart(state: Arc<State>, call: Call) -> Result<Reply<ServiceView>, Problem> {
    let environment = call.environment()?.id;
    let ctx = call.caller.system_ctx("restart a service")?;
    let name = call.path.get("s")?.to_owned();
    let once = call.idempotency.clone();
    let runtime = Arc::clone(&state);
    let restarted = state
        .db
        .write_system(&ctx, move |tx| {
            once.once(tx, |tx| {
                let service = store::service(tx, environment, &name)?;
                let service = ops::restart(tx, &service, runtime.ambient())?;
                let known = views::with_latest(tx, service)?;
                Ok::<_, Error>(views::service(&runtime, known))
            })
        })
        .await?;
    state.nudge();
    Ok(Reply::accepted(restarted))
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let said = error.to_string();
        let conflict = || Problem::new(&codes::CONFLICT).detail(format!("{said}."));
        match error {
            Error::NoService(_) | Error::NoDeployment(_) => Problem::new(&codes::NOT_FOUND),
            Error::Elsewhere(_)
            | Error::NothingLive(_)
            | Error::NotKept(_)
            | Error::NeverServed { .. }
            | Error::LiveAlready(_)
            | Error::Scale { .. } => conflict(),
            Error::NoSource | Error::Source(_) => Problem::new(&codes::INVALID).fault("/source", said),
            Error::Unreadable(_) => Problem::internal(said),
            Error::Store(error) => error.into(),
        }
    }
}
