//! The use cases, each within one transaction. API, apply and reconciler all call these.

use crate::error::Error;
use crate::model::{DeploymentState, ProcessSpec, ServiceSpec};
use crate::store::{self, DeploymentRow, ServiceRow};
use authority::{Principal, PrincipalKind};
use base::{Clock, DeploymentId, EnvironmentId, Random, ServiceId, Slug, Timestamp};
use db::{NewEvent, SystemTx};
use ports::{ApplyError, Change};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Bytes of the tail of its output that are kept with a deployment.
pub(crate) const OUTPUT_BYTES_MAX: usize = 64 * 1024;

/// Where ids and times come from.
#[derive(Clone, Copy)]
pub(crate) struct Ambient<'a> {
    pub(crate) clock: &'a dyn Clock,
    pub(crate) random: &'a dyn Random,
}

impl Ambient<'_> {
    fn now(self) -> Timestamp {
        self.clock.now()
    }
}

/// Brings the services of an environment in line with the project file. Whether a new deployment is needed is
/// found out later, since it takes a look at the whole source: services are marked for it.
pub(crate) fn apply(
    tx: &mut SystemTx,
    environment: EnvironmentId,
    specs: &BTreeMap<Slug, ServiceSpec>,
    prune: bool,
    ambient: Ambient<'_>,
) -> Result<Vec<Change>, ApplyError> {
    let existing = store::services(tx, environment).map_err(store_error)?;
    let gone = |row: &&ServiceRow| !row.removed && !specs.contains_key(&row.name);
    let holding =
        existing.iter().filter(gone).filter(|row| row.process().is_some_and(ProcessSpec::is_exclusive));
    let holding: Vec<String> = holding.map(|row| format!("service {} (volumes)", row.name)).collect();
    if !prune && !holding.is_empty() {
        return Err(ApplyError::HoldsData(holding));
    }
    let mut changes = Vec::new();
    for (name, spec) in specs {
        let row = existing.iter().find(|row| row.name == *name);
        changes.extend(put(tx, environment, (name, spec), row, ambient).map_err(store_error)?);
    }
    for row in existing.iter().filter(gone) {
        let removed = ServiceRow {
            removed: true,
            prune,
            revision: row.revision + 1,
            updated_at: ambient.now(),
            ..row.clone()
        };
        store::put_service(tx, &removed).map_err(store_error)?;
        emit(tx, "service.removed", row, Some(shown(row)), None)?;
        changes.push(Change::removed(format!("service {}", row.name)));
    }
    Ok(changes)
}

fn put(
    tx: &mut SystemTx,
    environment: EnvironmentId,
    (name, spec): (&Slug, &ServiceSpec),
    existing: Option<&ServiceRow>,
    ambient: Ambient<'_>,
) -> Result<Option<Change>, Error> {
    let examine = matches!(spec, ServiceSpec::Process(_));
    let now = ambient.now();
    let Some(row) = existing else {
        let row = ServiceRow {
            environment,
            name: name.clone(),
            id: ServiceId::new(ambient.clock, ambient.random),
            spec: spec.clone(),
            scale: None,
            live: None,
            examine,
            restarts: 0,
            removed: false,
            prune: false,
            error: None,
            revision: 1,
            created_at: now,
            updated_at: now,
        };
        store::put_service(tx, &row)?;
        emit(tx, "service.created", &row, None, Some(shown(&row)))?;
        return Ok(Some(Change::created(format!("service {name}"))));
    };
    if row.spec == *spec && !row.removed {
        if examine {
            // The source may differ though the file does not. The event lets the reconciler look.
            store::put_service(tx, &ServiceRow { examine, error: None, ..row.clone() })?;
            emit(tx, "service.examined", row, None, None)?;
        }
        return Ok(None);
    }
    let changed = ServiceRow {
        spec: spec.clone(),
        scale: None,
        examine,
        removed: false,
        prune: false,
        error: None,
        revision: row.revision + 1,
        updated_at: now,
        ..row.clone()
    };
    store::put_service(tx, &changed)?;
    emit(tx, "service.updated", row, Some(shown(row)), Some(shown(&changed)))?;
    Ok(Some(Change::changed(format!("service {name}"))))
}

