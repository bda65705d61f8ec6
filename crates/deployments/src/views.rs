//! Services and deployments as the API and `status` show them. Values of variables are not among it.

use crate::error::Error;
use crate::model::{DeploymentState, ReplicaState, ServiceSpec};
use crate::runtime::{ReplicaView as Present, Runtime};
use crate::store::{self, DeploymentRow, ServiceRow};
use base::{DeploymentId, EnvironmentId, PageRequest, ReplicaId, ServiceId, Slug, Timestamp};
use db::SystemTx;
use ports::ServiceDirectory as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a service does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ServiceState {
    /// Its first deployment is not there yet.
    Pending,
    /// A deployment is on its way.
    Deploying,
    /// As many replicas as there should be are ready.
    Ready,
    /// Some replicas are not ready, or some addresses do not answer.
    Degraded,
    /// It has never been live, and its last deployment failed.
    Failed,
    /// No replica is ready, or no address answers.
    Down,
}

impl ServiceState {
    /// As shown, to people as in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Deploying => "deploying",
            Self::Ready => "ready",
            Self::Degraded => "degraded",
            Self::Failed => "failed",
            Self::Down => "down",
        }
    }
}

/// A service.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ServiceView {
    /// Its id.
    pub id: ServiceId,
    /// Its name in the project file.
    pub name: Slug,
    /// How it does.
    pub state: ServiceState,
    /// Whether its source is being compared or a deployment is on its way: what it runs may change soon.
    pub pending: bool,
    /// Why its source cannot be used; `null` when it can.
    pub error: Option<String>,
    /// Where it runs when it does not run here.
    pub urls: Vec<String>,
    /// How many replicas it should have.
    pub replicas_wanted: u32,
    /// The most that `scale` may ask for.
    pub replicas_max: u32,
    /// The deployment that serves.
    pub live: Option<DeploymentId>,
    /// The newest deployment, whatever became of it.
    pub latest: Option<LatestView>,
    /// What runs.
    pub replicas: Vec<ReplicaView>,
    /// Grows with each change of its configuration.
    pub revision: i64,
    /// When it first was in the project file.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// What a service verifies jobs with that are pushed to it.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) struct PushSecretView {
    /// As Standard Webhooks writes it, `whsec_` and base64: what `SWITCHYARD_PUSH_SECRET` is to a replica.
    pub(crate) push_secret: String,
}

/// The newest deployment of a service.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct LatestView {
    /// Its id.
    pub id: DeploymentId,
    /// Where it is in its life.
    pub state: String,
    /// Why it failed, in a sentence.
    pub error: Option<String>,
}

/// A replica, or an address elsewhere.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ReplicaView {
    /// Its id; `null` for an address elsewhere.
    pub id: Option<ReplicaId>,
    /// The deployment it belongs to; `null` for an address elsewhere.
    pub deployment: Option<DeploymentId>,
    /// Where it is in its life: `ready`, `starting` …; of an address elsewhere `ready` or `unhealthy`.
    pub state: ReplicaState,
    /// Where it listens.
    pub addr: Option<String>,
    /// Its process.
    pub pid: Option<u32>,
    /// How often it was started again.
    pub restarts: u32,
    /// How it last ended; `null` when it never did.
    pub last_exit: Option<String>,
}

/// A deployment.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct DeploymentView {
    /// Its id.
    pub id: DeploymentId,
    /// The service's name.
    pub service: Slug,
    /// Where it is in its life: `queued`, `building`, `checking`, `releasing`, `live`, `superseded`, `failed`,
    /// `rolled_back`.
    pub status: String,
    /// Why it was made: `apply`, `api`, `redeploy`, `rollback`, or `restored` when what was live is not on this
    /// machine.
    pub reason: String,
    /// The deployment that it repeats.
    pub origin: Option<DeploymentId>,
    /// Why it failed, in a sentence.
    pub error: Option<String>,
    /// SHA-256 of its source.
    pub source_digest: Option<String>,
    /// Who made it.
    pub created_by: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its build began.
    pub building_at: Option<Timestamp>,
    /// When its checks began.
    pub checking_at: Option<Timestamp>,
    /// When its release began.
    pub releasing_at: Option<Timestamp>,
    /// When it began to serve.
    pub live_at: Option<Timestamp>,
    /// When it failed or was replaced.
    pub ended_at: Option<Timestamp>,
    /// The end of what its build, its checks and its first replicas printed: at most 64 KiB. Empty in lists.
    pub output: String,
}

