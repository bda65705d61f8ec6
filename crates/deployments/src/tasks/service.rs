//! One service: examines its source, takes its deployments from the queue, replaces its replicas one by one.

use super::slot::{Order, Slot, Start, end_adopted};
use super::{STORE_RETRY, Work, deploy, elsewhere};
use crate::error::Error;
use crate::keeper::protocol::Listed;
use crate::model::{DeploymentState, HealthSpec, ServiceSpec, UrlsSpec};
use crate::ops::{self, Examined};
use crate::output::Tag;
use crate::probe::{self, Question};
use crate::processes::has_artefact;
use crate::source::{self, Scope};
use crate::store::{self, DeploymentRow, ServiceRow};
use futures_util::future::join_all;
use ports::{HealthCheck, ServiceRecord};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Time that an answer to a smoke request may take.
const SMOKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How health is asked by the gateway where the file says nothing; only `urls` are asked by it.
const HEALTH_DEFAULT: (Duration, Duration, u32) = (Duration::from_secs(5), Duration::from_secs(3), 3);

/// Runs a service until it is removed. `adopted` are its processes that run already.
pub(super) async fn run(work: Arc<Work>, row: ServiceRow, adopted: Vec<(Listed, Tag)>) {
    let id = row.id;
    let mut service = Service {
        work: Arc::clone(&work),
        slots: Vec::new(),
        restarts: row.restarts,
        elsewhere: None,
        retiring: Vec::new(),
    };
    let mut adopted = Some(adopted);
    let mut changed = work.rt.changed.subscribe();
    let mut stopping = work.stopping.subscribe();
    loop {
        changed.mark_unchanged();
        match service.step(&row, &mut adopted).await {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => {
                tracing::error!(service = %row.name, %error, "a service could not be brought in line: trying again");
                tokio::time::sleep(STORE_RETRY).await;
                work.rt.nudge();
            }
        }
        tokio::select! {
            _ = changed.changed() => {}
            _ = stopping.wait_for(|stopping| *stopping) => {}
        }
        // Its slots stay as they are: dropping them would end all replicas at once.
        work.unless_stopping().await;
    }
    work.rt.directory.remove(id);
    work.running.lock().remove(&id);
    // A service of the same name may have come meanwhile.
    work.rt.nudge();
}

struct Service {
    work: Arc<Work>,
    slots: Vec<Slot>,
    /// Slots that were told to end, and may still be there.
    retiring: Vec<Slot>,
    /// The restarts that were done.
    restarts: i64,
    /// Keeps the future that asks addresses elsewhere, and ends it when dropped.
    elsewhere: Option<(UrlsSpec, watch::Sender<()>)>,
}

impl Service {
    /// Brings the service in line with its row. Whether it is still there.
    async fn step(
        &mut self,
        seen: &ServiceRow,
        adopted: &mut Option<Vec<(Listed, Tag)>>,
    ) -> Result<bool, Error> {
        let Some(row) = self.row(seen).await? else {
            self.end_all(adopted).await;
            return Ok(false);
        };
        self.list(&row);
        if row.removed {
            self.elsewhere = None;
            self.end_all(adopted).await;
            return self.remove(&row).await;
        }
        match &row.spec {
            ServiceSpec::Urls(spec) => {
                self.end_all(adopted).await;
                self.ask_elsewhere(&row, spec);
            }
            ServiceSpec::Process(_) => {
                self.elsewhere = None;
                let lost = self.adopt(&row, adopted).await?;
                if row.examine || lost {
                    self.examine(&row).await?;
                }
                self.deploy_next(&row).await?;
                if let Some(row) = self.row(seen).await? {
                    self.keep_live(&row).await?;
                }
            }
        }
        self.retiring.retain(|slot| !slot.is_gone());
        Ok(true)
    }

