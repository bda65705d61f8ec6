//! One transaction for all that waits, and what follows from it.
//!
//! Nobody polls: whoever calls posts the batch when the store is free, and when a batch is durable, the thread that wrote
//! it answers its callers and posts the next one.

use std::collections::HashMap;
use std::sync::Arc;

use base::Timestamp;
use db::{Hits, Param, Rows, SystemTx};

use super::Inner;
use super::events::About;
use super::memory::{Memory, PAYLOAD_INLINE_MAX};
use super::plan::{AckRow, Callers, ClaimCall, ClaimRow, Hit, NewRow, Plan};
use super::queue::Running;
use super::window::Entry;
use crate::model::state::{State, flags};
use crate::store::live;
use crate::{Claimed, Error, EventKind, JobStatus, Payload};

/// What the store made of a plan.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(super) acks: Vec<bool>,
    /// How many of them ended beside their rows.
    pub(super) ended_beside: usize,
    pub(super) beats: Vec<Option<i64>>,
    pub(super) claims: Option<Hits>,
    /// Claims that others' jobs leave no room for. Empty: none.
    pub(super) refused: Vec<bool>,
    pub(super) bodies: HashMap<usize, Payload>,
    /// What ran of queues with limits before this batch, in all processes.
    pub(super) active: Vec<Active>,
    /// Claims are refused because two processes take themselves for the only one.
    pub(super) is_contested: bool,
    /// On PostgreSQL.
    pub(super) refills: Vec<Vec<Entry>>,
}

impl Outcome {
    /// Of a plan that has not run.
    pub(super) fn of(plan: &Plan) -> Self {
        Self {
            acks: vec![false; plan.acks.len()],
            ended_beside: 0,
            beats: vec![None; plan.beats.len()],
            claims: None,
            refused: Vec::new(),
            bodies: HashMap::new(),
            active: Vec::with_capacity(plan.locks.len()),
            is_contested: false,
            refills: Vec::with_capacity(plan.refills.len()),
        }
    }
}

impl Inner {
    /// Posts batches while there is something to do and the store takes more.
    pub(crate) fn kick(self: &Arc<Self>) {
        loop {
            let now = self.now();
            let (batch, refills) = {
                let mut memory = self.memory.lock();
                if memory.in_flight >= self.in_flight_max || memory.awaits_company() {
                    return;
                }
                let batch = memory.plan(now);
                if let Some((_, callers)) = &batch {
                    memory.in_flight += 1;
                    memory.batch_calls = memory.batch_calls.max(callers.count());
                    memory.metrics.batches.inc();
                }
                (batch, memory.refills_beside())
            };
            self.fill(refills);
            let Some((plan, callers)) = batch else { return };
            self.post(plan, callers);
        }
    }

    fn post(self: &Arc<Self>, plan: Plan, callers: Callers) {
        let plan = Arc::new(plan);
        let (inner, done_plan) = (self.clone(), plan.clone());
        self.db.post_hot(
            &self.ctx,
            move |tx| super::run::run(tx, &plan),
            move |outcome| {
                inner.settle(&done_plan, callers, outcome);
                inner.kick();
            },
        );
    }

    fn settle(self: &Arc<Self>, plan: &Plan, callers: Callers, outcome: Result<Outcome, Error>) {
        match outcome {
            Ok(outcome) => self.succeed(plan, callers, outcome),
            Err(error) => self.fail_all(plan, callers, &error),
        }
    }

