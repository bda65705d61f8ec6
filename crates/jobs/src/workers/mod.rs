//! Workers in this process: handlers of built-in queues, and jobs that are pushed to services.
//!
//! Purpose: a capability hands over a [`ports::JobHandler`] and its queue is worked off; a queue with `push` in its settings
//! has its jobs sent to a service, so that an app needs no worker of its own.
//!
//! Invariants
//! - A worker claims, renews and ends leases as those outside do, through [`Engine`] alone. It has no other right.
//! - What a handler does wrong costs its own attempt: a panic, a time-out, an answer that is too large.
//! - A job whose lease is lost is not settled by the one who lost it; the fence sees to that, the worker just stops.
//! - Whatever was claimed is ended, failed or given back before the process leaves in order. Given back means that the attempt
//!   does not count.
//! - A service that cannot be reached costs no attempts (up to [`push::BACK_MAX`] times in a row), and no claims while none
//!   of its replicas is ready.
//!
//! Deliberately absent: parallelism of handlers. They share one task, wait concurrently, and leave what computes for long
//! to `lifecycle::blocking`; else heartbeats would wait for them.
//!
//! Life of the main operation: a [`pool::Pool`] per queue has one claim open for as many jobs as it has room; each job becomes a
//! future that runs the handler (or the push) with its time-out, then settles it; a heartbeat for all that runs goes out
//! three times a lease. Told to stop, a pool claims nothing more, waits for what runs within [`Config::patience`], and
//! gives back the rest.
//!
//! Where: built-in queues are worked off by processes with the role `worker`; pushes are sent by the process that runs the
//! services (`runtime`), since replicas listen on its loopback interface, and end before the replicas do.

mod pool;
mod push;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use base::{SharedClock, Slug};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use lifecycle::{Stop, StopHandle, TaskKind};
use module::Task;
use outbound::direct::Direct;
use ports::{BoxFuture, EnvironmentDirectory, JobHandler, ServiceDirectory, ServiceTokens};

use crate::{Engine, Push, QueueKey};
use pool::{Doer, Pool};
use push::Pusher;

/// Jobs of a built-in queue that run at once where nothing is said (`QUEUE_CONCURRENCY`).
pub const CONCURRENCY_DEFAULT: u32 = 10;
/// Jobs of a built-in queue that may run at once in one process.
pub const CONCURRENCY_MAX: u32 = 1_000;
/// Time between two looks at the queues in memory, for new and changed pushes: a change is in force within a second.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Which queues are worked off here, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Only queues of these names; `None` means all that have a handler or are pushed.
    pub queues: Option<BTreeSet<Slug>>,
    /// Jobs of each built-in queue at once, 1 to [`CONCURRENCY_MAX`].
    pub concurrency: u32,
    /// Time that running jobs have when the process stops.
    pub patience: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self { queues: None, concurrency: CONCURRENCY_DEFAULT, patience: Duration::from_secs(10) }
    }
}

/// What workers need.
#[derive(Clone)]
pub struct Deps {
    /// The queues.
    pub engine: Engine,
    /// What works off built-in queues.
    pub handlers: Vec<Arc<dyn JobHandler>>,
    /// Whose queues may be pushed.
    pub environments: Arc<dyn EnvironmentDirectory>,
    /// Where services listen.
    pub services: Arc<dyn ServiceDirectory>,
    /// What pushes are signed with.
    pub tokens: Arc<dyn ServiceTokens>,
    /// Time.
    pub clock: SharedClock,
}

/// The task that works off built-in queues: `jobs.workers`, for processes with the role `worker`.
#[must_use]
pub fn built_in(config: Config, deps: Deps) -> Task {
    Task::new(TaskKind::Worker, "jobs.workers", move |stop| {
        let crew = Crew::new(&config, &deps, Sort::BuiltIn);
        async move {
            crew.run(stop).await;
            Ok(())
        }
    })
}

/// The task that pushes jobs to services: `jobs.push`, for the process that runs these. It is stopped with the listeners,
/// as it brings work to services, which end after them.
#[must_use]
pub fn pushes(config: Config, deps: Deps) -> Task {
    Task::new(TaskKind::Listener, "jobs.push", move |stop| {
        let crew = Crew::new(&config, &deps, Sort::Pushed);
        async move {
            crew.run(stop).await;
            Ok(())
        }
    })
}

/// Which queues a crew has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sort {
    BuiltIn,
    Pushed,
}

/// Keeps a pool for each queue that is to be worked off here.
struct Crew {
    config: Config,
    deps: Deps,
    sort: Sort,
    /// Connections to services.
    direct: Direct,
}

/// A pool that runs.
struct Running {
    queue: QueueKey,
    stop: StopHandle,
    /// What it was started for; another push is another pool.
    push: Option<Push>,
    /// Whether it only finishes what it has.
    ending: bool,
}

/// The pools of a crew by the order of their start. Each future gives its number when it ends.
#[derive(Default)]
struct Pools {
    running: BTreeMap<u64, Running>,
    futures: FuturesUnordered<BoxFuture<'static, u64>>,
    started: u64,
}

