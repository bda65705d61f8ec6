//! Applying a project file to a running Switchyard, and following it until the services have settled.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use config::ProjectFile;
use deployments::{DeploymentView, ServiceState, ServiceView};
use module::{CliError, ControlClient, Session, encode};
use serde::Deserialize;
use serde_json::json;
use tenants::ConfigurationReply;

use crate::build::ENVIRONMENT;

/// How often the services are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long a service whose deployment is live may take to have its replicas ready, as after a restart of Switchyard.
const REST_TIME_MAX: Duration = Duration::from_secs(30);
/// Lines of a failed deployment's output that are shown.
const OUTPUT_LINES_MAX: usize = 20;
/// What stands between the reason of a failure and the end of its output.
const LAST_OUTPUT: &str = "; its last output: ";
/// Tenants that are named with their addresses.
const TENANTS_SHOWN: usize = 5;

#[derive(Deserialize)]
struct Listed<T> {
    data: Vec<T>,
}

/// Applies the file, and says what it changed.
pub(super) async fn apply(
    session: &Session,
    client: &ControlClient,
    project: &ProjectFile,
    prune: bool,
) -> Result<(), CliError> {
    let body = json!({ "text": project.text(), "file_name": project.name(), "prune": prune });
    let path = format!("/api/v1/environments/{ENVIRONMENT}/configuration");
    let applied: ConfigurationReply = client.put(&path, &body).await?;
    for change in &applied.changes {
        session.line(format!("  {} {}", change.kind, change.what));
    }
    Ok(())
}