    fn succeed(self: &Arc<Self>, plan: &Plan, callers: Callers, mut outcome: Outcome) {
        let now = plan.now;
        let claimed = {
            let mut memory = self.memory.lock();
            memory.in_flight -= 1;
            memory.batch_calls = callers.count();
            if self.is_alone() {
                memory.beside.follow(plan.take_over, &outcome);
            }
            memory.apply_inserts(plan);
            memory.apply_acks(plan, &outcome.acks, now);
            memory.apply_beats(plan, &outcome.beats);
            if outcome.is_contested {
                memory.contest();
            }
            let claimed = memory.apply_claims(plan, &outcome, callers.claims);
            memory.apply_refills(&plan.refills, std::mem::take(&mut outcome.refills));
            memory.ring.news.notify_waiters();
            claimed
        };
        self.announce(plan);
        if outcome.is_contested {
            self.claim_with_others();
        }
        if std::mem::take(&mut self.memory.lock().wakes) {
            self.timer.notify_one();
        }
        for call in callers.inserts.into_iter().chain(callers.readers) {
            drop(call.reply.send(Ok(())));
        }
        let mut hits = outcome.acks.into_iter();
        for call in callers.acks {
            let own: Vec<bool> = hits.by_ref().take(call.rows).collect();
            let hit: Hit = if own.iter().all(|hit| *hit) { None } else { Some(own) };
            drop(call.reply.send(Ok(hit)));
        }
        let mut beats = outcome.beats.into_iter();
        for call in callers.beats {
            drop(call.reply.send(Ok(beats.by_ref().take(call.rows).collect())));
        }
        for (waiter, jobs) in claimed {
            if let Err(Ok(jobs)) = waiter.reply.send(Ok(jobs)) {
                // Whoever asked is gone: the jobs are given back, their attempts uncounted.
                self.give_back(jobs.into_iter().map(|job| (job.id, job.fence)).collect());
            }
        }
    }

    /// Tells other processes that there is something to claim.
    fn announce(&self, plan: &Plan) {
        if self.db.kind() == db::Kind::Sqlite || plan.inserts.is_empty() {
            return;
        }
        let mut told: Vec<(i64, &str)> = plan
            .inserts
            .iter()
            .filter(|row| row.state == State::Ready)
            .map(|row| (row.queue, &*row.tenant))
            .collect();
        told.sort_unstable();
        told.dedup();
        for (queue, tenant) in told {
            self.signal_ready(queue, tenant);
        }
    }

    fn fail_all(&self, plan: &Plan, callers: Callers, error: &Error) {
        let in_vain = {
            let mut memory = self.memory.lock();
            memory.in_flight -= 1;
            memory.doubt(error);
            memory.undo(plan);
            let inserts = plan.inserts.iter().map(|row| row.slot);
            memory.asked_in_vain(plan.refills.iter().map(|refill| refill.slot).chain(inserts))
        };
        for waiter in in_vain {
            drop(waiter.reply.send(Err(error.clone())));
        }
        for call in callers.inserts.into_iter().chain(callers.readers) {
            drop(call.reply.send(Err(error.clone())));
        }
        for call in callers.acks {
            drop(call.reply.send(Err(error.clone())));
        }
        for call in callers.beats {
            drop(call.reply.send(Err(error.clone())));
        }
        for call in callers.claims {
            drop(call.waiter.reply.send(Err(error.clone())));
        }
    }
}

/// Writes new jobs, large payloads apart.
pub(crate) fn insert<'a>(
    tx: &mut SystemTx<'_>,
    jobs: impl ExactSizeIterator<Item = &'a NewRow>,
) -> Result<(), Error> {
    let (rows, bodies) = insert_rows(jobs);
    live::insert(tx, &rows)?;
    live::insert_bodies(tx, &bodies)?;
    Ok(())
}

/// The rows of new jobs, and those of their large payloads.
pub(super) fn insert_rows<'a>(jobs: impl ExactSizeIterator<Item = &'a NewRow>) -> (Rows<'a>, Rows<'a>) {
    let mut rows = Rows::new(live::INSERT_WIDTH, jobs.len());
    let mut bodies = Rows::new(2, 0);
    for row in jobs {
        let is_big = row.flags & flags::BIG != 0;
        if is_big {
            bodies.push([Param::Blob(row.id.as_bytes()), Param::Text(row.payload.as_str())]);
        }
        rows.push(insert_params(row, is_big));
    }
    (rows, bodies)
}

