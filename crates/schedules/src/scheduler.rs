//! The scheduler: sleeps until the next time, fires what is due, in batches. Any number of processes run one.
//!
//! Whoever finds something due takes the lease, and writes under its epoch. The lease keeps the others from doing the same work
//! for nothing; that each firing is one is the doing of the compare-and-set of [`ops::fire`], whatever the lease says. It is taken
//! when there is something to fire and not held in between, so that an installation at rest writes nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use authority::SystemCtx;
use base::{ScheduleId, SharedClock, TenantId, Timestamp};
use db::{Epoch, Kind, Lease, SignalReceiver};
use lifecycle::{Stop, TaskError};
use ports::{TenantDirectory, TenantStatus};

use crate::error::Error;
use crate::metrics::Counters;
use crate::model::Schedule;
use crate::ops::{self, Passed, Planned, Tools, built_in, fire, upkeep};
use crate::store;

/// The lease's name.
const LEASE: &str = "schedules";
/// Another process goes on after this, when the one that held the lease is gone.
const LEASE_TTL: Duration = Duration::from_secs(8);
/// A lease older than this is renewed before the next batch.
const RENEW_AFTER: Duration = Duration::from_secs(2);
/// Who does not have the lease looks again after this whether what is due was fired.
const STANDBY: Duration = Duration::from_secs(2);
/// The longest sleep: a machine's clock may jump.
const SLEEP_MAX: Duration = Duration::from_secs(10);
/// The next time is read from the store this often even when nobody signals: a signal of another process may get lost.
const READ_EVERY: Duration = Duration::from_secs(60);
/// Rules of time zones are compared this often; new ones are out weeks before they hold.
const REVISE_EVERY: Duration = Duration::from_secs(3_600);
/// Schedules that are read at a time.
const LOAD_MAX: u32 = 500;
/// Firings and schedules of one transaction: about 10 ms of the 50 ms that one may take.
const BATCH_WEIGHT_MAX: usize = 64;
/// Tenants whose standing is kept in memory; all are forgotten when there are more.
const STANDINGS_MAX: usize = 10_000;
/// Resting tenants that are asked for at a time.
const RESTING_MAX: u32 = 200;
/// Events read at a time.
const EVENTS_MAX: u32 = 500;

/// Fires the schedules of an installation.
pub struct Scheduler {
    tools: Tools,
    clock: SharedClock,
    tenants: Arc<dyn TenantDirectory>,
    counters: Counters,
    lease: Lease,
    renewed: Option<Duration>,
    standings: HashMap<TenantId, bool>,
}

/// What a scheduler means to do, and under which lease.
#[derive(Debug)]
pub struct Prepared {
    planned: Vec<Planned>,
    resting: Vec<(ScheduleId, i64)>,
    unreadable: Vec<Schedule>,
    epoch: Option<Epoch>,
    /// Whether there may be more than was read.
    full: bool,
}

/// When to do what next, by the monotonic clock.
struct Agenda {
    read_at: Duration,
    revise_at: Duration,
    check_resting: bool,
    /// What the store said last.
    wake: Option<Timestamp>,
}

impl Scheduler {
    pub(crate) fn new(
        tools: Tools,
        clock: SharedClock,
        tenants: Arc<dyn TenantDirectory>,
        counters: Counters,
    ) -> Self {
        let lease = tools.db.lease(LEASE, LEASE_TTL);
        Self { tools, clock, tenants, counters, lease, renewed: None, standings: HashMap::new() }
    }

    /// Fires until `stop`.
    ///
    /// # Errors
    /// When the store fails; to be run again then.
    pub async fn run(mut self, stop: Stop) -> Result<(), TaskError> {
        let mut signals = self.tools.db.signals(ops::TOPIC);
        let log = self.tools.db.events();
        let mut position = log.head();
        self.ensure_built_in().await?;
        let mut agenda =
            Agenda { read_at: Duration::ZERO, revise_at: Duration::ZERO, check_resting: true, wake: None };
        while !stop.is_stopping() {
            let sleep = self.step(&mut agenda).await?;
            tokio::select! {
                () = stop.stopped() => break,
                () = tokio::time::sleep(sleep) => {}
                () = heard(&mut signals) => agenda.read_at = Duration::ZERO,
                _ = log.wait_beyond(position) => {
                    let events = log.after(position, EVENTS_MAX).await?;
                    position = events.last().map_or(position, |event| event.position);
                    if events.iter().any(|event| event.kind.starts_with("tenant.")) {
                        self.standings.clear();
                        agenda.check_resting = true;
                    }
                }
            }
        }
        self.lease.release().await?;
        Ok(())
    }

