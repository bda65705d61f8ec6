//! What happens because time passes, and what other processes do.

use std::sync::Arc;
use std::time::Duration;

use base::{JobId, Timestamp};
use db::{Kind, Param, Rows, SystemTx};
use lifecycle::Stop;

use super::effect::Effect;
use super::memory::{Memory, tenant_of};
use super::queue::Running;
use super::{Engine, Inner, QUEUES_TOPIC, READY_TOPIC};
use crate::model::state::State;
use crate::store::{claims, done, live, parts, queues};
use crate::{Error, EventKind};

/// Jobs promoted or expired by one transaction.
const STEP: i64 = 1_000;
/// Expired jobs of one transaction: each takes several statements.
const EXPIRED_STEP: i64 = 200;
/// Leases that one round compares with the store: each is a look at its row.
const LET_GO_STEP: usize = 200;
/// Steps of one round, so that no duty keeps the others waiting.
const STEPS_MAX: usize = 100;
/// The longest sleep: a clock that jumps is noticed within it.
const SLEEP_MAX: Duration = Duration::from_secs(10);
/// The same where other processes share the store.
const SLEEP_SHARED_MAX: Duration = Duration::from_secs(1);
/// The shortest, so that a time that has come and cannot be served does not make a busy loop.
const SLEEP_MIN: Duration = Duration::from_millis(1);
/// Between two rounds of tidying.
const TIDY_EVERY: Duration = Duration::from_secs(10);
/// A pause after the store failed.
const FAILED_PAUSE: Duration = Duration::from_millis(500);
/// A process that was not heard of for so long is gone.
const ALIVE_FOR: Duration = Duration::from_secs(10);

/// A queue, its tenants with ready jobs, and what all processes run of it by tenant (`None`: nobody else runs any).
type Found = (i64, Vec<String>, Option<Vec<(String, u64)>>);

impl Engine {
    /// Does timed work until `stop`: what is delayed becomes due, leases end, finished jobs are forgotten, news of other
    /// processes are read. To be run once a process, as a worker.
    pub async fn run(&self, stop: Stop) {
        tokio::join!(self.keep_time(stop.clone()), self.follow_tenants(stop));
    }

    async fn keep_time(&self, stop: Stop) {
        let inner = &self.0;
        let mut ready = inner.db.signals(READY_TOPIC);
        let mut changed = inner.db.signals(QUEUES_TOPIC);
        let (mut tidied, mut looked, mut woke) = (Duration::ZERO, None::<Duration>, true);
        loop {
            let now = inner.clock.monotonic();
            // By its own clock: work that comes all the time must not put it off.
            let mut result = Ok(());
            if looked.is_none_or(|at| now >= at + SLEEP_SHARED_MAX) || woke {
                looked = Some(now);
                result = inner.look_around().await;
            }
            result = result.and(inner.pass_time().await);
            if now >= tidied + TIDY_EVERY || tidied.is_zero() {
                tidied = now;
                result = result.and(inner.tidy().await);
            }
            let pause = match result {
                Ok(()) => inner.pause(),
                Err(error) => {
                    tracing::warn!(%error, "jobs cannot do their timed work");
                    FAILED_PAUSE
                }
            };
            let sleep = tokio::time::sleep(pause);
            tokio::pin!(sleep);
            woke = loop {
                // A signal is taken in at once, and is no reason to look at the clock: our own come back to us as well.
                tokio::select! {
                    () = stop.stopped() => return self.close(),
                    () = &mut sleep => break true,
                    () = inner.timer.notified() => break false,
                    signal = ready.recv() => inner.hear_ready(&signal.payload),
                    signal = changed.recv() => inner.hear_queues(&signal.payload).await,
                }
            };
        }
    }

