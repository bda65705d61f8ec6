//! The reconciler: compares what should run with what runs, and takes one step after the other.
//!
//! All of it is one task: a crew of futures, one for each service ([`service`]), one for each replica ([`slot`]),
//! one for the keeper's connection, one that follows the event log. When the task fails, all of them end, and
//! the next run of the task begins as after a start of Switchyard: it adopts what runs.

mod deploy;
mod elsewhere;
mod ending;
mod service;
mod slot;
mod step;

use crate::folders::Folders;
use crate::keeper::client::Client;
use crate::keeper::procs;
use crate::keeper::protocol::Listed;
use crate::keeper::{Crew, Hands};
use crate::output::Tag;
use crate::runtime::Runtime;
use crate::store::{self, ServiceRow};
use authority::SystemCtx;
use base::{ReplicaId, ServiceId};
use lifecycle::Stop;
use parking_lot::Mutex;
use rustix::process::Signal;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::watch;

/// Wait before the store is asked again after it failed.
const STORE_RETRY: Duration = Duration::from_secs(1);

/// Events that one look at the log takes.
const EVENTS_MAX: u32 = 500;

/// Beginnings of the kinds of events after which services may have to change.
const EVENT_KINDS: [&str; 4] = ["service.", "deployment.", "project.", "environment."];

/// Why rows are touched that belong to no tenant.
const REASON: &str = "run the services of all environments";

/// What the futures of one run share.
pub(crate) struct Work {
    pub(crate) rt: Arc<Runtime>,
    /// As whom the store is asked.
    pub(crate) ctx: SystemCtx,
    pub(crate) keeper: Client,
    pub(crate) hands: Hands,
    /// Whether all is to end.
    pub(crate) stopping: watch::Sender<bool>,
    /// Services that have a future.
    running: Mutex<BTreeSet<ServiceId>>,
    /// Ids of services in the order in which their first replicas were started. Neither a crash nor a deployment changes it.
    started: Mutex<Vec<String>>,
}

impl Work {
    /// Notes that a replica of a service was started, or taken over.
    fn note_started(&self, service: &str) {
        let mut started = self.started.lock();
        if !started.iter().any(|known| known == service) {
            started.push(service.to_owned());
        }
    }

    /// Waits for ever once all is to end: what a process's end means is then nobody's business any more.
    async fn unless_stopping(&self) {
        if *self.stopping.borrow() {
            std::future::pending::<()>().await;
        }
    }
}