/// Waits until no service is being built, checked or released, and shows what their builds print meanwhile.
///
/// # Errors
/// A deployment failed: which, why, and the end of what it printed.
pub(super) async fn until_settled(session: &Session, client: &ControlClient) -> Result<(), CliError> {
    let progress = session.progress(None, "Deploying");
    let mut said: BTreeMap<String, String> = BTreeMap::new();
    let mut output = Outputs::default();
    let mut shown = String::new();
    let mut waited = Duration::ZERO;
    let services = loop {
        let services = services(client).await?;
        for service in &services {
            let state = step_word(service);
            if said.insert(service.name.to_string(), state.clone()).as_ref() != Some(&state) {
                progress.note(&format!("  {}: {state}", service.name));
            }
            output.pass_on(client, service, &progress).await?;
        }
        if services.iter().all(|service| !service.pending) {
            let patience_left = waited < REST_TIME_MAX;
            if !patience_left || services.iter().all(at_rest) {
                break services;
            }
            waited += LOOK_EVERY;
        }
        let step = describe(&services);
        // Where there is no terminal, the notes above have said the same.
        if step != shown && session.output.options().tty {
            progress.step(&step);
            shown = step;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    };
    progress.finish();
    let failed: Vec<&ServiceView> = services.iter().filter(|service| failure(service).is_some()).collect();
    if !failed.is_empty() {
        return Err(explain(client, &failed).await);
    }
    // Their deployment is live, so nothing is undone; but nobody should have to find out by a request.
    for service in services.iter().filter(|service| !at_rest(service)) {
        session.output.note(format!(
            "{} is {} after {} s: `switchyard logs --service {}` tells why.",
            service.name,
            word(service),
            REST_TIME_MAX.as_secs(),
            service.name
        ));
    }
    Ok(())
}

/// The addresses to open.
pub(super) async fn show_urls(
    session: &Session,
    client: &ControlClient,
    gateway: Option<SocketAddr>,
) -> Result<(), CliError> {
    let services = services(client).await?;
    let rows = services.iter().map(|service| {
        let ready =
            service.replicas.iter().filter(|one| one.state == deployments::ReplicaState::Ready).count();
        vec![service.name.to_string(), word(service), format!("{ready}/{}", wanted(service))]
    });
    session.table(&["service", "state", "replicas ready"], rows);
    let Some(gateway) = gateway else { return Ok(()) };
    let tenants: Listed<tenants::TenantView> =
        client.get(&format!("/api/v1/tenants?limit={TENANTS_SHOWN}")).await?;
    let base = base_domain(client).await?;
    for tenant in &tenants.data {
        session.line(format!("  http://{}.{base}:{}/", tenant.slug, gateway.port()));
    }
    if tenants.data.len() == TENANTS_SHOWN {
        session.line("  `switchyard tenants list` shows all tenants, `switchyard open TENANT` opens the app as one of them.");
    }
    if tenants.data.is_empty() {
        session.line(format!(
            "No tenant yet. `switchyard tenants create acme --email ops@acme.example` makes one, at \
             http://acme.{base}:{}/",
            gateway.port()
        ));
    }
    if let Ok(control) = client.base() {
        session.line(format!("  Control API: {control}/api/docs"));
    }
    Ok(())
}

async fn base_domain(client: &ControlClient) -> Result<String, CliError> {
    let environments: Listed<tenants::EnvironmentView> = client.get("/api/v1/environments").await?;
    let found = environments.data.iter().find(|one| one.slug.as_str() == ENVIRONMENT);
    Ok(found.map_or_else(|| "localhost".to_owned(), |one| one.base_domain.to_string()))
}

async fn services(client: &ControlClient) -> Result<Vec<ServiceView>, CliError> {
    client.all("/api/v1/services").await
}

/// Whether a service that is not being deployed is as it will stay.
fn at_rest(service: &ServiceView) -> bool {
    match service.state {
        ServiceState::Ready | ServiceState::Failed => true,
        ServiceState::Pending | ServiceState::Deploying | ServiceState::Degraded | ServiceState::Down => {
            // Addresses elsewhere come and go without us.
            !service.urls.is_empty()
        }
    }
}

/// How many replicas or addresses there are to be.
fn wanted(service: &ServiceView) -> usize {
    if service.urls.is_empty() { service.replicas_wanted as usize } else { service.replicas.len() }
}

fn word(service: &ServiceView) -> String {
    match (&service.latest, service.pending) {
        (Some(latest), true) => latest.state.clone(),
        (None, true) => "reading its source".to_owned(),
        (_, false) => service.state.as_str().to_owned(),
    }
}

/// The same for a service on its way: one whose deployment is live, as after a restart of Switchyard, is not down for good.
fn step_word(service: &ServiceView) -> String {
    let live = service.latest.as_ref().is_some_and(|latest| latest.state == "live");
    if live && !at_rest(service) { "starting its replicas".to_owned() } else { word(service) }
}

fn describe(services: &[ServiceView]) -> String {
    let words: Vec<String> =
        services.iter().filter(|s| s.pending).map(|s| format!("{}: {}", s.name, step_word(s))).collect();
    words.join(", ")
}

/// Why the newest deployment of a service did not come to serve.
fn failure(service: &ServiceView) -> Option<String> {
    let latest = service.latest.as_ref().filter(|latest| latest.state == "failed");
    let why = latest.map(|latest| latest.error.clone().unwrap_or_else(|| "its deployment failed".to_owned()));
    service.error.clone().or(why)
}

async fn explain(client: &ControlClient, failed: &[&ServiceView]) -> CliError {
    let mut text = String::new();
    for service in failed {
        let why = failure(service).unwrap_or_default();
        let output = printed(client, service).await;
        // The reason ends with the last of the output, for lists; here all of it follows.
        let why =
            why.split_once(LAST_OUTPUT).filter(|_| !output.is_empty()).map_or(why.as_str(), |(why, _)| why);
        text.push_str(&format!("{}: {why}\n{output}", service.name));
    }
    let served = failed.iter().any(|service| service.live.is_some());
    let next = if served {
        "What served before goes on serving. Mend it and run `switchyard up` again."
    } else {
        "Mend it and run `switchyard up` again."
    };
    CliError::failure(text.trim_end()).next(next)
}

/// The end of what the newest deployment of a service printed, line by line.
async fn printed(client: &ControlClient, service: &ServiceView) -> String {
    let Some(latest) = &service.latest else { return String::new() };
    let path = format!("/api/v1/deployments/{}", encode(&latest.id.to_string()));
    let Ok(deployment) = client.get::<DeploymentView>(&path).await else { return String::new() };
    let lines: Vec<&str> = deployment.output.lines().rev().take(OUTPUT_LINES_MAX).collect();
    lines.iter().rev().map(|line| format!("  | {}\n", telemetry::printable(line))).collect()
}

/// What builds have printed so far.
#[derive(Default)]
struct Outputs(BTreeMap<String, usize>);

impl Outputs {
    /// Passes on what came since the last time, in whole lines.
    async fn pass_on(
        &mut self,
        client: &ControlClient,
        service: &ServiceView,
        progress: &module::Progress,
    ) -> Result<(), CliError> {
        let Some(latest) = service.latest.as_ref().filter(|_| service.pending) else { return Ok(()) };
        if !matches!(latest.state.as_str(), "building" | "checking") {
            return Ok(());
        }
        let id = latest.id.to_string();
        let deployment: DeploymentView = client.get(&format!("/api/v1/deployments/{}", encode(&id))).await?;
        let shown = self.0.entry(id).or_default();
        // The output is the end of what was printed: once it is cut at its start, it is shown from there.
        let fresh = deployment.output.get(*shown..).unwrap_or(&deployment.output);
        let whole = fresh.rfind('\n').map_or(0, |end| end + 1);
        for line in fresh[..whole].lines() {
            progress.note(&format!("  {} | {}", service.name, telemetry::printable(line)));
        }
        *shown += whole;
        Ok(())
    }
}
