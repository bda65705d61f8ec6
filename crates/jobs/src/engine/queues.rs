//! Queues: declared, changed, paused, removed; their figures.

use authority::SystemCtx;
use base::EnvironmentId;
use db::{Kind, NewEvent, SystemTx};
use serde_json::{Value, json};

use super::effect::Effect;
use super::{Engine, Inner};
use crate::model::fair::LaneId;
use crate::store::claims;
use crate::store::done;
use crate::store::live::{self, JobRow};
use crate::store::queues::{self, QueueRow};
use crate::store::scan::{self, Scan};
use crate::{Error, JobFilter, ManagedBy, QueueKey, QueueSettings, QueueStatus, QueueView, Scope};

/// Tenants whose oldest job is asked of the store for a queue's figure; with more, those in memory stand for all.
const OLDEST_LANES_MAX: usize = 64;

impl Engine {
    /// The queues of an environment (`None`: the built-in ones) by name.
    #[must_use]
    pub fn queues(&self, environment: Option<EnvironmentId>) -> Vec<QueueView> {
        let mut memory = self.0.memory.lock();
        let of = |queue: &&mut super::queue::Queue| queue.key.environment == environment;
        let mut views: Vec<QueueView> = memory.all().filter(of).map(|queue| queue.view.clone()).collect();
        drop(memory);
        views.sort_by(|one, other| one.key.name.cmp(&other.key.name));
        views
    }

    /// One queue.
    ///
    /// # Errors
    /// [`Error::QueueUnknown`], which names one that is written alike.
    pub fn queue(&self, key: &QueueKey) -> Result<QueueView, Error> {
        let mut memory = self.0.memory.lock();
        let slot = memory.find(key, None)?;
        memory.queue(slot).map(|queue| queue.view.clone()).ok_or(Error::NotFound)
    }