    async fn row(&self, seen: &ServiceRow) -> Result<Option<ServiceRow>, Error> {
        let (environment, id) = (seen.environment, seen.id);
        let rows =
            self.work.rt.db.read_system(&self.work.ctx, move |tx| store::services(tx, environment)).await?;
        Ok(rows.into_iter().find(|row| row.id == id))
    }

    /// Lists the service for the gateway.
    fn list(&self, row: &ServiceRow) {
        let asked = |spec: &HealthSpec| HealthCheck {
            path: spec.path.clone().unwrap_or_default(),
            interval: spec.interval,
            timeout: spec.timeout,
            retries: spec.retries,
        };
        let (interval, timeout, retries) = HEALTH_DEFAULT;
        let health = match &row.spec {
            ServiceSpec::Urls(spec) => asked(&spec.healthcheck),
            ServiceSpec::Process(spec) => spec
                .healthcheck
                .as_ref()
                .map_or_else(|| HealthCheck { path: "/".to_owned(), interval, timeout, retries }, asked),
        };
        self.work.rt.directory.put(ServiceRecord {
            id: row.id,
            environment: row.environment,
            name: row.name.clone(),
            endpoints: Vec::new(),
            health,
        });
    }

    fn ask_elsewhere(&mut self, row: &ServiceRow, spec: &UrlsSpec) {
        if self.elsewhere.as_ref().is_some_and(|(known, _)| known == spec) {
            return;
        }
        let (keep, mut kept) = watch::channel(());
        let asking = elsewhere::run(Arc::clone(&self.work), row.id, spec.clone());
        self.work.hands.add(async move {
            tokio::select! {
                () = asking => {}
                _ = kept.changed() => {}
            }
        });
        self.elsewhere = Some((spec.clone(), keep));
    }

    /// Ends all replicas and waits until they are gone.
    async fn end_all(&mut self, adopted: &mut Option<Vec<(Listed, Tag)>>) {
        end_adopted(&self.work, adopted.take().unwrap_or_default()).await;
        self.retiring.append(&mut self.slots);
        self.retiring.iter().for_each(|slot| slot.order(Order::Drain));
        join_all(self.retiring.iter().map(Slot::ended)).await;
        self.retiring.clear();
    }

    async fn remove(&self, row: &ServiceRow) -> Result<bool, Error> {
        if row.prune {
            let (folders, environment) = (self.work.rt.folders.clone(), row.environment);
            let (name, id) = (row.name.clone(), row.id);
            let removed = move || crate::folders::remove_volumes(&folders, environment, &name, id);
            let _panicked = lifecycle::blocking(removed).await;
        }
        let gone = row.clone();
        let gone =
            self.work.rt.db.write_system(&self.work.ctx, move |tx| store::delete_service(tx, &gone)).await?;
        Ok(!gone)
    }
}

/// Adopting and examining.
impl Service {
    /// Takes over the replicas of the live deployment that run already, and ends what else runs. A deployment that
    /// was under way begins anew. Whether what is live is lost: the store was restored onto this machine, or the
    /// folder is gone.
    async fn adopt(
        &mut self,
        row: &ServiceRow,
        adopted: &mut Option<Vec<(Listed, Tag)>>,
    ) -> Result<bool, Error> {
        let Some(processes) = adopted.as_ref() else { return Ok(false) };
        let service = row.id;
        let clock = Arc::clone(&self.work.rt.clock);
        let live_id = row.live;
        let live = self.work.rt.db.write_system(&self.work.ctx, move |tx| {
            for open in store::open_deployments(tx, service)? {
                if open.state != DeploymentState::Queued {
                    ops::advance(tx, &open, DeploymentState::Queued, clock.now())?;
                }
            }
            live_id.map(|id| store::deployment(tx, id)).transpose()
        });
        let live = live.await?.map(Arc::new);
        let (own, others): (Vec<_>, Vec<_>) = processes.iter().cloned().partition(|(listed, tag)| {
            listed.exit.is_none() && row.live == Some(tag.deployment) && tag.port != 0
        });
        *adopted = None;
        let lost = live.as_ref().is_some_and(|live| !self.is_here(live));
        if lost {
            tracing::warn!(
                service = %row.name, deployment.id = ?row.live,
                "what is live is not on this machine: the source is deployed again"
            );
            let seen = row.clone();
            let mark = move |tx: &mut db::SystemTx| {
                let row = store::service(tx, seen.environment, &seen.id.to_string())?;
                store::put_service(tx, &ServiceRow { examine: true, ..row })
            };
            self.work.rt.db.write_system(&self.work.ctx, mark).await?;
        }
        if let Some(live) = live {
            for (listed, tag) in own {
                tracing::info!(service = %row.name, replica.id = %tag.replica, "a running replica is taken over");
                let ordinal = tag.ordinal;
                let start = Start {
                    deployment: Arc::clone(&live),
                    ordinal,
                    adopt: Some((listed, tag)),
                    must_listen: false,
                };
                self.slots.push(Slot::start(&self.work, start));
            }
        }
        end_adopted(&self.work, others).await;
        Ok(lost)
    }

