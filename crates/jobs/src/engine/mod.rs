//! The engine: what everybody calls.
//!
//! `calls` has the hot ones, `plan` what goes into one transaction, `run` how it is done and `batch` what follows, `alone`
//! whether other processes claim as well; `window`, `queue`, `pick` and
//! `memory` what is known without asking the store, `effect` and `apply` how memory follows it. `insert`, `ends` and `jobs`
//! do what takes more than one statement, `many` what is about many jobs, `queues` what is about queues. `timed` does what
//! time brings, `tenants` knows plans and suspensions, `events` tells, `port` serves other capabilities.

mod alone;
mod apply;
mod batch;
mod beside;
mod calls;
mod effect;
mod ends;
mod events;
mod insert;
mod jobs;
mod many;
mod memory;
mod pick;
mod plan;
mod port;
mod queue;
mod queues;
mod refill;
mod run;
mod tenants;
mod timed;
mod window;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use authority::SystemCtx;
use base::{SharedClock, SharedRandom, Timestamp};
use db::{Db, Kind, SystemTx};
use parking_lot::Mutex;
use ports::TenantDirectory;
use tokio::sync::Notify;

use self::effect::Effect;
use self::memory::Memory;
use crate::metrics::JobMetrics;
use crate::model::state::State;
use crate::store::claims;
use crate::store::live::{self, JobRow};
use crate::store::queues::one as queue_row;
use crate::{Error, ManagedBy, QueueKey, QueueSettings};

pub use self::calls::worker_name;
pub use self::events::Events;
pub use self::many::Listed;

/// Batches in the hands of SQLite's one writer: the next is planned while it works.
const IN_FLIGHT_SQLITE: usize = 1;
/// Batches in the hands of PostgreSQL: more than two only contend.
const IN_FLIGHT_POSTGRES: usize = 2;
/// Running jobs that are read at once when the engine opens.
const RUNNING_PAGE: i64 = 1_000;
/// Tells other processes that a tenant has something ready.
const READY_TOPIC: &str = "jobs.ready";
/// Tells other processes that queues changed, and that this one lives.
const QUEUES_TOPIC: &str = "jobs.queues";

/// What the engine is made of.
pub struct Deps {
    /// The store, with this crate's migrations.
    pub db: Db,
    /// Where times come from.
    pub clock: SharedClock,
    /// Randomness for ids and pauses.
    pub random: SharedRandom,
    /// Where figures go.
    pub metrics: telemetry::Metrics,
    /// Plans (for weights) and status of tenants; `None` weighs all alike and rests nobody.
    pub tenants: Option<Arc<dyn TenantDirectory>>,
    /// Built-in queues: the names of the handlers.
    pub built_in: Vec<&'static str>,
}

/// Queues and jobs of an installation. Cloning shares it. Every call may be dropped at any await; what it asked for
/// then happens or not, whole.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    db: Db,
    clock: SharedClock,
    random: SharedRandom,
    tenants: Option<Arc<dyn TenantDirectory>>,
    ctx: SystemCtx,
    memory: Mutex<Memory>,
    /// Wakes the timed work.
    timer: Notify,
    in_flight_max: usize,
    /// This process among those on the store.
    name: Arc<str>,
    /// When it began, monotonic.
    opened: Duration,
    /// When others were last heard of.
    others: Mutex<HashMap<String, Duration>>,
    /// Whether some unique key holds for a time.
    uses_keys_until: AtomicBool,
    /// Tenants that are being removed, part by part, and where that goes on.
    leaving: Mutex<HashMap<base::TenantId, many::Leaving>>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Engine")
    }
}

impl Engine {
    /// Reads queues, counts and running jobs from the store. Declares the built-in queues.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn open(deps: Deps) -> Result<Self, Error> {
        let Deps { db, clock, random, metrics, tenants, built_in } = deps;
        let mut memory = Memory::new(&*random, JobMetrics::new(&metrics));
        memory.is_shared = db.kind() != Kind::Sqlite;
        // Whoever was here before may still be ending.
        memory.is_off = memory.is_shared;
        let in_flight_max = if db.kind() == Kind::Sqlite { IN_FLIGHT_SQLITE } else { IN_FLIGHT_POSTGRES };
        let inner = Arc::new(Inner {
            ctx: SystemCtx::because("jobs of all tenants share queues"),
            name: memory.name.clone(),
            opened: clock.monotonic(),
            memory: Mutex::new(memory),
            timer: Notify::new(),
            in_flight_max,
            others: Mutex::default(),
            // A key may have been left by the process before.
            uses_keys_until: AtomicBool::new(true),
            leaving: Mutex::default(),
            db,
            clock,
            random,
            tenants,
        });
        inner.declare(built_in).await?;
        inner.read_queues().await?;
        inner.load().await?;
        inner.kick();
        Ok(Self(inner))
    }

    /// Now, by the store's clock: what leases and due times are measured by.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.0.now()
    }

    /// How many processes share the store's queues, as far as this one has heard of them in the last seconds.
    #[must_use]
    pub fn processes(&self) -> u32 {
        self.0.memory.lock().processes
    }

    /// Declares a built-in queue, for a handler that became known after [`Engine::open`]. Nothing happens when it is there.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn declare(&self, name: &'static str) -> Result<(), Error> {
        self.0.declare(vec![name]).await?;
        self.0.read_queues().await
    }
}

