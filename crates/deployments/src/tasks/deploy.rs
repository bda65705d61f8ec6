//! The way of a deployment from the queue to the point where its replicas can start.

use super::Work;
use super::step::{self, Step};
use crate::error::Error;
use crate::folders;
use crate::model::{DeploymentState, build_digest};
use crate::ops;
use crate::processes::has_artefact;
use crate::source::{self, Scope};
use crate::store::{self, DeploymentRow};
use base::{DeploymentId, EnvironmentId};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

/// Deployments of a service that can be gone back to, beside the live one.
const KEPT: usize = 5;

/// Why a deployment stops on its way.
#[derive(Debug)]
pub(super) enum Stopped {
    /// It fails, for this reason.
    Failed(String),
    /// The store failed: its row cannot be moved on now.
    Store(Error),
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

impl From<String> for Stopped {
    fn from(why: String) -> Self {
        Self::Failed(why)
    }
}

/// Builds and checks a deployment, and leaves it as `releasing`.
pub(super) async fn prepare(work: &Arc<Work>, row: DeploymentRow) -> Result<DeploymentRow, Stopped> {
    let mut row = row;
    row = match row.artefact {
        Some(artefact) => {
            let (folders, spec) = (work.rt.folders.clone(), row.spec.clone());
            let there = lifecycle::blocking(move || has_artefact(&folders, &spec, artefact)).await;
            if there != Some(true) {
                let why = "what it was built to is no longer kept: deploy the source again".to_owned();
                return Err(Stopped::Failed(why));
            }
            row
        }
        None => build(work, row).await?,
    };
    if !row.spec.checks.is_empty() && row.origin.is_none() {
        row = advance(work, row, DeploymentState::Checking).await?;
        check(work, &row).await?;
    }
    row = advance(work, row, DeploymentState::Releasing).await?;
    if let Some(command) = row.spec.pre_deploy.clone() {
        step::run(work, &row, (Step::PreDeploy, &command), None).await?;
    }
    Ok(row)
}

/// Moves a deployment on in the store.
pub(super) async fn advance(
    work: &Work,
    row: DeploymentRow,
    next: DeploymentState,
) -> Result<DeploymentRow, Error> {
    let clock = Arc::clone(&work.rt.clock);
    work.rt.db.write_system(&work.ctx, move |tx| ops::advance(tx, &row, next, clock.now())).await
}

async fn build(work: &Arc<Work>, row: DeploymentRow) -> Result<DeploymentRow, Stopped> {
    let row = advance(work, row, DeploymentState::Building).await?;
    let rt = &work.rt;
    let _one_at_a_time = rt.building.lock().await;
    let digest = copy_source(work, &row).await?;
    let build = build_digest(&digest, row.service_name.as_str(), &row.spec);
    let (environment, wanted) = (row.environment, build.clone());
    let same = rt.db.read_system(&work.ctx, move |tx| store::same_build(tx, environment, &wanted)).await?;
    let mut row = DeploymentRow { source_digest: Some(digest), build_digest: Some(build), ..row };
    let same = same.filter(|same| has_artefact(&rt.folders, &row.spec, same.id));
    if let Some(same) = same {
        rt.outputs.say(row.id, &format!("the same was built for {} already", same.id));
        row.artefact = Some(same.id);
        let own = rt.folders.deployment(row.id);
        blocking(move || folders::remove(&own).map_err(|error| error.to_string())).await?;
        return Ok(put(work, row).await?);
    }
    if let Some(command) = row.spec.build.clone() {
        step::run(work, &row, (Step::Build, &command), None).await?;
        let (target, source) = (rt.folders.cargo_target(row.environment), rt.folders.source(row.id));
        let cache = rt.folders.cache(row.environment);
        let own_target = row.spec.build_variables().contains_key("CARGO_TARGET_DIR");
        let taken = move || {
            if !own_target {
                folders::take_from_cargo(&target, &source)?;
            }
            folders::trim_cache(&cache)
        };
        blocking(move || taken().map_err(|error| format!("what was built cannot be kept: {error}"))).await?;
    }
    link_volumes(work, &row).await?;
    row.artefact = Some(row.id);
    row.built = true;
    Ok(put(work, row).await?)
}

async fn put(work: &Work, row: DeploymentRow) -> Result<DeploymentRow, Error> {
    let stored = row.clone();
    work.rt.db.write_system(&work.ctx, move |tx| store::put_deployment(tx, &stored)).await?;
    Ok(row)
}

/// Copies the project folder, and gives the digest of what was copied.
async fn copy_source(work: &Work, row: &DeploymentRow) -> Result<String, Stopped> {
    let rt = &work.rt;
    let Some(dir) = row.source_dir.clone() else {
        return Err(Stopped::Failed(Error::NoSource.to_string()));
    };
    rt.outputs.say(row.id, &format!("source: {dir}"));
    let (deployment, source) = (rt.folders.deployment(row.id), rt.folders.source(row.id));
    let (data_dir, boundary) = (rt.folders.data_dir().to_path_buf(), rt.folders.boundary());
    let volumes: Vec<PathBuf> =
        row.spec.volumes.values().filter_map(|volume| volume.path.as_ref()).map(PathBuf::from).collect();
    let copied = blocking(move || {
        let made = folders::remove(&deployment).and_then(|()| folders::make(&deployment));
        let made = made.and_then(|()| folders::make(&boundary));
        made.map_err(|error| format!("the folder of the deployment cannot be made: {error}"))?;
        let scope = Scope { dir: dir.as_ref(), data_dir: &data_dir, volumes: &volumes };
        source::copy(scope, &source).map_err(|error| error.to_string())
    });
    Ok(copied.await?)
}

async fn link_volumes(work: &Work, row: &DeploymentRow) -> Result<(), Stopped> {
    let volumes = work.rt.folders.volumes(row.environment, &row.service_name);
    let source = work.rt.folders.source(row.id);
    let spec = row.spec.clone();
    let linked = move || {
        for (name, volume) in &spec.volumes {
            if let Some(path) = &volume.path {
                let linked = folders::link_volume(&volumes.join(name), &source, path);
                linked.map_err(|error| format!("volume `{name}` cannot appear at `{path}`: {error}"))?;
            }
        }
        Ok(())
    };
    Ok(blocking(linked).await?)
}

/// Runs the checks in a copy of what was built, which goes afterwards.
async fn check(work: &Arc<Work>, row: &DeploymentRow) -> Result<(), Stopped> {
    let rt = &work.rt;
    let from = rt.folders.source(row.artefact.unwrap_or(row.id));
    let to = rt.folders.checks(row.id);
    let copy = to.clone();
    let copied = move || {
        folders::remove(&copy)?;
        if let Some(above) = copy.parent() {
            folders::make(above)?;
        }
        folders::copy_tree(&from, &copy)
    };
    blocking(move || copied().map_err(|error| format!("the copy for the checks cannot be made: {error}")))
        .await?;
    let mut result = Ok(());
    for command in &row.spec.checks {
        result = step::run(work, row, (Step::Check, command), Some(to.clone())).await;
        if result.is_err() {
            break;
        }
    }
    let removed = blocking(move || folders::remove(&to).map_err(|error| error.to_string())).await;
    if let Err(error) = removed {
        tracing::warn!(deployment.id = %row.id, %error, "the copy for the checks cannot be removed");
    }
    Ok(result?)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    lifecycle::blocking(work).await.unwrap_or_else(|| Err("Switchyard is stopping".to_owned()))
}

/// Removes what no deployment of the environment can need any more: beside what is live and on its way, the last
/// [`KEPT`] that served, of each service, can be gone back to.
pub(super) async fn remove_old(work: &Arc<Work>, environment: EnvironmentId) -> Result<(), Error> {
    let needed = work.rt.db.write_system(&work.ctx, move |tx| {
        let mut needed = BTreeSet::new();
        for service in store::services(tx, environment)? {
            let page = base::PageRequest { limit: 100, cursor: None };
            let rows = store::deployments(tx, service.id, &page)?;
            let served = rows.iter().filter(|row| row.live_at.is_some()).take(KEPT + 1);
            // What was built for a release that failed serves the next attempt.
            let open = rows.iter().enumerate().filter(|(age, row)| *age == 0 || row.state.is_open());
            let open = open.map(|(_, row)| row);
            needed.extend(served.chain(open).flat_map(|row| [Some(row.id), row.artefact]).flatten());
        }
        for old in store::kept(tx, environment)?.into_iter().filter(|row| !needed.contains(&row.id)) {
            store::put_deployment(tx, &DeploymentRow { built: false, ..old })?;
        }
        let mut everywhere = needed;
        for other in store::all_services(tx)?.iter().filter(|other| other.environment != environment) {
            everywhere.extend(store::kept(tx, other.environment)?.into_iter().map(|row| row.id));
            everywhere.extend(store::open_deployments(tx, other.id)?.into_iter().map(|row| row.id));
        }
        Ok::<Vec<DeploymentId>, Error>(everywhere.into_iter().collect())
    });
    let needed = needed.await?;
    let folders = work.rt.folders.clone();
    let _panicked = lifecycle::blocking(move || folders::remove_unneeded(&folders, &needed)).await;
    Ok(())
}