/// A new job as the store takes it.
fn insert_params(row: &NewRow, is_big: bool) -> [Param<'_>; live::INSERT_WIDTH] {
    [
        Param::Blob(row.id.as_bytes()),
        Param::Int(row.queue),
        Param::Text(&row.tenant),
        Param::Int(row.state.number()),
        Param::Int(i64::from(row.priority)),
        Param::Int(row.run_at.micros()),
        Param::Int(i64::from(row.attempts)),
        Param::Int(row.created_at.micros()),
        Param::Int(row.flags),
        Param::Int(i64::try_from(row.payload.len()).unwrap_or(i64::MAX)),
        Param::Int(i64::from(row.pending)),
        row.key.as_deref().map_or(Param::Null, Param::Text),
        if is_big { Param::Null } else { Param::Text(row.payload.as_str()) },
        row.options.as_deref().map_or(Param::Null, Param::Text),
        Param::Int(row.lane_number),
    ]
}

/// What runs of a queue, by tenant.
pub(super) type Active = (i64, Vec<(String, u64)>);

impl Memory {
    /// Whether what waits is better off with what is about to come: while a batch is under way, another of less than half
    /// its callers costs the store as much as one of all, and whoever was just answered soon asks again. The end of the
    /// batch under way is the longest that anything waits for company.
    fn awaits_company(&self) -> bool {
        self.in_flight > 0 && self.pending.calls() * 2 < self.batch_calls
    }

    fn apply_inserts(&mut self, plan: &Plan) {
        let (window_max, short) = (self.window_max, self.is_short);
        for row in &plan.inserts {
            if row.state == State::Later {
                self.due_by(row.run_at);
            }
            let Some(queue) = self.queue(row.slot) else { continue };
            let lane = &mut queue.lanes[row.lane as usize];
            lane.coming -= 1;
            queue.coming -= 1;
            let (sum, sum_of) = match row.state {
                State::Ready => (&mut queue.ready, &mut lane.ready),
                State::Later => (&mut queue.later, &mut lane.later),
                State::Running | State::Blocked => (&mut queue.blocked, &mut lane.blocked),
            };
            *sum += 1;
            *sum_of += 1;
            queue.metrics.added.inc();
            let key = queue.key.clone();
            let tenant = lane.tenant;
            let starved =
                row.state == State::Ready && queue.offer(row.lane, new_entry(row, short), window_max);
            if starved && self.low.last() != Some(&(row.slot, row.lane)) {
                self.low.push((row.slot, row.lane));
            }
            let about = About { queue: &key, job: Some(row.id), tenant, attempt: 0 };
            self.ring.push(EventKind::Added, plan.now, about);
        }
    }

    fn apply_acks(&mut self, plan: &Plan, hits: &[bool], now: Timestamp) {
        self.gone += plan.acks.len() as u64;
        for (ack, hit) in plan.acks.iter().zip(hits) {
            if *hit {
                self.complete(ack, now);
            } else {
                self.end_running(ack.id, ack.fence, now, true);
            }
        }
    }

    fn complete(&mut self, ack: &AckRow, now: Timestamp) {
        let Some(running) = self.running.get(&ack.id).filter(|running| running.fence == ack.fence) else {
            return;
        };
        let (number, tenant, lane, attempt) = (running.queue, running.tenant, running.lane, running.attempt);
        self.end_running(ack.id, ack.fence, now, true);
        self.watched(ack.id, JobStatus::Completed, now, ack.result.as_ref(), None);
        let Some(slot) = self.slot(number) else { return };
        let Self { queues, metrics, ring, .. } = self;
        let Some(queue) = queues[slot].as_mut() else { return };
        queue.completed += 1;
        queue.lane_metrics(lane, metrics).completed.inc();
        let drained = queue.waiting() + queue.active == 0;
        let about = About { queue: &queue.key, job: Some(ack.id), tenant, attempt };
        ring.push_result(now, about, ack.result.as_ref());
        if drained {
            ring.push(
                EventKind::Drained,
                now,
                About { queue: &queue.key, job: None, tenant: None, attempt: 0 },
            );
        }
    }