    /// Does the timed work that is due by the clock, once. [`Engine::run`] calls it; tests with a clock that stands
    /// still do so too.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn tick(&self) -> Result<(), Error> {
        self.0.look_around().await?;
        self.0.pass_time().await?;
        self.0.tidy().await
    }

    /// Answers all waiting claims with nothing and lets no new one wait: the process is going to stop.
    pub fn close(&self) {
        let mut memory = self.0.memory.lock();
        memory.closed = true;
        memory.ring.closed = true;
        memory.ring.news.notify_waiters();
        let waiters: Vec<_> = memory.all().flat_map(|queue| std::mem::take(&mut queue.waiters)).collect();
        drop(memory);
        for waiter in waiters {
            drop(waiter.reply.send(Ok(Vec::new())));
        }
    }
}

impl Inner {
    async fn pass_time(self: &Arc<Self>) -> Result<(), Error> {
        let shared = self.db.kind() == Kind::Postgres;
        let now = self.now();
        let (due, over) = {
            let mut memory = self.memory.lock();
            for queue in memory.all() {
                if queue.wake_at.is_some_and(|at| at <= now) {
                    queue.wake_rates();
                }
            }
            let later = std::mem::take(&mut memory.low_later);
            memory.low.extend(later);
            let due = memory.next_due.is_some_and(|at| at <= now);
            (due, memory.lease_floor.is_some_and(|floor| floor <= now.micros()))
        };
        if due {
            self.promote(now).await?;
        }
        if over || shared {
            self.expire(now).await?;
        }
        if self.memory.lock().is_contested {
            self.claim_with_others();
        }
        self.clear_away();
        self.meet_strangers().await;
        self.kick();
        Ok(())
    }

    /// How long nothing is due.
    fn pause(&self) -> Duration {
        let now = self.now();
        let mut memory = self.memory.lock();
        let mut next = memory.next_due;
        let wakes: Vec<Timestamp> = memory.all().filter_map(|queue| queue.wake_at).collect();
        let floor = memory.lease_floor.map(Timestamp::from_micros);
        for at in wakes.into_iter().chain(floor) {
            next = Some(next.map_or(at, |known| known.min(at)));
        }
        memory.armed = next;
        let most = if self.db.kind() == Kind::Sqlite { SLEEP_MAX } else { SLEEP_SHARED_MAX };
        next.map_or(most, |at| at.since(now)).clamp(SLEEP_MIN, most)
    }