/// Runs until `stop`, then ends all processes, service by service.
pub(crate) async fn run(rt: Arc<Runtime>, stop: Stop) {
    // Of an earlier run that failed. What still runs is adopted.
    rt.replicas.lock().clear();
    rt.directory.clear();
    let mut crew = Crew::new();
    let outputs = Arc::clone(&rt.outputs);
    let listener =
        Arc::new(move |name: &str, heard: crate::keeper::client::Heard<'_>| outputs.hear(name, heard));
    let keeper = Client::new(&rt.config, listener);
    let work = Arc::new(Work {
        rt,
        ctx: SystemCtx::because(REASON),
        keeper,
        hands: crew.hands(),
        stopping: watch::Sender::new(false),
        running: Mutex::default(),
        started: Mutex::default(),
    });
    let hands = crew.hands();
    hands.add(work.keeper.clone().run());
    hands.add(follow_events(Arc::clone(&work)));
    hands.add(reconcile(Arc::clone(&work)));
    crew.work(stop.stopped()).await;
    work.stopping.send_replace(true);
    if stop.is_leaving() && crew.work(ending::leave(&work)).await {
        // Its connection stays, so that the keeper does not take itself for alone before this process has ended.
        work.rt.parked.lock().replace(crew);
        return;
    }
    crew.work(ending::end_all(&work, &stop)).await;
}

/// Wakes the services when something happened that may concern them.
async fn follow_events(work: Arc<Work>) {
    let events = work.rt.db.events();
    let mut position = events.head();
    loop {
        events.wait_beyond(position).await;
        let new = match events.after(position, EVENTS_MAX).await {
            Ok(new) => new,
            Err(error) => {
                tracing::warn!(%error, "the event log cannot be read: trying again");
                tokio::time::sleep(STORE_RETRY).await;
                continue;
            }
        };
        position = new.last().map_or(position, |event| event.position);
        if new.iter().any(|event| EVENT_KINDS.iter().any(|kind| event.kind.starts_with(kind))) {
            work.rt.nudge();
        }
    }
}

/// Gives every service a future of its own.
async fn reconcile(work: Arc<Work>) {
    let mut adoptable = Adoptable::read(&work).await;
    let mut changed = work.rt.changed.subscribe();
    loop {
        changed.mark_unchanged();
        let rows = match work.rt.db.read_system(&work.ctx, store::all_services).await {
            Ok(rows) => rows,
            Err(error) => {
                tracing::error!(%error, "the services cannot be read: trying again");
                tokio::time::sleep(STORE_RETRY).await;
                continue;
            }
        };
        adoptable.end_others(&work, &rows);
        for row in rows {
            if work.running.lock().insert(row.id) {
                let adopted = adoptable.take(row.id);
                work.hands.add(service::run(Arc::clone(&work), row, adopted));
            }
        }
        let _never_closed = changed.changed().await;
    }
}

/// What runs already when Switchyard starts.
struct Adoptable(BTreeMap<String, Vec<(Listed, Tag)>>);

impl Adoptable {
    async fn read(work: &Work) -> Self {
        let mut listed = work.keeper.adoptable().await;
        listed.sort_by_key(|one| one.started_at);
        let running = listed.iter().filter(|one| one.exit.is_none());
        let tags = running.filter_map(|one| serde_json::from_value::<Tag>(one.meta.clone()).ok());
        let replicas: BTreeSet<_> = tags.filter_map(|tag| ReplicaId::parse(&tag.replica).ok()).collect();
        if work.rt.unheard.borrow().is_none() {
            // Later runs of this task find what this process itself has started.
            work.rt.took_over.store(!replicas.is_empty(), Ordering::Release);
        }
        work.rt.unheard.send_replace(Some(replicas));
        let mut by_service: BTreeMap<String, Vec<(Listed, Tag)>> = BTreeMap::new();
        let names: Vec<String> = listed.iter().map(|one| one.name.clone()).collect();
        for one in listed {
            work.keeper.claim(&one);
            match serde_json::from_value::<Tag>(one.meta.clone()) {
                Ok(tag) => {
                    work.rt.outputs.tag(&one.name, tag.clone());
                    work.note_started(&tag.service_id);
                    by_service.entry(tag.service_id.clone()).or_default().push((one, tag));
                }
                Err(_) => work.hands.add(end(work.keeper.clone(), one.name, Duration::ZERO)),
            }
        }
        remove_leftovers(work, names).await;
        Self(by_service)
    }

    fn take(&mut self, service: ServiceId) -> Vec<(Listed, Tag)> {
        self.0.remove(&service.to_string()).unwrap_or_default()
    }

    /// Ends what belongs to services that are not there any more.
    fn end_others(&mut self, work: &Work, rows: &[ServiceRow]) {
        self.0.retain(|service, processes| {
            let known = rows.iter().any(|row| row.id.to_string() == *service);
            if !known {
                for (one, tag) in processes.drain(..) {
                    work.rt.gave_up(&tag.replica);
                    work.hands.add(end(work.keeper.clone(), one.name, Duration::ZERO));
                }
            }
            known
        });
    }
}

/// Ends a process and forgets it.
pub(crate) async fn end(keeper: Client, name: String, grace: Duration) {
    let _gone = keeper.stop(&name, grace).await;
    keeper.exit(&name).await;
    keeper.forget(&name).await;
}

/// Kills what a keeper and its guards left that were all killed at once, and removes temporary folders of processes
/// that are gone. `kept` are the processes that the keeper still has.
async fn remove_leftovers(work: &Work, kept: Vec<String>) {
    let rows = work.rt.db.read_system(&work.ctx, |tx| {
        let services = store::all_services(tx)?;
        let mut rows = Vec::new();
        for service in services {
            rows.extend(store::replicas(tx, service.id)?);
        }
        Ok::<_, crate::error::Error>(rows)
    });
    let rows = rows.await.unwrap_or_default();
    let is_kept = |id: &str| kept.iter().any(|name| name.split('.').next() == Some(id));
    let lost: Vec<String> = rows.iter().map(|row| row.id.to_string()).filter(|id| !is_kept(id)).collect();
    let folders = work.rt.folders.clone();
    let swept = lifecycle::blocking(move || {
        kill_lost("SWITCHYARD_REPLICA", &lost);
        sweep_temporary(&folders, &kept);
    });
    if swept.await.is_none() {
        tracing::error!("leftovers of an earlier run could not be looked for");
    }
}

/// Kills what runs on behalf of a lost keeper: processes in whose environment the variable `name` has one of
/// `values`. Looks again until nothing is left.
pub(crate) fn kill_lost(name: &str, values: &[String]) {
    /// Looks before giving up.
    const LOOKS_MAX: u32 = 100;
    for _ in 0..LOOKS_MAX {
        let left = if values.is_empty() { Vec::new() } else { procs::with_variable(name, values) };
        if left.is_empty() {
            return;
        }
        tracing::warn!(processes = left.len(), "processes whose keeper is gone are ended");
        left.into_iter().for_each(|pid| procs::signal(pid, Signal::KILL));
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn sweep_temporary(folders: &Folders, kept: &[String]) {
    let entries = std::fs::read_dir(folders.temporary("")).into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name();
        if !kept.iter().any(|kept| name == kept.as_str()) {
            let _next_time = std::fs::remove_dir_all(entry.path());
        }
    }
}
