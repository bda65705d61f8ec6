//! Services, their deployments, and the processes behind them.
//!
//! Purpose: what the section `services` of the project file names is brought to run and kept running, on this machine
//! (`start`) or as addresses elsewhere (`urls`), and the gateway is told where to find it.
//!
//! Invariants
//! - A deployment is immutable: a copy of the source, what was built of it, its variables. The one before it
//!   serves until the new replicas are healthy; a failed one changes nothing for requests.
//! - No process outlives what it was started for: see [`keeper`]. Nor does one see the platform's own variables.
//! - All that must be remembered is in the store before it is acted upon, so that every crash is just another
//!   start of the reconciler ([`tasks`]). What runs is learned from the keeper, never guessed from the store.
//! - A service with volumes never has two processes at once. Volumes are removed with `--prune` only.
//! - Replicas get the token of their deployment, builds and checks do not: these run code that nobody has released.
//! - Output, logs and queues are bounded, whatever a program prints.
//!
//! Deliberately absent: images and engines, autoscaling, references between variables, secrets, and a file system of
//! its own for each process (hence volumes are found by variable or inside the working folder; see
//! `docs/decisions/0010-snapshots-and-volumes.md`). Keys of the project file for these are refused as unknown.
//!
//! Life of a deployment: applying the project file marks a service for examination; the reconciler compares the digest
//! of the project folder with what is live and puts a deployment into the queue. From there the service's own
//! future takes it: the source is copied and built (or an equal build is found), checks run in a copy of that, the
//! pre-deploy command runs, then replicas are replaced one by one: a new one is started and asked for its health,
//! then an old one is marked as draining, and ends. Each step is a state of the deployment with its time.

mod api;
mod apply;
mod cli;
mod directory;
mod error;
mod folders;
mod keeper;
mod metrics;
mod model;
mod ops;
mod output;
mod probe;
mod processes;
mod runtime;
mod section;
mod source;
mod store;
mod tasks;
mod views;

pub use cli::verbs;
pub use directory::Identities;
pub use keeper::{LONELY_MAX, inherited_sockets, keeper_main};
pub use model::ReplicaState;
pub use views::{DeploymentView, LatestView, ReplicaView, ServiceState, ServiceView};

use authority::{SystemCtx, permissions};
use base::{EnvironmentId, SharedClock, SharedRandom};
use config::SectionSchema;
use db::{Db, Migration, MigrationSet};
use lifecycle::{HeldSockets, TaskKind};
use module::{EventDoc, Manifest, Module, Task};
use ports::{EnvironmentDirectory, LogSink, ServiceDirectory, ServiceTokens};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use telemetry::Metrics;

/// The section `services` of the project file.
pub const SECTION: SectionSchema =
    SectionSchema { key: section::KEY, schema: section::schema, check: section::check };

/// What this capability brings along.
pub const MANIFEST: Manifest = Manifest {
    name: "deployments",
    summary: "services, their deployments and processes",
    migrations: MigrationSet {
        capability: "deployments",
        migrations: &[Migration {
            number: 1,
            name: "services",
            sql: include_str!("../migrations/0001_services.sql"),
        }],
        tenant_tables: &[],
        system_tables: &[
            ("deployments_services", "services belong to an environment and serve all its tenants"),
            ("deployments_deployments", "deployments belong to a service of an environment"),
            ("deployments_replicas", "replicas belong to a deployment; they serve all tenants"),
        ],
    },
    events: &[
        EventDoc { kind: "service.created", doc: "The project file has a service that was not there." },
        EventDoc { kind: "service.updated", doc: "The project file says something else of a service." },
        EventDoc {
            kind: "service.examined",
            doc: "The project file was applied without a change of the service; its source is compared with what is live.",
        },
        EventDoc { kind: "service.removed", doc: "The project file does not have the service any more." },
        EventDoc { kind: "service.scaled", doc: "A number of replicas was asked for." },
        EventDoc { kind: "service.restarted", doc: "A restart was asked for." },
        EventDoc { kind: "deployment.created", doc: "A deployment was put into the queue of its service." },
        EventDoc { kind: "deployment.live", doc: "A deployment serves." },
        EventDoc { kind: "deployment.failed", doc: "A deployment failed; the one before it still serves." },
        EventDoc { kind: "deployment.rolled_back", doc: "A live deployment was replaced by an older one." },
    ],
    metrics: metrics::DOCS,
    sections: &[SECTION],
    permissions: &[
        permissions::SERVICES_READ,
        permissions::SERVICES_WRITE,
        permissions::DEPLOYMENTS_READ,
        permissions::DEPLOYMENTS_WRITE,
    ],
    codes: &[],
};

/// How processes are run.
#[derive(Debug, Clone)]
pub struct Config {
    /// The data folder, as an absolute path.
    pub data_dir: PathBuf,
    /// The folder that services are deployed from; `None` where there is none, as on a server without a project.
    pub project_dir: Option<PathBuf>,
    /// The program, with leading arguments, whose `main` calls [`keeper_main`] first: this binary.
    pub keeper_program: Vec<OsString>,
    /// The environment of whoever started Switchyard. Only what is on a fixed list is passed on.
    pub environment: Vec<(String, String)>,
    /// Where processes reach the service API (`SWITCHYARD_URL`).
    pub service_url: String,
    /// Time in which a replica that is replaced finishes its requests before SIGTERM.
    pub drain: Duration,
    /// Time between SIGTERM and SIGKILL.
    pub grace: Duration,
    /// The most of it that each has when all end: all together take less than twice as long.
    pub grace_at_end_max: Duration,
    /// Time that a build, a check or a pre-deploy command may take.
    pub step_timeout: Duration,
    /// The sockets on which this process listens, which the keeper holds for the next one.
    pub sockets: Arc<HeldSockets>,
}