/// What a new deployment is made of.
pub(crate) struct NewDeployment {
    pub(crate) reason: &'static str,
    pub(crate) origin: Option<DeploymentRow>,
    pub(crate) source_dir: Option<String>,
    pub(crate) source_digest: Option<String>,
}

/// Puts a deployment of the service into its queue. Of one that repeats another, artefact and variables are the
/// other's; else they are the service's.
pub(crate) fn enqueue(
    tx: &mut SystemTx,
    service: &ServiceRow,
    new: NewDeployment,
    ambient: Ambient<'_>,
) -> Result<DeploymentRow, Error> {
    let NewDeployment { reason, origin, source_dir, source_digest } = new;
    let spec = match &origin {
        Some(origin) => origin.spec.clone(),
        None => service.process().ok_or_else(|| Error::Elsewhere(service.name.clone()))?.clone(),
    };
    let row = DeploymentRow {
        id: DeploymentId::new(ambient.clock, ambient.random),
        environment: service.environment,
        service: service.id,
        service_name: service.name.clone(),
        state: DeploymentState::Queued,
        reason: reason.to_owned(),
        origin: origin.as_ref().map(|origin| origin.id),
        release_digest: spec.release_digest(),
        spec,
        source_dir: source_dir.or_else(|| origin.as_ref().and_then(|origin| origin.source_dir.clone())),
        source_digest: source_digest
            .or_else(|| origin.as_ref().and_then(|origin| origin.source_digest.clone())),
        build_digest: origin.as_ref().and_then(|origin| origin.build_digest.clone()),
        artefact: origin.as_ref().and_then(|origin| origin.artefact),
        built: false,
        error: None,
        output: String::new(),
        created_by: made_by(tx.ctx().principal()),
        created_at: ambient.now(),
        building_at: None,
        checking_at: None,
        releasing_at: None,
        live_at: None,
        ended_at: None,
    };
    store::put_deployment(tx, &row)?;
    emit_deployment(tx, "deployment.created", &row)?;
    Ok(row)
}

/// Who made a deployment, as it is shown. The system's name is a reason, which `reason` says better.
fn made_by(principal: &Principal) -> String {
    match principal.kind {
        PrincipalKind::System => "system".to_owned(),
        _ => principal.to_string(),
    }
}

/// A deployment of the artefact and the variables of an older one: `rollback`.
pub(crate) fn rollback(
    tx: &mut SystemTx,
    id: DeploymentId,
    ambient: Ambient<'_>,
) -> Result<DeploymentRow, Error> {
    let origin = store::deployment(tx, id)?;
    let service = store::service(tx, origin.environment, &origin.service.to_string())?;
    if service.live == Some(id) {
        return Err(Error::LiveAlready(id.to_string()));
    }
    if origin.live_at.is_none() {
        return Err(Error::NeverServed { id: id.to_string(), state: origin.state });
    }
    repeat(tx, &service, origin, "rollback", ambient)
}

/// A new deployment of what is live: `redeploy`.
pub(crate) fn redeploy(
    tx: &mut SystemTx,
    service: &ServiceRow,
    ambient: Ambient<'_>,
) -> Result<DeploymentRow, Error> {
    let live = service.live.ok_or_else(|| Error::NothingLive(service.name.clone()))?;
    let origin = store::deployment(tx, live)?;
    repeat(tx, service, origin, "redeploy", ambient)
}

fn repeat(
    tx: &mut SystemTx,
    service: &ServiceRow,
    origin: DeploymentRow,
    reason: &'static str,
    ambient: Ambient<'_>,
) -> Result<DeploymentRow, Error> {
    let artefact = origin.artefact.ok_or_else(|| Error::NotKept(origin.id.to_string()))?;
    if !store::deployment(tx, artefact)?.built {
        return Err(Error::NotKept(origin.id.to_string()));
    }
    let new = NewDeployment { reason, origin: Some(origin), source_dir: None, source_digest: None };
    enqueue(tx, service, new, ambient)
}