    /// Makes delayed jobs ready that are due.
    async fn promote(self: &Arc<Self>, now: Timestamp) -> Result<(), Error> {
        for _ in 0..STEPS_MAX {
            let inner = self.clone();
            let promote = move |tx: &mut SystemTx<'_>, effects: &mut Vec<Effect>| {
                let jobs = live::due(tx, now, STEP)?;
                let mut rows = Rows::new(2, jobs.len());
                for job in &jobs {
                    rows.push([Param::Blob(job.id.as_bytes()), Param::Int(job.fence)]);
                }
                let full = jobs.len() as i64 >= STEP;
                if !jobs.is_empty() {
                    let hits = live::promote(tx, &rows)?;
                    for (_, mut job) in jobs.into_iter().enumerate().filter(|(index, _)| hits.is_hit(*index))
                    {
                        job.state = State::Ready;
                        effects.push(inner.became_ready(&job, State::Later)?);
                    }
                }
                Ok((full, live::next_due(tx)?))
            };
            let (full, next) = self.write(promote).await?;
            if !full {
                let mut memory = self.memory.lock();
                // One that was added meanwhile told its time before this answer came.
                let since = memory.next_due.filter(|at| *at > now);
                memory.next_due = match (next, since) {
                    (Some(one), Some(other)) => Some(std::cmp::min(one, other)),
                    (one, other) => one.or(other),
                };
                return Ok(());
            }
        }
        Ok(())
    }

    /// Ends attempts whose lease is over.
    async fn expire(self: &Arc<Self>, now: Timestamp) -> Result<(), Error> {
        for _ in 0..STEPS_MAX {
            let jobs = self.read(move |tx| Ok(live::expired(tx, now, EXPIRED_STEP)?)).await?;
            if jobs.is_empty() {
                break;
            }
            let full = jobs.len() as i64 >= EXPIRED_STEP;
            let inner = self.clone();
            self.write(move |tx, effects| {
                for job in &jobs {
                    // Read again: a heartbeat or an end may have come meanwhile.
                    let Some(row) = live::read(tx, job.id)?.filter(|row| {
                        row.state == State::Running && row.lease_until.is_some_and(|until| until <= now)
                    }) else {
                        continue;
                    };
                    match inner.expire_in(tx, effects, row, now) {
                        Ok(_) | Err(Error::LeaseLost(_)) => {}
                        Err(error) => return Err(error),
                    }
                }
                Ok(())
            })
            .await?;
            if !full {
                break;
            }
        }
        if self.db.kind() == Kind::Postgres {
            self.let_go(now).await?;
        }
        let mut memory = self.memory.lock();
        memory.lease_floor = memory.running.values().map(|running| running.lease_until).min();
        Ok(())
    }

    /// Lets go of what runs as far as this process knows, and whose lease another process extended or ended: it would take
    /// places under limits for ever.
    async fn let_go(&self, now: Timestamp) -> Result<(), Error> {
        let over: Vec<(JobId, i64)> = {
            let memory = self.memory.lock();
            let is_over = |running: &Running| running.lease_until <= now.micros() && !running.ending;
            let over = memory.running.iter().filter(|(_, running)| is_over(running));
            over.map(|(id, running)| (*id, running.fence)).take(LET_GO_STEP).collect()
        };
        if over.is_empty() {
            return Ok(());
        }
        let read = move |tx: &mut SystemTx<'_>| {
            let mut found = Vec::with_capacity(over.len());
            for (id, fence) in &over {
                let row = live::read(tx, *id)?;
                let held = row.filter(|row| row.state == State::Running && row.fence == *fence);
                found.push((*id, *fence, held.and_then(|row| row.lease_until)));
            }
            Ok(found)
        };
        let found = self.db.read_system::<_, Error, _>(&self.ctx, read).await?;
        let mut memory = self.memory.lock();
        for (id, fence, until) in found {
            match (until, memory.running.get_mut(&id)) {
                (Some(until), Some(running)) if running.fence == fence => {
                    running.lease_until = running.lease_until.max(until.micros());
                }
                (None, Some(running)) if running.fence == fence && !running.ending => {
                    memory.end_running(id, fence, now, false);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Forgets what was kept long enough and what nobody needs any more; tells figures.
    async fn tidy(self: &Arc<Self>) -> Result<(), Error> {
        let now = self.now();
        for _ in 0..STEPS_MAX {
            let over = self
                .db
                .read_system::<_, Error, _>(&self.ctx, move |tx| Ok(done::over(tx, now, STEP)?))
                .await?;
            if over.is_empty() {
                break;
            }
            let full = over.len() as i64 >= STEP;
            self.write(move |tx, _| Ok(done::forget_many(tx, &over)?)).await?;
            if !full {
                break;
            }
        }
        if self.uses_keys_until.load(std::sync::atomic::Ordering::Relaxed) {
            self.write(move |tx, _| Ok(parts::sweep_keys(tx, now)?)).await?;
        }
        if self.db.kind() == Kind::Postgres {
            self.recount().await?;
        }
        self.memory.lock().tidy(now);
        Ok(())
    }

    /// Counts what other processes changed as well. Without others memory is right, once it was found to be: what this
    /// process does while it counts may be counted twice or not at all.
    pub(crate) async fn recount(self: &Arc<Self>) -> Result<(), Error> {
        if !self.memory.lock().counts_are_due() {
            return Ok(());
        }
        let counts = self.db.read_system::<_, Error, _>(&self.ctx, |tx| Ok(live::counts(tx)?)).await?;
        let mut memory = self.memory.lock();
        let is_right = memory.set_counts(&counts);
        memory.is_off = !is_right || memory.processes > 1;
        drop(memory);
        self.kick();
        Ok(())
    }

    /// What only others can know: who lives, and what waits where claims wait here.
    async fn look_around(self: &Arc<Self>) -> Result<(), Error> {
        if self.db.kind() == Kind::Sqlite {
            return Ok(());
        }
        self.db.signal(QUEUES_TOPIC, &format!("{} alive", self.name));
        let now = self.clock.monotonic();
        let (is_alone, hungry): (bool, Vec<i64>) = {
            let mut memory = self.memory.lock();
            let mut others = self.others.lock();
            others.retain(|_, heard| now.saturating_sub(*heard) < ALIVE_FOR);
            memory.processes = u32::try_from(others.len() + 1).unwrap_or(u32::MAX);
            memory.is_off |= memory.processes > 1;
            // Whoever asks now and then does not wait, and is told of what others made all the same.
            let asks = |queue: &mut super::queue::Queue| {
                let was_asked = std::mem::take(&mut queue.was_asked);
                (was_asked || !queue.waiters.is_empty()).then_some(queue.number)
            };
            let hungry = memory.all().filter_map(asks).collect();
            (memory.alone.is_some(), hungry)
        };
        let found = self
            .db
            .read_system::<_, Error, _>(&self.ctx, move |tx| {
                let mut found = Vec::new();
                for number in &hungry {
                    let tenants = live::tenants(tx, *number)?;
                    let active = if is_alone { None } else { Some(live::active(tx, *number)?) };
                    found.push((*number, tenants, active));
                }
                Ok((found, live::next_due(tx)?))
            })
            .await?;
        self.take_in_others(found.0, found.1);
        self.look_for_others().await
    }

    fn take_in_others(&self, found: Vec<Found>, next_due: Option<Timestamp>) {
        let mut memory = self.memory.lock();
        if let Some(at) = next_due {
            memory.due_by(at);
        }
        for (number, tenants, active) in found {
            if let Some(active) = active {
                memory.set_active(number, &active);
            }
            for tenant in tenants {
                memory.hear(number, &tenant);
            }
        }
    }

    pub(crate) fn signal_ready(&self, queue: i64, tenant: &str) {
        self.db.signal(READY_TOPIC, &format!("{} {queue} {tenant}", self.name));
    }

    fn hear_ready(self: &Arc<Self>, payload: &str) {
        let mut words = payload.split(' ');
        let (from, queue, tenant) = (words.next(), words.next(), words.next());
        if from == Some(&*self.name) {
            return;
        }
        {
            let mut memory = self.memory.lock();
            match (queue.and_then(|queue| queue.parse().ok()), tenant) {
                (Some(queue), Some(tenant)) => memory.hear(queue, tenant),
                // Signals were lost: everything may have changed.
                _ => memory.distrust_all(),
            }
        }
        self.kick();
    }

    async fn hear_queues(self: &Arc<Self>, payload: &str) {
        let (from, rest) = payload.split_once(' ').unwrap_or((payload, ""));
        if *from == *self.name {
            return;
        }
        if rest == "alive" {
            let now = self.clock.monotonic();
            self.others.lock().insert(from.to_owned(), now);
            return;
        }
        if let Err(error) = self.read_queues().await {
            tracing::warn!(%error, "the queues cannot be read again");
        }
    }

    /// Reads all queues again: another process changed some.
    pub(crate) async fn read_queues(self: &Arc<Self>) -> Result<(), Error> {
        let rows = self.db.read_system::<_, Error, _>(&self.ctx, |tx| Ok(queues::all(tx)?)).await?;
        let mut refused = Vec::new();
        {
            let mut memory = self.memory.lock();
            let now = self.now();
            let known: Vec<i64> = memory.all().map(|queue| queue.number).collect();
            for number in known.into_iter().filter(|known| rows.iter().all(|row| row.number != *known)) {
                refused.extend(memory.remove_queue(number));
            }
            for row in rows {
                let was = memory.numbered(row.number).map(|queue| queue.view.paused);
                let (number, paused) = (row.number, row.view.paused);
                memory.put_queue(row);
                let Some(key) = memory.numbered(number).map(|queue| queue.key.clone()) else { continue };
                if was.is_some_and(|was| was != paused) {
                    let kind = if paused { EventKind::Paused } else { EventKind::Resumed };
                    let about = super::events::About { queue: &key, job: None, tenant: None, attempt: 0 };
                    memory.ring.push(kind, now, about);
                }
            }
        }
        for waiter in refused {
            drop(waiter.reply.send(Ok(Vec::new())));
        }
        self.kick();
        Ok(())
    }

    /// Gives jobs back that nobody took, in the background. What cannot be given back now comes back by its lease.
    pub(crate) fn give_back(self: &Arc<Self>, leases: Vec<(JobId, i64)>) {
        let inner = self.clone();
        let applied = self.clone();
        self.db.post_hot(
            &self.ctx,
            move |tx| {
                let mut effects = Vec::new();
                claims::take_over(tx)?;
                for (id, fence) in &leases {
                    let Some(mut row) = live::read(tx, *id)? else { continue };
                    if row.state == State::Running && row.fence == *fence {
                        row.state = State::Ready;
                        row.attempt = row.attempt.saturating_sub(1);
                        inner.shift(
                            tx,
                            &mut effects,
                            State::Running,
                            row,
                            Some(super::effect::Why::Released),
                        )?;
                    }
                }
                Ok(effects)
            },
            move |outcome: Result<Vec<Effect>, Error>| match outcome {
                Ok(effects) => applied.apply(effects),
                Err(error) => tracing::debug!(%error, "jobs that nobody took come back by their leases"),
            },
        );
    }
}

impl Memory {
    /// Takes in that a tenant may have ready jobs in a queue.
    fn hear(&mut self, number: i64, tenant: &str) {
        let (Some(slot), Ok(tenant)) = (self.slot(number), tenant_of(tenant)) else { return };
        let Some(queue) = self.queue(slot) else { return };
        let lane = queue.lane(tenant);
        self.distrust(slot, lane);
    }

    fn distrust_all(&mut self) {
        for slot in 0..self.slots() {
            let Some(queue) = self.queue(slot) else { continue };
            let lanes: Vec<_> = queue.tenants().map(|(lane, _)| lane).collect();
            lanes.into_iter().for_each(|lane| self.distrust(slot, lane));
        }
    }

    /// Takes in what all processes together run of a queue.
    pub(crate) fn set_active(&mut self, number: i64, active: &[(String, u64)]) {
        let Some(queue) = self.numbered(number) else { return };
        let total: u64 = active.iter().map(|(_, count)| count).sum();
        queue.active_elsewhere = total.saturating_sub(queue.active);
        for lane in &mut queue.lanes {
            lane.active_elsewhere = 0;
        }
        for (tenant, count) in active {
            let Some(lane) = tenant_of(tenant).ok().and_then(|tenant| queue.find_lane(tenant)) else {
                continue;
            };
            let of = &mut queue.lanes[lane as usize];
            of.active_elsewhere = count.saturating_sub(of.active);
        }
        let lanes: Vec<_> = queue.tenants().map(|(lane, _)| lane).collect();
        lanes.into_iter().for_each(|lane| queue.unrest(lane, super::queue::rest::CONCURRENCY));
    }

    fn tidy(&mut self, now: Timestamp) {
        self.watchers.retain(|_, watchers| {
            watchers.retain(|watcher| !watcher.is_closed());
            !watchers.is_empty()
        });
        self.cancellers.retain(|_, listeners| {
            listeners.retain(|(_, canceller)| !canceller.is_closed());
            !listeners.is_empty()
        });
        for queue in self.all() {
            queue.forget_idle(now);
            for lane in &mut queue.lanes {
                lane.keys.retain(|_, used| used.active > 0 || !used.meter.is_idle(now));
            }
            let fairness = (queue.fairness(now) * 1_000.0) as i64;
            let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
            queue.metrics.waiting.set(count(queue.ready + queue.blocked));
            queue.metrics.delayed.set(count(queue.later));
            queue.metrics.active.set(count(queue.active));
            queue.metrics.fairness.set(fairness);
            let oldest = queue.oldest_known().map_or(0, |at| now.since(at).as_millis());
            queue.metrics.oldest.set(i64::try_from(oldest).unwrap_or(i64::MAX));
        }
        self.divide_room();
    }
}