    /// Declares a queue or changes its settings. Answers it and whether it is new. Emits `queue.created` or
    /// `queue.updated`.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::ManagedByFile`], [`Error::Store`].
    pub async fn put_queue(
        &self,
        ctx: &SystemCtx,
        key: &QueueKey,
        settings: QueueSettings,
    ) -> Result<(QueueView, bool), Error> {
        settings.check()?;
        let (inner, key) = (self.0.clone(), key.clone());
        let put = move |tx: &mut SystemTx<'_>| {
            let mut effects = Vec::new();
            let put = inner.put_in(tx, &mut effects, &key, &settings, ManagedBy::Api)?;
            inner.apply_after(tx, effects);
            match put {
                Some(put) => Ok(put),
                None => Ok((queues::one(tx, &key)?.ok_or(Error::NotFound)?.view, false)),
            }
        };
        self.0.db.write_system(ctx, put).await
    }

    /// [`Engine::put_queue`] inside a transaction. `None` when all was so already.
    ///
    /// # Errors
    /// As [`Engine::put_queue`]; [`Error::ManagedByApi`] when the file claims a queue of the API's.
    pub fn put_queue_in(
        &self,
        tx: &mut SystemTx<'_>,
        key: &QueueKey,
        settings: &QueueSettings,
        managed_by: ManagedBy,
    ) -> Result<Option<(QueueView, bool)>, Error> {
        settings.check()?;
        let mut effects = Vec::new();
        let put = self.0.put_in(tx, &mut effects, key, settings, managed_by)?;
        self.0.apply_after(tx, effects);
        Ok(put)
    }

    /// Removes a queue with all its finished jobs; one with jobs that have not ended only with `force`. Emits
    /// `queue.removed`.
    ///
    /// # Errors
    /// [`Error::QueueUnknown`], [`Error::ManagedByFile`], [`Error::HoldsJobs`], [`Error::Store`].
    pub async fn delete_queue(&self, ctx: &SystemCtx, key: &QueueKey, force: bool) -> Result<(), Error> {
        let (engine, own) = (self.clone(), key.clone());
        let scope = Scope::Environment(key.environment);
        while force && self.drain(key, scope).await?.more {}
        while self.purge(key, scope, JobFilter::default()).await?.more {}
        let delete = move |tx: &mut SystemTx<'_>| engine.delete_queue_in(tx, &own, ManagedBy::Api, force);
        self.0.db.write_system(ctx, delete).await
    }

    /// [`Engine::delete_queue`] inside a transaction, of one that `managed_by` manages.
    ///
    /// # Errors
    /// As [`Engine::delete_queue`].
    pub fn delete_queue_in(
        &self,
        tx: &mut SystemTx<'_>,
        key: &QueueKey,
        managed_by: ManagedBy,
        force: bool,
    ) -> Result<(), Error> {
        let row = self.0.queue_row(tx, key)?;
        check_manager(&row.view, managed_by)?;
        let mut effects = Vec::new();
        claims::take_over(tx)?;
        self.0.empty_in(tx, &mut effects, &row, force)?;
        queues::remove(tx, row.number)?;
        emit(tx, "queue.removed", &row.view.key, Some(view(&row.view)), None)?;
        effects.push(Effect::QueueGone(row.number));
        self.0.apply_after(tx, effects);
        Ok(())
    }

    /// The queues of an environment, as this transaction sees them, by name.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn queues_in(
        &self,
        tx: &mut SystemTx<'_>,
        environment: EnvironmentId,
    ) -> Result<Vec<QueueView>, Error> {
        Ok(queues::of(tx, environment)?.into_iter().map(|row| row.view).collect())
    }

    /// Begins no job of the queue any more, in any process, within a second. What runs goes on. Emits `queue.paused`.
    ///
    /// # Errors
    /// [`Error::QueueUnknown`], [`Error::Store`].
    pub async fn pause(&self, ctx: &SystemCtx, key: &QueueKey) -> Result<QueueView, Error> {
        self.set_paused(ctx, key, true).await
    }

    /// Begins jobs again. Emits `queue.resumed`.
    ///
    /// # Errors
    /// [`Error::QueueUnknown`], [`Error::Store`].
    pub async fn resume(&self, ctx: &SystemCtx, key: &QueueKey) -> Result<QueueView, Error> {
        self.set_paused(ctx, key, false).await
    }

    async fn set_paused(&self, ctx: &SystemCtx, key: &QueueKey, paused: bool) -> Result<QueueView, Error> {
        let (inner, key) = (self.0.clone(), key.clone());
        let set = move |tx: &mut SystemTx<'_>| {
            let mut row = inner.queue_row(tx, &key)?;
            if row.view.paused == paused {
                return Ok(row.view);
            }
            let before = view(&row.view);
            row.view.paused = paused;
            row.view.updated_at = inner.now();
            queues::change(tx, &row)?;
            let kind = if paused { "queue.paused" } else { "queue.resumed" };
            emit(tx, kind, &key, Some(before), Some(view(&row.view)))?;
            inner.apply_after(
                tx,
                vec![Effect::Queue(Box::new(row.clone())), Effect::Paused(row.number, paused)],
            );
            Ok(row.view)
        };
        self.0.db.write_system(ctx, set).await
    }

    /// A queue's figures; under a tenant's scope its own, with the queue's percentiles left at 0.
    ///
    /// # Errors
    /// [`Error::QueueUnknown`], [`Error::Store`].
    pub async fn status(&self, key: &QueueKey, scope: Scope) -> Result<QueueStatus, Error> {
        if self.0.db.kind() == Kind::Postgres {
            self.0.recount().await?;
        }
        let (mut status, number, ask) = self.0.memory_status(key, scope)?;
        let tenant = scope.tenant().map(|tenant| tenant.to_string());
        let read = move |tx: &mut SystemTx<'_>| {
            let dead = done::dead(tx, number, tenant.as_deref())?;
            let mut oldest = None;
            for tenant in &ask {
                let first = live::oldest(tx, number, tenant)?;
                oldest = match (oldest, first) {
                    (Some(one), Some(other)) => Some(std::cmp::min(one, other)),
                    (one, other) => one.or(other),
                };
            }
            Ok::<_, Error>((dead, oldest))
        };
        let (dead, oldest) = self.0.read(read).await?;
        status.dead = dead;
        let now = self.0.now();
        status.oldest_waiting_ms =
            oldest.map_or(0, |at| u64::try_from(now.since(at).as_millis()).unwrap_or(u64::MAX));
        Ok(status)
    }
}