/// Sets the number of replicas, within what the project file allows.
pub(crate) fn scale(
    tx: &mut SystemTx,
    service: &ServiceRow,
    wanted: u32,
    ambient: Ambient<'_>,
) -> Result<ServiceRow, Error> {
    let spec = service.process().ok_or_else(|| Error::Elsewhere(service.name.clone()))?;
    let (min, max) = (spec.replicas.min, spec.replicas.max);
    if wanted < min || wanted > max {
        return Err(Error::Scale { service: service.name.clone(), wanted, min, max });
    }
    let scaled = ServiceRow {
        scale: Some(wanted),
        revision: service.revision + 1,
        updated_at: ambient.now(),
        ..service.clone()
    };
    store::put_service(tx, &scaled)?;
    emit(tx, "service.scaled", service, Some(shown(service)), Some(shown(&scaled)))?;
    Ok(scaled)
}

/// Asks for all replicas to be replaced by new ones of the same deployment.
pub(crate) fn restart(
    tx: &mut SystemTx,
    service: &ServiceRow,
    ambient: Ambient<'_>,
) -> Result<ServiceRow, Error> {
    if service.process().is_none() {
        return Err(Error::Elsewhere(service.name.clone()));
    }
    if service.live.is_none() {
        return Err(Error::NothingLive(service.name.clone()));
    }
    let restarted =
        ServiceRow { restarts: service.restarts + 1, updated_at: ambient.now(), ..service.clone() };
    store::put_service(tx, &restarted)?;
    emit(tx, "service.restarted", service, None, None)?;
    Ok(restarted)
}

/// What an examination found.
pub(crate) enum Examined {
    /// The digest of the source as it is now.
    Source {
        /// The folder.
        dir: String,
        /// Its digest.
        digest: String,
        /// Whether what the live deployment runs in is on this machine; not so after a restore onto another.
        live_is_here: bool,
    },
    /// There is no usable source.
    Unusable(String),
}

/// Ends an examination: makes a deployment unless one of the same is live or on its way. `seen` is the service
/// as it was examined; when it changed since, nothing happens, and it is examined again.
pub(crate) fn examined(
    tx: &mut SystemTx,
    seen: &ServiceRow,
    found: &Examined,
    ambient: Ambient<'_>,
) -> Result<Option<DeploymentRow>, Error> {
    let now = store::service(tx, seen.environment, &seen.id.to_string())?;
    let Some(spec) = now.process() else { return Ok(None) };
    if now.revision != seen.revision {
        return Ok(None);
    }
    let (dir, digest, live_is_here) = match found {
        Examined::Source { dir, digest, live_is_here } => (dir, digest, *live_is_here),
        Examined::Unusable(why) => {
            store::put_service(tx, &ServiceRow { examine: false, error: Some(why.clone()), ..now })?;
            return Ok(None);
        }
    };
    let release = spec.release_digest();
    let is_same =
        |row: &DeploymentRow| row.release_digest == release && row.source_digest.as_ref() == Some(digest);
    let open = store::open_deployments(tx, now.id)?;
    let newest = match (open.last(), now.live) {
        (Some(open), _) => Some(open.clone()),
        (None, Some(live)) => Some(store::deployment(tx, live)?),
        (None, None) => None,
    };
    store::put_service(tx, &ServiceRow { examine: false, error: None, ..now.clone() })?;
    let lost = |row: &DeploymentRow| now.live == Some(row.id) && !live_is_here;
    if newest.as_ref().is_some_and(|row| is_same(row) && !lost(row)) {
        return Ok(None);
    }
    let new = NewDeployment {
        reason: if newest.as_ref().is_some_and(lost) { "restored" } else { "apply" },
        origin: None,
        source_dir: Some(dir.clone()),
        source_digest: Some(digest.clone()),
    };
    enqueue(tx, &now, new, ambient).map(Some)
}