    fn apply_beats(&mut self, plan: &Plan, found: &[Option<i64>]) {
        for (beat, flags) in plan.beats.iter().zip(found) {
            if let Some(running) =
                self.running.get_mut(&beat.id).filter(|running| running.fence == beat.fence)
                && let Some(flags) = flags
            {
                running.flags |= flags;
                running.lease_until = running.lease_until.max(beat.until);
            }
        }
    }

    fn apply_claims(
        &mut self,
        plan: &Plan,
        outcome: &Outcome,
        calls: Vec<ClaimCall>,
    ) -> Vec<(super::queue::Waiter, Vec<Claimed>)> {
        let Some(hits) = &outcome.claims else { return Vec::new() };
        let (share, is_shared) = (self.processes, self.is_shared);
        // What is proposed here is counted here and not in what was found.
        outcome.active.iter().for_each(|(number, active)| self.set_elsewhere(*number, active, plan));
        let mut answers = Vec::with_capacity(calls.len());
        let mut index = 0;
        for ClaimCall { slot, rows, waiter } in calls {
            let mut jobs = Vec::with_capacity(rows);
            for at in index..index + rows {
                let claim = &plan.claims[at];
                self.answered(claim);
                if hits.is_hit(at) {
                    jobs.extend(self.begin(claim, outcome.bodies.get(&at), plan.now));
                } else if let Some(queue) = self.queue(slot) {
                    queue.unpick(&claim.picked, share);
                    if outcome.refused.get(at).is_some_and(|refused| *refused) {
                        queue.put_back(&claim.picked);
                    } else if is_shared {
                        // Somebody was faster, or removed it: whoever did so knows of more here, and others do not.
                        self.reread(slot, claim.picked.lane);
                    }
                }
            }
            index += rows;
            if jobs.is_empty() && !self.closed {
                self.wait_again(slot, waiter);
            } else {
                answers.push((waiter, jobs));
            }
        }
        answers
    }

    /// The store has said what became of a proposed job.
    fn answered(&mut self, claim: &ClaimRow) {
        if self.is_shared
            && let Some(queue) = self.queue(claim.slot)
        {
            queue.lanes[claim.picked.lane as usize].window.answered(claim.picked.entry.id);
        }
    }

    /// What other processes run of a queue: all that was found before this batch, less what runs here.
    fn set_elsewhere(&mut self, number: i64, active: &[(String, u64)], plan: &Plan) {
        let Some(slot) = self.slot(number) else { return };
        let mut proposed: HashMap<crate::model::fair::LaneId, u64> = HashMap::new();
        for claim in plan.claims.iter().filter(|claim| claim.slot == slot) {
            *proposed.entry(claim.picked.lane).or_default() += 1;
        }
        let Some(queue) = self.queue(slot) else { return };
        let total: u64 = active.iter().map(|(_, count)| count).sum();
        let own = queue.active.saturating_sub(proposed.values().sum());
        queue.active_elsewhere = total.saturating_sub(own);
        for (tenant, count) in active {
            let Some(lane) = super::memory::tenant_of(tenant).ok().and_then(|tenant| queue.find_lane(tenant))
            else {
                continue;
            };
            let of = &mut queue.lanes[lane as usize];
            let own = of.active.saturating_sub(proposed.get(&lane).copied().unwrap_or(0));
            of.active_elsewhere = count.saturating_sub(own);
        }
    }

    fn wait_again(&mut self, slot: usize, waiter: super::queue::Waiter) {
        let Some(queue) = self.queue(slot) else { return };
        queue.waiters.push_front(waiter);
        if !queue.is_hungry {
            queue.is_hungry = true;
            self.hungry.push(slot);
        }
    }