/// How long requests wait at most for replicas that were taken over to be asked for their health.
pub const TAKEN_OVER_MAX: Duration = Duration::from_secs(3);

/// How long a replica that is replaced finishes its requests.
const DRAIN: Duration = Duration::from_secs(10);
/// How long processes have to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(10);
/// How long a build may take.
const STEP_TIMEOUT: Duration = Duration::from_mins(30);

impl Config {
    /// The usual times, this binary as keeper, this process's environment.
    #[must_use]
    pub fn new(data_dir: PathBuf, project_dir: PathBuf, service_url: String) -> Self {
        let text =
            |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
        Self {
            data_dir: absolute(data_dir),
            project_dir: Some(absolute(project_dir)),
            keeper_program: vec![keeper::SELF.into()],
            environment: std::env::vars_os().filter_map(text).collect(),
            service_url,
            drain: DRAIN,
            grace: GRACE,
            grace_at_end_max: GRACE,
            step_timeout: STEP_TIMEOUT,
            sockets: Arc::default(),
        }
    }
}

/// Processes run in folders of their own, where a relative path would lead elsewhere.
fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

/// What this capability needs of others.
pub struct Deps {
    /// The store.
    pub db: Db,
    /// Time.
    pub clock: SharedClock,
    /// Randomness, for ids and ports.
    pub random: SharedRandom,
    /// Where lines of processes go.
    pub logs: Arc<dyn LogSink>,
    /// The slugs of environments, which processes are told.
    pub environments: Arc<dyn EnvironmentDirectory>,
    /// Makes the tokens by which services call back (`SWITCHYARD_TOKEN`).
    pub tokens: Arc<dyn ServiceTokens>,
    /// Where to count.
    pub metrics: Metrics,
}

/// What others ask this capability by.
#[derive(Clone)]
pub struct Handle(Arc<runtime::Runtime>);

impl Handle {
    /// What runs now, for the gateway.
    #[must_use]
    pub fn directory(&self) -> Arc<dyn ServiceDirectory> {
        Arc::clone(&self.0.directory) as Arc<dyn ServiceDirectory>
    }

    /// All services of an environment as they are now, for `status`.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn snapshot(&self, environment: EnvironmentId) -> Result<Vec<ServiceView>, web::Problem> {
        let ctx = SystemCtx::because("show the services of an environment");
        let known = self.0.db.read_system(&ctx, move |tx| views::known(tx, environment)).await?;
        Ok(known.into_iter().map(|known| views::service(&self.0, known)).collect())
    }

    /// Resolves when it is known of each replica that was taken over at the start whether it can have requests; at the latest after
    /// [`TAKEN_OVER_MAX`]. To be waited for before requests are accepted. Never before the reconciler runs.
    pub async fn taken_over(&self) {
        let mut unheard = self.0.unheard.subscribe();
        let all = unheard.wait_for(|unheard| unheard.as_ref().is_some_and(BTreeSet::is_empty));
        let _those_that_are_late_get_requests_later = tokio::time::timeout(TAKEN_OVER_MAX, all).await.is_ok();
    }

    /// Whether services ran already when the reconciler began. False before it has looked.
    #[must_use]
    pub fn has_taken_over(&self) -> bool {
        self.0.took_over.load(Ordering::Acquire)
    }

    /// Lets the reconciler look whether something is to be done, without waiting for the event log.
    pub fn nudge(&self) {
        self.0.nudge();
    }
}

/// The built capability.
pub struct Built {
    /// What the server runs.
    pub module: Module,
    /// What others ask it by.
    pub handle: Handle,
}

/// Builds the capability.
#[must_use]
pub fn build(config: Config, deps: Deps) -> Built {
    let Deps { db, clock, random, logs, environments, tokens, metrics } = deps;
    let folders = folders::Folders::new(config.data_dir.clone());
    let processes = processes::Processes::new(
        &config.environment,
        folders.clone(),
        processes::Callback { url: config.service_url.clone(), tokens },
        Arc::clone(&random),
    );
    let apply = apply::Apply { clock: Arc::clone(&clock), random: Arc::clone(&random) };
    let runtime = Arc::new(runtime::Runtime {
        config,
        db,
        outputs: Arc::new(output::Outputs::new(logs, Arc::clone(&clock))),
        clock,
        random,
        environments,
        folders,
        processes,
        directory: Arc::new(directory::Directory::new()),
        replicas: parking_lot::Mutex::default(),
        building: tokio::sync::Mutex::default(),
        changed: tokio::sync::watch::Sender::new(0),
        metrics: metrics::Counters::new(&metrics),
        unheard: tokio::sync::watch::Sender::new(None),
        took_over: AtomicBool::new(false),
        parked: parking_lot::Mutex::default(),
    });
    let running = Arc::clone(&runtime);
    let task = Task::new(TaskKind::Reconciler, "deployments.services", move |stop| {
        let runtime = Arc::clone(&running);
        async move {
            tasks::run(runtime, stop).await;
            Ok(())
        }
    });
    let module = Module::new("deployments", api::routes(&runtime)).section(Arc::new(apply)).task(task);
    Built { module, handle: Handle(runtime) }
}