    /// Whether the folder that a deployment runs in is on this machine.
    fn is_here(&self, row: &DeploymentRow) -> bool {
        row.artefact.is_some_and(|artefact| has_artefact(&self.work.rt.folders, &row.spec, artefact))
    }

    /// Looks whether the source differs from what is live or on its way.
    async fn examine(&self, row: &ServiceRow) -> Result<(), Error> {
        let rt = &self.work.rt;
        let found = match &rt.config.project_dir {
            None => Examined::Unusable(Error::NoSource.to_string()),
            Some(dir) => {
                let (dir, data_dir) = (dir.clone(), rt.folders.data_dir().to_path_buf());
                let spec = row.process().cloned();
                let volumes: Vec<PathBuf> = spec
                    .iter()
                    .flat_map(|spec| spec.volumes.values())
                    .filter_map(|volume| volume.path.as_ref().map(PathBuf::from))
                    .collect();
                let shown = dir.display().to_string();
                let live_is_here = match row.live {
                    Some(id) => {
                        let live = rt.db.read_system(&self.work.ctx, move |tx| store::deployment(tx, id));
                        self.is_here(&live.await?)
                    }
                    None => true,
                };
                let digest = lifecycle::blocking(move || {
                    source::digest(Scope { dir: &dir, data_dir: &data_dir, volumes: &volumes })
                });
                match digest.await {
                    Some(Ok(digest)) => Examined::Source { dir: shown, digest, live_is_here },
                    Some(Err(error)) => Examined::Unusable(error.to_string()),
                    None => return Ok(()),
                }
            }
        };
        if let Examined::Unusable(why) = &found {
            tracing::error!(service = %row.name, %why, "the source of a service cannot be used");
        }
        let (seen, runtime) = (row.clone(), Arc::clone(rt));
        let write =
            rt.db.write_system(&self.work.ctx, move |tx| ops::examined(tx, &seen, &found, runtime.ambient()));
        write.await.map(drop)
    }
}

/// Deploying.
impl Service {
    /// Takes the newest deployment from the queue; older ones are superseded.
    async fn deploy_next(&mut self, row: &ServiceRow) -> Result<(), Error> {
        loop {
            let (service, clock) = (row.id, Arc::clone(&self.work.rt.clock));
            let next = self.work.rt.db.write_system(&self.work.ctx, move |tx| {
                let mut open = store::open_deployments(tx, service)?;
                let next = open.pop();
                for older in open {
                    ops::advance(tx, &older, DeploymentState::Superseded, clock.now())?;
                }
                Ok::<_, Error>(next)
            });
            let Some(next) = next.await?.filter(|_| !*self.work.stopping.borrow()) else { return Ok(()) };
            let Some(row) = self.row(row).await?.filter(|row| !row.removed) else { return Ok(()) };
            self.deploy(&row, next).await?;
        }
    }