impl Inner {
    pub(crate) fn queue_row(&self, tx: &mut SystemTx<'_>, key: &QueueKey) -> Result<QueueRow, Error> {
        match queues::one(tx, key)? {
            Some(row) => Ok(row),
            None => Err(self
                .memory
                .lock()
                .find(key, None)
                .err()
                .unwrap_or_else(|| Error::QueueUnknown { name: key.name.to_string(), nearest: None })),
        }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the transaction, what follows from it, and three things that are said"
    )]
    pub(crate) fn put_in(
        &self,
        tx: &mut SystemTx<'_>,
        effects: &mut Vec<Effect>,
        key: &QueueKey,
        settings: &QueueSettings,
        managed_by: ManagedBy,
    ) -> Result<Option<(QueueView, bool)>, Error> {
        let now = self.now();
        let Some(mut row) = queues::one(tx, key)? else {
            let fresh = QueueView {
                key: key.clone(),
                settings: settings.clone(),
                paused: false,
                managed_by,
                created_at: now,
                updated_at: now,
            };
            let row = queues::add(tx, fresh)?;
            if managed_by != ManagedBy::System {
                emit(tx, "queue.created", key, None, Some(view(&row.view)))?;
            }
            let view = row.view.clone();
            effects.push(Effect::Queue(Box::new(row)));
            return Ok(Some((view, true)));
        };
        check_manager(&row.view, managed_by)?;
        if row.view.settings == *settings {
            return Ok(None);
        }
        let before = view(&row.view);
        row.view.settings = settings.clone();
        row.view.updated_at = now;
        queues::change(tx, &row)?;
        emit(tx, "queue.updated", key, Some(before), Some(view(&row.view)))?;
        let changed = row.view.clone();
        effects.push(Effect::Queue(Box::new(row)));
        Ok(Some((changed, false)))
    }

    /// Takes all jobs out of a queue that is to go.
    fn empty_in(
        &self,
        tx: &mut SystemTx<'_>,
        effects: &mut Vec<Effect>,
        row: &QueueRow,
        force: bool,
    ) -> Result<(), Error> {
        let mut scan = Scan {
            queue: row.number,
            tenant: String::new(),
            filter: JobFilter::default(),
            after: None,
            until: None,
            newest_first: false,
            limit: 1_000,
        };
        loop {
            let rows: Vec<JobRow> = scan::live(tx, &scan)?;
            if rows.is_empty() {
                break;
            }
            if !force {
                let queue = row.view.key.name.to_string();
                let known =
                    self.memory.lock().numbered(row.number).map(|queue| queue.waiting() + queue.active);
                return Err(Error::HoldsJobs { queue, jobs: known.unwrap_or(0).max(rows.len() as u64) });
            }
            self.remove_in(tx, effects, rows)?;
        }
        loop {
            let rows = scan::done(tx, &scan)?;
            let Some(last) = rows.last() else { return Ok(()) };
            scan.after = Some(last.id);
            let jobs: Vec<_> = rows.iter().map(|row| (row.id, row.flags)).collect();
            done::forget_many(tx, &jobs)?;
        }
    }

    /// What memory knows, and the tenants whose oldest job is to be asked of the store.
    fn memory_status(&self, key: &QueueKey, scope: Scope) -> Result<(QueueStatus, i64, Vec<String>), Error> {
        let now = self.now();
        let mut memory = self.memory.lock();
        let slot = memory.find(key, Some(scope))?;
        let queue = memory.queue(slot).ok_or(Error::NotFound)?;
        let mut status = QueueStatus {
            queue: queue.view.clone(),
            waiting: queue.ready + queue.blocked,
            delayed: queue.later,
            active: queue.active + queue.active_elsewhere,
            dead: 0,
            completed: queue.completed,
            failed: queue.failed,
            bytes: queue.bytes,
            oldest_waiting_ms: 0,
            tenants_waiting: 0,
            fairness: queue.fairness(now),
            wait_ms: queue.waits.milliseconds(now),
            run_ms: queue.runs.milliseconds(now),
            claims_waiting: queue.waiters.len() as u64,
        };
        let waiting: Vec<LaneId> =
            queue.tenants().filter(|(_, lane)| lane.ready > 0).map(|(lane, _)| lane).collect();
        status.tenants_waiting = waiting.len() as u64;
        let mut ask: Vec<String> = waiting
            .iter()
            .take(OLDEST_LANES_MAX)
            .map(|lane| queue.lanes[*lane as usize].text.to_string())
            .collect();
        if let Some(tenant) = scope.tenant() {
            let lane = queue.find_lane(Some(tenant)).map(|lane| &queue.lanes[lane as usize]);
            let own = |of: fn(&super::queue::Lane) -> u64| lane.map_or(0, of);
            status.waiting = own(|lane| lane.ready + lane.blocked);
            status.delayed = own(|lane| lane.later);
            status.active = own(|lane| lane.active + lane.active_elsewhere);
            status.bytes = own(|lane| lane.bytes);
            status.tenants_waiting = u64::from(own(|lane| lane.ready) > 0);
            (status.completed, status.failed, status.claims_waiting) = (0, 0, 0);
            (status.fairness, status.wait_ms, status.run_ms) = (1.0, (0.0, 0.0), (0.0, 0.0));
            ask = vec![tenant.to_string()];
        }
        Ok((status, queue.number, ask))
    }
}

fn check_manager(view: &QueueView, managed_by: ManagedBy) -> Result<(), Error> {
    let name = || view.key.name.to_string();
    match (view.managed_by, managed_by) {
        (ManagedBy::File, ManagedBy::Api) => Err(Error::ManagedByFile(name())),
        (ManagedBy::Api, ManagedBy::File) => Err(Error::ManagedByApi(name())),
        _ => Ok(()),
    }
}

fn view(view: &QueueView) -> Value {
    json!({
        "name": view.key.name.as_str(),
        "settings": view.settings,
        "paused": view.paused,
        "managed_by": view.managed_by,
    })
}

fn emit(
    tx: &mut SystemTx<'_>,
    kind: &'static str,
    key: &QueueKey,
    before: Option<Value>,
    after: Option<Value>,
) -> Result<(), Error> {
    let (subject, environment) = (key.name.to_string(), key.environment);
    tx.emit(None, NewEvent { kind, subject, environment, before, after })?;
    Ok(())
}
