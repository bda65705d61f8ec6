//! All SQL of this capability. Its tables are keyed by environment and hold nothing of tenants.

use crate::error::Error;
use crate::model::{DeploymentState, ProcessSpec, ReplicaState, ServiceSpec};
use base::{Cursor, DeploymentId, EnvironmentId, PageRequest, ReplicaId, ServiceId, Slug, Timestamp};
use db::{Row, Sql, SystemTx, params};
use ports::ServiceIdentity;

/// Sorts after every id.
const BEYOND: &str = "~";

/// A service as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServiceRow {
    pub(crate) environment: EnvironmentId,
    pub(crate) name: Slug,
    pub(crate) id: ServiceId,
    pub(crate) spec: ServiceSpec,
    /// Asked for by `scale`; `None` means as the file says.
    pub(crate) scale: Option<u32>,
    pub(crate) live: Option<DeploymentId>,
    /// Whether the source has to be compared with what is live.
    pub(crate) examine: bool,
    /// How often a restart was asked for.
    pub(crate) restarts: i64,
    /// Its processes are to end, then the row goes.
    pub(crate) removed: bool,
    /// Its volumes go with it.
    pub(crate) prune: bool,
    /// Why the last examination made no deployment.
    pub(crate) error: Option<String>,
    pub(crate) revision: i64,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
}

impl ServiceRow {
    /// How many replicas it is to have; none for one that runs elsewhere.
    pub(crate) fn replicas(&self) -> u32 {
        match &self.spec {
            ServiceSpec::Process(spec) => {
                let wanted = self.scale.unwrap_or(spec.replicas.min);
                wanted.clamp(spec.replicas.min, spec.replicas.max)
            }
            ServiceSpec::Urls(_) => 0,
        }
    }

    /// What runs here, if it does.
    pub(crate) fn process(&self) -> Option<&ProcessSpec> {
        match &self.spec {
            ServiceSpec::Process(spec) => Some(spec),
            ServiceSpec::Urls(_) => None,
        }
    }
}

/// A deployment as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeploymentRow {
    pub(crate) id: DeploymentId,
    pub(crate) environment: EnvironmentId,
    pub(crate) service: ServiceId,
    pub(crate) service_name: Slug,
    pub(crate) state: DeploymentState,
    /// Why it was made: `apply`, `api`, `redeploy`, `rollback`, `restored`.
    pub(crate) reason: String,
    /// The deployment that it repeats.
    pub(crate) origin: Option<DeploymentId>,
    pub(crate) spec: ProcessSpec,
    pub(crate) release_digest: String,
    /// The folder that the source comes from.
    pub(crate) source_dir: Option<String>,
    pub(crate) source_digest: Option<String>,
    pub(crate) build_digest: Option<String>,
    /// Whose folder it runs in: its own, or that of an equal build.
    pub(crate) artefact: Option<DeploymentId>,
    /// Whether that folder is whole.
    pub(crate) built: bool,
    pub(crate) error: Option<String>,
    pub(crate) output: String,
    pub(crate) created_by: String,
    pub(crate) created_at: Timestamp,
    pub(crate) building_at: Option<Timestamp>,
    pub(crate) checking_at: Option<Timestamp>,
    pub(crate) releasing_at: Option<Timestamp>,
    pub(crate) live_at: Option<Timestamp>,
    pub(crate) ended_at: Option<Timestamp>,
}

/// A replica as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReplicaRow {
    pub(crate) deployment: DeploymentId,
    pub(crate) ordinal: u32,
    pub(crate) id: ReplicaId,
    pub(crate) environment: EnvironmentId,
    pub(crate) service: ServiceId,
    pub(crate) state: ReplicaState,
    pub(crate) port: Option<u16>,
    pub(crate) restarts: u32,
    pub(crate) last_exit: Option<String>,
    pub(crate) updated_at: Timestamp,
}

const SERVICES: Sql = Sql::One(
    "SELECT environment, name, id, spec, scale, live, examine, restarts, removed, prune, error, revision, \
     created_at, updated_at FROM deployments_services WHERE environment = $1 ORDER BY name",
);

/// All services of an environment, by name, with those that are being removed.
pub(crate) fn services(tx: &mut SystemTx, environment: EnvironmentId) -> Result<Vec<ServiceRow>, Error> {
    tx.query(&SERVICES, &params![environment])?.iter().map(service_row).collect()
}

const ALL_SERVICES: Sql = Sql::One(
    "SELECT environment, name, id, spec, scale, live, examine, restarts, removed, prune, error, revision, \
     created_at, updated_at FROM deployments_services ORDER BY environment, name",
);

