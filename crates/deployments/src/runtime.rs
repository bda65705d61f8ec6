//! What outlives a run of the reconciler, and what API and handle share with it.

use crate::Config;
use crate::directory::Directory;
use crate::folders::Folders;
use crate::keeper::{Crew, procs};
use crate::model::ReplicaState;
use crate::ops::Ambient;
use crate::output::Outputs;
use crate::processes::Processes;
use base::{DeploymentId, EnvironmentId, ReplicaId, ServiceId, SharedClock, SharedRandom};
use db::Db;
use parking_lot::Mutex;
use ports::EnvironmentDirectory;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tokio::sync::watch;

/// One replica as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReplicaView {
    pub(crate) id: ReplicaId,
    pub(crate) service: ServiceId,
    pub(crate) deployment: DeploymentId,
    pub(crate) ordinal: u32,
    pub(crate) state: ReplicaState,
    pub(crate) port: Option<u16>,
    /// The guard of its process.
    pub(crate) guard: Option<u32>,
    pub(crate) restarts: u32,
    pub(crate) last_exit: Option<String>,
}

impl ReplicaView {
    /// The process itself.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.guard.and_then(procs::child_of)
    }
}

/// The state that is not in the store.
pub(crate) struct Runtime {
    pub(crate) config: Config,
    pub(crate) db: Db,
    pub(crate) clock: SharedClock,
    pub(crate) random: SharedRandom,
    pub(crate) environments: Arc<dyn EnvironmentDirectory>,
    pub(crate) folders: Folders,
    pub(crate) processes: Processes,
    pub(crate) outputs: Arc<Outputs>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) replicas: Mutex<BTreeMap<ReplicaId, ReplicaView>>,
    /// Builds run one after the other: they share caches, and each uses all cores anyway.
    pub(crate) building: tokio::sync::Mutex<()>,
    /// Counts what may concern services; each looks at itself when it changes.
    pub(crate) changed: watch::Sender<u64>,
    pub(crate) metrics: crate::metrics::Counters,
    /// Replicas that were taken over at the start and that nothing was heard of yet; `None` before it is known which.
    pub(crate) unheard: watch::Sender<Option<BTreeSet<ReplicaId>>>,
    /// Whether replicas ran already when the reconciler began for the first time.
    pub(crate) took_over: AtomicBool,
    /// What ran when this process left to its successor: not polled any more, and dropped with the process.
    pub(crate) parked: Mutex<Option<Crew>>,
}

impl Runtime {
    /// Lets all services look whether something is to be done.
    pub(crate) fn nudge(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    /// Notes that nothing is to be heard of what was not taken over: a replica, or something else.
    pub(crate) fn gave_up(&self, name: &str) {
        if let Ok(replica) = ReplicaId::parse(name) {
            self.heard_of(replica);
        }
    }

    /// Notes that it is known of a replica whether it can have requests.
    pub(crate) fn heard_of(&self, replica: ReplicaId) {
        self.unheard.send_if_modified(|unheard| unheard.as_mut().is_some_and(|ids| ids.remove(&replica)));
    }

    /// Where ids and times come from.
    pub(crate) fn ambient(&self) -> Ambient<'_> {
        Ambient { clock: &*self.clock, random: &*self.random }
    }

    /// The replicas of a service that are there now, by deployment and number.
    pub(crate) fn replicas_of(&self, service: ServiceId) -> Vec<ReplicaView> {
        let replicas = self.replicas.lock();
        let mut own: Vec<ReplicaView> =
            replicas.values().filter(|one| one.service == service).cloned().collect();
        own.sort_by_key(|one| (one.deployment, one.ordinal));
        own
    }

    /// The slugs of project and environment; the environment's id where they are not known.
    pub(crate) fn names(&self, environment: EnvironmentId) -> (String, String) {
        let found = self.environments.all().into_iter().find(|one| one.id == environment);
        found.map_or_else(
            || (String::new(), environment.to_string()),
            |one| (one.project_slug.to_string(), one.slug.to_string()),
        )
    }
}