    /// One look round; answers how long to sleep.
    async fn step(&mut self, agenda: &mut Agenda) -> Result<Duration, Error> {
        let age = self.clock.monotonic();
        if age >= agenda.revise_at {
            self.revise().await?;
            agenda.revise_at = age + REVISE_EVERY;
        }
        if age >= agenda.read_at {
            self.standings.clear();
            agenda.check_resting = true;
            agenda.wake = self.next_wake().await?;
            agenda.read_at = age + READ_EVERY;
        }
        if std::mem::take(&mut agenda.check_resting) && self.wake_served().await? > 0 {
            agenda.wake = self.next_wake().await?;
        }
        let is_due = |wake: Option<Timestamp>, now| wake.is_some_and(|wake| wake <= now);
        if is_due(agenda.wake, self.tools.now()) {
            let leads = self.fire_due().await?.is_some();
            agenda.wake = self.next_wake().await?;
            if is_due(agenda.wake, self.tools.now()) {
                return Ok(if leads { Duration::ZERO } else { STANDBY });
            }
        }
        let ahead = agenda.wake.map_or(SLEEP_MAX, |wake| wake.since(self.tools.now()));
        Ok(ahead.min(SLEEP_MAX))
    }

    /// Reads and thinks out what is due, as [`Scheduler::fire_due`] does first; `None` when another scheduler leads.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn prepare(&mut self) -> Result<Option<Prepared>, Error> {
        match self.leads().await? {
            Some(epoch) => self.think(epoch).await.map(Some),
            None => Ok(None),
        }
    }

    /// The same without asking who leads: what a scheduler does that is wrong about it. For tests of what holds even then.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn prepare_unled(&mut self) -> Result<Prepared, Error> {
        self.think(None).await
    }

    /// Fires all that is due now, if this scheduler leads; `None` when another does.
    ///
    /// # Errors
    /// When the store fails; what was fired stays fired.
    pub async fn fire_due(&mut self) -> Result<Option<Passed>, Error> {
        let mut total = Passed::default();
        loop {
            let Some(prepared) = self.prepare().await? else { return Ok(None) };
            let full = prepared.full;
            let Some(passed) = self.finish(prepared).await? else { return Ok(None) };
            total.add(passed);
            // Who fired nothing of what was due has nothing to do: another was quicker with all of it.
            if passed.looked_at == passed.lost && !full {
                return Ok(Some(total));
            }
        }
    }

    /// Whether this scheduler leads, and at which epoch. An embedded store has one process, which needs no lease.
    async fn leads(&mut self) -> Result<Option<Option<Epoch>>, Error> {
        if self.tools.db.kind() == Kind::Sqlite {
            return Ok(Some(None));
        }
        let age = self.clock.monotonic();
        let fresh = self.renewed.is_some_and(|at| age.saturating_sub(at) < RENEW_AFTER);
        let epoch = match self.lease.held().filter(|_| fresh) {
            Some(epoch) => Some(epoch),
            None => {
                let epoch = self.lease.try_take().await?;
                self.renewed = epoch.map(|_| age);
                epoch
            }
        };
        Ok(epoch.map(Some))
    }

    /// Reads what is due and thinks out what to do.
    async fn think(&mut self, epoch: Option<Epoch>) -> Result<Prepared, Error> {
        let now = self.tools.now();
        let due = self.load(now).await?;
        let full = due.len() == LOAD_MAX as usize;
        let (mut planned, mut resting, mut unreadable) = (Vec::new(), Vec::new(), Vec::new());
        for schedule in due {
            if !self.is_served(&schedule).await? {
                resting.push((schedule.id, schedule.turn));
                continue;
            }
            match Planned::of(schedule, &self.tools, now) {
                Ok(one) => planned.push(one),
                Err(schedule) => unreadable.push(*schedule),
            }
        }
        Ok(Prepared { planned, resting, unreadable, epoch, full })
    }

    /// Does what was prepared; `None` when the lease was lost meanwhile.
    ///
    /// # Errors
    /// When the store fails; what was fired stays fired.
    pub async fn finish(&mut self, prepared: Prepared) -> Result<Option<Passed>, Error> {
        let Prepared { planned, resting, unreadable, epoch, full: _ } = prepared;
        let aside = u32::try_from(resting.len() + unreadable.len()).unwrap_or(u32::MAX);
        let mut total = Passed { looked_at: aside, ..Passed::default() };
        self.put_aside(resting, unreadable).await?;
        for batch in batches(planned) {
            match self.fire_batch(batch, epoch).await {
                Ok(passed) => {
                    self.counters.count(&passed);
                    total.add(passed);
                }
                Err(Error::Store(db::Error::Conflict { constraint })) if constraint == db::LEASE_LOST => {
                    self.renewed = None;
                    return Ok(None);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Some(total))
    }

    async fn fire_batch(&self, batch: Vec<Planned>, epoch: Option<Epoch>) -> Result<Passed, Error> {
        let (tools, batch) = (self.tools.clone(), Arc::<[Planned]>::from(batch));
        let ctx = SystemCtx::because("fire schedules");
        let write = self.tools.db.write_system(&ctx, move |tx| {
            if let Some(epoch) = epoch {
                tx.require_epoch(LEASE, epoch)?;
            }
            fire::batch(tx, &tools, &batch)
        });
        write.await
    }

    /// Whether the schedule's tenant is served; one of no tenant is.
    async fn is_served(&mut self, schedule: &Schedule) -> Result<bool, Error> {
        let (Some(tenant), Some(environment)) = (schedule.tenant, schedule.environment) else {
            return Ok(true);
        };
        if let Some(served) = self.standings.get(&tenant) {
            return Ok(*served);
        }
        let served = served(&*self.tenants, environment, tenant).await?;
        if self.standings.len() >= STANDINGS_MAX {
            self.standings.clear();
        }
        self.standings.insert(tenant, served);
        Ok(served)
    }

    /// Schedules that are not to be looked at until something changes.
    async fn put_aside(
        &self,
        resting: Vec<(ScheduleId, i64)>,
        unreadable: Vec<Schedule>,
    ) -> Result<(), Error> {
        if resting.is_empty() && unreadable.is_empty() {
            return Ok(());
        }
        let ctx = SystemCtx::because("put schedules aside");
        let write = self.tools.db.write_system(&ctx, move |tx| -> Result<(), Error> {
            for schedule in &unreadable {
                store::shift(tx, schedule, (schedule.place.due, None))?;
            }
            upkeep::rest(tx, &resting)
        });
        write.await
    }

    /// Wakes schedules whose tenants are served again; answers how many.
    ///
    /// # Errors
    /// When the store or the directory of tenants fails.
    pub async fn wake_served(&self) -> Result<u64, Error> {
        let ctx = SystemCtx::because("wake the schedules of tenants that are served again");
        let (mut after, mut woken) = (None, 0);
        loop {
            let page =
                self.tools.db.read_system(&ctx, move |tx| upkeep::resting(tx, after, RESTING_MAX)).await?;
            let mut back = Vec::new();
            for (tenant, environment) in &page {
                if served(&*self.tenants, *environment, *tenant).await? {
                    back.push(*tenant);
                }
            }
            if !back.is_empty() {
                woken += self.tools.db.write_system(&ctx, move |tx| upkeep::wake_tenants(tx, &back)).await?;
            }
            match page.last() {
                Some((last, _)) if page.len() == RESTING_MAX as usize => after = Some(*last),
                _ => return Ok(woken),
            }
        }
    }

    /// Moves next times to where changed rules of their zones put them; answers how many.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn revise(&self) -> Result<u32, Error> {
        let ctx = SystemCtx::because("compare schedules with the rules of their zones");
        let (mut after, mut moved) = (ScheduleId::from_uuid_bytes([0; 16]), 0);
        loop {
            // Most compare equal: writing is for those that do not.
            let tools = self.tools.clone();
            let write = self.tools.db.write_system(&ctx, move |tx| upkeep::revise(tx, &tools, after));
            let (next, shifted) = write.await?;
            moved += shifted;
            match next {
                Some(next) => after = next,
                None => return Ok(moved),
            }
        }
    }

    async fn ensure_built_in(&self) -> Result<(), Error> {
        let (tools, ctx) = (self.tools.clone(), SystemCtx::because("make the schedules that come along"));
        self.tools.db.write_system(&ctx, move |tx| built_in::ensure(tx, &tools)).await
    }

    async fn load(&self, now: Timestamp) -> Result<Vec<Schedule>, Error> {
        let ctx = SystemCtx::because("read what schedules are due");
        Ok(self.tools.db.read_system(&ctx, move |tx| store::due(tx, now, LOAD_MAX)).await?)
    }

    /// When the next schedule has to be looked at; `None` when none ever has.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn next_wake(&self) -> Result<Option<Timestamp>, Error> {
        let ctx = SystemCtx::because("read when the next schedule is due");
        Ok(self.tools.db.read_system(&ctx, store::next_wake).await?)
    }
}

