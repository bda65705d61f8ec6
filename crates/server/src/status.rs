//! `/api/status`: what runs here, at a glance; and the verb that shows it.

use std::collections::BTreeMap;
use std::sync::Arc;

use authority::permissions;
use clap::{ArgMatches, Command};
use deployments::{Handle, ServiceView};
use module::{Session, Verb, VerbFuture};
use ports::EnvironmentDirectory;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use web::{Call, Problem, Reply, Routes, Spec};

/// What the handler asks.
pub(crate) struct State {
    services: Handle,
    environments: Arc<dyn EnvironmentDirectory>,
    listeners: BTreeMap<String, String>,
}

/// What runs here.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct StatusView {
    /// The version of this binary.
    version: String,
    /// The environment that this process runs; `null` before a project was applied.
    environment: Option<String>,
    /// That environment's project.
    project: Option<String>,
    /// Under which domain tenants are served.
    base_domain: Option<String>,
    /// Where this process listens, by name.
    listeners: BTreeMap<String, String>,
    /// The services of the environment.
    services: Vec<ServiceView>,
}

/// The route.
pub(crate) fn routes(
    services: Handle,
    environments: Arc<dyn EnvironmentDirectory>,
    listeners: BTreeMap<String, String>,
) -> Routes {
    Routes::new("server").route(
        Spec::get("/api/status", permissions::STATUS_READ).summary("What runs here"),
        Arc::new(State { services, environments, listeners }),
        status,
    )
}

async fn status(state: Arc<State>, _: Call) -> Result<Reply<StatusView>, Problem> {
    let current = state.environments.current();
    let services = match &current {
        Some(environment) => state.services.snapshot(environment.id).await?,
        None => Vec::new(),
    };
    Ok(Reply::ok(StatusView {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        environment: current.as_ref().map(|one| one.slug.to_string()),
        project: current.as_ref().map(|one| one.project_slug.to_string()),
        base_domain: current.as_ref().map(|one| one.base_domain.to_string()),
        listeners: state.listeners.clone(),
        services,
    }))
}

/// The verb.
pub(crate) const VERB: Verb = Verb { name: "status", command, run };

fn command() -> Command {
    Command::new("status").about("Show what runs: services, replicas, addresses")
}

fn run(_: ArgMatches, session: Session) -> VerbFuture {
    Box::pin(async move {
        let status: serde_json::Value = session.client.get("/api/status").await?;
        if session.json_wanted() {
            session.json(&status);
            return Ok(());
        }
        let status: StatusView = serde_json::from_value(status).map_err(|error| {
            module::CliError::failure(format!("the status is of another version: {error}"))
        })?;
        show(&session, &status);
        Ok(())
    })
}

fn show(session: &Session, status: &StatusView) {
    let name = |value: &Option<String>| value.clone().unwrap_or_else(|| "none yet".to_owned());
    session.line(format!("Project {}, environment {}", name(&status.project), name(&status.environment)));
    for (name, addr) in &status.listeners {
        session.line(format!("  {:<12} http://{addr}", listener_word(name)));
    }
    let rows = status.services.iter().flat_map(|service| {
        let head = vec![
            service.name.to_string(),
            service.state.as_str().to_owned(),
            String::new(),
            String::new(),
            String::new(),
        ];
        let replicas = service.replicas.iter().map(|replica| {
            vec![
                String::new(),
                replica.state.as_str().to_owned(),
                replica.addr.clone().unwrap_or_default(),
                replica.pid.map(|pid| pid.to_string()).unwrap_or_default(),
                replica.restarts.to_string(),
            ]
        });
        std::iter::once(head).chain(replicas.collect::<Vec<_>>()).collect::<Vec<_>>()
    });
    session.table(&["service", "state", "address", "process", "restarts"], rows);
}

/// What a listener is for; "service" alone would read as one of the services.
fn listener_word(name: &str) -> &str {
    match name {
        "control" => "control API",
        "service" => "service API",
        other => other,
    }
}