impl DeploymentView {
    /// As lists show it.
    pub(crate) fn brief(row: DeploymentRow) -> Self {
        Self {
            id: row.id,
            service: row.service_name,
            status: row.state.as_str().to_owned(),
            reason: row.reason,
            origin: row.origin,
            error: row.error,
            source_digest: row.source_digest,
            created_by: row.created_by,
            created_at: row.created_at,
            building_at: row.building_at,
            checking_at: row.checking_at,
            releasing_at: row.releasing_at,
            live_at: row.live_at,
            ended_at: row.ended_at,
            output: String::new(),
        }
    }

    /// With its output, which is in memory while it is on its way.
    pub(crate) fn whole(runtime: &Runtime, row: DeploymentRow) -> Self {
        let output = runtime.outputs.tail(row.id).unwrap_or_else(|| row.output.clone());
        Self { output: telemetry::redact(&output).into_owned(), ..Self::brief(row) }
    }
}

/// A service with what the store knows of its deployments.
pub(crate) type Known = (ServiceRow, Option<DeploymentRow>);

/// All services of an environment, without those that are being removed.
pub(crate) fn known(tx: &mut SystemTx, environment: EnvironmentId) -> Result<Vec<Known>, Error> {
    let rows = store::services(tx, environment)?.into_iter().filter(|row| !row.removed);
    rows.map(|row| with_latest(tx, row)).collect()
}

/// One service with its newest deployment.
pub(crate) fn with_latest(tx: &mut SystemTx, row: ServiceRow) -> Result<Known, Error> {
    let page = PageRequest { limit: 1, cursor: None };
    let latest = store::deployments(tx, row.id, &page)?.into_iter().next();
    Ok((row, latest))
}

/// A service as it is now.
pub(crate) fn service(runtime: &Runtime, (row, latest): Known) -> ServiceView {
    let (replicas, urls) = match &row.spec {
        ServiceSpec::Process(_) => (present(runtime, row.id), Vec::new()),
        ServiceSpec::Urls(spec) => {
            let urls = spec.authorities.iter().map(|authority| format!("http://{authority}")).collect();
            (addresses(runtime, row.id), urls)
        }
    };
    let open = latest.as_ref().is_some_and(|latest| latest.state.is_open());
    let state = state(&row, latest.as_ref(), &replicas);
    ServiceView {
        id: row.id,
        state,
        pending: row.examine || open,
        error: row.error.clone(),
        urls,
        replicas_wanted: row.replicas(),
        replicas_max: row.process().map_or(0, |spec| spec.replicas.max),
        live: row.live,
        latest: latest.map(|latest| LatestView {
            id: latest.id,
            state: latest.state.as_str().to_owned(),
            error: latest.error,
        }),
        replicas,
        revision: row.revision,
        created_at: row.created_at,
        updated_at: row.updated_at,
        name: row.name,
    }
}

fn state(row: &ServiceRow, latest: Option<&DeploymentRow>, replicas: &[ReplicaView]) -> ServiceState {
    let ready =
        replicas.iter().filter(|one| matches!(one.state, ReplicaState::Ready | ReplicaState::Completed));
    let ready = ready.count();
    let elsewhere = matches!(row.spec, ServiceSpec::Urls(_));
    match latest {
        Some(latest) if latest.state.is_open() => ServiceState::Deploying,
        Some(latest) if row.live.is_none() && latest.state == DeploymentState::Failed => ServiceState::Failed,
        _ if row.live.is_none() && !elsewhere && row.error.is_some() => ServiceState::Failed,
        _ if row.live.is_none() && !elsewhere => ServiceState::Pending,
        _ if ready == 0 => ServiceState::Down,
        _ if ready < (row.replicas() as usize) || (elsewhere && ready < replicas.len()) => {
            ServiceState::Degraded
        }
        _ => ServiceState::Ready,
    }
}

fn present(runtime: &Runtime, service: ServiceId) -> Vec<ReplicaView> {
    let view = |one: Present| ReplicaView {
        id: Some(one.id),
        deployment: Some(one.deployment),
        state: one.state,
        addr: one.port.map(|port| format!("127.0.0.1:{port}")),
        pid: one.pid(),
        restarts: one.restarts,
        last_exit: one.last_exit,
    };
    runtime.replicas_of(service).into_iter().map(view).collect()
}

fn addresses(runtime: &Runtime, service: ServiceId) -> Vec<ReplicaView> {
    let list = runtime.directory.watch().borrow().clone();
    let endpoints = list.iter().filter(|one| one.id == service).flat_map(|one| one.endpoints.clone());
    let view = |endpoint: ports::Endpoint| ReplicaView {
        id: None,
        deployment: None,
        state: if endpoint.ready { ReplicaState::Ready } else { ReplicaState::Unhealthy },
        addr: Some(endpoint.addr.to_string()),
        pid: None,
        restarts: 0,
        last_exit: None,
    };
    endpoints.map(view).collect()
}