/// All services of all environments.
pub(crate) fn all_services(tx: &mut SystemTx) -> Result<Vec<ServiceRow>, Error> {
    tx.query(&ALL_SERVICES, &params![])?.iter().map(service_row).collect()
}

const SERVICE: Sql = Sql::One(
    "SELECT environment, name, id, spec, scale, live, examine, restarts, removed, prune, error, revision, \
     created_at, updated_at FROM deployments_services WHERE environment = $1 AND (name = $2 OR id = $2)",
);

/// One service by name or id; not one that is being removed.
pub(crate) fn service(
    tx: &mut SystemTx,
    environment: EnvironmentId,
    name_or_id: &str,
) -> Result<ServiceRow, Error> {
    let row = tx.query_opt(&SERVICE, &params![environment, name_or_id])?;
    let row = row.as_ref().map(service_row).transpose()?.filter(|row| !row.removed);
    row.ok_or_else(|| Error::NoService(name_or_id.to_owned()))
}

fn service_row(row: &Row) -> Result<ServiceRow, Error> {
    let scale: Option<i64> = row.get(4)?;
    Ok(ServiceRow {
        environment: row.get(0)?,
        name: row.get(1)?,
        id: row.get(2)?,
        spec: json(&row.get::<String>(3)?, "a service")?,
        scale: scale.and_then(|scale| u32::try_from(scale).ok()),
        live: row.get(5)?,
        examine: row.get(6)?,
        restarts: row.get(7)?,
        removed: row.get(8)?,
        prune: row.get(9)?,
        error: row.get(10)?,
        revision: row.get(11)?,
        created_at: row.get(12)?,
        updated_at: row.get(13)?,
    })
}

const PUT_SERVICE: Sql = Sql::One(
    "INSERT INTO deployments_services (environment, name, id, managed_by, spec, scale, live, examine, restarts, \
     removed, prune, error, revision, created_at, updated_at) \
     VALUES ($1, $2, $3, 'file', $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) \
     ON CONFLICT (environment, name) DO UPDATE SET spec = excluded.spec, scale = excluded.scale, \
     live = excluded.live, examine = excluded.examine, restarts = excluded.restarts, removed = excluded.removed, \
     prune = excluded.prune, error = excluded.error, revision = excluded.revision, updated_at = excluded.updated_at",
);

/// Writes a service as a whole.
pub(crate) fn put_service(tx: &mut SystemTx, row: &ServiceRow) -> Result<(), Error> {
    let spec = serde_json::to_string(&row.spec).map_err(|_| Error::Unreadable("a service"))?;
    tx.execute(
        &PUT_SERVICE,
        &params![
            row.environment,
            &row.name,
            row.id,
            spec,
            row.scale.map(i64::from),
            row.live,
            row.examine,
            row.restarts,
            row.removed,
            row.prune,
            row.error.clone(),
            row.revision,
            row.created_at,
            row.updated_at
        ],
    )?;
    Ok(())
}

const DELETE_SERVICE: Sql =
    Sql::One("DELETE FROM deployments_services WHERE environment = $1 AND name = $2 AND removed = TRUE");

/// Forgets a service whose processes have ended. One that the file has again by now stays.
pub(crate) fn delete_service(tx: &mut SystemTx, row: &ServiceRow) -> Result<bool, Error> {
    Ok(tx.execute(&DELETE_SERVICE, &params![row.environment, &row.name])? > 0)
}

/// Reads whole deployments, in the order that [`deployment_row`] expects.
macro_rules! deployments {
    ($which:literal) => {
        Sql::One(concat!(
            "SELECT id, environment, service, service_name, state, reason, origin, spec, release_digest, source_dir, \
             source_digest, build_digest, artefact, built, error, output, created_by, created_at, building_at, \
             checking_at, releasing_at, live_at, ended_at FROM deployments_deployments ",
            $which
        ))
    };
}

const DEPLOYMENT: Sql = deployments!("WHERE id = $1");

/// One deployment.
pub(crate) fn deployment(tx: &mut SystemTx, id: DeploymentId) -> Result<DeploymentRow, Error> {
    let row = tx.query_opt(&DEPLOYMENT, &params![id])?;
    row.as_ref().map(deployment_row).transpose()?.ok_or_else(|| Error::NoDeployment(id.to_string()))
}

const DEPLOYMENTS: Sql = deployments!("WHERE service = $1 AND id < $2 ORDER BY id DESC LIMIT $3");