impl Crew {
    fn new(config: &Config, deps: &Deps, sort: Sort) -> Crew {
        let direct = Direct::new(Arc::clone(&deps.clock));
        Crew { config: config.clone(), deps: deps.clone(), sort, direct }
    }

    async fn run(self, stop: Stop) {
        self.warn_of_unknown_names();
        let mut pools = Pools::default();
        loop {
            self.reconcile(&mut pools);
            self.direct.tidy();
            tokio::select! {
                biased;
                () = stop.stopped() => break,
                Some(ended) = pools.futures.next(), if !pools.futures.is_empty() => {
                    pools.running.remove(&ended);
                }
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
        // Claims that wait would hold up the end.
        self.deps.engine.close();
        pools.running.values().for_each(|pool| pool.stop.stop());
        tokio::select! {
            () = async { while pools.futures.next().await.is_some() {} } => {}
            () = stop.cut() => {
                pools.running.values().for_each(|pool| pool.stop.cut());
                while pools.futures.next().await.is_some() {}
            }
        }
    }

    /// Starts what is missing; tells what is not wanted any more, or otherwise, to finish what it has and end.
    fn reconcile(&self, pools: &mut Pools) {
        let wanted = self.wanted();
        for pool in pools.running.values_mut().filter(|pool| !pool.ending) {
            if wanted.get(&pool.queue).is_none_or(|wanted| wanted.push != pool.push) {
                pool.ending = true;
                pool.stop.stop();
            }
        }
        for (queue, wanted) in wanted {
            if !pools.running.values().any(|pool| pool.queue == queue && !pool.ending) {
                self.start(pools, queue, wanted);
            }
        }
    }

    fn start(&self, pools: &mut Pools, queue: QueueKey, wanted: Wanted) {
        let (stop, stopped) = Stop::pair();
        let pool = Pool {
            engine: self.deps.engine.clone(),
            queue: queue.clone(),
            doer: wanted.doer,
            concurrency: wanted.concurrency,
            lease: wanted.lease,
            patience: self.config.patience,
        };
        pools.started += 1;
        let number = pools.started;
        pools.running.insert(number, Running { queue, stop, push: wanted.push, ending: false });
        pools.futures.push(Box::pin(async move {
            pool.run(stopped).await;
            number
        }));
    }

    fn wanted(&self) -> BTreeMap<QueueKey, Wanted> {
        match self.sort {
            Sort::BuiltIn => self.built_in(),
            Sort::Pushed => self.pushed(),
        }
    }

    fn built_in(&self) -> BTreeMap<QueueKey, Wanted> {
        let queues = self.deps.engine.queues(None);
        let own = queues.into_iter().filter(|queue| self.takes(&queue.key.name));
        let handled = own.filter_map(|queue| {
            let handler = self.deps.handlers.iter().find(|one| one.queue() == queue.key.name.as_str())?;
            let wanted = Wanted {
                doer: Doer::BuiltIn(Arc::clone(handler)),
                concurrency: self.config.concurrency.clamp(1, CONCURRENCY_MAX),
                lease: queue.settings.lease.0,
                push: None,
            };
            Some((queue.key, wanted))
        });
        handled.collect()
    }

    fn pushed(&self) -> BTreeMap<QueueKey, Wanted> {
        let mut wanted = BTreeMap::new();
        for environment in self.deps.environments.all() {
            let queues = self.deps.engine.queues(Some(environment.id));
            for queue in queues.into_iter().filter(|queue| self.takes(&queue.key.name)) {
                let Some(push) = queue.settings.push.clone() else { continue };
                let pusher =
                    Pusher::new(&self.deps, &self.direct, (environment.id, &queue.key.name), push.clone());
                wanted.insert(
                    queue.key,
                    Wanted {
                        doer: Doer::Push(Box::new(pusher)),
                        concurrency: push.concurrency,
                        lease: queue.settings.lease.0,
                        push: Some(push),
                    },
                );
            }
        }
        wanted
    }

    fn takes(&self, name: &Slug) -> bool {
        self.config.queues.as_ref().is_none_or(|names| names.contains(name))
    }

    /// A name in `--queues` for which nobody here has a handler is a mistake more often than not.
    fn warn_of_unknown_names(&self) {
        if self.sort == Sort::Pushed {
            return;
        }
        let known: Vec<&str> = self.deps.handlers.iter().map(|one| one.queue()).collect();
        for name in self.config.queues.iter().flatten().filter(|name| !known.contains(&name.as_str())) {
            let nearest = base::nearest(name.as_str(), known.iter().copied()).unwrap_or("none");
            tracing::warn!(queue = %name, nearest, "no handler is known for this queue: nothing of it is worked off here");
        }
    }
}

/// A pool as it should be.
struct Wanted {
    doer: Doer,
    concurrency: u32,
    lease: Duration,
    push: Option<Push>,
}