    async fn deploy(&mut self, service: &ServiceRow, row: DeploymentRow) -> Result<(), Error> {
        let rt = Arc::clone(&self.work.rt);
        let id = row.id;
        tracing::info!(service = %service.name, deployment.id = %id, reason = %row.reason, "a deployment begins");
        rt.outputs.open_tail(id);
        // One that the store stopped in its middle begins anew.
        let row = match row.state {
            DeploymentState::Queued => row,
            _ => deploy::advance(&self.work, row, DeploymentState::Queued).await?,
        };
        let prepared = deploy::prepare(&self.work, row).await;
        let released = match prepared {
            Ok(row) => self.release(service, row).await,
            Err(stopped) => Err(stopped),
        };
        let output = rt.outputs.tail(id).unwrap_or_default();
        let clock = Arc::clone(&rt.clock);
        let ended = match released {
            Ok(row) => {
                rt.metrics.deployments_live.inc();
                let live = DeploymentRow { output, ..row };
                rt.db.write_system(&self.work.ctx, move |tx| ops::go_live(tx, &live, clock.now())).await?;
                tracing::info!(service = %service.name, deployment.id = %id, "a deployment is live");
                Ok(())
            }
            Err(_) if *self.work.stopping.borrow() => return Ok(()),
            Err(deploy::Stopped::Failed(why)) => {
                rt.metrics.deployments_failed.inc();
                tracing::error!(
                    service = %service.name, deployment.id = %id, %why,
                    "a deployment failed; what ran before it still does"
                );
                let now = rt.db.write_system(&self.work.ctx, move |tx| {
                    let row = store::deployment(tx, id)?;
                    ops::fail(tx, &DeploymentRow { output: output.clone(), ..row }, &why, clock.now())
                });
                now.await.map(drop)
            }
            Err(deploy::Stopped::Store(error)) => Err(error),
        };
        rt.outputs.close_tail(id);
        ended?;
        deploy::remove_old(&self.work, service.environment).await
    }

    /// Starts the replicas of a deployment, and ends those of the one before.
    async fn release(
        &mut self,
        service: &ServiceRow,
        row: DeploymentRow,
    ) -> Result<DeploymentRow, deploy::Stopped> {
        let deployment = Arc::new(row.clone());
        self.replace(service, &deployment).await?;
        Ok(row)
    }

    /// Replaces all replicas by new ones of `deployment`, one by one: a new one is started and found healthy, then
    /// one of the old is drained. Where two must not run at once, the old one ends first.
    async fn replace(&mut self, service: &ServiceRow, deployment: &Arc<DeploymentRow>) -> Result<(), String> {
        let must_listen = self.slots.iter().any(|slot| self.listens(slot));
        let mut old: Vec<Slot> = std::mem::take(&mut self.slots);
        if deployment.spec.is_exclusive() || old.iter().any(|slot| slot.deployment.spec.is_exclusive()) {
            old.iter().for_each(|slot| slot.order(Order::Drain));
            join_all(old.iter().chain(&self.retiring).map(Slot::ended)).await;
            old.clear();
        }
        let mut new: Vec<Slot> = Vec::new();
        for index in 0..service.replicas() {
            let ordinal = free_ordinal(deployment, old.iter().chain(&new).chain(&self.retiring));
            let start = Start { deployment: Arc::clone(deployment), ordinal, adopt: None, must_listen };
            let slot = Slot::start(&self.work, start);
            let mut outcome = slot.first().await;
            if outcome.is_ok() && index == 0 {
                outcome = self.smoke(&slot).await;
            }
            new.push(slot);
            if let Err(why) = outcome {
                new.iter().for_each(|slot| slot.order(Order::Stop));
                join_all(new.iter().map(Slot::ended)).await;
                // What is missing of the old ones is started again by the next step.
                self.slots = old;
                return Err(why);
            }
            if let Some(slot) = (!old.is_empty()).then(|| old.remove(0)) {
                slot.order(Order::Drain);
                self.retiring.push(slot);
            }
        }
        old.iter().for_each(|slot| slot.order(Order::Drain));
        self.retiring.append(&mut old);
        self.slots = new;
        Ok(())
    }

