//! [`Db`]: the handle that everybody holds.

use std::borrow::Cow;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use authority::{SystemCtx, TenantCtx};
use base::Timestamp;
use lifecycle::Stop;

use crate::clock::StoreClock;
use crate::engine::Engine;
use crate::events::{Head, Sequencer};
use crate::job::{Job, Reply, Scope, job, posted};
use crate::lock::Lock;
use crate::queue::Refused;
use crate::shared::Shared;
use crate::tx::Core;
use crate::{
    Error, EventLog, ExportReport, Lease, Location, OpenError, Options, SignalReceiver, StatsSnapshot,
    SystemTx, TenantTx, export, idempotency, open,
};

/// Which database is underneath.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The embedded one.
    Sqlite,
    /// The server.
    Postgres,
}

/// Whether the store takes changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// It does.
    Ok,
    /// It can be read, not written, for this reason. Writes are tried anew and clear this when one succeeds.
    ReadOnly(String),
    /// A sync failed: no write until a restart.
    Fenced(String),
}

/// A handle of the store; cloning shares it. The store's threads end when the last handle is dropped, after all
/// that was queued.
#[derive(Clone)]
pub struct Db(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) engine: Engine,
    pub(crate) shared: Arc<Shared>,
    pub(crate) head: Arc<Head>,
    pub(crate) options: Options,
    pub(crate) clock: Arc<StoreClock>,
    /// Held for the life of the store; released after the engine (fields drop in order).
    pub(crate) _lock: Option<Lock>,
}

impl std::fmt::Debug for Db {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Db").field("kind", &self.kind()).field("status", &self.status()).finish()
    }
}

impl Db {
    /// Opens the store: takes the lock of an embedded one, checks versions, migrates, proves the isolation of
    /// tenants (PostgreSQL) and recognises its master key (see [`Db::sealed`]).
    ///
    /// # Errors
    /// Each [`OpenError`] names what to do next; nothing was changed but whole migrations.
    pub async fn open(options: Options) -> Result<Self, OpenError> {
        lifecycle::blocking(move || open::open(options))
            .await
            .unwrap_or_else(|| Err(Error::Panicked.into()))
            .map(|inner| Self(Arc::new(inner)))
    }

    /// True while nothing was ever stored there: then, and only then, a master key may be made.
    ///
    /// # Errors
    /// [`OpenError`] when that cannot be told.
    pub async fn first_start(location: &Location) -> Result<bool, OpenError> {
        let location = location.clone();
        lifecycle::blocking(move || open::first_start(&location))
            .await
            .unwrap_or_else(|| Err(Error::Panicked.into()))
    }