/// Moves a deployment on, and notes when. What the caller wants to change besides, it changes in `row` first.
pub(crate) fn advance(
    tx: &mut SystemTx,
    row: &DeploymentRow,
    next: DeploymentState,
    now: Timestamp,
) -> Result<DeploymentRow, Error> {
    let mut row = row.clone();
    debug_assert!(row.state == next || row.state.may_become(next), "{:?} to {next:?}", row.state);
    row.state = next;
    match next {
        DeploymentState::Queued => {}
        DeploymentState::Building => row.building_at = Some(now),
        DeploymentState::Checking => row.checking_at = Some(now),
        DeploymentState::Releasing => row.releasing_at = Some(now),
        DeploymentState::Live => row.live_at = Some(now),
        DeploymentState::Superseded | DeploymentState::Failed | DeploymentState::RolledBack => {
            row.ended_at = Some(now);
        }
    }
    store::put_deployment(tx, &row)?;
    Ok(row)
}

/// A deployment failed for good; the one before it goes on.
pub(crate) fn fail(
    tx: &mut SystemTx,
    row: &DeploymentRow,
    why: &str,
    now: Timestamp,
) -> Result<DeploymentRow, Error> {
    let row = DeploymentRow { error: Some(why.to_owned()), ..row.clone() };
    let row = advance(tx, &row, DeploymentState::Failed, now)?;
    emit_deployment(tx, "deployment.failed", &row)?;
    Ok(row)
}

/// A deployment serves from now on, and the one before it does not.
pub(crate) fn go_live(
    tx: &mut SystemTx,
    row: &DeploymentRow,
    now: Timestamp,
) -> Result<DeploymentRow, Error> {
    let service = store::service(tx, row.environment, &row.service.to_string())?;
    if let Some(before) = service.live.filter(|before| *before != row.id) {
        let before = store::deployment(tx, before)?;
        if before.state == DeploymentState::Live {
            let back = row.reason == "rollback";
            let next = if back { DeploymentState::RolledBack } else { DeploymentState::Superseded };
            let before = advance(tx, &before, next, now)?;
            if back {
                emit_deployment(tx, "deployment.rolled_back", &before)?;
            }
        }
    }
    let row = advance(tx, row, DeploymentState::Live, now)?;
    store::put_service(tx, &ServiceRow { live: Some(row.id), updated_at: now, ..service })?;
    emit_deployment(tx, "deployment.live", &row)?;
    Ok(row)
}

/// A service as events show it. Variables by name only.
pub(crate) fn shown(row: &ServiceRow) -> Value {
    match &row.spec {
        ServiceSpec::Process(spec) => json!({
            "name": row.name,
            "build": spec.build,
            "start": spec.start,
            "replicas": row.replicas(),
            "variables": spec.variables.keys().collect::<Vec<_>>(),
            "volumes": spec.volumes.keys().collect::<Vec<_>>(),
        }),
        ServiceSpec::Urls(spec) => json!({ "name": row.name, "urls": spec.authorities }),
    }
}

fn emit(
    tx: &mut SystemTx,
    kind: &'static str,
    row: &ServiceRow,
    before: Option<Value>,
    after: Option<Value>,
) -> Result<(), db::Error> {
    let environment = Some(row.environment);
    tx.emit(None, NewEvent { kind, subject: row.id.to_string(), environment, before, after })?;
    Ok(())
}

fn emit_deployment(tx: &mut SystemTx, kind: &'static str, row: &DeploymentRow) -> Result<(), db::Error> {
    let after = json!({
        "service": row.service_name,
        "state": row.state.as_str(),
        "reason": row.reason,
        "error": row.error,
        "source_digest": row.source_digest,
    });
    let (subject, environment) = (row.id.to_string(), Some(row.environment));
    tx.emit(None, NewEvent { kind, subject, environment, before: None, after: Some(after) })?;
    Ok(())
}

fn store_error(error: Error) -> ApplyError {
    match error {
        Error::Store(error) => ApplyError::Store(error),
        other => ApplyError::Store(db::Error::Decode(other.to_string())),
    }
}