/// Whether a tenant is served. One that is gone is not; its rows go with it.
pub(crate) async fn served(
    tenants: &dyn TenantDirectory,
    environment: base::EnvironmentId,
    tenant: TenantId,
) -> Result<bool, Error> {
    let found = tenants
        .one(environment, tenant)
        .await
        .map_err(|error| Error::Store(db::Error::Unavailable(error.to_string())))?;
    Ok(found.is_some_and(|tenant| tenant.status == TenantStatus::Active))
}

/// Cuts what was planned into transactions.
fn batches(planned: Vec<Planned>) -> Vec<Vec<Planned>> {
    let mut batches: Vec<Vec<Planned>> = Vec::new();
    let mut weight = usize::MAX;
    for one in planned {
        let own = one.weight();
        match batches.last_mut() {
            Some(batch) if weight.saturating_add(own) <= BATCH_WEIGHT_MAX => {
                weight += own;
                batch.push(one);
            }
            _ => {
                weight = own;
                batches.push(vec![one]);
            }
        }
    }
    batches
}

/// Waits for a signal, and takes all that wait.
async fn heard(signals: &mut SignalReceiver) {
    signals.recv().await;
    while signals.try_recv().is_some() {}
}

impl std::fmt::Debug for Scheduler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scheduler").field("lease", &self.lease).finish_non_exhaustive()
    }
}