/// Deployments of a service, the newest first.
pub(crate) fn deployments(
    tx: &mut SystemTx,
    service: ServiceId,
    page: &PageRequest,
) -> Result<Vec<DeploymentRow>, Error> {
    let before = page.cursor.as_ref().map_or(BEYOND, Cursor::key);
    let rows = tx.query(&DEPLOYMENTS, &params![service, before, page.fetch()])?;
    rows.iter().map(deployment_row).collect()
}

const ALL_DEPLOYMENTS: Sql = deployments!("WHERE environment = $1 AND id < $2 ORDER BY id DESC LIMIT $3");

/// Deployments of all services of an environment, the newest first.
pub(crate) fn all_deployments(
    tx: &mut SystemTx,
    environment: EnvironmentId,
    page: &PageRequest,
) -> Result<Vec<DeploymentRow>, Error> {
    let before = page.cursor.as_ref().map_or(BEYOND, Cursor::key);
    let rows = tx.query(&ALL_DEPLOYMENTS, &params![environment, before, page.fetch()])?;
    rows.iter().map(deployment_row).collect()
}

const OPEN_DEPLOYMENTS: Sql = deployments!(
    "WHERE service = $1 AND state IN ('queued', 'building', 'checking', 'releasing') ORDER BY id"
);

/// Deployments of a service that are on their way, the oldest first.
pub(crate) fn open_deployments(tx: &mut SystemTx, service: ServiceId) -> Result<Vec<DeploymentRow>, Error> {
    tx.query(&OPEN_DEPLOYMENTS, &params![service])?.iter().map(deployment_row).collect()
}

const SAME_BUILD: Sql =
    deployments!("WHERE environment = $1 AND build_digest = $2 AND built = TRUE ORDER BY id DESC LIMIT 1");

/// A deployment of the environment that was built of the same, and whose folder is kept.
pub(crate) fn same_build(
    tx: &mut SystemTx,
    environment: EnvironmentId,
    build_digest: &str,
) -> Result<Option<DeploymentRow>, Error> {
    tx.query_opt(&SAME_BUILD, &params![environment, build_digest])?.as_ref().map(deployment_row).transpose()
}

const KEPT: Sql = deployments!("WHERE environment = $1 AND built = TRUE ORDER BY id DESC");

/// Deployments of an environment whose folders are kept, the newest first.
pub(crate) fn kept(tx: &mut SystemTx, environment: EnvironmentId) -> Result<Vec<DeploymentRow>, Error> {
    tx.query(&KEPT, &params![environment])?.iter().map(deployment_row).collect()
}

fn deployment_row(row: &Row) -> Result<DeploymentRow, Error> {
    let state: String = row.get(4)?;
    Ok(DeploymentRow {
        id: row.get(0)?,
        environment: row.get(1)?,
        service: row.get(2)?,
        service_name: row.get(3)?,
        state: DeploymentState::parse(&state).ok_or(Error::Unreadable("a deployment's state"))?,
        reason: row.get(5)?,
        origin: row.get(6)?,
        spec: json(&row.get::<String>(7)?, "a deployment")?,
        release_digest: row.get(8)?,
        source_dir: row.get(9)?,
        source_digest: row.get(10)?,
        build_digest: row.get(11)?,
        artefact: row.get(12)?,
        built: row.get(13)?,
        error: row.get(14)?,
        output: row.get(15)?,
        created_by: row.get(16)?,
        created_at: row.get(17)?,
        building_at: row.get(18)?,
        checking_at: row.get(19)?,
        releasing_at: row.get(20)?,
        live_at: row.get(21)?,
        ended_at: row.get(22)?,
    })
}

const PUT_DEPLOYMENT: Sql = Sql::One(
    "INSERT INTO deployments_deployments (id, environment, service, service_name, state, reason, origin, spec, \
     release_digest, source_dir, source_digest, build_digest, artefact, built, error, output, created_by, \
     created_at, building_at, checking_at, releasing_at, live_at, ended_at) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23) \
     ON CONFLICT (id) DO UPDATE SET state = excluded.state, source_digest = excluded.source_digest, \
     build_digest = excluded.build_digest, artefact = excluded.artefact, built = excluded.built, \
     error = excluded.error, output = excluded.output, building_at = excluded.building_at, \
     checking_at = excluded.checking_at, releasing_at = excluded.releasing_at, live_at = excluded.live_at, \
     ended_at = excluded.ended_at",
);

