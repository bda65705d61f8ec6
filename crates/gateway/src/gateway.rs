//! The running gateway.

use crate::balance::{HealthChecks, Services};
use crate::config::Config;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::path::{Assertions, Connections, Member, Shared};
use crate::snapshot::{Directories, Follower, LoadError, World};
use base::{SharedClock, SharedRandom};
use lifecycle::{Stop, Supervisor, TaskKind};
use ports::{AssertionSigner, KeyUse, LogSink, RouteMeters, TokenCheck};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

/// How often one shard of the windows is looked through for idle ones: all of them in 26 s.
const FORGET_EVERY: Duration = Duration::from_millis(100);

/// What the data path needs of others.
pub struct Parts {
    /// Settings.
    pub config: Config,
    /// Where what it knows comes from.
    pub directories: Directories,
    /// Signs assertions.
    pub signer: Arc<dyn AssertionSigner>,
    /// Takes records.
    pub log: Arc<dyn LogSink>,
    /// Hears of used keys; `None` when nobody wants to know.
    pub key_use: Option<Arc<dyn KeyUse>>,
    /// Judges tokens; `None` where nobody signs any.
    pub tokens: Option<Arc<dyn TokenCheck>>,
    /// Counts requests of routes with a meter; `None` where nobody does.
    pub meters: Option<Arc<dyn RouteMeters>>,
    /// Its metrics.
    pub metrics: Metrics,
    /// Time.
    pub clock: SharedClock,
    /// Randomness.
    pub random: SharedRandom,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").field("config", &self.config).finish_non_exhaustive()
    }
}

/// The gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// What it needs to know cannot be read.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A thread cannot be started.
    #[error("start a thread of the gateway")]
    Thread(#[from] std::io::Error),
}

/// The data path. Clones share it.
#[derive(Clone)]
pub struct Gateway {
    shared: Arc<Shared>,
    directories: Directories,
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Gateway")
    }
}

impl Gateway {
    /// A gateway that knows nothing yet; see [`Gateway::start`].
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let Parts { config, directories, signer, log, key_use, tokens, meters, metrics, clock, random } =
            parts;
        let services = Arc::new(Services::default());
        let member = config.member.clone().and_then(|surface| Member::new(surface, &services));
        let shared = Shared {
            config,
            world: World::new(),
            services,
            member,
            limits: Limits::new(clock.clone()),
            assertions: Assertions::new(signer),
            metrics,
            log,
            key_use,
            tokens,
            meters,
            connections: Connections::default(),
            clock,
            random,
        };
        Self { shared: Arc::new(shared), directories }
    }

    /// Reads all that is known, and returns the position of the event log from which [`Gateway::follow`] goes on.
    ///
    /// # Errors
    /// When a directory does not answer.
    pub async fn load(&self) -> Result<i64, LoadError> {
        let services = self.directories.services.watch().borrow().clone();
        self.shared.services.update(&services);
        self.follower().load().await
    }

    /// Keeps what is known true, from a position of the event log on, until told to stop. Runs once.
    pub async fn follow(&self, position: i64, stop: Stop) {
        let follower = self.follower();
        tokio::join!(follower.follow(position, stop.clone()), self.follow_services(stop.clone()));
    }

    /// Housekeeping until told to stop: health checks of endpoints that run elsewhere, and forgetting idle limits.
    pub async fn keep(&self, stop: Stop) {
        let checks = HealthChecks::new(self.shared.services.clone(), self.shared.clock.clone());
        let forget = async {
            let mut turn = 0;
            while !stop.sleep(FORGET_EVERY).await {
                self.shared.limits.forget_idle(turn);
                self.shared
                    .metrics
                    .connections
                    .set(i64::try_from(self.shared.connections.all()).unwrap_or(i64::MAX));
                turn += 1;
            }
        };
        tokio::join!(checks.run(stop.clone()), forget);
    }

    /// Reads all that is known, follows its changes, and serves on these sockets, one thread each (see
    /// `lifecycle::bind_reuseport`). Returns when they accept. They stop accepting when the supervisor stops
    /// listeners, and end when what is under way has ended, or at the cut.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(
        &self,
        listeners: Vec<TcpListener>,
        supervisor: &Supervisor,
    ) -> Result<(), StartError> {
        let position = self.load().await?;
        let gateway = self.clone();
        let stop = supervisor.stop_of(TaskKind::Reconciler);
        supervisor.spawn(TaskKind::Reconciler, "gateway.follow", async move {
            gateway.follow(position, stop).await;
            Ok(())
        });
        for (number, listener) in listeners.into_iter().enumerate() {
            let shared = self.shared.clone();
            let serve = move |stop: Stop| crate::path::run(shared, listener, stop);
            supervisor.runtime_thread(format!("gateway-{number}"), serve)?;
        }
        Ok(())
    }

    /// What is known.
    #[must_use]
    pub fn world(&self) -> &Arc<World> {
        &self.shared.world
    }

    /// The services and their endpoints.
    #[must_use]
    pub fn services(&self) -> &Arc<Services> {
        &self.shared.services
    }

    fn follower(&self) -> Follower {
        Follower::new(self.shared.world.clone(), self.directories.clone())
    }

    async fn follow_services(&self, stop: Stop) {
        let mut watch = self.directories.services.watch();
        loop {
            let records = watch.borrow_and_update().clone();
            self.shared.services.update(&records);
            tokio::select! {
                () = stop.stopped() => return,
                changed = watch.changed() => if changed.is_err() {
                    // Who runs services has gone; what they were stays.
                    return;
                },
            }
        }
    }
}