    /// How often this process committed a change that others are told of by an event. What was read from the store is
    /// as it was then while the number stays, but for changes of other processes and of what has no events (jobs, usage).
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.0.shared.changes.load(std::sync::atomic::Ordering::Acquire)
    }

    /// Runs `f` in a durable transaction of one tenant. Answers after the commit is on disk. Dropping the future
    /// does not undo it.
    ///
    /// # Errors
    /// What `f` answers, or an [`Error`] of the store.
    pub async fn write<T, E, F>(&self, ctx: &TenantCtx, f: F) -> Result<T, E>
    where
        F: Fn(&mut TenantTx<'_>) -> Result<T, E> + Send + 'static,
        E: From<Error> + Send + 'static,
        T: Send + 'static,
    {
        let (job, reply) = tenant_job(ctx, f);
        self.send_write(job)?;
        answer(reply).await
    }

    /// Runs `f` on one snapshot of one tenant's rows. A statement that writes fails.
    ///
    /// # Errors
    /// What `f` answers, or an [`Error`] of the store.
    pub async fn read<T, E, F>(&self, ctx: &TenantCtx, f: F) -> Result<T, E>
    where
        F: Fn(&mut TenantTx<'_>) -> Result<T, E> + Send + 'static,
        E: From<Error> + Send + 'static,
        T: Send + 'static,
    {
        let (job, reply) = tenant_job(ctx, f);
        self.send_read(job)?;
        answer(reply).await
    }

    /// [`Db::write`] across tenants, for the reason that `ctx` states.
    ///
    /// # Errors
    /// What `f` answers, or an [`Error`] of the store.
    pub async fn write_system<T, E, F>(&self, ctx: &SystemCtx, f: F) -> Result<T, E>
    where
        F: Fn(&mut SystemTx<'_>) -> Result<T, E> + Send + 'static,
        E: From<Error> + Send + 'static,
        T: Send + 'static,
    {
        let (job, reply) = system_job(ctx, f);
        self.send_write(job)?;
        answer(reply).await
    }

    /// [`Db::write_system`] for batches whose statements are right row by row: on PostgreSQL at READ COMMITTED, where they
    /// wait for a row that another transaction changes and look at it again, instead of being repeated as a whole; and
    /// with plans that go by index, whatever the statistics of a table that grows and empties say. A closure that reads
    /// and then decides belongs into [`Db::write_system`]. On SQLite the same as that.
    ///
    /// # Errors
    /// What `f` answers, or an [`Error`] of the store.
    pub async fn write_hot<T, E, F>(&self, ctx: &SystemCtx, f: F) -> Result<T, E>
    where
        F: Fn(&mut SystemTx<'_>) -> Result<T, E> + Send + 'static,
        E: From<Error> + Send + 'static,
        T: Send + 'static,
    {
        let ctx = ctx.clone();
        let (job, reply) =
            job(Scope::Hot, move |core: Core<'_>| f(&mut SystemTx::new(core, Cow::Borrowed(&ctx))));
        self.send_write(job)?;
        answer(reply).await
    }

    /// [`Db::write_hot`] without a future: `done` is called exactly once with what it would answer, on the thread that ran
    /// `f`, after the commit and all effects of it; it may post the next. It holds that thread up, so it hands over and
    /// does nothing itself. A refusal (the queue is full, the store is stopping) is told before this returns.
    pub fn post_hot<T, E, F, D>(&self, ctx: &SystemCtx, f: F, done: D)
    where
        F: Fn(&mut SystemTx<'_>) -> Result<T, E> + Send + 'static,
        D: FnOnce(Result<T, E>) + Send + 'static,
        E: From<Error> + Send + 'static,
        T: Send + 'static,
    {
        let job = system_posted(ctx, Scope::Hot, f, done);
        self.taken_or_refused(self.0.engine.send_write(job));
    }

    /// [`Db::read_system`] without a future: `done` is told as by [`Db::post_hot`]. On SQLite it waits for no other reads than
    /// its like, however long those take.
    pub fn post_read<T, E, F, D>(&self, ctx: &SystemCtx, f: F, done: D)
    where
        F: Fn(&mut SystemTx<'_>) -> Result<T, E> + Send + 'static,
        D: FnOnce(Result<T, E>) + Send + 'static,
        E: From<Error> + Send + 'static,
        T: Send + 'static,
    {
        let job = system_posted(ctx, Scope::System, f, done);
        self.taken_or_refused(self.0.engine.send_hot_read(job));
    }

    /// [`Db::read`] across tenants, for the reason that `ctx` states.
    ///
    /// # Errors
    /// What `f` answers, or an [`Error`] of the store.
    pub async fn read_system<T, E, F>(&self, ctx: &SystemCtx, f: F) -> Result<T, E>
    where
        F: Fn(&mut SystemTx<'_>) -> Result<T, E> + Send + 'static,
        E: From<Error> + Send + 'static,
        T: Send + 'static,
    {
        let (job, reply) = system_job(ctx, f);
        self.send_read(job)?;
        answer(reply).await
    }

    /// The event log.
    #[must_use]
    pub fn events(&self) -> EventLog {
        EventLog::new(self.clone())
    }

    /// Gives events their positions until `stop`. To be run once a process, as a flusher: it empties the tail
    /// before it ends. On PostgreSQL one process holds the lease, the others stand by. While the store fails it tries
    /// again with pauses.
    pub fn run_sequencer(&self, stop: Stop) -> impl Future<Output = ()> + Send + 'static {
        Sequencer::new(self.clone()).run(stop)
    }

    /// Tells whoever listens to `topic` to look: at once in this process, within about 10 ms in others on PostgreSQL. Lossy
    /// and coalescing: same payloads that wait are one, and too many different ones become the empty payload, which says
    /// "look at everything". Not part of any transaction: to be called after one (`after_commit`). A payload has at most
    /// 512 bytes; a longer one becomes the empty one. A topic holds no colon.
    pub fn signal(&self, topic: &'static str, payload: &str) {
        self.0.shared.signals.signal(topic, payload);
    }

    /// Listens to a topic from now on.
    #[must_use]
    pub fn signals(&self, topic: &'static str) -> SignalReceiver {
        self.0.shared.signals.subscribe(topic)
    }

    /// A claim to the lease `name`, which one process holds at a time; see [`Lease`]. `ttl` is how long it lasts without
    /// being renewed.
    #[must_use]
    pub fn lease(&self, name: impl Into<String>, ttl: Duration) -> Lease {
        Lease::new(self.clone(), name.into(), ttl)
    }

    /// Samples the store's clock every 10 s until `stop`; see [`Db::store_now`]. To be run once a process.
    pub fn run_clock(&self, stop: Stop) -> impl Future<Output = ()> + Send + 'static {
        crate::clock::run(self.clone(), stop)
    }

    /// The store's wall clock, for deadlines that several processes share. On SQLite the clock of this process.
    #[must_use]
    pub fn store_now(&self) -> Timestamp {
        self.0.clock.now(&*self.0.shared.clock)
    }

    /// A round trip to the store; how long it took.
    ///
    /// # Errors
    /// [`Error`] when it does not answer.
    pub async fn probe(&self) -> Result<Duration, Error> {
        let clock = self.0.shared.clock.clone();
        let started = clock.monotonic();
        self.read_core(|mut core| crate::clock::sample(&mut core)).await?;
        Ok(clock.monotonic().saturating_sub(started))
    }

    /// Whether the store takes changes.
    #[must_use]
    pub fn status(&self) -> Status {
        self.0.engine.status()
    }

    /// Which database is underneath.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.0.engine.kind()
    }

    /// Why nothing can be sealed or opened: the master key is missing, or another one than this store's. Such a
    /// store answers [`Error::Sealed`] to every change that has an event, and is never initialised anew.
    #[must_use]
    pub fn sealed(&self) -> Option<String> {
        self.0.shared.sealed.clone()
    }

    /// The counters.
    #[must_use]
    pub fn stats(&self) -> StatsSnapshot {
        let (writes, reads) = self.0.engine.waiting();
        self.0.shared.stats.snapshot(writes, reads)
    }

    /// Deletes idempotency rows that expired at `now`, batch by batch; answers how many.
    ///
    /// # Errors
    /// [`Error`] of the store; what was deleted stays deleted.
    pub async fn sweep_idempotency(&self, now: Timestamp) -> Result<u64, Error> {
        let mut total = 0;
        loop {
            let swept =
                self.write_core(Scope::System, move |mut core| idempotency::sweep(&mut core, now)).await?;
            total += swept;
            if swept < idempotency::SWEEP_ROWS_MAX.unsigned_abs() {
                return Ok(total);
            }
        }
    }

    /// Has rows of these tables that were changed or removed cleared away, soon and in the background: for tables that fill
    /// and empty faster than PostgreSQL looks after them by itself (once a minute). Nothing on SQLite, which keeps none.
    pub fn vacuum(&self, tables: &'static [&'static str]) {
        self.0.engine.vacuum(tables);
    }

    /// Writes every table as compressed NDJSON to `sink`, from one consistent snapshot, and gives the sink back.
    /// Format: see `export`. Takes as long as the store is large; nobody waits for it.
    ///
    /// # Errors
    /// [`Error`] of the store, or [`Error::Unavailable`] when the sink fails.
    pub async fn export<W>(&self, ctx: &SystemCtx, sink: W) -> Result<(W, ExportReport), Error>
    where
        W: std::io::Write + Send + 'static,
    {
        tracing::info!(reason = ctx.reason(), actor = %ctx.principal(), "export the store");
        let inner = self.0.clone();
        lifecycle::blocking(move || export::export(&inner, sink)).await.unwrap_or(Err(Error::Panicked))
    }

    pub(crate) async fn write_core<T, F>(&self, scope: Scope, f: F) -> Result<T, Error>
    where
        F: Fn(Core<'_>) -> Result<T, Error> + Send + 'static,
        T: Send + 'static,
    {
        let (job, reply) = job(scope, f);
        self.send_write(job)?;
        answer(reply).await
    }

    pub(crate) async fn read_core<T, F>(&self, f: F) -> Result<T, Error>
    where
        F: Fn(Core<'_>) -> Result<T, Error> + Send + 'static,
        T: Send + 'static,
    {
        let (job, reply) = job(Scope::System, f);
        self.send_read(job)?;
        answer(reply).await
    }

    fn send_write(&self, job: Box<dyn Job>) -> Result<(), Error> {
        self.0.engine.send_write(job).map_err(|refused| self.refused(&refused))
    }

    fn send_read(&self, job: Box<dyn Job>) -> Result<(), Error> {
        self.0.engine.send_read(job).map_err(|refused| self.refused(&refused))
    }

    fn taken_or_refused(&self, sent: Result<(), Refused<Box<dyn Job>>>) {
        if let Err(refused) = sent {
            let error = self.refused(&refused);
            let (Refused::Full(job) | Refused::Closed(job)) = refused;
            job.refuse(error);
        }
    }

    fn refused(&self, refused: &Refused<Box<dyn Job>>) -> Error {
        match refused {
            Refused::Full(_) => {
                self.0.shared.stats.refused();
                Error::Busy
            }
            Refused::Closed(_) => Error::Unavailable("the store is stopping".into()),
        }
    }
}

fn tenant_job<T, E, F>(ctx: &TenantCtx, f: F) -> (Box<dyn Job>, Reply<T, E>)
where
    F: Fn(&mut TenantTx<'_>) -> Result<T, E> + Send + 'static,
    E: From<Error> + Send + 'static,
    T: Send + 'static,
{
    let ctx = ctx.clone();
    let scope = Scope::Tenant(ctx.tenant().to_string());
    job(scope, move |core: Core<'_>| f(&mut TenantTx::new(core, Cow::Borrowed(&ctx))))
}

fn system_job<T, E, F>(ctx: &SystemCtx, f: F) -> (Box<dyn Job>, Reply<T, E>)
where
    F: Fn(&mut SystemTx<'_>) -> Result<T, E> + Send + 'static,
    E: From<Error> + Send + 'static,
    T: Send + 'static,
{
    let ctx = ctx.clone();
    job(Scope::System, move |core: Core<'_>| f(&mut SystemTx::new(core, Cow::Borrowed(&ctx))))
}

fn system_posted<T, E, F, D>(ctx: &SystemCtx, scope: Scope, f: F, done: D) -> Box<dyn Job>
where
    F: Fn(&mut SystemTx<'_>) -> Result<T, E> + Send + 'static,
    D: FnOnce(Result<T, E>) + Send + 'static,
    E: From<Error> + Send + 'static,
    T: Send + 'static,
{
    let ctx = ctx.clone();
    posted(scope, move |core: Core<'_>| f(&mut SystemTx::new(core, Cow::Borrowed(&ctx))), done)
}

async fn answer<T, E: From<Error>>(reply: Reply<T, E>) -> Result<T, E> {
    reply.await.unwrap_or_else(|_| Err(E::from(Error::Unavailable("the store is stopping".into()))))
}