impl Inner {
    fn now(&self) -> Timestamp {
        self.db.store_now()
    }

    /// Whether no other process can have changed a job that runs here.
    fn is_alone(&self) -> bool {
        self.db.kind() == Kind::Sqlite
    }

    /// Something of a queue's settings.
    fn settings<T>(&self, number: i64, of: impl FnOnce(&QueueSettings) -> T) -> Option<T> {
        self.memory.lock().numbered(number).map(|queue| of(&queue.settings))
    }

    async fn declare(self: &Arc<Self>, names: Vec<&'static str>) -> Result<(), Error> {
        let keys: Vec<QueueKey> = names.into_iter().filter_map(QueueKey::built_in).collect();
        if keys.is_empty() {
            return Ok(());
        }
        let inner = self.clone();
        let declare = move |tx: &mut SystemTx<'_>| {
            for key in &keys {
                if queue_row(tx, key)?.is_none() {
                    inner.put_in(tx, &mut Vec::new(), key, &QueueSettings::default(), ManagedBy::System)?;
                }
            }
            Ok::<_, Error>(())
        };
        self.db.write_system(&self.ctx, declare).await
    }

    async fn load(self: &Arc<Self>) -> Result<(), Error> {
        // What the process before left beside its jobs.
        if self.db.read_system(&self.ctx, claims::any).await? {
            self.db.write_hot(&self.ctx, claims::take_over_all).await?;
        }
        let read = |tx: &mut SystemTx<'_>| Ok::<_, Error>((live::counts(tx)?, live::next_due(tx)?));
        let (counts, next_due) = self.db.read_system(&self.ctx, read).await?;
        for count in counts.iter().filter(|count| count.unplaced > 0) {
            self.place(count.queue, &count.tenant).await?;
        }
        {
            let mut memory = self.memory.lock();
            memory.set_counts(&counts);
            memory.next_due = next_due;
            memory.divide_room();
        }
        // On PostgreSQL what runs belongs to other processes; leases that are over are found by looking.
        if self.db.kind() == Kind::Postgres {
            return Ok(());
        }
        let mut after = None;
        loop {
            let page = move |tx: &mut SystemTx<'_>| Ok::<_, Error>(live::running(tx, after, RUNNING_PAGE)?);
            let rows = self.db.read_system(&self.ctx, page).await?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = Some(last.id);
            let mut memory = self.memory.lock();
            rows.iter().for_each(|row| memory.adopt(row));
        }
    }

    /// Gives jobs from before there were lanes theirs.
    async fn place(&self, queue: i64, tenant: &str) -> Result<(), Error> {
        let mut after = None;
        loop {
            let (of, from) = (tenant.to_owned(), after);
            let page = move |tx: &mut SystemTx<'_>| live::place(tx, queue, &of, from, RUNNING_PAGE);
            after = self.db.write_hot(&self.ctx, page).await?;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// Runs a transaction whose effects memory follows.
    async fn write<T, F>(self: &Arc<Self>, f: F) -> Result<T, Error>
    where
        F: Fn(&mut SystemTx<'_>, &mut Vec<Effect>) -> Result<T, Error> + Send + 'static,
        T: Send + 'static,
    {
        let inner = self.clone();
        let run = move |tx: &mut SystemTx<'_>| {
            let mut effects = Vec::new();
            claims::take_over(tx)?;
            let value = f(tx, &mut effects)?;
            inner.apply_after(tx, effects);
            Ok(value)
        };
        let outcome = self.db.write_hot(&self.ctx, run).await;
        if let Err(error) = &outcome {
            self.memory.lock().doubt(error);
        }
        outcome
    }

    /// Has memory follow once the transaction is durable.
    fn apply_after(self: &Arc<Self>, tx: &mut SystemTx<'_>, effects: Vec<Effect>) {
        if !effects.is_empty() {
            let inner = self.clone();
            tx.after_commit(move || inner.apply(effects));
        }
    }

    /// Takes in a queue that another process made a moment ago.
    fn know(&self, tx: &mut SystemTx<'_>, key: &QueueKey) -> Result<(), Error> {
        if tx.kind() == Kind::Postgres
            && self.memory.lock().find(key, None).is_err()
            && let Some(row) = queue_row(tx, key)?
        {
            self.memory.lock().put_queue(row);
        }
        Ok(())
    }

    fn became_ready(&self, row: &JobRow, from: State) -> Result<Effect, Error> {
        let entry = self.memory.lock().entry(row);
        ends::change(row, Some(from), effect::To::Ready(Box::new(entry)), None)
    }
}