    fn listens(&self, slot: &Slot) -> bool {
        let list = ports::ServiceDirectory::watch(&*self.work.rt.directory).borrow().clone();
        list.iter()
            .filter(|service| service.id == slot.deployment.service)
            .flat_map(|service| &service.endpoints)
            .any(|endpoint| endpoint.replica == Some(slot.id) && endpoint.ready)
    }

    async fn smoke(&self, slot: &Slot) -> Result<(), String> {
        for smoke in &slot.deployment.spec.smoke {
            let port = (*slot.port.borrow()).unwrap_or_default();
            let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            self.work
                .rt
                .outputs
                .say(slot.deployment.id, &format!("smoke: GET {} {}", smoke.path, smoke.status));
            let question = Question { addr, path: Some(&smoke.path), timeout: SMOKE_TIMEOUT };
            match probe::status(question).await {
                Ok(Some(status)) if status == smoke.status => {}
                Ok(status) => {
                    let status = status.unwrap_or_default();
                    let (path, wanted) = (&smoke.path, smoke.status);
                    return Err(format!(
                        "the smoke request GET {path} was answered with {status} instead of {wanted}"
                    ));
                }
                Err(why) => return Err(format!("the smoke request GET {} failed: {why}", smoke.path)),
            }
        }
        Ok(())
    }

    /// Keeps as many replicas of the live deployment as there should be.
    async fn keep_live(&mut self, row: &ServiceRow) -> Result<(), Error> {
        let Some(id) = row.live else { return Ok(()) };
        let live = self.work.rt.db.read_system(&self.work.ctx, move |tx| store::deployment(tx, id)).await?;
        let live = Arc::new(live);
        // Left from a deployment that is not live: it ended while nobody could write that down.
        let (own, others) =
            std::mem::take(&mut self.slots).into_iter().partition(|slot| slot.deployment.id == id);
        self.slots = own;
        self.retire(others);
        if !self.is_here(&live) {
            // Nothing can be started of it; whoever runs still has its files open.
            return Ok(());
        }
        if self.restarts != row.restarts && !self.slots.is_empty() {
            self.restarts = row.restarts;
            if let Err(why) = self.replace(row, &live).await {
                tracing::error!(service = %row.name, %why, "a restart failed");
            }
        }
        self.restarts = row.restarts;
        let wanted = row.replicas() as usize;
        while self.slots.len() < wanted {
            let ordinal = free_ordinal(&live, self.slots.iter().chain(&self.retiring));
            let start = Start { deployment: Arc::clone(&live), ordinal, adopt: None, must_listen: false };
            if live.spec.is_exclusive() {
                join_all(self.retiring.iter().map(Slot::ended)).await;
            }
            self.slots.push(Slot::start(&self.work, start));
        }
        let surplus = self.slots.split_off(wanted.min(self.slots.len()));
        self.retire(surplus);
        Ok(())
    }

    fn retire(&mut self, slots: Vec<Slot>) {
        slots.iter().for_each(|slot| slot.order(Order::Drain));
        self.retiring.extend(slots);
    }
}

/// The lowest number that no replica of the deployment has.
fn free_ordinal<'a>(deployment: &DeploymentRow, slots: impl Iterator<Item = &'a Slot>) -> u32 {
    let taken: Vec<u32> = slots
        .filter(|slot| slot.deployment.id == deployment.id && !slot.is_gone())
        .map(|slot| slot.ordinal)
        .collect();
    (0..).find(|ordinal| !taken.contains(ordinal)).unwrap_or_default()
}