/// Writes a deployment; of one that exists, what may change of it.
pub(crate) fn put_deployment(tx: &mut SystemTx, row: &DeploymentRow) -> Result<(), Error> {
    let spec = serde_json::to_string(&row.spec).map_err(|_| Error::Unreadable("a deployment"))?;
    tx.execute(
        &PUT_DEPLOYMENT,
        &params![
            row.id,
            row.environment,
            row.service,
            &row.service_name,
            row.state.as_str(),
            &row.reason,
            row.origin,
            spec,
            &row.release_digest,
            row.source_dir.clone(),
            row.source_digest.clone(),
            row.build_digest.clone(),
            row.artefact,
            row.built,
            row.error.clone(),
            &row.output,
            &row.created_by,
            row.created_at,
            row.building_at,
            row.checking_at,
            row.releasing_at,
            row.live_at,
            row.ended_at
        ],
    )?;
    Ok(())
}

const REPLICAS: Sql = Sql::One(
    "SELECT deployment, ordinal, id, environment, service, state, port, restarts, last_exit, updated_at \
     FROM deployments_replicas WHERE service = $1 ORDER BY deployment, ordinal",
);

/// The replicas of a service, of all its deployments.
pub(crate) fn replicas(tx: &mut SystemTx, service: ServiceId) -> Result<Vec<ReplicaRow>, Error> {
    let read = |row: &Row| {
        let state: String = row.get(5)?;
        let port: Option<i64> = row.get(6)?;
        Ok(ReplicaRow {
            deployment: row.get(0)?,
            ordinal: row.get(1)?,
            id: row.get(2)?,
            environment: row.get(3)?,
            service: row.get(4)?,
            state: ReplicaState::parse(&state).ok_or(Error::Unreadable("a replica's state"))?,
            port: port.and_then(|port| u16::try_from(port).ok()),
            restarts: row.get(7)?,
            last_exit: row.get(8)?,
            updated_at: row.get(9)?,
        })
    };
    tx.query(&REPLICAS, &params![service])?.iter().map(read).collect()
}

const PUT_REPLICA: Sql = Sql::One(
    "INSERT INTO deployments_replicas (deployment, ordinal, id, environment, service, state, port, restarts, \
     last_exit, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) \
     ON CONFLICT (deployment, ordinal) DO UPDATE SET id = excluded.id, state = excluded.state, \
     port = excluded.port, restarts = excluded.restarts, last_exit = excluded.last_exit, \
     updated_at = excluded.updated_at",
);

/// Writes a replica.
pub(crate) fn put_replica(tx: &mut SystemTx, row: &ReplicaRow) -> Result<(), Error> {
    tx.execute(
        &PUT_REPLICA,
        &params![
            row.deployment,
            row.ordinal,
            row.id,
            row.environment,
            row.service,
            row.state.as_str(),
            row.port.map(i64::from),
            row.restarts,
            row.last_exit.clone(),
            row.updated_at
        ],
    )?;
    Ok(())
}

const DELETE_REPLICA: Sql =
    Sql::One("DELETE FROM deployments_replicas WHERE deployment = $1 AND ordinal = $2 AND id = $3");

/// Forgets a replica that is gone, unless another took its place.
pub(crate) fn delete_replica(tx: &mut SystemTx, row: &ReplicaRow) -> Result<(), Error> {
    tx.execute(&DELETE_REPLICA, &params![row.deployment, row.ordinal, row.id])?;
    Ok(())
}

const IDENTITY: Sql = Sql::One(
    "SELECT d.service, d.service_name, d.environment FROM deployments_deployments d \
     JOIN deployments_services s ON s.id = d.service WHERE d.id = $1 AND s.removed = FALSE \
     AND (d.state IN ('releasing', 'live') \
     OR EXISTS (SELECT 1 FROM deployments_replicas r WHERE r.deployment = d.id))",
);

/// Whose deployment it is, as long as it serves, is about to, or still has a replica that finishes what it has.
pub(crate) fn identity(
    tx: &mut SystemTx,
    deployment: DeploymentId,
) -> Result<Option<ServiceIdentity>, db::Error> {
    let read =
        |row: Row| Ok(ServiceIdentity { id: row.get(0)?, name: row.get(1)?, environment: row.get(2)? });
    tx.query_opt(&IDENTITY, &params![deployment])?.map(read).transpose()
}

fn json<T: serde::de::DeserializeOwned>(text: &str, what: &'static str) -> Result<T, Error> {
    serde_json::from_str(text).map_err(|_| Error::Unreadable(what))
}