    fn begin(&mut self, claim: &ClaimRow, body: Option<&Payload>, now: Timestamp) -> Option<Claimed> {
        let entry = &claim.picked.entry;
        let waited = u64::try_from(now.micros().saturating_sub(entry.run_at.micros())).unwrap_or(0);
        let queue = self.queue(claim.slot)?;
        let number = queue.number;
        queue.ready = queue.ready.saturating_sub(1);
        queue.bytes = queue.bytes.saturating_sub(u64::from(entry.bytes));
        queue.waits.observe(now, waited);
        queue.metrics.wait.observe(std::time::Duration::from_micros(waited));
        let lane = &mut queue.lanes[claim.picked.lane as usize];
        lane.ready = lane.ready.saturating_sub(1);
        lane.bytes = lane.bytes.saturating_sub(u64::from(entry.bytes));
        let (tenant, key) = (lane.tenant, queue.key.clone());
        let timeout = claim.time_out_at.map(|at| Timestamp::from_micros(at).since(now));
        let running = Running {
            queue: number,
            tenant,
            lane: claim.picked.lane,
            level: entry.priority,
            fence: entry.fence + 1,
            attempt: entry.attempt + 1,
            flags: entry.flags,
            lease_until: claim.until,
            lease: claim.lease,
            started_at: now.micros(),
            time_out_at: claim.time_out_at,
            charged: claim.picked.charged,
            key: entry.key.clone(),
            ending: false,
        };
        self.run(entry.id, running);
        let about = About { queue: &key, job: Some(entry.id), tenant, attempt: entry.attempt + 1 };
        self.ring.push(EventKind::Active, now, about);
        Some(Claimed {
            id: entry.id,
            queue: key,
            tenant,
            payload: entry.payload.as_ref().or(body).cloned().unwrap_or_else(Payload::null),
            attempt: entry.attempt + 1,
            attempts: entry.attempts,
            fence: entry.fence + 1,
            lease_until: Timestamp::from_micros(claim.until),
            timeout,
            priority: entry.priority,
            key: entry.key.clone(),
            tags: entry.extras.as_ref().map(|extras| extras.tags.clone()).unwrap_or_default(),
            created_at: entry.created_at,
        })
    }

    /// Takes back what a batch that failed had reserved.
    fn undo(&mut self, plan: &Plan) {
        let share = self.processes;
        for row in &plan.inserts {
            self.unreserve(row);
        }
        for ack in &plan.acks {
            if let Some(running) = self.running.get_mut(&ack.id).filter(|running| running.fence == ack.fence)
            {
                running.ending = false;
                let running = running.clone();
                if let Some(queue) = self.numbered(running.queue) {
                    queue.begin_again(&running);
                }
            }
        }
        for claim in &plan.claims {
            self.answered(claim);
            if let Some(queue) = self.queue(claim.slot) {
                queue.unpick(&claim.picked, share);
                queue.put_back(&claim.picked);
            }
        }
        self.abandon_refills(&plan.refills);
    }

    /// All claims that do not wait for jobs.
    pub(super) fn asked_at_once(&mut self) -> Vec<super::queue::Waiter> {
        self.all().flat_map(super::queue::Queue::take_asked_at_once).collect()
    }

    /// Gives back the room that a job was promised.
    pub(super) fn unreserve(&mut self, row: &NewRow) {
        let bytes = row.payload.len() as u64;
        let Some(queue) = self.queue(row.slot) else { return };
        queue.coming -= 1;
        queue.bytes = queue.bytes.saturating_sub(bytes);
        let lane = &mut queue.lanes[row.lane as usize];
        lane.coming -= 1;
        lane.bytes = lane.bytes.saturating_sub(bytes);
        // An answer that was lost on the way is no proof that nothing was written.
        lane.window.distrust();
        self.low_later.push((row.slot, row.lane));
    }
}

/// A new job as its window takes it.
pub(crate) fn new_entry(row: &NewRow, short: bool) -> Entry {
    let keep = !short && row.payload.len() <= PAYLOAD_INLINE_MAX;
    Entry {
        id: row.id,
        fence: 0,
        attempt: 0,
        attempts: row.attempts,
        priority: row.priority,
        flags: row.flags,
        bytes: u32::try_from(row.payload.len()).unwrap_or(u32::MAX),
        created_at: row.created_at,
        run_at: row.run_at,
        key: row.key.clone(),
        payload: keep.then(|| row.payload.clone()),
        extras: row.extras.clone(),
    }
}
